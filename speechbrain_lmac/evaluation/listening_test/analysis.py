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

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

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
from speechbrain_lmac.report.columns import in_order

#: A larger share of trials with the anchors the wrong way round fails.
MAX_FAILED_SHARE = 0.2
N_BOOT = 2000
#: `compare` takes the direction from a metric: of this one, higher is better,
#: as of ratings.
HIGHER_IS_BETTER = "FF"
SCORE_COLUMNS = (
    *("condition", "question", "method", "mean", "low", "high"),
    *("n_ratings", "n_participants", "n_items"),
)
TEST_COLUMNS = (
    *("screening", "question", "first", "second", "difference"),
    *("low", "high", "p", "n", "p_holm"),
)


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
    problems: list[str]


def analyse(
    csv_files: Sequence[str | Path], out_folder: str | Path, seed: int = 0
) -> Analysis:
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
    Analysis

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
    table = ratings.table
    participants = screen_participants(table, ratings.duplicates)
    failed = participants.participant[participants.verdict == "failed"]
    kept = {"passed": table[~table.participant.isin(failed)], "all": table}
    scores, tests = [], []
    for screening, own in kept.items():
        head = {"screening": screening}
        scores += [head | row for row in _score_rows(own, seed)]
        tests += [head | row for row in _test_rows(own)]
    analysis = Analysis(
        pd.DataFrame(scores),
        participants,
        pd.DataFrame(tests, columns=TEST_COLUMNS),
        ratings.problems,
    )
    write_analysis(analysis, table, Path(out_folder))
    return analysis


def screen_participants(
    table: pd.DataFrame, duplicates: Mapping[str, tuple[int, int]]
) -> pd.DataFrame:
    """Judge each participant by the anchors.

    A row has ``participant``, ``files``, ``items`` and ``ratings`` (how many),
    ``trials`` (items times questions with both anchors rated), ``failures``
    (those where the low anchor is rated at least as high as the high one),
    ``verdict`` ("passed", "failed" if more than a fifth are failures,
    "unscreened" without trials), ``duplicates``, ``conflicts`` and ``minutes``
    (spent on the items).
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
        verdict = "failed" if own.mean() > MAX_FAILED_SHARE else "passed"
        repeated, conflicts = duplicates.get(str(name), (0, 0))
        rows.append(
            {
                "participant": name,
                "files": group.file.nunique(),
                "items": group.item.nunique(),
                "ratings": len(group),
                "trials": len(own),
                "failures": int(own.sum()),
                "verdict": verdict if len(own) else "unscreened",
                "duplicates": repeated,
                "conflicts": conflicts,
                "minutes": group.groupby("item").seconds.max().sum() / 60,
            }
        )
    return pd.DataFrame(rows)


def mean_opinion(table: pd.DataFrame, seed: int = 0) -> Summary:
    """Mean rating with a 95 % interval over participants and items.

    The table has ``participant``, ``item`` and ``rating`` of one method and
    question; not everyone needs to have rated every item. ``n`` counts ratings.

    >>> table = pd.DataFrame({"participant": ["a", "a", "b", "b"],
    ...     "item": ["x", "y", "x", "y"], "rating": [10, 20, 30, 40]})
    >>> summary = mean_opinion(table)
    >>> summary.mean, summary.n, summary.low >= 10, summary.high <= 40
    (25.0, 4, True, True)
    """
    cells = table.pivot_table(
        index="participant", columns="item", values="rating", aggfunc="mean"
    ).to_numpy(float)
    rated = ~np.isnan(cells)
    cells = np.where(rated, cells, 0.0)
    generator = np.random.default_rng(seed)
    people, items = (
        generator.multinomial(n, np.full(n, 1 / n), size=N_BOOT).astype(float)
        for n in cells.shape
    )
    # How often each drawn participant met each drawn item: an outer product.
    sums, counts = (
        np.einsum("bp,pi,bi->b", people, values, items, optimize=True)
        for values in (cells, rated.astype(float))
    )
    with np.errstate(invalid="ignore"):
        means = sums / counts  # NaN where a draw holds no rating
    low, high = np.nanquantile(means, [0.025, 0.975])
    mean = float(table.rating.mean())
    return Summary(mean, float(low), float(high), len(table), 0)


def _score_rows(table: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    conditions = sorted(table.condition.unique())
    parts = {c: table[table.condition == c] for c in conditions}
    views = {"all": table, **(parts if len(parts) > 1 else {})}
    rows = []
    for condition, view in views.items():
        for question in QUESTIONS:
            asked = view[view.question == question]
            for method in ordered_methods(asked.method):
                own = asked[asked.method == method]
                values = (
                    *(condition, question, method),
                    *mean_opinion(own, seed)[:4],
                    *(own.participant.nunique(), own.item.nunique()),
                )
                rows.append(dict(zip(SCORE_COLUMNS, values, strict=True)))
    return rows


def _test_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Paired tests of every two methods; a question is a Holm family."""
    rows: list[dict[str, Any]] = []
    for question in QUESTIONS if len(table) else ():
        # Listeners are independent of each other, their ratings are not.
        means = (
            table[table.question == question]
            .groupby(["participant", "item", "method"])
            .rating.mean()
            .unstack("method")
        )
        family = []
        methods = [m for m in in_order(map(str, means)) if m not in ANCHORS]
        for first, second in combinations(methods, 2):
            # Only items where both are rated: else items would be compared.
            both = means[[first, second]].dropna()
            pairs = both.groupby("participant").mean()
            result = compare(pairs[first], pairs[second], HIGHER_IS_BETTER)
            names = {"question": question, "first": first, "second": second}
            family.append({**names, **result._asdict()})
        adjusted = holm([row["p"] for row in family])
        for row, p_holm in zip(family, adjusted, strict=True):
            rows.append({**row, "p_holm": float(p_holm)})
    return rows


def ordered_methods(methods: Iterable[str]) -> list[str]:
    """Methods as tables list them; the anchors last.

    >>> ordered_methods(["high_anchor", "gradcam", "low_anchor", "lmac"])
    ['lmac', 'gradcam', 'low_anchor', 'high_anchor']
    """
    methods = list(methods)
    ranked = in_order(m for m in methods if m not in ANCHORS)
    return ranked + [anchor for anchor in ANCHORS if anchor in methods]
