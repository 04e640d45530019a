"""Result tables as CSV, Markdown and text: a row per condition and method.

:mod:`speechbrain_lmac.report.columns` describes rows and cells.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from speechbrain_lmac.metrics.stats import Summary
from speechbrain_lmac.metrics.table import METRICS, Metric
from speechbrain_lmac.report.columns import (
    BOLD,
    MARK_TEST,
    MARKS,
    META,
    SUFFIXES,
    Cell,
    Row,
    Table,
    method_label,
    result_tables,
)
from speechbrain_lmac.utils.files import write_atomically

#: Captions of the tables on a terminal.
SCREEN_CAPTIONS = {
    "On the masked spectrogram": "on spectra",
    "On the sound that people hear": "as heard",
    "The sources of the mixture": "sources",
    "Insertion and deletion curves": "curves",
}
SCREEN_WIDTH = 100
MAX_NAME = 20


def row_from_summaries(
    meta: Row, summaries: Mapping[str, Summary]
) -> dict[str, object]:
    """Make a row of results from the statistics of a method.

    Arguments
    ---------
    meta : dict
        ``dataset``, ``condition``, ``mask_domain``, ``method``, ``n_clips``,
        ``accuracy`` (the classifier's on these clips, 0 to 1) and more.
    summaries : dict of str to Summary
        By the name of the metric; a known one that is absent leaves blanks.

    Returns
    -------
    dict

    Example
    -------
    >>> summary = Summary(50.0, 20.0, 80.0, 8, 0)
    >>> row = row_from_summaries({"method": "lmac"}, {"AI": summary})
    >>> row["AI"], row["AI_low"], row["AI_undefined"], row["SI-SDR_gain"]
    (50.0, 20.0, 0, None)
    """
    row = dict(meta)
    for name in dict.fromkeys([*METRICS, *summaries]):
        values: list[float | None] = [None] * 4
        if name in summaries:
            mean, low, high, _, n_undefined = summaries[name]
            values = [float(mean), float(low), float(high), int(n_undefined)]
        row.update(zip([name + s for s in SUFFIXES], values, strict=True))
    return row


def write_csv(rows: Iterable[Row], path: str | os.PathLike) -> None:
    """Write rows with all digits, known columns first.

    Arguments
    ---------
    rows : iterable of dict
        Of :func:`row_from_summaries`. None and NaN become blank cells;
        ``NAME_undefined`` tells them apart.
    path : str or pathlib.Path
        The file.
    """
    from pandas import DataFrame

    frame = DataFrame(list(rows), dtype=object)
    columns = [*META, *(name + s for name in METRICS for s in SUFFIXES)]
    columns += [name for name in frame.columns if name not in columns]
    text = frame.reindex(columns=columns).to_csv(index=False)
    write_atomically(path, text)


def write_markdown(
    rows: Sequence[Row],
    path: str | os.PathLike,
    title: str = "Results",
    comparisons: Iterable[Row] = (),
) -> None:
    """Write a readable table per condition, with a legend.

    Cells read "mean [low, high]". The best mean of each column, at the
    printed precision, is bold; ``all_ones`` and ``ideal`` are not ranked. A
    "*" or "+" beside a mean says that L-MAC is significantly better or worse
    than the method of the line.

    Arguments
    ---------
    rows : sequence of dict
        Of :func:`row_from_summaries`.
    path : str or pathlib.Path
        The file.
    title : str
        The heading.
    comparisons : iterable of dict
        Of :func:`speechbrain_lmac.metrics.comparison.compare_with_lmac`.
    """
    comparisons = list(comparisons)
    tables = list(result_tables(rows, comparisons))
    lines = [f"# {plain_markdown(title)}"]
    for name, group in groupby(tables, key=lambda table: table.title):
        parts = list(group)
        lines += ["", f"## {plain_markdown(name)}", ""]
        lines += [plain_markdown(parts[0].facts)]
        for table in parts:
            lines += ["", f"### {table.caption}", ""]
            lines += markdown_table(
                ["method", *table.frame.columns],
                [
                    [plain_markdown(method), *map(_markdown_cell, cells)]
                    for method, cells in table.lines
                ],
            )
    lines += ["", "## Legend", "", *_legend(tables, bool(comparisons))]
    write_atomically(path, "\n".join(lines) + "\n")


def format_screen(rows: Sequence[Row]) -> str:
    """Format the means as text tables for a terminal of 100 columns.

    Arguments
    ---------
    rows : sequence of dict
        Of :func:`row_from_summaries`.

    Returns
    -------
    str
        Plain ASCII, as far as the names are.

    Example
    -------
    >>> print(format_screen([dict(dataset="ESC-10", condition="clean",
    ...     mask_domain="stft", method="lmac", n_clips=8, accuracy=0.75,
    ...     AI=50.0, AI_low=20.0, AI_high=80.0, AI_undefined=0)]))
    ESC-10, clean, stft mask
    8 clips; classifier accuracy 0.750
    on spectra    AI
    lmac        50.0
    <BLANKLINE>
    higher is better
    """
    tables = list(result_tables(rows))
    lines: list[str] = []
    for title, group in groupby(tables, key=lambda table: table.title):
        parts = list(group)
        lines += [_cut(title, SCREEN_WIDTH), _cut(parts[0].facts, SCREEN_WIDTH)]
        for table in parts:
            frame = table.frame.map(_screen_cell)
            frame.columns = [f" {metric.label}" for metric in table.metrics]
            frame.columns.name = SCREEN_CAPTIONS[table.caption]
            frame.index = [
                _cut(str(row.get("method", "")), MAX_NAME) for row in table.rows
            ]
            lines += frame.to_string().splitlines()
        lines += [""]
    metrics = _shown(tables)
    lower = dict.fromkeys(m.label for m in metrics if m.direction < 0)
    neither = [m.label for m in metrics if not m.direction]
    text = "higher is better"
    text += f", lower for {', '.join(lower)}" if lower else ""
    text += f", neither for {', '.join(neither)}" if neither else ""
    lines += [text]
    cells = [cell for table in tables for _, row in table.lines for cell in row]
    if any(cell.best for cell in cells):
        lines += ["* best of its column (all_ones and ideal are not ranked)"]
    if any(cell.interval and cell.undefined for cell in cells):
        lines += ["u some clips have no value (counts in the CSV)"]
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(
    head: Sequence[str], lines: Iterable[Sequence[str]]
) -> list[str]:
    r"""Lines of a Markdown table: names to the left, figures to the right.

    Example
    -------
    >>> print("\n".join(markdown_table(["method", "AI"], [["lmac", "50.0"]])))
    | method | AI |
    |---|---:|
    | lmac | 50.0 |
    """
    texts = ["| " + " | ".join(line) + " |" for line in [head, *lines]]
    return [texts[0], "|---" + "|---:" * (len(head) - 1) + "|", *texts[1:]]


def plain_markdown(text: object) -> str:
    r"""Text that changes neither the table nor the page that it stands in.

    Example
    -------
    >>> print(plain_markdown("a|b *"))
    a\|b \*
    """
    text = " ".join(str(text).split())
    for character in "\\|*<`[":
        text = text.replace(character, "\\" + character)
    return text


def _shown(tables: Iterable[Table]) -> list[Metric]:
    """Metrics that are in some table, in the order of METRICS."""
    names = {metric.name for table in tables for metric in table.metrics}
    return [metric for name, metric in METRICS.items() if name in names]


def _markdown_cell(cell: Cell) -> str:
    mean = f"**{cell.mean}**" if cell.best else cell.mean
    count = f"({cell.undefined})" if cell.undefined else ""
    parts = (mean + plain_markdown(cell.mark), cell.interval, count)
    return " ".join(filter(None, parts))


def _screen_cell(cell: Cell) -> str:
    if not cell.interval:
        return cell.mean.replace("undefined", "undef")
    return cell.mean + "*" * cell.best + "u" * bool(cell.undefined)


def _legend(tables: list[Table], marked: bool) -> list[str]:
    lines = [f"- Cells: mean over clips [95 % interval]. {BOLD}"]
    if marked:
        meanings = [f"{plain_markdown(m)} {text}" for m, text in MARKS.items()]
        lines += [f"- {'; '.join(meanings)}: {MARK_TEST}."]
    names = dict.fromkeys(
        str(row.get("method", "")) for table in tables for row in table.rows
    )
    labels = [
        f"{plain_markdown(method_label(name))} is {plain_markdown(name)}"
        for name in names
        if method_label(name) != name
    ]
    if labels:
        lines += [f"- Names in the CSV files: {', '.join(labels)}."]
    for metric in _shown(tables):
        column = f" ({metric.name} in the CSV files)"
        column = "" if metric.name == metric.label else column
        lines += [f"- {metric.title}: {metric.meaning}{column}."]
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
