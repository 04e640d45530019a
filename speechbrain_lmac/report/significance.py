"""Marks in tables: where L-MAC and another method differ by more than chance.

They come from the rows of paired tests, clip by clip, that stand beside the
results (:mod:`speechbrain_lmac.metrics.comparison`).
"""

import math

ALPHA = 0.05
MARKS = {
    "*": "L-MAC is significantly better than this method",
    "+": "L-MAC is significantly worse than this method",
}
MARK_TEST = (
    f"paired Wilcoxon signed-rank test on the clips, p < {ALPHA} after Holm's "
    "correction over the methods and metrics of a condition"
)


def significance_marks(comparisons):
    """Find where L-MAC and another method differ by more than chance.

    Arguments
    ---------
    comparisons : list of dict
        Rows of :func:`speechbrain_lmac.metrics.comparison.compare_with_lmac`,
        as made or as read back from CSV.

    Returns
    -------
    marks : dict
        Key of a comparison -> "*" if L-MAC is significantly better than the
        method (Holm-corrected p < 0.05, difference > 0), "+" if significantly
        worse. Other comparisons are not in it. For :func:`mark_of`.

    Example
    -------
    >>> from speechbrain_lmac.metrics.table import SPECTRA
    >>> row = {"condition": "clean", "method": "ig"}
    >>> tests = [row | {"metric": "AI", "difference": 3.0, "p_holm": 0.01},
    ...     row | {"metric": "AD", "difference": 3.0, "p_holm": 0.2}]
    >>> marks = significance_marks(tests)
    >>> mark_of(row, SPECTRA[0], marks), mark_of(row, SPECTRA[1], marks)
    ('*', '')
    """
    marks = {}
    for row in comparisons:
        difference = _float(row.get("difference"))
        # False for an undefined p, too.
        if _float(row.get("p_holm")) < ALPHA and difference != 0:
            if not math.isnan(difference):
                key = _comparison_key(row, row.get("metric"))
                marks[key] = "*" if difference > 0 else "+"
    return marks


def mark_of(row, metric, marks):
    """Whether L-MAC differs significantly from the method of a row.

    Arguments
    ---------
    row : dict
        A row of results, of any method.
    metric : Metric
        The column.
    marks : dict
        Of :func:`significance_marks`.

    Returns
    -------
    mark : str
        "*": L-MAC is better, "+": worse, "": neither, or not compared.
    """
    return marks.get(_comparison_key(row, metric.name), "")


def _comparison_key(row, metric):
    names = ("dataset", "condition", "mask_domain", "method")
    protocol = row.get("protocol") or "published"
    return (*(row.get(name) for name in names), protocol, metric)


def _float(value):
    return math.nan if value is None or value == "" else float(value)
