"""Cross-validation: which folds each training gets, and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain_lmac.evaluation.seeds import write_seeds
from speechbrain_lmac.report.page.data import read_table
from speechbrain_lmac.utils.checks import UserError

#: One to train on, one to validate, one to test on.
MIN_FOLDS = 3


def fold_splits(
    folds: Sequence[int], test_folds: Sequence[int] | None = None
) -> dict[int, dict[str, list[int]]]:
    """Folds to train on, to validate on and to test on, for each test fold.

    Arguments
    ---------
    folds : sequence of int
        All; the one before the test fold, in a circle, is validated on.
    test_folds : sequence of int or None
        Those to test on; None for all.

    Returns
    -------
    dict of int to dict
        Test fold -> ``train_fold_nums``, ``valid_fold_nums`` and
        ``test_fold_nums``.

    Raises
    ------
    UserError
        If there are too few folds, one stands twice, or a test fold is none.

    Example
    -------
    >>> fold_splits([1, 2, 3, 4], [1])[1]["train_fold_nums"]
    [2, 3]
    >>> fold_splits([1, 2, 3, 4])[3]["valid_fold_nums"]
    [2]
    """
    folds = list(folds)
    if len(set(folds)) != len(folds) or len(folds) < MIN_FOLDS:
        raise UserError(
            f"`folds`: expected {MIN_FOLDS} or more, each once, found {folds}."
        )
    if test_folds is None:
        test_folds = folds
    elif isinstance(test_folds, int):
        test_folds = [test_folds]
    if not test_folds or not set(test_folds) <= set(folds):
        raise UserError(
            f"`test_folds`: expected some of `folds`, {folds}, found "
            f"{list(test_folds)}."
        )
    splits = {}
    for fold in test_folds:
        before = folds[folds.index(fold) - 1]
        splits[fold] = {
            "train_fold_nums": [k for k in folds if k not in (fold, before)],
            "valid_fold_nums": [before],
            "test_fold_nums": [fold],
        }
    return splits


def average_folds(
    evaluations: Mapping[int, str | Path], output_folder: str | Path
) -> list[dict[str, Any]]:
    """Write ``folds.csv`` and ``folds.md``: mean and deviation over folds.

    Arguments
    ---------
    evaluations : dict of int to path
        Output folder of each fold's evaluation.
    output_folder : str or pathlib.Path
        Receives the tables.

    Returns
    -------
    list of dict
        As of :func:`speechbrain_lmac.evaluation.seeds.write_seeds`.
    """
    found = {
        fold: read_table(Path(folder) / "results.csv")
        for fold, folder in evaluations.items()
    }
    return write_seeds(found, output_folder, "fold")
