"""Folds of labelled data: reading, choosing and making them."""

from __future__ import annotations

import hashlib
import numbers
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

FOLD_KEYS = ("train_fold_nums", "valid_fold_nums", "test_fold_nums")
#: Of data without folds: five, as ESC-50 has.
SPLIT = {"n_folds": 5, "seed": 1234, "group_separator": None}
MAX_FOLDS = 1000


def parse_folds(values: pd.Series, path: str | Path) -> pd.Series:
    """The fold column of a table, as whole numbers.

    >>> parse_folds(pd.Series(["1", "5"]), "meta.csv").tolist()
    [1, 5]
    """
    folds = pd.to_numeric(values, errors="coerce")
    wrong = values[folds.isna() | (folds % 1 != 0) | (folds.abs() > 2**31)]
    if len(wrong):
        raise UserError(
            f"{path}: expected whole numbers in the column fold, found "
            f"{wrong.iloc[0]!r} in data row {wrong.index[0] + 1}."
        )
    return folds.astype(int)


def check_folds(
    available: Iterable[int], **chosen: Any
) -> dict[str, tuple[int, ...]]:
    """The choice of folds by key; none may be missing, or in two splits.

    A choice is a fold, several, "all", or None for a split that is left out.

    >>> check_folds([1, 2, 3], train_fold_nums=[2, 1], test_fold_nums=3)
    {'train_fold_nums': (1, 2), 'test_fold_nums': (3,)}
    """
    available = sorted({int(fold) for fold in available})
    exist = f"Folds that exist: {available}."
    checked: dict[str, tuple[int, ...]] = {}
    owner: dict[int, str] = {}
    for key, value in chosen.items():
        if value is None:
            continue
        checked[key] = _fold_list(
            key, available if value == "all" else value, exist
        )
        for fold in checked[key]:
            if fold not in available:
                raise UserError(f"`{key}`: fold {fold} does not exist. {exist}")
            if fold in owner:
                raise UserError(
                    f"`{key}`: fold {fold} is also in `{owner[fold]}`; a clip "
                    f"must not be in two splits. {exist}"
                )
            owner[fold] = key
    return checked


def _fold_list(key, value, exist):
    listed = [value] if isinstance(value, numbers.Number) else value
    whole = isinstance(listed, (list, tuple, set, range)) and all(
        isinstance(fold, numbers.Integral) and not isinstance(fold, bool)
        for fold in listed
    )
    if not whole or not listed:
        raise UserError(
            f"`{key}`: expected one or more whole numbers, found {value!r}. "
            f"{exist}"
        )
    return tuple(sorted({int(fold) for fold in listed}))


def check_split(split: Mapping | None) -> dict[str, Any]:
    """The whole settings of a split that is made, from some of them.

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


def make_folds(
    wavs: Sequence[str],
    labels: Sequence[str],
    split: Mapping | None = None,
    twins: Mapping[str, str] | None = None,
) -> list[int]:
    """Deal clips without folds to some, the same for everyone.

    Stratified: the groups of each class are put in an order that follows from
    the seed and their names, large ones first, and each goes to the fold that
    has the fewest clips of its class. A group is a clip, or, given a
    separator, the clips whose file names agree up to its first occurrence;
    ``twins`` (wav -> wav of the same bytes) share a group. Exactly balanced,
    and the same in every version of a library, unlike scikit-learn's.

    >>> wavs = ["dog/1-a.wav", "dog/1-b.wav", "dog/2-a.wav"]
    >>> first, second, third = make_folds(
    ...     wavs, ["dog"] * 3, {"n_folds": 2, "group_separator": "-"})
    >>> first == second != third
    True
    """
    split = check_split(split)
    twins = twins or {}
    names = [_group(twins.get(w, w), split["group_separator"]) for w in wavs]
    groups: dict[str, list[str]] = {}
    for name, label in zip(names, labels, strict=True):
        groups.setdefault(name, []).append(label)
    sizes: Counter = Counter()  # (label, fold), (None, fold) -> clips
    chosen = {}

    def order(name):
        text = f"{split['seed']}|{name}"
        return -len(groups[name]), hashlib.sha256(text.encode()).hexdigest()

    for name in sorted(groups, key=order):
        main = Counter(groups[name]).most_common(1)[0][0]
        chosen[name] = min(
            range(1, split["n_folds"] + 1),
            key=lambda k: (sizes[main, k], sizes[None, k]),
        )
        for label in groups[name]:
            sizes[label, chosen[name]] += 1
            sizes[None, chosen[name]] += 1
    _warn_of_few(labels, split["n_folds"])
    return [chosen[name] for name in names]


def _warn_of_few(labels, n_folds):
    counts = Counter(labels)
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
