"""What image models are given: fields of a configuration, published weights.

Authors
 * The speechbrain_lmac authors 2026
"""

import os

from speechbrain_lmac.utils.checks import UserError

#: Fields of a config.json that weights depend on, or what they compute.
ARCHITECTURE = (
    *("model_type", "patch_size", "num_channels", "hidden_act"),
    # FocalNet
    *("embed_dim", "depths", "focal_levels", "focal_windows", "mlp_ratio"),
    *("use_conv_embed", "use_layerscale", "use_post_layernorm"),
    *("use_post_layernorm_in_modulation", "normalize_modulator"),
    # ViT
    *("hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "qkv_bias", "layer_norm_eps"),
)
#: Further fields of the configurations. No others: some load code from a hub.
OPTIONS = (
    *("hidden_act", "hidden_dropout_prob", "layer_norm_eps"),
    *("initializer_range", "patch_size"),
    # FocalNet
    *("mlp_ratio", "drop_path_rate", "use_conv_embed", "use_layerscale"),
    *("layerscale_value", "use_post_layernorm", "normalize_modulator"),
    "use_post_layernorm_in_modulation",
    # ViT
    *("attention_probs_dropout_prob", "qkv_bias"),
)
#: What to do about a model that cannot be loaded.
FILES = (
    "Without a network, place the repository's config.json and "
    "model.safetensors in a folder and give that folder by `pretrained`; null "
    "starts from random weights."
)


def load_pretrained(classifier, source=None):
    """Start from a published image model's weights.

    Arguments
    ---------
    classifier : HfImageClassifier
        Its backbone is filled; its head is not.
    source : str or None
        Hub repository such as ``microsoft/focalnet-base``, or a folder of its
        files (config.json, model.safetensors). With ``HF_HUB_OFFLINE=1`` in
        the environment only the local cache is looked into. None leaves the
        random weights.

    Returns
    -------
    HfImageClassifier
        The classifier.

    Raises
    ------
    UserError
        If files are missing and cannot be fetched, or are another
        architecture's.
    """
    if source is None:
        return classifier
    model = classifier.embedding_model
    options = {"config": model.config, "output_loading_info": True}
    if model.config.model_type == "vit":
        options["add_pooling_layer"] = False
    theirs = from_pretrained(library().AutoConfig, source, FILES)
    _check_architecture(model.config.to_dict(), theirs.to_dict())
    loaded, info = from_pretrained(type(model), source, FILES, **options)
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise UserError(
            f"`pretrained`: {source} misses weights of {type(model).__name__}: "
            f"{', '.join(missing[:5])}. Restore the files, or give another "
            "model."
        )
    # Published weights may be in half precision.
    model.load_state_dict(loaded.float().state_dict())
    return classifier


def library():
    """The library ``transformers``, or an error that says how to get it."""
    try:
        import transformers
    except ImportError as err:
        raise UserError(
            "This classifier needs the library transformers: pip install "
            '"speechbrain_lmac[clap]".'
        ) from err
    return transformers


def check_options(options):
    """Refuse fields of a configuration that are not of ``OPTIONS``."""
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise UserError(
            f"Unknown options {', '.join(unknown)} of an image model; expected "
            f"some of {', '.join(OPTIONS)}."
        )


def _check_architecture(ours, theirs):
    """Refuse a model whose config.json tells of another architecture."""
    differing = [
        f"{name} {theirs.get(name)} (here {ours.get(name)})"
        for name in ARCHITECTURE
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise UserError(
            "`pretrained`: the model is another one than the hyperparameters "
            f"describe: {', '.join(differing[:5])}. Change them to the "
            "model's, or give another model."
        )


def from_pretrained(kind, source, advice, **options):
    """``kind.from_pretrained``, with an error that says what to do.

    Arguments
    ---------
    kind : type
        A class of ``transformers``.
    source : str
        Hub repository or folder.
    advice : str
        What to place where, or to give.
    **options : dict
        Of ``kind.from_pretrained``.

    Returns
    -------
    object
        What ``kind`` loads.

    Raises
    ------
    UserError
        If it cannot be loaded.
    """
    try:
        return kind.from_pretrained(os.path.expanduser(str(source)), **options)
    except Exception as err:  # the library and its hub client raise all kinds
        reason = str(err).strip().split("\n")[0][:200]
        raise UserError(
            f"Cannot load {kind.__name__} from {source} "
            f"({type(err).__name__}: {reason}). {advice}"
        ) from err
