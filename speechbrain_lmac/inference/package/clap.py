"""CLAP models of ``transformers`` in a package.

Their configuration can name code to be run or fetched (``auto_map``,
``attn_implementation``). A package holds the entries that are listed here and
no others, and nothing is loaded by the library's own ``from_pretrained``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from speechbrain_lmac.classifiers.zero_shot.hf import HfClap
from speechbrain_lmac.inference.package.weights import fill, save_weights
from speechbrain_lmac.utils.checks import UserError

TOKENIZER_FILE = "tokenizer.json"
MAX_TOKENIZER_BYTES = 1 << 25
ENTRIES = set(
    """
    aff_block_r attention_probs_dropout_prob bos_token_id depths
    drop_path_rate enable_fusion enable_patch_layer_norm eos_token_id
    flatten_patch_embeds fusion_type hidden_act hidden_dropout_prob hidden_size
    initializer_factor initializer_range intermediate_size layer_norm_eps
    logit_scale_init_value max_position_embeddings mlp_ratio
    num_attention_heads num_classes num_hidden_layers num_mel_bins pad_token_id
    patch_embed_input_channels patch_embeds_hidden_size patch_size
    patch_stride position_embedding_type projection_dim projection_hidden_act
    qkv_bias spec_size type_vocab_size vocab_size window_size
    text_config audio_config
    """.split()
)
TOKENS = {f"{k}_token" for k in "bos eos unk sep pad cls mask".split()}


def save_hf_clap(encoder: HfClap, folder: Path) -> dict[str, Any]:
    """Write weights and tokenizer; returns what config.json says of them."""
    save_weights(encoder.model.state_dict(), folder / "encoder.safetensors")
    tokenizer = encoder.tokenizer
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_FILE))
    tokens = {k: str(v) for k, v in tokenizer.special_tokens_map.items()}
    arguments = {
        "model": _kept(encoder.model.config.to_dict()),
        "tokens": {k: v for k, v in tokens.items() if k in TOKENS},
        "tokenizer_sha256": _sha256(folder / TOKENIZER_FILE),
        "max_tokens": encoder.max_tokens,
    }
    return {"class": "HfClap", "arguments": arguments}


def _kept(value):
    """Known entries of a mapping; its own mappings (towers) likewise."""
    return {
        key: _kept(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if key in ENTRIES
    }


def build_hf_clap(
    folder: Path,
    frontend: nn.Module,
    model: dict[str, Any],
    tokens: dict[str, str],
    tokenizer_sha256: str,
    max_tokens: int,
) -> HfClap:
    """The CLAP model of a package, filled, with its tokenizer."""
    import transformers

    if _kept(model) != model or not tokens.keys() <= TOKENS:
        raise UserError("config.json: it has entries that no CLAP model has.")
    path = folder / TOKENIZER_FILE
    if _sha256(path) != tokenizer_sha256:
        raise UserError(f"{path} has changed; fetch the package again.")
    config = transformers.ClapConfig(**model)
    clap = fill(
        lambda: transformers.ClapModel(config), folder / "encoder.safetensors"
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(path), model_max_length=max_tokens, **tokens
    )
    return HfClap(str(folder), (clap, tokenizer, frontend.arguments))


def _sha256(path):
    """Hash of a tokenizer's file, of limited size."""
    if not path.is_file() or path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise UserError(f"{path} is missing or too large.")
    return hashlib.sha256(path.read_bytes()).hexdigest()
