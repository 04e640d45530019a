"""Data: sounds with labels or captions, from a folder to a training's clips."""

from speechbrain_lmac.utils.lazy import attach

_NAMES = {
    "audio": "AudioCache Sound load_audio mono_sound read_audio write_wav",
    "augment": "Augmenter",
    "captions.datasets": "caption_dataio_prep check_captions clip_classes",
    "captions.prepare": "prepare_captions",
    "captions.prompts": "prompt_table",
    "decoding": "AudioError audio_info",
    "following": "follow_data",
    "labelled": "dataio_prep prepare_labelled",
    "manifests": "Manifests manifest_clips read_manifests",
    "mixtures": "Mixture TrainingContamination mix_clips",
    "pipelines": "SameLengthBatchSampler make_label_encoder read_class_names "
    "same_length_batches",
    "synthetic.sets": "make_synthetic_dataset",
}
__getattr__, __dir__, __all__ = attach(
    __name__, {module: names.split() for module, names in _NAMES.items()}
)
