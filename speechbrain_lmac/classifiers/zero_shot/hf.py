"""CLAP models of the library ``transformers``.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import torch

from speechbrain_lmac.classifiers.huggingface import from_pretrained, library
from speechbrain_lmac.classifiers.zero_shot.base import ClapEncoder
from speechbrain_lmac.classifiers.zero_shot.htsat import (
    htsat_blocks,
    htsat_taps,
)
from speechbrain_lmac.features.clap import PADDINGS
from speechbrain_lmac.utils.checks import UserError

#: Files of a model's folder: one name of each line must be there.
FILES = (
    ("config.json",),
    (
        "model.safetensors",
        "pytorch_model.bin",
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
    ),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.json"),
)
# Numbers that follow from the architecture; some versions save them.
DERIVED = ("position_ids", "relative_position_index", "num_batches_tracked")


class HfClap(ClapEncoder):
    """``transformers.ClapModel``: unfused CLAP models with HTSAT.

    Arguments
    ---------
    source : str
        Hub repository such as ``laion/clap-htsat-unfused``, or a folder of
        its files. With ``HF_HUB_OFFLINE=1`` in the environment only the local
        cache is looked into.

    Raises
    ------
    UserError
        If files are missing and cannot be fetched, if the model is fused or
        no CLAP model, or if its weights are incomplete.
    """

    def __init__(self, source):
        super().__init__()
        model, tokenizer, extractor = load_parts(source)
        self.model = model
        self.embed_dim = model.config.projection_dim
        self.logit_scale = model.logit_scale_a.exp().item()
        frontend = frontend_settings(extractor)
        self._set_htsat_taps(frontend)
        text = model.config.text_config
        # RoBERTa counts positions from the padding token's on.
        limit = text.max_position_embeddings - text.pad_token_id - 1
        self.settle(
            source,
            frontend,
            tokenizer,
            text.vocab_size,
            min(limit, tokenizer.model_max_length),
        )

    def _set_htsat_taps(self, frontend):
        encoder = self.model.audio_model.audio_encoder
        num_frames = frontend["n_samples"] // frontend["hop_samples"] + 1
        width = encoder.spec_size * encoder.freq_ratio
        n_mels = encoder.config.num_mel_bins
        if frontend["mel_matrix"].shape[1] != n_mels or num_frames > width:
            raise UserError(
                "preprocessor_config.json: expected `feature_size` "
                f"{n_mels} and at most {width} frames, as config.json tells, "
                f"got {frontend['mel_matrix'].shape[1]} and {num_frames}."
            )
        depth = len(encoder.layers)
        taps, strides = htsat_taps(
            encoder.patch_embed.grid_size,
            encoder.patch_stride[0],
            depth,
            encoder.freq_ratio,
            num_frames,
            width,
        )
        first = encoder.config.patch_embeds_hidden_size
        levels = (0, *range(1, depth), depth - 1)
        self.set_taps(
            [encoder.patch_embed, *encoder.layers],
            taps,
            [first << level for level in levels],
            strides,
        )

    def audio_features(self, decibels):
        """Decibels (batch, 1, frames, bands) to (batch, embed_dim)."""
        pooled = self.model.audio_model(input_features=decibels).pooler_output
        return self.model.audio_projection(pooled)

    def text_features(self, input_ids, attention_mask):
        """Tokens (texts, length) to (texts, embed_dim)."""
        pooled = self.model.text_model(
            input_ids=input_ids, attention_mask=attention_mask
        ).pooler_output
        return self.model.text_projection(pooled)

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: projection and HTSAT."""
        encoder = self.model.audio_model.audio_encoder
        return {
            "projection": self.model.audio_projection,
            **htsat_blocks(encoder, encoder.batch_norm),
        }

    def outside_blocks(self):
        """As :meth:`AudioClassifier.outside_blocks`."""
        scales = ("logit_scale_a", "logit_scale_t")
        names = ("text_model", "text_projection", *scales)
        return tuple(f"model.{name}" for name in names)


def frontend_settings(extractor):
    """Arguments of the front end from a model's feature extractor.

    Arguments
    ---------
    extractor : transformers.ClapFeatureExtractor
        Read from the model's own preprocessor_config.json: the defaults of
        the class are those of another model.

    Returns
    -------
    dict
        For :class:`speechbrain_lmac.features.clap.ClapFrontEnd`.
    """
    from transformers.audio_utils import window_function

    if extractor.truncation != "rand_trunc":
        raise UserError(
            "preprocessor_config.json: expected `truncation` 'rand_trunc', as "
            f"unfused models have it, got {extractor.truncation!r}."
        )
    if extractor.padding not in PADDINGS:
        raise UserError(
            f"preprocessor_config.json: expected `padding` to be one of "
            f"{', '.join(PADDINGS)}, got {extractor.padding!r}."
        )
    window = window_function(extractor.fft_window_size, "hann")
    return {
        "mel_matrix": torch.as_tensor(extractor.mel_filters_slaney).float(),
        "window": torch.as_tensor(window).float(),
        "sample_rate": extractor.sampling_rate,
        "hop_samples": extractor.hop_length,
        "n_samples": extractor.nb_max_samples,
        "padding": extractor.padding,
    }


def load_parts(source):
    """Model, tokenizer and feature extractor of a folder or repository.

    Arguments
    ---------
    source : str
        As for :class:`HfClap`.

    Returns
    -------
    tuple
        ``(model, tokenizer, extractor)``.

    Raises
    ------
    UserError
        As for :class:`HfClap`.
    """
    transformers = library()
    _check_folder(source)
    config = load_part(transformers.AutoConfig, source)
    _check_config(config, source)
    model, info = load_part(
        transformers.ClapModel, source, output_loading_info=True
    )
    _check_keys(info, source)
    return (
        # Checkpoints may be in half precision.
        model.float(),
        load_part(transformers.AutoTokenizer, source),
        load_part(transformers.ClapFeatureExtractor, source),
    )


def _check_folder(source):
    """Refuse a local folder that is missing or incomplete."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if str(source).startswith((".", "/", "~")):
            raise UserError(f"There is no folder {source}. {_files(source)}")
        return
    there = {path.name for path in folder.iterdir()}
    missing = [" or ".join(names) for names in FILES if there.isdisjoint(names)]
    # Without the merges the tokenizer works, and splits words otherwise.
    if "tokenizer.json" not in there and "merges.txt" not in there:
        missing.append("merges.txt")
    if missing:
        raise UserError(
            f"{source} misses {'; '.join(missing)}. {_files(source)}"
        )


def _check_config(config, source):
    if config.model_type != "clap":
        raise UserError(
            f"{source} is of the architecture {config.model_type!r}; expected "
            "a CLAP model, such as laion/clap-htsat-unfused."
        )
    if config.audio_config.enable_fusion:
        raise UserError(
            f"{source} is a fused CLAP model (`enable_fusion`), which hears a "
            "clip four times over; expected an unfused one, such as "
            "laion/clap-htsat-unfused."
        )


def _check_keys(info, source):
    """Refuse weights that are missing (they would be random) or unknown."""
    problems = []
    for name in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = [str(key) for key in info.get(name, ())]
        keys = sorted(k for k in keys if not k.endswith(DERIVED))
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            label = name.replace("_", " ")
            problems.append(f"{label} {', '.join(keys[:5])}{more}")
    if problems:
        raise UserError(
            f"{source} does not hold the weights of the CLAP model that its "
            f"config.json describes: {'; '.join(problems)}."
        )


def load_part(kind, source, **options):
    """Load a part of a CLAP model, or say which files to place where.

    Arguments
    ---------
    kind : type
        A class of ``transformers``.
    source : str
        As for :class:`HfClap`.
    **options : dict
        Of ``kind.from_pretrained``.

    Returns
    -------
    object
        What ``kind`` loads.
    """
    return from_pretrained(kind, source, _files(source), **options)


def _files(source):
    names = "; ".join(" or ".join(names) for names in FILES)
    return (
        f"Expected these files: {names} (with vocab.json also merges.txt). "
        f"Without a network, place the files of the repository {source} in a "
        "folder and give that folder."
    )
