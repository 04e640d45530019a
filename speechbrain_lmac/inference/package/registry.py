"""The classes that a package may name, and building them from plain values."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from speechbrain_lmac.utils.checks import UserError

#: Part -> name in config.json -> what builds it of its arguments. Decoders
#: also get what is explained and the front end.
BUILDERS = {
    "frontend": {
        "FrontEnd": "features:FrontEnd",
        "MelFrontEnd": "features:MelFrontEnd",
        "GainFrontEnd": "features:GainFrontEnd",
        "TimeFrontEnd": "features:build_time_frontend",
        "WaveformFrontEnd": "features:WaveformFrontEnd",
        "ClapFrontEnd": "features:ClapFrontEnd",
        "MelClapFrontEnd": "features:MelClapFrontEnd",
    },
    "classifier": {
        "SlimCnn": "classifiers.slim:SlimCnn",
        "Cnn14Classifier": "classifiers.cnn14:build_cnn14",
        "FocalNetClassifier": "classifiers.huggingface:FocalNetClassifier",
        "ViTClassifier": "classifiers.huggingface:ViTClassifier",
    },
    "encoder": {
        "SmallClap": "classifiers.zero_shot.small:SmallClap",
        "HfClap": "inference.package.clap:build_hf_clap",
    },
    "decoder": {
        "MaskDecoder": "interpreters.decoders:build_decoder",
        "GridDecoder": "interpreters.decoders:build_grid_decoder",
        "ClassDecoder": "interpreters.class_decoder:build_class_decoder",
        "TimeDecoder": "interpreters.time_decoder:build_time_decoder",
        "ReferenceDecoder": "interpreters.decoders:build_reference_decoder",
        "L2IDecoder": "interpreters.l2i:build_l2i",
        "TextMaskDecoder": "interpreters.text_decoder:build_text_decoder",
    },
}
ROOT = "speechbrain_lmac."
#: Largest numbers that parts of ours have: beyond, they would only be there
#: to take time or memory that no weights account for.
LIMITS = {
    "n_fft": 1 << 14,
    "n_mels": 1 << 10,
    "sample_rate": 10**6,
    "win_length": 10**3,
    "hop_length": 10**3,
    **dict.fromkeys(("aff_block_r", "depths", "num_hidden_layers"), 200),
}
MAX_NUMBER = 10**7
MAX_ITEMS = 64
MAX_DEPTH = 5


def describe(role: str, part: nn.Module) -> dict[str, Any]:
    """What config.json says of a part: its class, and what builds it again.

    ``part.arguments`` are the arguments of its constructor, of which tensors
    are left out; a class of one's own without them is built without any.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> found = describe("classifier", SlimCnn(3, channels=(4, 8)))
    >>> found["class"], found["arguments"]["channels"]
    ('SlimCnn', [4, 8])
    """
    name, ours = type(part).__name__, type(part).__module__.startswith(ROOT)
    if not ours or name not in BUILDERS.get(role, ()):
        name = _own_name(type(part))
    arguments = getattr(part, "arguments", {}).items()
    values = {k: v for k, v in arguments if not torch.is_tensor(v)}
    return {"class": name, "arguments": plain(values)}


def _own_name(thing):
    """``module:name`` of a class or function that others can import."""
    module, name = thing.__module__, thing.__qualname__
    if module == "__main__" or "<" in name:
        raise UserError(
            f"{module}.{name} cannot be packaged; define it at the top level "
            "of a module, so that it can be imported."
        )
    return f"{module}:{name}"


def plain(value: Any) -> Any:
    """A value as JSON holds it; modules and functions by their names."""
    if isinstance(value, nn.Module):
        return describe("", value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return {"function": _own_name(value)} if callable(value) else value


def build(
    role: str, spec: Mapping[str, Any], *objects: Any, trust: bool = False
) -> Any:
    """Build what :func:`describe` described.

    ``objects`` go before the arguments of our own builders. Other classes are
    imported if ``trust`` allows it.
    """
    builder = BUILDERS.get(role, {}).get(spec["class"])
    arguments = {k: _built(v, trust) for k, v in spec["arguments"].items()}
    if builder is not None:
        return _imported(ROOT + builder)(*objects, **arguments)
    return _trusted(spec["class"], trust)(**arguments)


def _built(value, trust):
    """An argument; what is a module or a function itself, built."""
    keys = set(value) if isinstance(value, dict) else ()
    if keys == {"class", "arguments"}:
        return build("", value, trust=trust)
    if keys == {"function"}:
        return _trusted(value["function"], trust)
    return value


def _trusted(name, trust):
    if not trust:
        raise UserError(
            f"The package names {name!r:.200}, which is none of our classes: "
            "pass trust_source=True to import and run it, if you trust its "
            "author."
        )
    return _imported(name)


def _imported(name):
    module, _, attribute = name.partition(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))


def check_plain(value: Any, key: str = "", depth: int = 0) -> None:
    """Refuse values that no part of ours has.

    Example
    -------
    >>> check_plain({"channels": [4, 8], "dropout": 0.2})
    >>> check_plain({"n_fft": 1 << 30})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    speechbrain_lmac.utils.checks.UserError: config.json: `n_fft`: ...
    """
    found = f"config.json: `{key}`: {value!r:.60} is"
    if isinstance(value, (dict, list)):
        if depth == MAX_DEPTH or len(value) > MAX_ITEMS:
            raise UserError(f"{found} more than a part of a package takes.")
        items = value.items() if isinstance(value, dict) else ()
        for name, item in items or ((key, item) for item in value):
            check_plain(item, name, depth + 1)
    elif isinstance(value, (int, float)):
        if not abs(value) <= LIMITS.get(key, MAX_NUMBER):
            raise UserError(f"{found} no number that a package may have.")
    elif not isinstance(value, (str, type(None))):
        raise UserError(f"{found} no plain value.")
