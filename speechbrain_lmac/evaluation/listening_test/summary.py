"""Tables and a figure of the results of a listening test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from speechbrain_lmac.evaluation.listening_test.study import (
    ANCHORS,
    HIGH_ANCHOR,
    LOW_ANCHOR,
    QUESTIONS,
    RATINGS,
)
from speechbrain_lmac.report.columns import condition_label, method_label
from speechbrain_lmac.report.figures.style import (
    INK,
    new_figure,
    save_figure,
    set_weight,
    style_of,
    styled,
)
from speechbrain_lmac.report.render import markdown_table, plain_markdown
from speechbrain_lmac.utils.files import write_atomically

if TYPE_CHECKING:
    from speechbrain_lmac.evaluation.listening_test.analysis import Analysis

# The anchors are the yardsticks of other figures.
YARDSTICK = {LOW_ANCHOR: "random", HIGH_ANCHOR: "ideal"}
SHORT = {"correspondence": "Correspondence", "quality": "Audio quality"}
SCREENED = {
    "passed": "Without listeners who fail the anchors",
    "all": "All listeners",
}
RULES = (
    "Ratings go from 1 to 100; a score is the mean of all ratings. In "
    "brackets: 95 % interval of a bootstrap over participants and items at "
    "once (2000 draws).",
    "A listener fails who rates the low anchor (the explanation of a random "
    "mask) at least as high as the high anchor (that of the ideal mask or the "
    "clean source) in more than a fifth of the trials; a trial is an item and "
    "a question, in the manner of the post-screening of ITU-R BS.1534-3.",
    "Tests: Wilcoxon's signed-rank test on the listeners' mean differences "
    "over the items where they rated both, two-sided; p (Holm) is corrected "
    "for the pairs of a question.",
)


def label_of(method: str) -> str:
    """What readers see of a method or an anchor.

    >>> label_of("lmac"), label_of("low_anchor")
    ('L-MAC', 'Low anchor')
    """
    return ANCHORS.get(method) or method_label(method)


def write_analysis(
    analysis: Analysis, table: pd.DataFrame, out_folder: Path
) -> None:
    """Write all files of an analysis; ``table`` has the answers behind it."""
    frames = {
        "scores": analysis.scores,
        "participants": analysis.participants,
        "tests": analysis.tests,
        "ratings": table,
    }
    for name, frame in frames.items():
        text = frame.to_csv(index=False, lineterminator="\n")
        write_atomically(out_folder / f"{name}.csv", text)
    write_atomically(out_folder / "scores.md", scores_markdown(analysis, table))
    save_figure(build_figure(analysis.scores), out_folder / "scores.png")


def scores_markdown(analysis: Analysis, table: pd.DataFrame) -> str:
    """The results in Markdown."""
    lines = ["# Listening test", ""]
    lines += [
        f"- {table.study.iloc[0]}: {table.participant.nunique()} listeners, "
        f"{table.item.nunique()} items, {len(table)} ratings."
    ]
    lines += [f"- {rule}" for rule in RULES]
    scores, tests = analysis.scores, analysis.tests
    for screening, heading in SCREENED.items():
        lines += ["", f"## {heading}"]
        lines += _score_tables(scores[scores.screening == screening])
        lines += _test_table(tests[tests.screening == screening])
    lines += ["", "## Listeners"]
    lines += _participant_table(analysis.participants)
    if analysis.problems:
        lines += ["", "## Files left out", ""]
        lines += [
            f"- {plain_markdown(problem)}" for problem in analysis.problems
        ]
    return "\n".join([*lines, ""])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    cells = [[plain_markdown(cell) for cell in row] for row in rows]
    return ["", *markdown_table(head, cells)]


def _score_tables(scores: pd.DataFrame) -> list[str]:
    if scores.empty:
        return ["", "No listener is left."]
    cells = scores.assign(
        text=[
            f"{r.mean:.1f} [{r.low:.1f}, {r.high:.1f}], n = {r.n_ratings}"
            for r in scores.itertuples()
        ]
    )
    lines = []
    for condition, own in cells.groupby("condition", sort=False):
        if cells.condition.nunique() > 1:
            title = "All conditions"
            if condition != "all":
                title = plain_markdown(condition_label(condition))
            lines += ["", f"### {title}"]
        shown = own.set_index(["method", "question"]).text.to_dict()
        rows = [
            [label_of(m), *(shown.get((m, q), "") for q in QUESTIONS)]
            for m in own.method.unique()
        ]
        lines += _table(["method", *(SHORT[q] for q in QUESTIONS)], rows)
    return lines


def _test_table(tests: Any) -> list[str]:
    rows = [
        [
            SHORT[test.question],
            f"{label_of(test.first)} - {label_of(test.second)}",
            f"{test.difference:+.1f} [{test.low:+.1f}, {test.high:+.1f}]",
            test.n,
            f"{test.p:.2g}",
            f"{test.p_holm:.2g}",
        ]
        for test in tests.itertuples()
    ]
    head = ["question", "pair", "difference", "listeners", "p", "p (Holm)"]
    return _table(head, rows) if rows else []


def _participant_table(participants: Any) -> list[str]:
    rows = [
        [
            p.participant,
            p.items,
            p.ratings,
            f"{p.failures} of {p.trials}",
            p.verdict,
            f"{p.minutes:.0f}",
            f"{p.duplicates} ({p.conflicts} differ)" if p.duplicates else "",
        ]
        for p in participants.itertuples()
    ]
    head = ["listener", "items", "ratings", "anchors reversed", "verdict"]
    return _table([*head, "minutes", "answers sent twice"], rows)


@styled
def build_figure(scores: pd.DataFrame) -> Any:
    """Scores of each method with their intervals, a panel per question.

    Filled marks: without the listeners who fail; hollow ones: all listeners.
    """
    scores = scores[scores.condition == "all"]
    methods = list(dict.fromkeys(scores.method))
    figure = new_figure(0.3 * len(methods) + 0.9)
    panels = figure.subplots(1, len(QUESTIONS), sharey=True)
    for axes, question in zip(panels, QUESTIONS, strict=True):
        axes.set_xlabel("mean opinion score")
        axes.set_xlim(*RATINGS)
        axes.grid(visible=False, axis="y")
        axes.set_title(SHORT[question])
        for row in scores[scores.question == question].to_dict("records"):
            _draw_score(axes, row, methods)
    panels[0].set_yticks(range(len(methods)), map(label_of, methods))
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    for label, method in zip(panels[0].get_yticklabels(), methods, strict=True):
        set_weight(label, method)
        label.set_color(INK)
    figure.supxlabel(
        "filled: without listeners who fail the anchors; hollow: all listeners."
        " Bars: 95 % intervals over listeners and items",
        size="small",
    )
    return figure


def _draw_score(axes: Any, row: Any, methods: list[str]) -> None:
    method = row["method"]
    color = style_of(YARDSTICK.get(method, method), methods).color
    passed = row["screening"] == "passed"
    place = methods.index(method) + (-0.12 if passed else 0.18)
    axes.hlines(
        place, row["low"], row["high"], color=color,
        linewidth=1.8 if passed else 0.8,
    )  # fmt: skip
    axes.plot(
        row["mean"], place, marker="o", color=color, linestyle="",
        markersize=5 if passed else 4,
        markerfacecolor=color if passed else "white",
    )  # fmt: skip
