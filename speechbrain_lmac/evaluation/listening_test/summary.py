"""Tables and a figure of the results of a listening test."""

import io

from speechbrain_lmac.evaluation.listening_test.study import (
    ANCHORS,
    HIGH_ANCHOR,
    LOW_ANCHOR,
    QUESTIONS,
    RATINGS,
)
from speechbrain_lmac.report.columns import MAIN, condition_label, method_label
from speechbrain_lmac.report.figures.explanation import INK
from speechbrain_lmac.report.figures.style import (
    NORMAL,
    SMALL,
    dress,
    new_figure,
    save_figure,
    style_of,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

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


def label_of(method):
    """What readers see of a method or an anchor.

    Example
    -------
    >>> label_of("lmac"), label_of("low_anchor")
    ('L-MAC', 'Low anchor')
    """
    return ANCHORS.get(method) or method_label(method)


def write_analysis(analysis, table, out_folder):
    """Write all files of an analysis.

    Arguments
    ---------
    analysis : Analysis
        The results.
    table : pandas.DataFrame
        The answers behind them.
    out_folder : pathlib.Path
        Made if missing.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    frames = {
        "scores": analysis.scores,
        "participants": analysis.participants,
        "tests": analysis.tests,
        "ratings": table,
    }
    try:
        for name, frame in frames.items():
            buffer = io.StringIO()
            frame.to_csv(buffer, index=False, lineterminator="\n")
            write_atomically(out_folder / f"{name}.csv", buffer.getvalue())
        write_atomically(
            out_folder / "scores.md", scores_markdown(analysis, table)
        )
        save_figure(build_figure(analysis.scores), out_folder / "scores.png")
    except OSError as error:
        raise UserError(
            f"{out_folder}: cannot be written ({error}); give another folder."
        ) from error


def scores_markdown(analysis, table):
    """Describe the results in Markdown.

    Arguments
    ---------
    analysis : Analysis
        The results.
    table : pandas.DataFrame
        The answers behind them.

    Returns
    -------
    text : str
    """
    lines = ["# Listening test", ""]
    lines += [
        f"- {table.study.iloc[0]}: {table.participant.nunique()} listeners, "
        f"{table.item.nunique()} items, {len(table)} ratings."
    ]
    lines += [f"- {rule}" for rule in RULES]
    for screening, heading in SCREENED.items():
        lines += ["", f"## {heading}"]
        lines += _score_tables(analysis.scores, screening)
        lines += _test_table(analysis.tests, screening)
    lines += _participant_lines(analysis.participants)
    if analysis.problems:
        lines += ["", "## Files left out", ""]
        lines += [f"- {_plain(problem)}" for problem in analysis.problems]
    return "\n".join([*lines, ""])


def _plain(text):
    """Text that neither breaks a table nor is read as markup."""
    text = str(text).replace("\n", " ")
    for mark in ("\\", "|", "<", "*", "_", "`"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _table(head, rows):
    lines = ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _score_tables(scores, screening):
    scores = scores[scores.screening == screening] if len(scores) else scores
    if not len(scores):
        return ["", "No listener is left."]
    lines = []
    for condition in scores.condition.unique():
        own = scores[scores.condition == condition]
        if scores.condition.nunique() > 1:
            title = "All conditions"
            if condition != "all":
                title = _plain(condition_label(condition))
            lines += ["", f"### {title}"]
        rows = []
        for method in own.method.unique():
            cells = [_plain(label_of(method))]
            for question in QUESTIONS:
                cells += _score_cell(own, method, question)
            rows += [cells]
        lines += _table(["method", *(SHORT[q] for q in QUESTIONS)], rows)
    return lines


def _score_cell(own, method, question):
    found = own[(own.method == method) & (own.question == question)]
    return [
        f"{r.mean:.1f} [{r.low:.1f}, {r.high:.1f}], n = {r.n_ratings}"
        for r in found.itertuples()
    ] or [""]


def _test_table(tests, screening):
    tests = tests[tests.screening == screening]
    rows = [
        [
            SHORT[test.question],
            f"{_plain(label_of(test.first))} - {_plain(label_of(test.second))}",
            f"{test.difference:+.1f} [{test.low:+.1f}, {test.high:+.1f}]",
            f"{test.n}",
            f"{test.p:.2g}",
            f"{test.p_holm:.2g}",
        ]
        for test in tests.itertuples()
    ]
    head = ["question", "pair", "difference", "listeners", "p", "p (Holm)"]
    return _table(head, rows) if rows else []


def _participant_lines(participants):
    lines = ["", "## Listeners"]
    rows = [
        [
            _plain(p.participant),
            f"{p.items}",
            f"{p.ratings}",
            f"{p.failures} of {p.trials}",
            p.verdict,
            f"{p.minutes:.0f}",
            f"{p.duplicates} ({p.conflicts} differ)" if p.duplicates else "",
        ]
        for p in participants.itertuples()
    ]
    return lines + _table(
        [
            *("listener", "items", "ratings", "anchors reversed", "verdict"),
            *("minutes", "answers sent twice"),
        ],
        rows,
    )


def build_figure(scores):
    """Draw the scores of each method with their intervals.

    Arguments
    ---------
    scores : pandas.DataFrame
        Of :class:`Analysis`.

    Returns
    -------
    figure : matplotlib.figure.Figure
        A panel per question. Filled marks: without the listeners who fail;
        hollow ones: all listeners.
    """
    scores = scores[scores.condition == "all"]
    methods = list(dict.fromkeys(scores.method))
    figure = new_figure(0.3 * len(methods) + 0.9)
    panels = figure.subplots(1, len(QUESTIONS), sharey=True)
    for axes, question in zip(panels, QUESTIONS, strict=True):
        dress(axes, "mean opinion score", RATINGS, grid="x")
        axes.set_title(SHORT[question], size=NORMAL, color=INK, loc="left")
        for row in scores[scores.question == question].to_dict("records"):
            _draw_score(axes, row, methods)
    panels[0].set_yticks(range(len(methods)), map(label_of, methods))
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    for label, method in zip(panels[0].get_yticklabels(), methods, strict=True):
        label.set_fontweight("bold" if method in MAIN else "normal")
        label.set_color(INK)
    figure.supxlabel(
        "filled: without listeners who fail the anchors; hollow: all listeners."
        " Bars: 95 % intervals over listeners and items",
        size=SMALL,
        color=INK,
    )
    return figure


def _draw_score(axes, row, methods):
    method = row["method"]
    color, *_ = style_of(YARDSTICK.get(method, method), methods)
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
