"""From the listeners' files to mean opinion scores.

The mean opinion score of a method is the mean of all its ratings. Its 95 %
interval comes from a bootstrap that draws participants and, independently of
them, items with replacement, so that it holds for other listeners and other
clips (the "pigeonhole" bootstrap of Owen, "The pigeonhole bootstrap", Annals of
Applied Statistics 1(2), 2007; it is on the wide side).

Listeners are screened after the test in the manner of ITU-R BS.1534-3, which
leaves out whoever rates the hidden reference low in more than 15 % of the
items. Here the anchors are the ideal and a random mask, and whoever rates the
low anchor at least as high as the high anchor in more than a fifth of their
trials (a trial: an item and a question) fails. Every result is given with and
without those listeners.
"""

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from speechbrain_lmac.evaluation.listening_test.ratings import read_ratings
from speechbrain_lmac.evaluation.listening_test.study import (
    ANCHORS,
    HIGH_ANCHOR,
    LOW_ANCHOR,
    QUESTIONS,
)
from speechbrain_lmac.metrics.comparison import compare, holm
from speechbrain_lmac.metrics.stats import Summary
from speechbrain_lmac.report.figures.style import in_order

#: A larger share of trials with the anchors the wrong way round fails.
MAX_FAILED_SHARE = 0.2
N_BOOT = 2000
#: `compare` takes the direction from a metric: of this one, higher is better,
#: as of ratings.
HIGHER_IS_BETTER = "FF"
SCREENINGS = ("passed", "all")


class Analysis(NamedTuple):
    """The results of a listening test.

    Attributes
    ----------
    scores : pandas.DataFrame
        A row per screening ("passed": without the listeners who fail the
        anchors, "all"), condition ("all", and each if there are several),
        question and method: ``mean``, ``low``, ``high`` (1 to 100),
        ``n_ratings``, ``n_participants``, ``n_items``.
    participants : pandas.DataFrame
        A row per participant.
    tests : pandas.DataFrame
        A row per screening, question and pair of methods.
    problems : list of str
        Files that were left out, and why.
    """

    scores: pd.DataFrame
    participants: pd.DataFrame
    tests: pd.DataFrame
    problems: list


def analyse(csv_files, out_folder, seed=0):
    """Analyse the ratings of a listening test.

    Arguments
    ---------
    csv_files : sequence of str or pathlib.Path
        Files that the page of :func:`build` saved, complete or not. Broken
        ones are left out and listed.
    out_folder : str or pathlib.Path
        Gets ``scores.csv``, ``participants.csv``, ``tests.csv``,
        ``ratings.csv`` (every answer that counts), ``scores.md`` and
        ``scores.png``; earlier ones are replaced.
    seed : int
        Of the bootstrap.

    Returns
    -------
    analysis : Analysis

    Raises
    ------
    UserError
        If no file can be used.
    """
    # What draws and writes loads only when there is something to show.
    from speechbrain_lmac.evaluation.listening_test.summary import (
        write_analysis,
    )

    ratings = read_ratings(csv_files)
    participants = screen_participants(ratings.table, ratings.duplicates)
    failed = participants.participant[participants.verdict == "failed"]
    kept = {
        "passed": ratings.table[~ratings.table.participant.isin(failed)],
        "all": ratings.table,
    }
    scores = pd.DataFrame(
        [row for s in SCREENINGS for row in _score_rows(kept[s], s, seed)]
    )
    tests = pd.DataFrame(
        [row for s in SCREENINGS for row in _test_rows(kept[s], s, seed)],
        columns=[
            *("screening", "question", "first", "second", "difference"),
            *("low", "high", "p", "n", "p_holm"),
        ],
    )
    analysis = Analysis(scores, participants, tests, ratings.problems)
    write_analysis(analysis, ratings.table, Path(out_folder))
    return analysis


def screen_participants(table, duplicates=None):
    """Judge each participant by the anchors.

    Arguments
    ---------
    table : pandas.DataFrame
        The answers, see :class:`Ratings`.
    duplicates : dict, optional
        Of :class:`Ratings`.

    Returns
    -------
    participants : pandas.DataFrame
        ``participant``, ``files``, ``items`` and ``ratings`` (how many),
        ``trials`` (items times questions with both anchors rated),
        ``failures`` (those where the low anchor is rated at least as high as
        the high one), ``verdict`` ("passed", "failed" if more than a fifth
        are failures, "unscreened" without trials), ``duplicates``,
        ``conflicts`` and ``minutes`` (spent on the items).
    """
    anchors = table[table.method.isin(ANCHORS)].pivot_table(
        index=["participant", "item", "question"],
        columns="method",
        values="rating",
    )
    anchors = anchors.reindex(columns=list(ANCHORS)).dropna()
    wrong = anchors[LOW_ANCHOR] >= anchors[HIGH_ANCHOR]
    rows = []
    for name, group in table.groupby("participant"):
        own = wrong[wrong.index.get_level_values("participant") == name]
        verdict = "unscreened"
        if len(own):
            bad = own.mean() > MAX_FAILED_SHARE
            verdict = "failed" if bad else "passed"
        repeated, conflicts = (duplicates or {}).get(name, (0, 0))
        rows += [
            {
                "participant": name,
                "files": group.file.nunique() if "file" in group else 1,
                "items": group.item.nunique(),
                "ratings": len(group),
                "trials": len(own),
                "failures": int(own.sum()),
                "verdict": verdict,
                "duplicates": repeated,
                "conflicts": conflicts,
                "minutes": group.groupby("item").seconds.max().sum() / 60,
            }
        ]
    return pd.DataFrame(rows)


def mean_opinion(table, seed=0, n_boot=N_BOOT, confidence=0.95):
    """Mean rating with an interval over participants and items.

    Arguments
    ---------
    table : pandas.DataFrame
        Answers on one method and question: ``participant``, ``item``,
        ``rating``. Not everyone needs to have rated every item.
    seed : int
        Of the resampling.
    n_boot : int
        Number of resamples.
    confidence : float
        Coverage of the interval, in (0, 1).

    Returns
    -------
    summary : Summary
        ``n`` counts the ratings.

    Example
    -------
    >>> table = pd.DataFrame({"participant": ["a", "a", "b", "b"],
    ...     "item": ["x", "y", "x", "y"], "rating": [10, 20, 30, 40]})
    >>> summary = mean_opinion(table)
    >>> summary.mean, summary.n, summary.low >= 10, summary.high <= 40
    (25.0, 4, True, True)
    """
    if table.empty:
        return Summary(np.nan, np.nan, np.nan, 0, 0)
    cells = table.pivot_table(
        index="participant", columns="item", values="rating", aggfunc="mean"
    ).to_numpy(float)
    rated = ~np.isnan(cells)
    cells = np.where(rated, cells, 0.0)
    generator = np.random.default_rng(seed)
    people, items = (
        generator.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(float)
        for n in cells.shape
    )
    # How often each drawn participant met each drawn item: an outer product.
    sums, counts = (
        np.einsum("bp,pi,bi->b", people, values, items, optimize=True)
        for values in (cells, rated.astype(float))
    )
    with np.errstate(invalid="ignore"):
        means = sums / counts  # NaN where a draw holds no rating
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(means, [tail, 1 - tail])
    mean = float(table.rating.mean())
    return Summary(mean, float(low), float(high), len(table), 0)


def _score_rows(table, screening, seed):
    conditions = sorted(table.condition.unique())
    groups = [("all", table)]
    if len(conditions) > 1:
        groups += [(c, table[table.condition == c]) for c in conditions]
    rows = []
    for condition, group in groups:
        for question in QUESTIONS:
            asked = group[group.question == question]
            for method in ordered_methods(asked.method):
                own = asked[asked.method == method]
                summary = mean_opinion(own, seed)
                rows += [
                    {
                        "screening": screening,
                        "condition": condition,
                        "question": question,
                        "method": method,
                        "mean": summary.mean,
                        "low": summary.low,
                        "high": summary.high,
                        "n_ratings": summary.n,
                        "n_participants": own.participant.nunique(),
                        "n_items": own.item.nunique(),
                    }
                ]
    return rows


def _test_rows(table, screening, seed):
    """Paired tests of every two methods; a question is a Holm family."""
    rows = []
    for question in QUESTIONS if len(table) else ():
        # Listeners are independent of each other, their ratings are not.
        means = (
            table[table.question == question]
            .groupby(["participant", "item", "method"])
            .rating.mean()
            .unstack("method")
        )
        family = []
        methods = [m for m in ordered_methods(means) if m not in ANCHORS]
        for first, second in combinations(methods, 2):
            # Only items where both are rated: else items would be compared.
            pairs = means[[first, second]].dropna().groupby("participant")
            pairs = pairs.mean()
            result = compare(
                pairs[first], pairs[second], HIGHER_IS_BETTER, seed
            )
            family += [
                {
                    "screening": screening,
                    "question": question,
                    "first": first,
                    "second": second,
                    **result._asdict(),
                }
            ]
        adjusted = holm([row["p"] for row in family])
        for row, p_holm in zip(family, adjusted, strict=True):
            row["p_holm"] = float(p_holm)
        rows += family
    return rows


def ordered_methods(methods):
    """Methods as tables list them; the anchors last.

    Example
    -------
    >>> ordered_methods(["high_anchor", "gradcam", "low_anchor", "lmac"])
    ['lmac', 'gradcam', 'low_anchor', 'high_anchor']
    """
    methods = list(methods)
    ranked = in_order(m for m in methods if m not in ANCHORS)
    return ranked + [anchor for anchor in ANCHORS if anchor in methods]
