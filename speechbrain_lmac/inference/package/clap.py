"""CLAP models of ``transformers`` in a package: written and judged.

Their configuration files can name code to be run (``auto_map``) or fetched
(``attn_implementation``). A package keeps only the entries listed here, and
one with others is refused.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
from pathlib import Path

from speechbrain_lmac.classifiers.zero_shot.hf import HfClap, load_part
from speechbrain_lmac.inference.package.files import (
    CLAP_FOLDER,
    MAX_TEXT_BYTES,
    read_json,
)
from speechbrain_lmac.inference.package.safe.yaml_text import UnsafePackageError
from speechbrain_lmac.utils.checks import UserError

_TOWER = set(
    """
    aff_block_r attention_probs_dropout_prob bos_token_id depths
    drop_path_rate dtype enable_fusion enable_patch_layer_norm eos_token_id
    flatten_patch_embeds fusion_type hidden_act hidden_dropout_prob hidden_size
    initializer_factor initializer_range intermediate_size layer_norm_eps
    max_position_embeddings mlp_ratio model_type num_attention_heads
    num_classes num_hidden_layers num_mel_bins pad_token_id
    patch_embed_input_channels patch_embeds_hidden_size patch_size
    patch_stride position_embedding_type projection_dim projection_hidden_act
    qkv_bias spec_size torch_dtype type_vocab_size use_cache vocab_size
    window_size
    """.split()
)
#: File -> the entries that it may hold.
ENTRIES = {
    "config.json": {
        *_TOWER,
        *("architectures", "audio_config", "logit_scale_init_value"),
        *("text_config", "transformers_version"),
    },
    "preprocessor_config.json": set(
        """
        chunk_length_s feature_extractor_type feature_size fft_window_size
        frequency_max frequency_min hop_length max_length_s n_fft
        nb_frequency_bins nb_max_frames nb_max_samples padding padding_side
        padding_value return_attention_mask sampling_rate top_db truncation
        """.split()
    ),
    "tokenizer_config.json": set(
        """
        add_prefix_space backend bos_token clean_up_tokenization_spaces
        cls_token eos_token errors mask_token model_max_length pad_token
        sep_token tokenizer_class trim_offsets unk_token
        """.split()
    ),
}
TOKENIZERS = ("RobertaTokenizer", "RobertaTokenizerFast")
FILES = (
    *ENTRIES,
    *("tokenizer.json", "vocab.json", "merges.txt", "model.safetensors"),
)
# Numbers beyond would only be there to take memory.
MAX_NUMBER = 10**6
# Layers are made one by one, which takes time besides.
MAX_LAYERS = 200
_LAYERS = ("aff_block_r", "depths", "num_hidden_layers")
# Tokenizers say by a huge number that they know no limit.
_UNLIMITED = ("model_max_length",)


def save_clap(encoder, folder):
    """Write a CLAP model and its tokenizer as a package keeps them.

    Arguments
    ---------
    encoder : HfClap
        The model.
    folder : pathlib.Path
        Created.

    Raises
    ------
    UserError
        If its tokenizer is of a kind that packages do not know.
    """
    import transformers

    extractor = load_part(transformers.ClapFeatureExtractor, encoder.source)
    for part in (encoder.model, encoder.tokenizer, extractor):
        part.save_pretrained(folder)
    for name, known in ENTRIES.items():
        path = folder / name
        value = _kept(json.loads(path.read_text(encoding="utf-8")), known)
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        if path.name not in FILES:
            path.unlink()
    check_clap(folder)


def _kept(value, known):
    """Known entries of a mapping; its own mappings (towers) likewise."""
    return {
        key: _kept(item, known) if isinstance(item, dict) else item
        for key, item in value.items()
        if key in known
    }


def load_clap(folder):
    """The CLAP model of a package, its files judged beforehand.

    Arguments
    ---------
    folder : str or pathlib.Path
        The package's folder ``clap/``.

    Returns
    -------
    HfClap

    Raises
    ------
    UnsafePackageError
        If a configuration file holds an entry that packages do not have.
    UserError
        If the model cannot be built.
    """
    check_clap(folder)
    return HfClap(str(folder))


def check_clap(folder):
    """Judge the files of a package's CLAP model; nothing is built.

    Arguments
    ---------
    folder : str or pathlib.Path
        The package's folder ``clap/``.

    Raises
    ------
    UnsafePackageError
        If there is another file, or another entry in a file.
    """
    folder = Path(folder)
    for path in sorted(folder.iterdir()):
        if path.name not in FILES:
            raise UnsafePackageError(
                f"{path}: the folder {CLAP_FOLDER}/ of a package holds "
                f"{', '.join(FILES)}, and nothing else. Remove it if it is "
                "yours. Nothing was read."
            )
    for name, known in ENTRIES.items():
        _check_entries(folder / name, read_json(folder / name), known)
    read_json(folder / "tokenizer.json", MAX_TEXT_BYTES)
    path = folder / "tokenizer_config.json"
    tokenizer = read_json(path).get("tokenizer_class")
    if tokenizer not in TOKENIZERS:
        raise UnsafePackageError(
            f"{path}: expected a `tokenizer_class` of {', '.join(TOKENIZERS)},"
            f" found {tokenizer!r:.100}."
        )


def _check_entries(path, values, known):
    """Refuse unknown entries and numbers out of bounds."""
    for key, value in values.items():
        if key not in known:
            raise UnsafePackageError(
                f"{path}: the entry {key[:100]!r} is none of those that a "
                "package has, and could name code to be run. Nothing was "
                "built."
            )
        if isinstance(value, dict):
            _check_entries(path, value, known)
            continue
        if key in _UNLIMITED:
            continue
        limit = MAX_LAYERS if key in _LAYERS else MAX_NUMBER
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, (dict, list)) or (
                isinstance(number, (int, float)) and not abs(number) <= limit
            ):
                raise UserError(
                    f"{path}: `{key}` is {number!r:.60}; expected numbers of "
                    f"at most {limit}."
                )
