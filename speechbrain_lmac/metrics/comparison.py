"""Paired comparisons of two methods, clip by clip.

Wilcoxon's signed-rank test on the paired differences, Holm's correction for
the number of comparisons, and a bootstrap interval of the mean difference. The
mixtures of a clip depend on each other: their differences are averaged first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wilcoxon

from speechbrain_lmac.metrics.stats import ClipStats, mean_by_clip, summarize
from speechbrain_lmac.metrics.table import JUDGED, METRICS

#: Metrics on which methods are compared.
COMPARED = ("AI", "AD", "AG", "FF", "Fid-In")
#: The same of another classifier, where there is one.
_OF_JUDGE = tuple(metric.name for metric in JUDGED)
#: Yardsticks, not methods: an all-ones mask is best on AD, FF and Fid-In
#: without explaining anything, an ideal mask knows the sources.
UNRANKED = ("all_ones", "ideal")


class Comparison(NamedTuple):
    """A paired comparison of two methods on one metric.

    Attributes
    ----------
    difference, low, high : float
        Mean of the differences, signed so that positive is better for the
        first method, and its 95 % interval.
    p : float
        Two-sided p-value; 1 if the methods agree on every clip.
    n : int
        Clips where both are defined.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int


def compare(
    first: ArrayLike,
    second: ArrayLike,
    metric: str,
    clips: Sequence[str] | None = None,
) -> Comparison:
    """Compare two methods on the same clips.

    Arguments
    ---------
    first, second : array-like
        Values in the same order, shape (rows,); NaN where undefined.
    metric : str
        Name of one of ``METRICS``: decides which sign is better.
    clips : sequence of str or None
        The clip of each row; None if each row is of its own.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the numbers of rows differ, or the metric has no direction.

    Example
    -------
    >>> better = np.linspace(0.5, 0.9, 20)
    >>> result = compare(better, better - 0.1, "FF")
    >>> round(result.difference, 2), result.p < 0.001, result.n
    (0.1, True, 20)
    """
    sign = METRICS[metric].direction
    if not sign:
        raise ValueError(
            f"Expected a metric with a better direction, but got {metric!r}"
        )
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        raise ValueError(
            "Expected the values of the same clips, but got shapes "
            f"{first.shape} and {second.shape}"
        )
    differences = sign * (first - second)
    if clips is not None:
        differences = mean_by_clip(differences, clips)
    differences = differences[~np.isnan(differences)]
    mean, low, high, n, _ = summarize(differences)
    p = float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0
    return Comparison(mean, low, high, p, n)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P-values of one family after Holm's step-down correction (Holm 1979).

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.maximum.accumulate(p_values[order] * factors)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def compare_with(
    first: str, meta: Mapping[str, Any], stats: Mapping[str, ClipStats]
) -> list[dict[str, Any]]:
    """Paired tests of a method against every other.

    Holm's correction counts the methods and metrics of a condition and
    protocol as one family; :data:`UNRANKED` are not compared.

    Arguments
    ---------
    first : str
        The method, such as ``lmac``.
    meta : dict
        Columns that the rows begin with.
    stats : dict of str to ClipStats
        By row, of :meth:`Evaluator.evaluate`.

    Returns
    -------
    list of dict
        protocol, first, method, metric, difference (positive: ``first`` is
        better), low, high, p, n, p_holm.
    """
    families: dict[str, list[dict[str, Any]]] = {}
    for key, other in stats.items():
        method, _, protocol = key.partition("@")
        ours = stats.get(f"{first}@{protocol}" if protocol else first)
        if ours is None or method in (first, *UNRANKED):
            continue
        if ours.ids != other.ids:
            raise ValueError(
                f"Expected the clips of {first} and {key} in one order, but "
                f"got {len(ours)} and {len(other)} of other places"
            )
        protocol = protocol or "published"
        judged = _OF_JUDGE if _OF_JUDGE[0] in ours.names else ()
        for metric in (*COMPARED, *judged):
            values = ours.values(metric), other.values(metric)
            result = compare(*values, metric, ours.clips)
            named = {"protocol": protocol, "first": first, "method": method}
            row = {**meta, **named, "metric": metric, **result._asdict()}
            families.setdefault(protocol, []).append(row)
    for family in families.values():
        adjusted = holm([row["p"] for row in family])
        for row, p_holm in zip(family, adjusted, strict=True):
            row["p_holm"] = float(p_holm)
    return [row for family in families.values() for row in family]
