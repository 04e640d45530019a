"""Result tables as CSV, Markdown, LaTeX and text.

:mod:`speechbrain_lmac.report.columns` describes rows and cells.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from speechbrain_lmac.metrics.stats import Summary
from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.report.columns import META, SUFFIXES, Cell, Row
from speechbrain_lmac.report.render import render, tables_context
from speechbrain_lmac.utils.files import write_atomically

#: Captions of the tables on a terminal.
SCREEN_CAPTIONS = {
    "On the masked spectrogram": "on spectra",
    "On the sound that people hear": "as heard",
    "Another classifier": "judge",
    "The sources of the mixture": "sources",
    "When": "when",
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
    rows: Iterable[Row],
    path: str | os.PathLike,
    title: str = "Results",
    comparisons: Sequence[Row] = (),
) -> None:
    """Write a readable table per condition and kind, with a legend.

    Cells read "mean [low, high]". The best mean of each column, at the
    printed precision, is bold; ``all_ones`` and ``ideal`` are not ranked. A
    "*" or "+" beside a mean says that the evaluated interpreter is
    significantly better or worse than the method of the line.

    Arguments
    ---------
    rows : iterable of dict
        Of :func:`row_from_summaries`.
    path : str or pathlib.Path
        The file.
    title : str
        The heading.
    comparisons : sequence of dict
        Of :func:`speechbrain_lmac.metrics.comparison.compare_with`.
    """
    context = tables_context(rows, comparisons)
    write_atomically(path, render("results.md.j2", title=title, **context))


def write_latex(
    rows: Iterable[Row],
    path: str | os.PathLike,
    title: str = "Results",
    comparisons: Sequence[Row] = (),
) -> None:
    r"""Write tables for a paper in L-MAC's layout, for booktabs and graphicx.

    Arguments
    ---------
    rows, title, comparisons
        As for :func:`write_markdown`; the title begins each caption. A
        superscript u says that some clips have no value.
    path : str or pathlib.Path
        The file, a snippet for ``\input``.
    """
    context = tables_context(rows, comparisons)
    write_atomically(path, render("results.tex.j2", title=title, **context))


def format_screen(rows: Iterable[Row]) -> str:
    """Format the means as text tables for a terminal of 100 columns.

    Arguments
    ---------
    rows : iterable of dict
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
    from pandas import DataFrame

    context = tables_context(rows, ())
    lines: list[str] = []
    for group in context["groups"]:
        lines += [_cut(group[0].title, SCREEN_WIDTH)]
        lines += [_cut(group[0].facts, SCREEN_WIDTH)]
        for table in group:
            cells = [list(map(_screen_cell, row)) for row in table.cells]
            names = [_cut(name, MAX_NAME) for name in table.methods]
            heads = [f" {metric.label}" for metric in table.metrics]
            frame = DataFrame(cells, names, heads)
            frame.columns.name = SCREEN_CAPTIONS[table.caption]
            lines += frame.to_string(line_width=SCREEN_WIDTH).splitlines()
        lines += [""]
    metrics = context["legend"]
    lower = dict.fromkeys(m.label for m in metrics if m.direction < 0)
    neither = [m.label for m in metrics if not m.direction]
    text = "higher is better"
    text += f", lower for {', '.join(lower)}" if lower else ""
    text += f", neither for {', '.join(neither)}" if neither else ""
    lines += textwrap.wrap(text, SCREEN_WIDTH)
    tables = context["tables"]
    if any(cell.best for t in tables for cells in t.cells for cell in cells):
        lines += ["* best of its column (all_ones and ideal are not ranked)"]
    if any(table.undefined for table in tables):
        lines += ["u some clips have no value (counts in the CSV)"]
    return "\n".join(line.rstrip() for line in lines)


def _screen_cell(cell: Cell) -> str:
    if not cell.interval:
        return cell.mean.replace("undefined", "undef")
    return cell.mean + "*" * cell.best + "u" * bool(cell.undefined)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
