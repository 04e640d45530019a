"""CLAP models of the library ``transformers``."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.huggingface import (
    check_weights,
    from_pretrained,
    library,
)
from speechbrain_lmac.classifiers.zero_shot.base import ClapEncoder
from speechbrain_lmac.classifiers.zero_shot.htsat import (
    htsat_blocks,
    htsat_taps,
)
from speechbrain_lmac.features.clap import PADDINGS
from speechbrain_lmac.utils.checks import UserError

# Numbers that follow from the architecture; some versions save them.
DERIVED = ("position_ids", "relative_position_index", "num_batches_tracked")


class HfClap(ClapEncoder):
    """``transformers.ClapModel``: unfused CLAP models with HTSAT.

    Arguments
    ---------
    source : str
        Hub repository such as ``laion/clap-htsat-unfused``, or a folder of
        its files. Without a network the hub's local cache serves.
    parts : tuple or None
        Model, tokenizer and arguments of the front end if they are loaded
        already, as those of a package are.

    Raises
    ------
    UserError
        If files are missing and cannot be fetched, if the model is fused or
        no CLAP model, or if its weights are incomplete.
    """

    def __init__(self, source: str, parts: tuple | None = None) -> None:
        super().__init__()
        model, tokenizer, frontend = parts or load_parts(source)
        self.model = model
        self.embed_dim = model.config.projection_dim
        self.logit_scale = model.logit_scale_a.exp().item()
        encoder = model.audio_model.audio_encoder
        bands = frontend["mel_matrix"].shape[1]
        num_frames = frontend["n_samples"] // frontend["hop_samples"] + 1
        if bands != encoder.config.num_mel_bins or num_frames > (
            encoder.spec_size * encoder.freq_ratio
        ):
            raise UserError(
                f"`{source}`: preprocessor_config.json has {bands} bands and "
                f"{num_frames} frames; config.json expects "
                f"{encoder.config.num_mel_bins} and at most "
                f"{encoder.spec_size * encoder.freq_ratio}."
            )
        patches = encoder.config.patch_embeds_hidden_size
        self.set_taps(*htsat_taps(encoder, patches, frontend))
        text = model.config.text_config
        # RoBERTa counts positions from the padding token's on.
        limit = text.max_position_embeddings - text.pad_token_id - 1
        limit = min(limit, tokenizer.model_max_length)
        self.settle(source, frontend, tokenizer, text.vocab_size, limit)

    def audio_features(self, decibels: Tensor) -> Tensor:
        """Decibels (batch, 1, frames, bands) to (batch, embed_dim)."""
        pooled = self.model.audio_model(input_features=decibels).pooler_output
        return self.model.audio_projection(pooled)

    def text_features(
        self, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Tokens (texts, length) to (texts, embed_dim)."""
        pooled = self.model.text_model(
            input_ids=input_ids, attention_mask=attention_mask
        ).pooler_output
        return self.model.text_projection(pooled)

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: projection and HTSAT."""
        encoder = self.model.audio_model.audio_encoder
        return {
            "projection": self.model.audio_projection,
            **htsat_blocks(encoder, encoder.batch_norm),
        }

    def outside_blocks(self) -> tuple[str, ...]:
        """As :meth:`AudioClassifier.outside_blocks`."""
        scales = ("logit_scale_a", "logit_scale_t")
        names = ("text_model", "text_projection", *scales)
        return tuple(f"model.{name}" for name in names)


def frontend_settings(extractor: Any) -> dict[str, Any]:
    """Arguments of ``ClapFrontEnd`` from a ``ClapFeatureExtractor``.

    Read from the model's own preprocessor_config.json: the defaults of the
    class are those of another model.
    """
    from transformers.audio_utils import window_function

    if (
        extractor.truncation != "rand_trunc"
        or extractor.padding not in PADDINGS
    ):
        raise UserError(
            "preprocessor_config.json: expected `truncation` 'rand_trunc' and "
            f"`padding` one of {', '.join(PADDINGS)}, as unfused models have "
            f"them, got {extractor.truncation!r} and {extractor.padding!r}."
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


def load_parts(source: str) -> tuple[Any, Any, Any]:
    """Model, tokenizer, front end's arguments of a folder or repository."""
    transformers = library()
    folder = Path(source).expanduser()
    tokenizers = {"tokenizer.json", "merges.txt"}
    if folder.is_dir() and tokenizers.isdisjoint(os.listdir(folder)):
        # With vocab.json alone words would be split otherwise, in silence.
        raise UserError(f"{source} misses tokenizer.json. {_advice(source)}")
    load = functools.partial(
        from_pretrained, source=source, advice=_advice(source)
    )
    config = load(transformers.AutoConfig)
    if config.model_type != "clap" or config.audio_config.enable_fusion:
        kind = "fused" if config.model_type == "clap" else config.model_type
        raise UserError(
            f"{source} is a model of the kind {kind!r}; expected an unfused "
            "CLAP model, such as laion/clap-htsat-unfused."
        )
    model, info = load(transformers.ClapModel, output_loading_info=True)
    problems = ("missing_keys", "unexpected_keys", "mismatched_keys")
    check_weights(source, info, DERIVED, problems)
    return (
        # Checkpoints may be in half precision.
        model.float(),
        load(transformers.AutoTokenizer),
        frontend_settings(load(transformers.ClapFeatureExtractor)),
    )


def _advice(source: str) -> str:
    return (
        "Expected config.json, model.safetensors, preprocessor_config.json and "
        "tokenizer.json (or vocab.json and merges.txt); without a network, "
        f"place these files of {source} in a folder and give that folder."
    )
