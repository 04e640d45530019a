"""Hyperparameter files, read with every override checked beforehand.

A mistyped name, a text for a number or a placeholder that is left over ends
in one message before anything is built.

Authors
 * The speechbrain_lmac authors 2026
"""

import dataclasses
import difflib
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.utils.checks import UserError

INFINITY = float("inf")
MAX_REASON = 500  # characters of another library's message

# What the values must lie in, wherever a file has a key of this name; a
# range of integers stands for whole numbers.
_UNIT, _WEIGHT, _SECONDS = (0.0, 1.0), (0.0, 1e9), (0.1, 3600.0)
RANGES = {
    "seed": range(2**32),
    "batch_size": range(1, 10**6),
    "number_of_epochs": range(10**9),
    "valid_interval": range(1, 10**9),
    "out_n_neurons": range(1, 10**6),
    "num_workers": range(1025),
    "cache_size_gb": (1e-6, 1e9),
    "sample_rate": range(1000, 10**6),  # Hz
    "n_fft": range(2, 2**20),
    "n_mels": range(32, 2**14),  # the classifiers halve it five times
    "win_length": (1e-3, 1e5),  # ms
    "hop_length": (1e-3, 1e5),  # ms
    "lr": (0.0, 1e3),
    **dict.fromkeys(("signal_length_s", "valid_length_s", "crop_s"), _SECONDS),
    **dict.fromkeys(("l_in_w", "l_out_w", "l_nmf_w", "l_fid_w"), _WEIGHT),
    **dict.fromkeys(("l_sim_w", "l_div_w", "g_w", "weight_decay"), _WEIGHT),
    **dict.fromkeys(("reg_w_l1", "reg_w_tv", "reg_w_h"), _WEIGHT),
    **dict.fromkeys(("wave_prob", "mix_prob", "noise_prob"), _UNIT),
    **dict.fromkeys(("soft_mask_prob", "bin_th", "label_smoothing"), _UNIT),
    **dict.fromkeys(("target_mask_mean", "contamination_probs"), _UNIT),
    "contamination_snr": (-1e3, 1e3),  # dB
}


def load_hparams(hparams_file, overrides=None):
    r"""Load a hyperparameter file, its overrides checked beforehand.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        HyperPyYAML file.
    overrides : str or dict or None
        Values to replace, as YAML text or by key.

    Returns
    -------
    dict
        Hyperparameters, objects built.

    Raises
    ------
    UserError
        If the file is missing or no valid YAML, an override names no key of
        the file or is of another kind than the file's value, or a
        placeholder is left without a value, or what the file builds cannot
        use a path.

    Example
    -------
    >>> import tempfile
    >>> file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
    >>> _ = file.write("l_in_w: 4\ntwice: !ref <l_in_w> * 2\n")
    >>> file.flush()
    >>> load_hparams(file.name, "l_in_w: 5")
    {'l_in_w': 5, 'twice': 10}
    """
    changes = check_overrides(hparams_file, overrides)
    try:
        with open(hparams_file, encoding="utf-8") as file:
            return load_hyperpyyaml(file, changes)
    except UserError:
        raise
    # What a file builds may refuse its values in any way.
    except Exception as err:
        if isinstance(err, OSError) and err.filename is not None:
            raise _path_error(err, hparams_file, changes) from err
        given = " ".join(f"--{key}={_plain(changes[key])}" for key in changes)
        raise UserError(
            f"{hparams_file}: what it describes cannot be built"
            f"{f' with {given}' if given else ''} ({type(err).__name__}: "
            f"{str(err)[:MAX_REASON]}). Check these values."
        ) from err


def check_overrides(hparams_file, overrides=None):
    """Check a hyperparameter file and its overrides; nothing is built.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        HyperPyYAML file.
    overrides : str or dict or None
        Values to replace, as YAML text or by key.

    Returns
    -------
    dict
        The overrides by key.

    Raises
    ------
    UserError
        As for :func:`load_hparams`, but for what cannot be built.
    """
    tree = read_tree(hparams_file)
    changes = read_overrides(overrides)
    for key, value in changes.items():
        _check_known(hparams_file, tree, key)
        _check_kind(hparams_file, f"--{key}", tree[key], value)
    _check_placeholders(hparams_file, tree, changes)
    _check_ranges(hparams_file, {**tree, **changes})
    return changes


def read_tree(hparams_file):
    """Read a hyperparameter file; tags are kept and nothing is built.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        HyperPyYAML file.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        If the file is missing or no valid YAML.
    """
    try:
        # HyperPyYAML, too, reads with ruamel: 1e-3 is a number, yes a text.
        tree = ruamel.yaml.YAML().load(Path(hparams_file))
    except OSError as err:
        raise UserError(
            f"Cannot read the hyperparameter file {hparams_file}: "
            f"{err.strerror}; expected one such as hparams/lmac_small.yaml."
        ) from err
    # ValueError: no UTF-8, or what looks like a date and is none.
    except (YAMLError, ValueError, RecursionError) as err:
        raise UserError(
            f"{hparams_file}{_problem(err)}. Expected valid YAML; mend it "
            "there."
        ) from err
    if not isinstance(tree, dict):
        raise UserError(
            f"{hparams_file}: expected lines `key: value`, found "
            f"{'nothing' if tree is None else type(tree).__name__}."
        )
    return tree


def _problem(err):
    """Say where and what: ``, line 3: found duplicate key ...``."""
    if isinstance(err, MarkedYAMLError) and err.problem_mark is not None:
        return f", line {err.problem_mark.line + 1}: {err.problem}"
    return f": {err}"


def _path_error(err, hparams_file, changes):
    """Say which path cannot be used while the file's objects are built.

    Checkpointers, logs and caches make their folders by then.
    """
    with open(hparams_file, encoding="utf-8") as file:
        resolved = resolve_references(file, changes)
    output = ruamel.yaml.YAML().load(resolved).get("output_folder")
    used = Path(err.filename)
    if output and (Path(output) == used or Path(output) in used.parents):
        message = f"`output_folder`: cannot write to {used} ({err.strerror}). "
        advice = "Point --output_folder to a folder that you may write to."
    else:
        message = f"{hparams_file}: cannot use {used} ({err.strerror}). "
        advice = "Mend this path, in the file or on the command line."
    return UserError(message + advice)


def read_overrides(overrides):
    """Read overrides to a mapping, values that are missing refused.

    Arguments
    ---------
    overrides : str or dict or None
        YAML text, or values by key.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        If the text is no YAML mapping, or a key has no value.

    Example
    -------
    >>> dict(read_overrides("lr: 0.1"))
    {'lr': 0.1}
    """
    if not overrides:
        return {}
    if not isinstance(overrides, str):
        return dict(overrides)
    try:
        changes = ruamel.yaml.YAML().load(overrides)
    except (YAMLError, ValueError, RecursionError) as err:
        lines = overrides.splitlines()
        mark = getattr(err, "problem_mark", None)
        found = lines[min(mark.line, len(lines) - 1)] if mark else overrides
        raise UserError(
            "Expected options as --key=value, each once, values in YAML; "
            f"found `--{found.replace(': ', '=', 1)}`"
            f" ({getattr(err, 'problem', err)}). Put text with special "
            "characters in double quotes inside single ones: --key='\"...\"'."
        ) from err
    if not isinstance(changes, dict):
        raise UserError(
            "Expected options as --key=value after the hyperparameter file, "
            f"found {overrides.splitlines()[0]!r}; are its dashes missing?"
        )
    # An explicit null is a value, `key:` alone is not.
    for key, value in changes.items():
        if value is None and f"{key}:" in overrides.splitlines():
            raise UserError(
                f"--{key} has no value; type --{key}=VALUE, as in "
                f"--{key}=True for a switch or --{key}=null for none."
            )
    return changes


def _check_known(hparams_file, tree, key):
    """Refuse an override that the file does not know, with what it knows."""
    if key in tree:
        return
    known = [str(name) for name in tree if not str(name).startswith("__")]
    options = [field.name for field in dataclasses.fields(RunOptions)]
    close = difflib.get_close_matches(str(key), known + options, n=3)
    if close:
        advice = f"Did you mean --{' or --'.join(close)}?"
    else:
        advice = f"It has: {', '.join(known)}."
    raise UserError(
        f"--{key}: {hparams_file} has no hyperparameter of this name, and "
        f"SpeechBrain no run option. {advice}"
    )


def tag_of(node):
    """Return the HyperPyYAML tag of a node, such as ``!ref``; "" if none."""
    return getattr(getattr(node, "tag", None), "value", None) or ""


def _check_kind(hparams_file, name, default, value):
    """Refuse an override of another kind than the value in the file.

    What the file builds or refers to (tags) may become anything, and every
    value but a switch may become null.
    """
    if (
        tag_of(default)
        or tag_of(value)
        or default is None
        or isinstance(default, str)
    ):
        return
    if isinstance(default, dict) and isinstance(value, dict):
        # An empty mapping in the file is there to be filled.
        for key in value if default else ():
            _check_known(hparams_file, default, key)
            _check_kind(
                hparams_file, f"{name}[{key}]", default[key], value[key]
            )
        return
    expected = _mismatch(default, value)
    if expected:
        raise UserError(
            f"{name}: expected {expected} ({hparams_file} says "
            f"{_plain(default)}), found {_plain(value)}."
        )


def _mismatch(default, value):
    """Say what was expected, if the value is of another kind; "" if not."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "True or False"
    if value is None:
        return ""
    if isinstance(default, (int, float)):
        return "" if _is_number(value) else "a number"
    if isinstance(default, list):
        numbers = all(map(_is_number, default)) and len(default) > 0
        # A single fold may stand for a list of one.
        values = value if isinstance(value, (list, tuple)) else [value]
        if values is not value and not (numbers and _is_number(value)):
            return f"a list such as [{_plain(value)}]"
        fits = not numbers or all(map(_is_number, values))
        return "" if fits else "a list of numbers"
    return "a mapping such as {key: value}"


def _check_ranges(hparams_file, values):
    """Refuse numbers that nothing can be built of, or trained with."""
    for key, value in values.items():
        for number in _numbers(value):
            allowed = RANGES.get(key)
            whole = isinstance(allowed, range)
            low, high = (allowed[0], allowed[-1]) if allowed else (None, None)
            if allowed and not (
                low <= number <= high and not (whole and number % 1)
            ):
                expected = f"from {low} to {high}"
                expected = f"{'whole ' * whole}numbers {expected}"
            elif number != number or number in (INFINITY, -INFINITY):
                expected = "finite numbers"
            else:
                continue
            raise UserError(
                f"--{key}: expected {expected}, found {_plain(value)} (for "
                f"{hparams_file})."
            )
    _check_windows(hparams_file, values)


def _numbers(value):
    """The numbers of a value and, if it is a list, in it."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in listed if _is_number(item)]


def _check_windows(hparams_file, values):
    """Refuse a short-time Fourier transform that cannot be made or inverted."""
    keys = ("sample_rate", "n_fft", "win_length", "hop_length")
    rate, n_fft, *lengths = (values.get(key) for key in keys)
    if not all(map(_is_number, (rate, n_fft, *lengths))):
        return
    # As SpeechBrain's STFT rounds them.
    window, hop = (int(round(rate / 1000 * length)) for length in lengths)
    if not 1 <= hop <= window <= n_fft:
        raise UserError(
            f"{hparams_file}: at `sample_rate` {rate} `hop_length` is {hop} "
            f"samples, `win_length` {window} and `n_fft` {n_fft}; expected 1 "
            "or more samples each, in ascending order."
        )
    n_mels = values.get("n_mels")
    if _is_number(n_mels) and n_mels > n_fft // 2 + 1:
        raise UserError(
            f"--n_mels: expected at most the {n_fft // 2 + 1} bins of `n_fft` "
            f"{n_fft}, found {n_mels} (for {hparams_file})."
        )


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value):
    """Write a YAML value as the user would type it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict):
        pairs = (f"{key}: {_plain(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return "null" if value is None else str(value)


def _check_placeholders(hparams_file, tree, changes):
    """Refuse to start while a value that the user must give is missing."""
    left = [
        key
        for key, value in tree.items()
        if tag_of(changes.get(key, value)) == "!PLACEHOLDER"
    ]
    if left:
        flags = " ".join(f"--{key}=..." for key in left)
        raise UserError(
            f"{hparams_file} leaves {', '.join(left)} to you: add {flags} to "
            "the command."
        )
