#!/usr/bin/env python3
"""Tiny models and captions for the debug rows of recipes, made by code.

    python recipe_models.py focalnet FOLDER

Each stands for a published model: a folder of the same files, with random
weights and small enough for tests. Nothing is downloaded.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from speechbrain_lmac.classifiers.base import AudioClassifier

N_CLASSES = 10  # of the built-in data set
#: Arguments of the image models, and the same for ``transformers``' classes.
SMALL: dict[str, dict[str, Any]] = {
    "focalnet": {"embed_dim": 8, "depths": [1, 1, 1, 1]},
    "vit": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 64,
    },
}
#: Audio models of ``transformers``: configuration, and the extractor's.
SMALL_WAVE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Wav2Vec2": (
        {
            "conv_dim": (8, 8),
            "conv_kernel": (40, 8),
            "conv_stride": (20, 8),
            "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        },
        {},
    ),
    "AST": (
        {
            "patch_size": 8,
            "frequency_stride": 8,
            "time_stride": 8,
            "max_length": 256,
            "num_mel_bins": 32,
        },
        {"max_length": 256, "num_mel_bins": 32},
    ),
}
SMALL_LAYERS = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
#: An ECAPA-TDNN as SpeechBrain's published folders describe it.
SMALL_ECAPA = """\
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: 20
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 20
    channels: [8, 8, 8, 8, 24]
    attention_channels: 8
    se_channels: 8
    lin_neurons: 16
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 16
    out_neurons: 10
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
"""
#: A text encoder of one layer, for sentences of 78 tokens.
SMALL_TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 80,
}
#: An HTSAT of two stages for 2 s of sound and 16 bands.
SMALL_AUDIO = {
    "num_mel_bins": 16,
    "spec_size": 64,
    "window_size": 4,
    "depths": [1, 2],
    "num_attention_heads": [2, 2],
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
}


def save_cnn14(folder: Path) -> Path:
    """Save a classifier like the published CNN14, 300 MB of random weights."""
    from speechbrain.lobes.models.Cnn14 import Cnn14

    embedder = Cnn14(mel_bins=80, emb_dim=2048, return_reps=True)
    torch.save(embedder.state_dict(), folder / "embedding_model.ckpt")
    head = torch.nn.Linear(2048, N_CLASSES)
    torch.save(head.state_dict(), folder / "classifier.ckpt")
    return folder


def small_classifier(
    name: str, n_classes: int = N_CLASSES, **options: Any
) -> AudioClassifier:
    """Build a tiny classifier of ``SMALL`` with random weights."""
    from speechbrain_lmac.classifiers import huggingface as hf_image

    kinds = {
        "focalnet": hf_image.FocalNetClassifier,
        "vit": hf_image.ViTClassifier,
    }
    return kinds[name](n_classes, **{**SMALL[name], **options})


def save_image_model(folder: Path, name: str) -> Path:
    """Save files of ``transformers`` and a classifier's checkpoints."""
    import transformers

    torch.manual_seed(7)
    kind = {"focalnet": "FocalNet", "vit": "ViT"}[name]
    config = getattr(transformers, f"{kind}Config")(**SMALL[name])
    model = getattr(transformers, f"{kind}ForImageClassification")(config)
    model.save_pretrained(folder)
    for part, module in small_classifier(name).parts().items():
        torch.save(module.state_dict(), folder / f"{part}.ckpt")
    return folder


def save_wave_model(folder: Path, family: str) -> Path:
    """Save an audio classifier of ``transformers``, of the built-in classes."""
    import transformers

    from speechbrain_lmac.data.synthetic.sounds import CATEGORIES

    torch.manual_seed(7)
    sizes, extractor = SMALL_WAVE[family]
    labels = dict(enumerate(CATEGORIES))
    config = getattr(transformers, f"{family}Config")(
        **SMALL_LAYERS,
        **sizes,
        id2label=labels,
        label2id={name: k for k, name in labels.items()},
    )
    heads = {"AST": "ForAudioClassification"}
    head = heads.get(family, "ForSequenceClassification")
    getattr(transformers, family + head)(config).save_pretrained(folder)
    own = getattr(transformers, f"{family}FeatureExtractor")
    own(**extractor).save_pretrained(folder)
    return folder


def save_ecapa(folder: Path) -> Path:
    """Save the folder of an EncoderClassifier, of the built-in classes."""
    from hyperpyyaml import load_hyperpyyaml

    from speechbrain_lmac.data import make_label_encoder
    from speechbrain_lmac.data.synthetic.sounds import CATEGORIES

    torch.manual_seed(7)
    (folder / "hyperparams.yaml").write_text(SMALL_ECAPA, encoding="utf-8")
    modules = load_hyperpyyaml(SMALL_ECAPA)["modules"]
    for name in ("embedding_model", "classifier"):
        torch.save(modules[name].state_dict(), folder / f"{name}.ckpt")
    make_label_encoder(CATEGORIES, folder / "label_encoder.ckpt")
    return folder


def byte_tokenizer() -> Any:
    """Build a RobertaTokenizer whose words are single bytes; 261 tokens."""
    from transformers import RobertaTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    words = ["<s>", "<pad>", "</s>", "<unk>", *bytes_to_unicode().values()]
    vocab = {word: k for k, word in enumerate([*words, "<mask>"])}
    return RobertaTokenizer(vocab=vocab, merges=[], model_max_length=512)


def save_clap(
    folder: Path,
    audio: dict[str, Any] | None = None,
    seconds: float = 10,
    bands: int = 64,
    **changes: Any,
) -> Any:
    """Save a CLAP of ``transformers``: model, tokenizer, preprocessor.

    ``audio`` configures the audio encoder (default: HTSAT-tiny), ``changes``
    are other entries of preprocessor_config.json. Returns the ClapModel.
    """
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    torch.manual_seed(7)
    tokenizer = byte_tokenizer()
    config = ClapConfig(
        text_config={"vocab_size": len(tokenizer), **SMALL_TEXT},
        audio_config=audio or {},
        projection_dim=64,
    )
    model = ClapModel(config).eval()
    settle_statistics(model.audio_model.audio_encoder.batch_norm)
    options = {"frequency_min": 50, "truncation": "rand_trunc", **changes}
    extractor = ClapFeatureExtractor(
        feature_size=bands, max_length_s=seconds, **options
    )
    for part in (model, tokenizer, extractor):
        part.save_pretrained(folder)
    return model


def settle_statistics(norm: torch.nn.BatchNorm2d) -> None:
    """Give a batch norm the statistics of decibels, as after training."""
    norm.get_buffer("running_mean").uniform_(-40, -20)
    norm.get_buffer("running_var").uniform_(100, 400)


def save_captions(folder: Path, sounds: Path, n_clips: int = 24) -> Path:
    """Save a captioned data set: links to sounds, and a table.

    ``sounds`` is the built-in data set, in the layout of ESC-50; every third
    clip is validated on.
    """
    lines = ["file,caption,split"]
    for k, path in enumerate(sorted((sounds / "audio").glob("*"))[:n_clips]):
        (folder / path.name).symlink_to(path.resolve())
        split = "train" if k % 3 else "valid"
        lines.append(f"{path.name},the sound of thing {k},{split}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


MAKERS: dict[str, Callable[..., object]] = {
    "captions": save_captions,
    "clap_tiny": lambda folder: save_clap(folder, SMALL_AUDIO, 2, 16),
    "ast": lambda folder: save_wave_model(folder, "AST"),
    "cnn14": save_cnn14,
    "ecapa": save_ecapa,
    "focalnet": lambda folder: save_image_model(folder, "focalnet"),
    "vit": lambda folder: save_image_model(folder, "vit"),
    "wav2vec2": lambda folder: save_wave_model(folder, "Wav2Vec2"),
}


def main(arguments: list[str] | None = None) -> None:
    """Make one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=MAKERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sounds", type=Path, nargs="*", help="of captions")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    MAKERS[options.kind](options.folder, *options.sounds)


if __name__ == "__main__":
    main()
