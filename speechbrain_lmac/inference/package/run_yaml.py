"""The hyperparameters that inference needs, from those of a training.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
import re
from typing import NamedTuple

import ruamel.yaml
from hyperpyyaml import resolve_references

from speechbrain_lmac import __version__
from speechbrain_lmac.inference.package.files import CLAP_FOLDER
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import tag_of

#: Plain values that are kept, with their units.
FACTS = {
    "sample_rate": "Hz",
    "n_fft": "",
    "win_length": "ms",
    "hop_length": "ms",
    "n_mels": "",
    "mask_domain": "",
    "clap_source": "folder of the CLAP model, in the package's",
    "finetuning": "whether this is the fine-tuned method",
}
_CLAP = "!new:speechbrain_lmac.classifiers.zero_shot"
_PLAIN_TEXT = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)
_WORDS = {"null", "true", "false", "yes", "no", "on", "off"}


class _Tagged(NamedTuple):
    """A node that builds something."""

    tag: str
    arguments: object


def read_run(path):
    """The tree of a run's hyperparameters, nothing built.

    Arguments
    ---------
    path : str or pathlib.Path
        ``hyperparams.yaml`` of an output folder.

    Returns
    -------
    dict
        References resolved: what is referred to is the same object.
    """
    with open(path, encoding="utf-8") as file:
        resolved = resolve_references(file)
    return ruamel.yaml.YAML().load(resolved)


def plain(value):
    """A tree's plain value without what its parser adds; None if it builds.

    Example
    -------
    >>> plain(ruamel.yaml.YAML().load("[a, 1]"))
    ['a', 1]
    """
    if tag_of(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None


def inference_yaml(tree, parts, encoder=None):
    r"""Text of a package's ``hyperparams.yaml``.

    Arguments
    ---------
    tree : dict
        From :func:`read_run`.
    parts : sequence of str
        Keys of what inference needs, such as ``frontend``, ``classifier``
        and ``decoder``.
    encoder : _Tagged or None
        From :func:`small_clap` or :func:`hf_clap`, in place of the run's own
        entry, which names a folder elsewhere.

    Returns
    -------
    str
        HyperPyYAML: the plain values, the parts and what they refer to, and
        ``modules``, as SpeechBrain's interfaces expect it.

    Raises
    ------
    UserError
        If a part is missing.

    Example
    -------
    >>> tree = ruamel.yaml.YAML().load(
    ...     "lr: 1\nmask_domain: mel\nhead: !new:torch.nn.Linear [2, 3]")
    >>> print(inference_yaml(tree, ["head"]).split("json.\n")[1])
    <BLANKLINE>
    mask_domain: mel
    <BLANKLINE>
    head: !new:torch.nn.Linear [2, 3]
    <BLANKLINE>
    modules:
        head: !ref <head>
    <BLANKLINE>
    """
    missing = [key for key in parts if key not in tree]
    if missing:
        raise UserError(
            f"Expected {', '.join(parts)} among the hyperparameters of the "
            f"run; {', '.join(missing)} is missing."
        )
    named = {id(value): key for key, value in tree.items() if tag_of(value)}
    tree = {key: tree[key] for key in tree if key != "clap_source"}
    if encoder is not None:
        # Where others refer to it, its old node still stands.
        tree["encoder"] = encoder
    if encoder is not None and "source" in encoder.arguments:
        tree["clap_source"] = CLAP_FOLDER
    needed = _needed(tree, parts, named)
    lines = [_head()]
    for key, unit in FACTS.items():
        if plain(tree.get(key)) is not None:
            comment = f"  # {unit}" if unit else ""
            lines.append(f"{key}: {_emit(plain(tree[key]))}{comment}")
    for key in (key for key in tree if key in needed):
        lines.append(f"\n{key}: {_emit(_converted(tree[key], named, key))}")
    lines.append("\nmodules:")
    lines += [f"    {key}: !ref <{key}>" for key in parts]
    return "\n".join(lines) + "\n"


def small_clap(settings):
    """The entry of a small CLAP: built from its settings, then filled.

    Arguments
    ---------
    settings : dict
        Arguments of :class:`SmallClap`.

    Returns
    -------
    _Tagged
    """
    return _Tagged(f"{_CLAP}.small.SmallClap", settings)


def hf_clap():
    """The entry of a CLAP of ``transformers``, loaded from its folder.

    Returns
    -------
    _Tagged
    """
    source = _Tagged("!ref <clap_source>", None)
    return _Tagged(f"{_CLAP}.hf.HfClap", {"source": source})


def _head():
    return (
        f"# How to build this interpreter: written by speechbrain_lmac "
        f"{__version__}.\n# The weights are in the .safetensors files beside "
        "this one; their checksums\n# are in config.json.\n"
    )


def _needed(tree, parts, named):
    """Keys of the parts and of all that they refer to."""
    needed, waiting = set(), list(parts)
    while waiting:
        key = waiting.pop()
        if key not in needed:
            needed.add(key)
            waiting += _mentioned(tree[key], named, key)
    return needed


def _mentioned(node, named, own=None):
    """Keys of the nodes that a node refers to."""
    key = named.get(id(node))
    if key not in (None, own):
        return [key]
    if isinstance(node, dict):
        node = node.values()
    elif not isinstance(node, (list, tuple)) or isinstance(node, _Tagged):
        return []
    return [key for item in node for key in _mentioned(item, named)]


def _converted(node, named, own=None):
    """A node as plain values, references and :class:`_Tagged`."""
    key = named.get(id(node))
    if isinstance(node, _Tagged):
        return node
    if key not in (None, own):
        return _Tagged(f"!ref <{key}>", None)
    tag = tag_of(node)
    if isinstance(node, dict):
        value = {str(k): _converted(v, named) for k, v in node.items()}
    elif isinstance(node, (list, tuple)):
        value = [_converted(item, named) for item in node]
    elif tag:
        value = getattr(node, "value", None) or None
    else:
        value = plain(node)
    return _Tagged(tag, value) if tag else value


def _emit(value, indent=4):
    """A value as YAML text that follows ``key:`` and a space."""
    if isinstance(value, _Tagged):
        if not isinstance(value.arguments, dict) or not value.arguments:
            given = value.arguments
            return value.tag + (f" {_emit(given)}" if given else "")
        pad = " " * indent
        return value.tag + "".join(
            f"\n{pad}{key}: {_emit(item, indent + 4)}"
            for key, item in value.arguments.items()
        )
    if isinstance(value, dict):
        pairs = (f"{_emit(k)}: {_emit(v)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_emit, value))}]"
    if isinstance(value, str):
        simple = _PLAIN_TEXT.fullmatch(value) and value.lower() not in _WORDS
        return value if simple else json.dumps(value, ensure_ascii=False)
    return "null" if value is None else repr(value)
