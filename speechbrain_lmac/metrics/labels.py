"""Metrics of classifiers that give a sound several labels, or none."""

from __future__ import annotations

from torch import Tensor


def macro_f1(decided: Tensor, truth: Tensor) -> float:
    """Mean over the classes of F1, ``2 |A & B| / (|A| + |B|)``, 0 to 1.

    A are the clips that are decided for a class, B those that it is in; a
    class of neither is left out. Higher is better.

    Arguments
    ---------
    decided, truth : torch.Tensor
        Bool, (clips, classes).

    Returns
    -------
    float
        NaN if no class is left.

    Example
    -------
    >>> import torch
    >>> decided = torch.tensor([[True, False, False], [True, True, False]])
    >>> truth = torch.tensor([[True, True, False], [False, True, False]])
    >>> round(macro_f1(decided, truth), 3)  # 2/3 and 2/3
    0.667
    """
    hits, total = (decided & truth).sum(0), decided.sum(0) + truth.sum(0)
    return float((2.0 * hits / total).nanmean())
