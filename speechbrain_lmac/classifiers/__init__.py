"""Classifiers that can be explained: logits, embedding, hidden maps."""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "base": ["AudioClassifier", "ClassifierOutput", "fingerprint"],
        "cnn14": ["Cnn14Classifier"],
        "families.loading": ["load_any_classifier"],
        "huggingface": [
            "FocalNetClassifier",
            "ViTClassifier",
            "load_pretrained",
        ],
        "loading": [
            "ClassifierPretrainer",
            "load_classifier",
            "save_classifier",
        ],
        "slim": ["SlimCnn"],
        "waveform": ["WaveformClassifier"],
        "wrapper": ["TorchClassifier"],
        "zero_shot.base": ["ClapEncoder", "ZeroShotClassifier"],
        "zero_shot.hf": ["HfClap"],
        "zero_shot.laion": ["LaionClap"],
        "zero_shot.loading": ["load_clap"],
        "zero_shot.small": [
            "SmallClap",
            "load_small_clap",
            "save_small_clap",
        ],
    },
)
