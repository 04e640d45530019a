"""The command line and hyperparameter files of a recipe.

On top of SpeechBrain and HyperPyYAML: values are taken as they were typed,
unknown keys are refused with a suggestion, and a folder that holds the
checkpoints of another run is refused.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ruamel.yaml
import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml.error import YAMLError
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.utils.checks import UserError, check_device
from speechbrain_lmac.utils.same_run import check_same_run, tag_of

# An optional package that nobody here asks for.
logging.getLogger("speechbrain.utils.train_logger").addFilter(
    lambda record: "torchvision is not available" not in record.getMessage()
)

# SpeechBrain's parser splits at every "=", also inside values such as paths;
# this character (private use) stands for those in the meantime.
EQUALS_IN_VALUE = "\ue000"
#: Keys whose values are paths or names, also where they look like numbers.
OF_PATHS = re.compile(r"(folder|file|source|interpreter|^audio)$")
#: Values that begin so are YAML; all others are taken whole.
YAML_BEGINS = ("[", "{", '"', "'", "!")


def parse_arguments(argv: list[str]) -> tuple[str, RunOptions, dict[str, Any]]:
    """As ``speechbrain.parse_arguments``; values are what was typed.

    Arguments
    ---------
    argv : list of str
        ``[hparams_file, "--key=value", "--key", "value", ...]``.

    Returns
    -------
    hparams_file : str
        Path of the hyperparameter file.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's own options, such as ``--device`` and ``--debug``.
    overrides : dict
        The other options by key, of the type that the file gives the key.

    Raises
    ------
    UserError
        If there is no such file or device, or an option has no value.

    Example
    -------
    >>> path = getfixture("tmpdir") / "train.yaml"
    >>> _ = path.write("data_folder: !PLACEHOLDER")
    >>> argv = [str(path), "--device=cpu", "--lr", "1e-3", "--data_folder=2 #3"]
    >>> _, run_opts, overrides = parse_arguments(argv)
    >>> run_opts.device, overrides
    ('cpu', {'lr': 0.001, 'data_folder': '2 #3'})
    """
    hidden = [_hide_equals(argument) for argument in argv]
    _, run_opts, overrides = sb.parse_arguments(hidden)
    texts = {
        name: value.replace(EQUALS_IN_VALUE, "=")
        for name, value in vars(run_opts).items()
        if isinstance(value, str)
    }
    run_opts = dataclasses.replace(run_opts, **texts)
    if run_opts.device:
        check_device(run_opts.device)
    tree = read_tree(run_opts.param_file)
    overrides = overrides.replace(EQUALS_IN_VALUE, "=")
    return run_opts.param_file, run_opts, read_overrides(overrides, tree)


def _hide_equals(argument):
    if not argument.startswith("--"):
        return argument.replace("=", EQUALS_IN_VALUE)
    key, equals, value = argument.partition("=")
    return key + equals + value.replace("=", EQUALS_IN_VALUE)


def load_hparams(
    hparams_file: str | Path, overrides: str | Mapping[str, Any] | None = None
) -> dict[str, Any]:
    r"""As HyperPyYAML's ``load_hyperpyyaml``, what is typed checked beforehand.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        HyperPyYAML file.
    overrides : str or Mapping or None
        Values to replace, as lines ``key: value`` or by key.

    Returns
    -------
    dict
        Hyperparameters, objects built.

    Raises
    ------
    UserError
        If the file cannot be read, an override names no key of the file or
        is of another kind than the file's value, a placeholder has no value,
        the output folder holds checkpoints of another run, or an object
        cannot be built.

    Example
    -------
    >>> path = getfixture("tmpdir") / "train.yaml"
    >>> _ = path.write("l_in_w: 4\ntwice: !ref <l_in_w> * 2\n")
    >>> load_hparams(path, "l_in_w: 5")
    {'l_in_w': 5, 'twice': 10}
    """
    changes = check_overrides(hparams_file, overrides)
    try:
        if if_main_process():
            check_same_run(hparams_file, changes)
        with open(hparams_file, encoding="utf-8") as file:
            return load_hyperpyyaml(file, changes)
    except UserError:
        raise
    except Exception as err:  # what a file builds may refuse in any way
        given = " ".join(
            f"--{key}={value}"
            for key, value in changes.items()
            if value is not None
        )
        reason = f"{type(err).__name__}: {err}"[:500]
        raise UserError(
            f"{hparams_file}: what it describes cannot be built"
            f"{f' with {given}' if given else ''} ({reason})."
        ) from err


def check_overrides(
    hparams_file: str | Path, overrides: str | Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What :func:`load_hparams` checks of overrides; nothing is built."""
    tree = read_tree(hparams_file)
    changes = read_overrides(overrides, tree)
    for key, value in changes.items():
        _check_known(hparams_file, tree, key)
        _check_kind(f"--{key}", tree[key], value)
    values = {**tree, **changes}
    left = [k for k, v in values.items() if tag_of(v) == "!PLACEHOLDER"]
    if left:
        flags = " ".join(f"--{key}=..." for key in left)
        raise UserError(f"{hparams_file}: add {flags} to the command.")
    for key, value in tree.items():
        if isinstance(value, str) and value.startswith("~/"):
            changes.setdefault(key, os.path.expanduser(value))
    return changes


def read_tree(hparams_file: str | Path) -> dict[str, Any]:
    """Read a hyperparameter file; tags are kept and nothing is built."""
    try:
        # HyperPyYAML, too, reads with ruamel: 1e-3 is a number, yes a text.
        tree = ruamel.yaml.YAML().load(Path(hparams_file))
        if not isinstance(tree, dict):
            raise ValueError(f"expected lines `key: value`, found {tree!r:.80}")
    except OSError as err:
        raise UserError(
            f"There is no hyperparameter file {hparams_file} ({err.strerror});"
            " expected one such as hparams/lmac_small.yaml."
        ) from err
    except (YAMLError, ValueError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = str(getattr(err, "problem", None) or err)
        reason = reason.partition(" with value")[0][:200]
        raise UserError(
            f"{hparams_file}{where}: no valid YAML ({reason})."
        ) from err
    return tree


def read_overrides(
    overrides: str | Mapping[str, Any] | None,
    tree: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Overrides by key; lines of text as values of the tree's types.

    >>> read_overrides("data_folder: 2024")
    {'data_folder': '2024'}
    """
    if not isinstance(overrides, str):
        return dict(overrides or {})
    changes = {}
    for line in overrides.splitlines():
        key, colon, text = line.partition(":")
        if not colon:
            raise UserError(f"Expected options as --key=value, found {line!r}.")
        if not text.strip():
            raise UserError(
                f"--{key} has no value; type --{key}=VALUE, such as True for "
                "a switch or null for none."
            )
        changes[key] = _value(key, text.strip(), (tree or {}).get(key))
    return changes


def _value(key, text, default):
    """What an option's text stands for, where the file has ``default``."""
    if text in ("null", "Null", "NULL"):
        return None
    if not text.startswith(YAML_BEGINS):
        unknown = default is None or tag_of(default)
        if isinstance(default, str) or unknown and OF_PATHS.search(key):
            return os.path.expanduser(text)
        if re.search(r"(^| )#|:( |$)|^[-?] |^[&*|>%@`]", text):
            return text
    try:
        value = ruamel.yaml.YAML().load(text)
    except (YAMLError, ValueError, RecursionError) as err:
        raise UserError(
            f"--{key}={text}: no valid YAML ({getattr(err, 'problem', err)}); "
            "put a text with special characters in double quotes."
        ) from err
    if isinstance(value, datetime.date):
        return text
    return os.path.expanduser(value) if isinstance(value, str) else value


def _check_known(hparams_file, tree, key):
    """Refuse an override that the file does not know, with what it knows."""
    if key in tree:
        return
    known = [str(name) for name in tree if not str(name).startswith("__")]
    options = [field.name for field in dataclasses.fields(RunOptions)]
    close = difflib.get_close_matches(str(key), known + options, n=3)
    advice = f"It has: {', '.join(known)}."
    if close:
        advice = f"Did you mean --{' or --'.join(close)}?"
    raise UserError(
        f"--{key}: {hparams_file} has no such hyperparameter. {advice}"
    )


def _check_kind(name, default, value):
    """Refuse a text for a number, a number for a switch, and the like.

    What the file builds or refers to (tags) may become anything, and every
    value but a switch may become null.
    """
    numbers = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(x, float) and not math.isfinite(x) for x in numbers):
        raise UserError(f"{name}: expected finite numbers, found {value}.")
    if tag_of(default) or tag_of(value) or default is None:
        return
    if isinstance(default, dict) and isinstance(value, dict):
        for key in value if default else ():
            # Options of another script are checked with its own file.
            if key in default or not name.endswith("_options"):
                _check_known(name, default, key)
                _check_kind(f"{name}[{key}]", default[key], value[key])
        return
    fits, expected = True, ""
    if isinstance(default, bool):
        fits, expected = isinstance(value, bool), "True or False"
    elif value is None:
        return
    elif isinstance(default, (int, float)):
        fits, expected = _is_number(value), "a number"
    elif isinstance(default, list) and default and _is_number(default[0]):
        fits, expected = all(map(_is_number, numbers)), "a list of numbers"
    elif isinstance(default, list):
        fits, expected = isinstance(value, (list, tuple)), "a list"
    elif isinstance(default, dict):
        fits, expected = False, "a mapping"
    if not fits:
        raise UserError(
            f"{name}: expected {expected} such as {default}, found {value}."
        )


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
