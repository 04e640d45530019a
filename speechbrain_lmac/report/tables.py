"""Result tables: one row per condition and method, as CSV, Markdown or text.

The rows and their columns are described in :mod:`speechbrain_lmac.report`.
"""

import csv
import io

from speechbrain_lmac.metrics.table import (
    CURVES,
    HEARD,
    METRICS,
    SOURCES,
    SPECTRA,
    TABLES,
)
from speechbrain_lmac.report.columns import (
    BOLD_LEGEND,
    META,
    SUFFIXES,
    best_rows,
    cell,
    group_facts,
    group_rows,
    group_title,
    method_label,
    present_metrics,
)
from speechbrain_lmac.report.significance import (
    MARK_TEST,
    MARKS,
    mark_of,
    significance_marks,
)
from speechbrain_lmac.utils.files import write_atomically

SCREEN_WIDTH = 100
MIN_NAME = 12


def row_from_summaries(meta, summaries):
    """Make one row from the statistics of one method under one condition.

    Arguments
    ---------
    meta : dict
        The values of ``dataset``, ``condition``, ``mask_domain``, ``method``,
        ``n_clips`` and ``accuracy`` (the classifier's on these clips, 0 to 1);
        further keys are kept.
    summaries : dict
        Metric name to ``Summary(mean, low, high, n, n_undefined)``; a known
        metric that is absent leaves blank cells.

    Returns
    -------
    row : dict
        Plain Python values.

    Raises
    ------
    ValueError
        If a key of ``meta`` is missing.

    Example
    -------
    >>> from speechbrain_lmac.metrics.stats import Summary
    >>> meta = dict(dataset="ESC-10", condition="clean", mask_domain="stft",
    ...     method="lmac", n_clips=8, accuracy=0.75)
    >>> row = row_from_summaries(
    ...     meta, {"AI": Summary(50.0, 20.0, 80.0, 8, 0)})
    >>> row["AI"], row["AI_low"], row["AI_undefined"], row["SI-SDR_gain"]
    (50.0, 20.0, 0, None)
    """
    missing = [key for key in META if key not in meta]
    if missing:
        raise ValueError(
            f"Expected `meta` with the keys {', '.join(META)} but got none "
            f"for {', '.join(missing)}."
        )
    row = dict(meta)
    known = list(METRICS)
    for name in known + [name for name in summaries if name not in known]:
        summary = summaries.get(name)
        values = (None,) * 4
        if summary is not None:
            values = (
                float(summary.mean),
                float(summary.low),
                float(summary.high),
                int(summary.n_undefined),
            )
        for suffix, value in zip(SUFFIXES, values, strict=True):
            row[name + suffix] = value
    return row


def write_csv(rows, path):
    """Write rows as CSV with the full precision and a fixed column order.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`row_from_summaries`. Keys beyond the known columns
        come last, in the order in which they appear.
    path : str or pathlib.Path
        The file, written whole or not at all. None and NaN become blank
        cells; ``NAME_undefined`` tells them apart.
    """
    columns = list(META)
    columns += [name + suffix for name in METRICS for suffix in SUFFIXES]
    extra = dict.fromkeys(key for row in rows for key in row)
    columns += [key for key in extra if key not in columns]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: "" if _is_nan(row[key]) else row[key] for key in row}
        )
    write_atomically(path, buffer.getvalue())


def write_markdown(rows, path, title="Results", notes=(), comparisons=()):
    """Write a readable table per condition, with a legend.

    Cells read "mean [low, high]". The best mean of each column, at the
    printed precision, is bold; ``all_ones`` and ``ideal`` are not ranked. A
    "*" or "+" beside a mean says that L-MAC is significantly better or worse
    than the method of the row.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`row_from_summaries`.
    path : str or pathlib.Path
        The file, written whole or not at all.
    title : str
        The heading.
    notes : str or list of str
        Facts that belong to the numbers (models, seed, variant of AD), one
        list item each.
    comparisons : list of dict
        Rows of :func:`speechbrain_lmac.metrics.comparison.compare_with_lmac`,
        for the marks.
    """
    marks = significance_marks(comparisons)
    lines = [f"# {_markdown(title)}", ""]
    lines += [f"- {_markdown(note)}" for note in note_list(notes)]
    for group in group_rows(rows):
        lines += ["", f"## {_markdown(group_title(group))}", ""]
        lines += [_markdown(group_facts(group))]
        for caption, metrics in TABLES:
            columns = present_metrics(group, metrics)
            if columns:
                lines += ["", f"### {caption}", ""]
                lines += _markdown_table(group, columns, marks)
    lines += ["", "## Legend", "", f"- {BOLD_LEGEND}"]
    lines += _markdown_legend(rows, comparisons)
    lines += [
        f"- {m.title}: {m.meaning}{_column(m)}." for m in present_metrics(rows)
    ]
    write_atomically(path, "\n".join(lines) + "\n")


def format_screen(rows):
    """Format the means as a compact text table of at most 100 columns.

    The text is plain ASCII (as far as the names are), so that it prints on
    any terminal. The intervals are in the CSV.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`row_from_summaries`.

    Returns
    -------
    text : str
        Lines joined with newlines, without a final one.

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
    higher is better, except AD, COMP, interferer kept (lower) and MM (neither)
    """
    lines, marks = [], set()
    for group in group_rows(rows):
        lines += [_cut(group_title(group), SCREEN_WIDTH)]
        lines += [_cut(group_facts(group), SCREEN_WIDTH)]
        blocks = (
            ("on spectra", SPECTRA),
            ("as heard", HEARD),
            ("sources", SOURCES),
            ("curves", CURVES),
        )
        for caption, metrics in blocks:
            columns = present_metrics(group, metrics)
            if columns:
                lines += _screen_block(group, columns, caption, marks)
        lines.append("")
    deletion = "deletion, " if present_metrics(rows, CURVES[1:]) else ""
    lines += [f"higher is better, except AD, COMP, {deletion}interferer kept "
              "(lower) and MM (neither)"]  # fmt: skip
    if "*" in marks:
        lines += ["* best of its column (all_ones and ideal are not ranked)"]
    if "u" in marks:
        lines += ["u some clips have no value (counts in the CSV)"]
    return "\n".join(lines)


def note_list(notes):
    """Return notes as a list: one string is one note.

    Arguments
    ---------
    notes : str or list of str or None
        The notes.

    Returns
    -------
    notes : list of str
    """
    return [notes] if isinstance(notes, str) else list(notes or ())


def _is_nan(value):
    return isinstance(value, float) and value != value


def _markdown(text):
    """Keep names from changing the table or the page that they stand in."""
    text = " ".join(str(text).split())
    for character in "\\|*<`[":
        text = text.replace(character, "\\" + character)
    return text


def _column(metric):
    return "" if metric.name == metric.label else f" ({metric.name} in the CSV)"


def _markdown_legend(rows, comparisons):
    """Explain the marks, and what the CSV files call the methods."""
    lines = []
    if comparisons:
        meanings = "; ".join(
            f"{_markdown(mark)} {meaning}" for mark, meaning in MARKS.items()
        )
        lines += [f"- {meanings}: {MARK_TEST}."]
    names = dict.fromkeys(str(row.get("method", "")) for row in rows)
    labels = [
        f"{_markdown(method_label(name))} is {_markdown(name)}"
        for name in names
        if method_label(name) != name
    ]
    if labels:
        lines += [f"- Names in the CSV files: {', '.join(labels)}."]
    return lines


def _markdown_table(group, columns, marks):
    titles = ["method"] + [_markdown(metric.title) for metric in columns]
    lines = ["| " + " | ".join(titles) + " |"]
    lines += ["|---" + "|---:" * len(columns) + "|"]
    best = [best_rows(group, metric) for metric in columns]
    for position, row in enumerate(group):
        texts = [_markdown(method_label(row.get("method", "")))]
        for metric, winners in zip(columns, best, strict=True):
            mean, interval, undefined = cell(row, metric)
            mean = f"**{mean}**" if position in winners else mean
            mean += _markdown(mark_of(row, metric, marks)) if mean else ""
            count = f"({undefined})" if undefined else ""
            texts += [" ".join(filter(None, (mean, interval, count)))]
        lines += ["| " + " | ".join(texts) + " |"]
    return lines


def _screen_block(group, columns, caption, marks):
    """Align one block; the marks that it uses are added to ``marks``."""
    table = [[metric.label for metric in columns]]
    best = [best_rows(group, metric) for metric in columns]
    for position, row in enumerate(group):
        texts = []
        for metric, winners in zip(columns, best, strict=True):
            mean, _, undefined = cell(row, metric)
            mark = ("*" if position in winners else "") + (
                "u" if undefined and mean != "undefined" else ""
            )
            marks.update(mark)
            texts += [mean.replace("undefined", "undef") + mark]
        table += [texts]
    widths = [2 + max(map(len, column)) for column in zip(*table, strict=True)]
    # Long names give way to the numbers.
    room = max(SCREEN_WIDTH - 2 - sum(widths), MIN_NAME)
    names = [str(row.get("method", "")) for row in group]
    names = [_cut(name, room) for name in [caption, *names]]
    room = max(map(len, names))
    return [
        "  " + name.ljust(room) + "".join(map(str.rjust, texts, widths))
        for name, texts in zip(names, table, strict=True)
    ]


def _cut(text, width):
    return text if len(text) <= width else text[: width - 3] + "..."
