r"""Result tables for a paper: LaTeX with booktabs, in L-MAC's layout.

The published tables (Paissan et al., ICML 2024, arXiv 2403.13086) have a line
per method and the metrics of several conditions side by side. The file is a
snippet for ``\input`` in a document that loads booktabs and graphicx.
"""

import re

from speechbrain_lmac.metrics.table import TABLES
from speechbrain_lmac.report.columns import (
    METHOD_LABELS,
    OURS,
    PROTOCOL_LABELS,
    YARDSTICKS,
    best_rows,
    cell,
    condition_label,
    group_rows,
    method_label,
    present_metrics,
)
from speechbrain_lmac.report.significance import (
    MARK_TEST,
    MARKS,
    mark_of,
    significance_marks,
)
from speechbrain_lmac.report.tables import note_list
from speechbrain_lmac.utils.files import write_atomically

# What fits on a page: columns of figures across, lines down.
MAX_COLUMNS = 16
MAX_COLUMNS_WITH_INTERVALS = 8
MAX_LINES = 48

ARROWS = {-1: r" $\downarrow$", 0: "", 1: r" $\uparrow$"}
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After the end of a line, these would be read as its arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
# Narrow tables keep their size, wide ones shrink to the width of the page.
FIT = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"


def write_latex(
    rows, path, title="Results", comparisons=(), notes=(), intervals=False
):
    r"""Write tables for a paper, for each protocol one of each kind.

    Conditions stand side by side as far as they fit, the others below. The
    best mean of each column is bold; ``all_ones`` and ``ideal`` are not
    ranked. Superscripts: \* and + where L-MAC is significantly better or
    worse than the method of the line, u where some clips have no value.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`speechbrain_lmac.report.tables.row_from_summaries`.
    path : str or pathlib.Path
        The file, written whole or not at all. It needs
        ``\usepackage{booktabs,graphicx}``.
    title : str
        Begins each caption.
    comparisons : list of dict
        Rows of :func:`speechbrain_lmac.metrics.comparison.compare_with_lmac`,
        for the marks.
    notes : str or list of str
        Facts that belong to the numbers, shown below each table.
    intervals : bool
        Show the 95 % intervals beside the means; conditions then stand one
        below the other.

    Example
    -------
    >>> path = getfixture("tmpdir") / "results.tex"
    >>> write_latex([{"dataset": "ESC-10", "condition": "clean",
    ...     "mask_domain": "stft", "method": "lmac", "n_clips": 8,
    ...     "accuracy": 0.75, "AI": 50.0}], path)
    >>> lines = path.read_text("utf-8").splitlines()
    >>> print(lines[lines.index(r"\midrule") + 1])
    L-MAC & 50.0 \\
    """
    marks = significance_marks(comparisons)
    lines = [f"% {_one_line(title)}", r"% \usepackage{booktabs,graphicx}"]
    for groups in _by_protocol(rows):
        together = [row for group in groups for row in group]
        for caption, metrics in TABLES:
            columns = present_metrics(together, metrics)
            if columns:
                shown = [g for g in groups if present_metrics(g, columns)]
                head = f"{escape(title)}. {caption}, {_describe(groups[0])}"
                key = (caption, *_names(groups[0]))
                legend = _legend(together, columns, marks, intervals, notes)
                lines += _floats(
                    shown, columns, marks, intervals, head, key, legend
                )
    write_atomically(path, "\n".join(lines) + "\n")


def escape(text):
    r"""Make a text that LaTeX prints as it is.

    Arguments
    ---------
    text : str
        Any text; white space becomes single spaces.

    Returns
    -------
    text : str

    Example
    -------
    >>> print(escape("50 % of a_b & {c}"))
    50 \% of a\_b \& \{c\}
    """
    return "".join(ESCAPES.get(c, c) for c in _one_line(text))


def _one_line(text):
    return " ".join(str(text).split())


def _by_protocol(rows):
    """Groups of :func:`group_rows`, those that share all but the condition."""
    tables = {}
    for group in group_rows(rows):
        tables.setdefault(_names(group), []).append(group)
    return tables.values()


def _names(group):
    row = group[0]
    protocol = row.get("protocol") or "published"
    return row.get("dataset"), row.get("mask_domain"), protocol


def _describe(group):
    dataset, mask_domain, protocol = _names(group)
    text = f"{dataset}, {mask_domain} mask, "
    return escape(text + PROTOCOL_LABELS.get(protocol, protocol))


def _floats(groups, columns, marks, intervals, head, key, legend):
    """Tables of one kind, as many as the height of a page asks for."""
    limit = MAX_COLUMNS_WITH_INTERVALS if intervals else MAX_COLUMNS
    across = max(1, limit // len(columns))
    across = min(across, len(groups))
    pages, height = [], MAX_LINES
    for start in range(0, len(groups), across):
        block = _block(
            groups[start : start + across], columns, across, marks, intervals
        )
        if height + len(block) > MAX_LINES:
            pages, height = [*pages, []], 0
        pages[-1].append(block)
        height += len(block)
    lines = ["", f"% {key[0]}"]
    lines += [f"% {m.name}: {m.meaning}" for m in columns]
    for number, blocks in enumerate(pages):
        caption = head + (" (continued)." if number else ".")
        label = _label(*key, *([str(number + 1)] if number else []))
        lines += [
            *(r"\begin{table*}", r"\centering"),
            *(rf"\caption{{{caption}}}", rf"\label{{{label}}}"),
            *(r"\smallskip", FIT),
            rf"\begin{{tabular}}{{l{'r' * (across * len(columns))}}}",
            r"\toprule",
        ]
        for position, block in enumerate(blocks):
            lines += ([r"\midrule"] if position else []) + block
        lines += [
            *(r"\bottomrule", r"\end{tabular}%", "}"),
            rf"\par\smallskip\parbox{{\textwidth}}{{\footnotesize {legend}}}",
            r"\end{table*}",
        ]
    return lines


def _block(groups, columns, across, marks, intervals):
    """Lines of the conditions that stand side by side; blank where none is."""
    n = len(columns)
    spare = across - len(groups)
    top = [rf"\multicolumn{{{n}}}{{c}}{{{_condition(g)}}}" for g in groups]
    top += [rf"\multicolumn{{{n}}}{{c}}{{}}"] * spare
    rules = [
        rf"\cmidrule(lr){{{2 + k * n}-{1 + (k + 1) * n}}}"
        for k in range(len(groups))
    ]
    heads = [_heading(m) for m in columns] * len(groups) + [""] * (n * spare)
    lines = [_line("", *top), "".join(rules), _line("Method", *heads)]
    cells = [_cells(group, columns, marks, intervals) for group in groups]
    blank = [""] * n
    kind = None
    for method, number in _ordered(cells):
        # A rule before L-MAC, and one before the yardsticks.
        if kind != (kind := _rank(method)[0]):
            lines += [r"\midrule"]
        texts = [c.get((method, number), blank) for c in cells] + [
            blank
        ] * spare
        lines += [_line(escape(method_label(method)), *sum(texts, []))]
    return lines


def _line(*texts):
    return " & ".join(texts) + r" \\"


def _heading(metric):
    # The suffix of what is heard stands in the caption.
    name = metric.name if metric.name in PUBLISHED else metric.label
    return escape(name) + ARROWS[metric.direction]


PUBLISHED = {metric.name for metric in TABLES[0][1]}


def _condition(group):
    clips = _span([int(row.get("n_clips") or 0) for row in group], "d")
    accuracy = _span([float(row.get("accuracy") or 0) for row in group], ".3f")
    name = escape(condition_label(group[0].get("condition", "")))
    return f"{name} ({clips} clips, accuracy {accuracy})"


def _span(values, form):
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}--{high}"


def _rank(method):
    """Baselines first, then L-MAC, then the yardsticks."""
    kind = 1 if method in OURS else 2 if method in YARDSTICKS else 0
    known = list(METHOD_LABELS)
    return kind, known.index(method) if method in known else len(known)


def _ordered(cells):
    keys = dict.fromkeys(key for part in cells for key in part)
    # Stable: unknown methods keep their order.
    return sorted(keys, key=lambda key: _rank(key[0]))


def _cells(group, columns, marks, intervals):
    """Texts of a condition by method; a repeated method has a number."""
    best = [best_rows(group, metric) for metric in columns]
    texts, seen = {}, {}
    for position, row in enumerate(group):
        method = str(row.get("method", ""))
        seen[method] = seen.get(method, 0) + 1
        texts[method, seen[method]] = [
            _cell(
                row, metric, position in winners, mark_of(row, metric, marks),
                intervals,
            )
            for metric, winners in zip(columns, best, strict=True)
        ]  # fmt: skip
    return texts


def _cell(row, metric, is_best, mark, intervals):
    mean, interval, undefined = cell(row, metric)
    if not mean:
        return ""
    if mean == "undefined":
        return "--"
    text = _minus(mean)
    text = rf"\textbf{{{text}}}" if is_best else text
    above = mark + (r"\mathrm{u}" if undefined else "")
    if above:
        # \rlap: the figures of a column stay aligned.
        above = f"$^{{{above}}}$"
        text += above if intervals else rf"\rlap{{{above}}}"
    if intervals and interval:
        text += rf" {{\scriptsize {_minus(escape(interval))}}}"
    return text


def _minus(text):
    return text.replace("-", "$-$")


def _legend(rows, columns, marks, intervals, notes):
    """The text below a table: only what the table uses."""
    parts = ["Means over clips"]
    parts[0] += r" with 95\,\% intervals." if intervals else "."
    parts += [r"\textbf{Bold}: best of the column; all ones and the ideal "
              "ratio mask are not ranked."]  # fmt: skip
    used = {mark_of(row, m, marks) for row in rows for m in columns} - {""}
    if used:
        meanings = "; ".join(
            rf"$^{{{mark}}}$ {MARKS[mark]}" for mark in MARKS if mark in used
        )
        # "<" is a sign of mathematics only.
        test = MARK_TEST.replace("<", "$<$")
        parts += [f"{meanings} ({test})."]
    cells = [cell(row, metric) for row in rows for metric in columns]
    if any(undefined and mean != "undefined" for mean, _, undefined in cells):
        parts += [r"$^{\mathrm{u}}$ some clips have no value."]
    if any(mean == "undefined" for mean, _, _ in cells):
        parts += ["--: no clip has a value."]
    for note in note_list(notes):
        parts += [escape(note) + ("" if str(note).endswith(".") else ".")]
    return " ".join(parts)


def _label(*names):
    text = "-".join(str(name) for name in names).lower()
    return "tab:" + re.sub(r"[^a-z0-9]+", "-", text).strip("-")
