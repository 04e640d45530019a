"""From the rows of a labelled data set to its train, valid and test manifests.

Authors
 * The speechbrain_lmac authors 2026
"""

import hashlib
from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.manifests import make_manifests
from speechbrain_lmac.data.tables import check_folds, select_classes
from speechbrain_lmac.utils.checks import UserError

FOLD_KEYS = ("train_fold_nums", "valid_fold_nums", "test_fold_nums")
#: Of data without folds: five, as ESC-50 has.
SPLIT = {"n_folds": 5, "seed": 1234, "group_separator": None}
MAX_FOLDS = 1000
MIN_FOLDS = 3  # one to train on, one to validate, one to test

logger = get_logger(__name__)


def prepare_rows(
    rows,
    data_folder,
    save_folder,
    folds,
    classes=None,
    audio=None,
    skip_broken_audio=False,
    settings=None,
    check=None,
):
    """Choose classes and folds, and write the manifests.

    Arguments
    ---------
    rows : pandas.DataFrame
        One row a clip, with the columns of `speechbrain_lmac.data.tables`.
    data_folder, save_folder : str | pathlib.Path
        The data set, and where the manifests go.
    folds : dict
        Some of ``FOLD_KEYS`` -> folds. None leaves the split out; "all" takes
        every fold that there is.
    classes : sequence of str, optional
        The chosen classes; None for all.
    audio : AudioCache, optional
        Decodes the clips. By default at 16 kHz, without a cache on disk.
    skip_broken_audio : bool
        Whether to go on without the clips that cannot be used.
    settings : dict, optional
        What else the rows were made from (JSON values).
    check : callable, optional
        Gets the chosen rows before any clip is decoded; may raise.

    Returns
    -------
    Manifests

    Raises
    ------
    UserError
        If a choice of folds or classes is wrong, or clips cannot be used.
    """
    table, class_names = select_classes(rows, classes)
    every = sorted(set(table.fold.tolist()))
    wanted = {
        key: every if value == "all" else value
        for key, value in folds.items()
        if value is not None
    }
    folds = check_folds(table.fold, **wanted)
    if check is not None:
        check(table[table.fold.isin([n for ns in folds.values() for n in ns])])
    return make_manifests(
        table[["clip_id", "wav", "class_string", "fold"]],
        data_folder,
        save_folder,
        folds,
        class_names,
        AudioCache() if audio is None else audio,
        skip_broken_audio,
        settings=settings,
    )


def named_folds(train, valid, test):
    """The folds of each split by their key.

    Example
    -------
    >>> named_folds([1, 2], 3, None)["train_fold_nums"]
    [1, 2]
    """
    return dict(zip(FOLD_KEYS, (train, valid, test), strict=True))


def settings_of(metadata, dataset):
    """What the manifests of a data set with a metadata file depend on."""
    digest = hashlib.sha256(Path(metadata).read_bytes()).hexdigest()
    return {"dataset": dataset, "metadata_sha256": digest}


def check_layout(data_folder, parts, what):
    """Refuse a data folder that lacks a part of its layout.

    Arguments
    ---------
    data_folder : pathlib.Path
        The data set.
    parts : sequence of str
        Files and folders that must be there.
    what : str
        The name of the data set.

    Raises
    ------
    UserError
        If one is missing; the message names it.
    """
    for part in parts:
        if not (data_folder / part).exists():
            tops = sorted({p.split("/")[0] for p in parts})
            raise UserError(
                f"{data_folder}: expected the layout of {what}, but "
                f"{part} is missing. Give the folder that holds "
                f"{'/ and '.join(tops)}/ with `--data_folder`."
            )


def check_split(split):
    """Complete and check the settings of a split that is made.

    Arguments
    ---------
    split : dict or None
        Some of ``n_folds``, ``seed`` and ``group_separator``.

    Returns
    -------
    dict
        All of them.

    Raises
    ------
    UserError
        If one is unknown or of another kind.

    Example
    -------
    >>> check_split({"seed": 7})
    {'n_folds': 5, 'seed': 7, 'group_separator': None}
    """
    whole = {**SPLIT, **dict(split or {})}
    separator = whole["group_separator"]
    if (
        whole.keys() != SPLIT.keys()
        or type(whole["n_folds"]) is not int
        or not 2 <= whole["n_folds"] <= MAX_FOLDS
        or type(whole["seed"]) is not int
        or not (separator is None or (isinstance(separator, str) and separator))
    ):
        raise UserError(
            f"`split`: expected n_folds (2 to {MAX_FOLDS}), seed (a whole "
            "number) and group_separator (text, or null), found "
            f"{dict(split or {})}."
        )
    return whole


def make_folds(wavs, labels, split=None):
    """Deal clips that have no folds to some, the same for everyone.

    Stratified: the groups of each class are put in an order that follows
    from the seed and their names, and each goes to the fold that has the
    fewest clips of its class (of those the one with the fewest clips, of
    those the first). A group is a clip, or, given a separator, the clips
    whose file names agree up to its first occurrence, such as the parts of a
    recording: they are never in two splits.

    Arguments
    ---------
    wavs : sequence of str
        The files, relative to the data folder.
    labels : sequence of str
        The class of each.
    split : dict or None
        As for :func:`check_split`.

    Returns
    -------
    list of int
        The fold of each clip, from 1. A class of fewer clips than folds is
        told in the log.

    Example
    -------
    >>> wavs = ["dog/1-a.wav", "dog/1-b.wav", "dog/2-a.wav"]
    >>> first, second, third = make_folds(
    ...     wavs, ["dog"] * 3, {"n_folds": 2, "group_separator": "-"})
    >>> first == second != third
    True
    """
    split = check_split(split)
    groups = {}
    for wav, label in zip(wavs, labels, strict=True):
        group = _group(wav, split["group_separator"])
        groups.setdefault(group, []).append(label)
    numbers = range(1, split["n_folds"] + 1)
    sizes = {}  # (label, fold), (None, fold) -> clips

    def load(fold, label):
        return sizes.get((label, fold), 0), sizes.get((None, fold), 0)

    chosen = {}
    # Large groups first: what comes later can still even them out.
    for group in sorted(
        groups, key=lambda g: (-len(groups[g]), _draw(split["seed"], g))
    ):
        main = max(groups[group], key=groups[group].count)
        fold = min(numbers, key=lambda k: load(k, main))
        chosen[group] = fold
        for label in groups[group]:
            for key in ((label, fold), (None, fold)):
                sizes[key] = sizes.get(key, 0) + 1
    _warn_of_few(labels, split["n_folds"])
    return [chosen[_group(wav, split["group_separator"])] for wav in wavs]


def check_filled(made, split, folds):
    """Refuse a choice of folds for which there are too few clips.

    Arguments
    ---------
    made : sequence of int
        The fold of each clip, of :func:`make_folds`.
    split : dict or None
        As for :func:`check_split`.
    folds : dict
        The choice, of :func:`named_folds`.

    Raises
    ------
    UserError
        If a chosen fold is empty.

    Example
    -------
    >>> check_filled([1, 2, 3], {"n_folds": 5}, named_folds(1, 2, 3))
    """
    n_folds, filled = check_split(split)["n_folds"], set(made)
    empty = set(range(1, n_folds + 1)) - filled
    chosen = [
        fold
        for value in folds.values()
        for fold in (value if isinstance(value, (list, tuple)) else [value])
    ]
    if not any(fold in chosen for fold in empty):
        return
    advice = "Add sounds"
    if len(filled) >= MIN_FOLDS:
        advice += (
            f", or make fewer folds by --split='{{n_folds: {len(filled)}}}' "
            f"and choose among these by `{FOLD_KEYS[0]}`, `{FOLD_KEYS[1]}` "
            f"and `{FOLD_KEYS[2]}`"
        )
    raise UserError(
        f"`split`: the clips (or groups of clips) fill {len(filled)} of "
        f"n_folds {n_folds} folds; each needs one or more of every class. "
        f"{advice}."
    )


def _warn_of_few(labels, n_folds):
    """Tell of classes that some folds must lack."""
    counts = {name: list(labels).count(name) for name in dict.fromkeys(labels)}
    few = [f"{name} ({n})" for name, n in counts.items() if n < n_folds]
    if few:
        logger.warning(
            "`split`: fewer clips than n_folds %d, so not in every fold: %s. "
            "Add sounds of these classes, or make fewer folds.",
            *(n_folds, ", ".join(few)),
        )


def _group(wav, separator):
    """Name of a clip's group; a clip without the separator is its own."""
    start, found, _ = Path(wav).stem.partition(separator or "\0")
    return f"{start}{separator}" if found else wav


def _draw(seed, name):
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()
