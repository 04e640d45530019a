r"""Result tables for a paper: LaTeX with booktabs, in L-MAC's layout.

The published tables (Paissan et al., ICML 2024, arXiv 2403.13086) have a line
per method and a column per metric. The file is a snippet for ``\input`` in a
document that loads booktabs and graphicx.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from speechbrain_lmac.report.columns import (
    MARK_TEST,
    MARKS,
    METHODS,
    PROTOCOLS,
    Cell,
    Row,
    Table,
    as_number,
    condition_label,
    method_label,
    result_tables,
)
from speechbrain_lmac.utils.files import write_atomically

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    # After the end of a line, these would be read as its arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
# Narrow tables keep their size, wide ones shrink to the width of the page.
FIT = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"


def write_latex(
    rows: Sequence[Row],
    path: str | os.PathLike,
    title: str = "Results",
    comparisons: Iterable[Row] = (),
) -> None:
    r"""Write tables for a paper, one of each kind per condition and protocol.

    The best mean of each column is bold; ``all_ones`` and ``ideal`` are not
    ranked. Superscripts: \* and + where L-MAC is significantly better or
    worse than the method of the line, u where some clips have no value.

    Arguments
    ---------
    rows : sequence of dict
        Of :func:`speechbrain_lmac.report.tables.row_from_summaries`.
    path : str or pathlib.Path
        The file. It needs ``\usepackage{booktabs,graphicx}``.
    title : str
        Begins each caption.
    comparisons : iterable of dict
        Of :func:`speechbrain_lmac.metrics.comparison.compare_with_lmac`.

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
    lines = [r"% \usepackage{booktabs,graphicx}"]
    for table in result_tables(rows, comparisons):
        lines += ["", *_float(table, title)]
    write_atomically(path, "\n".join(lines) + "\n")


def escape(text: object) -> str:
    r"""Make a text that LaTeX prints as it is, on one line.

    Example
    -------
    >>> print(escape("50 % of a_b & {c}"))
    50 \% of a\_b \& \{c\}
    """
    return "".join(ESCAPES.get(c, c) for c in " ".join(str(text).split()))


def _float(table: Table, title: str) -> list[str]:
    row = table.rows[0]
    protocol = row.get("protocol") or "published"
    facts = [f"{row.get('n_clips')} clips"]
    facts += [f"accuracy {as_number(row.get('accuracy')):.3f}"]
    caption = (
        f"{title}. {table.caption}: {row.get('dataset')}, "
        f"{condition_label(row.get('condition', ''))} ({', '.join(facts)}), "
        f"{row.get('mask_domain')} mask, {PROTOCOLS.get(protocol, protocol)}."
    )
    names = [table.caption, *map(row.get, ("dataset", "condition"))]
    names += [row.get("mask_domain"), protocol]
    label = re.sub(r"[^a-z0-9]+", "-", "-".join(map(str, names)).lower())
    body: list[str] = []
    previous = None
    # Stable: unknown methods keep their order, before L-MAC.
    for k in sorted(range(len(table.rows)), key=lambda k: _place(table, k)):
        if previous not in (None, kind := _place(table, k)[0]):
            body += [r"\midrule"]
        previous = kind
        method = method_label(table.rows[k].get("method", ""))
        cells = [_cell(cell) for cell in table.frame.iloc[k]]
        body += [" & ".join([escape(method), *cells]) + r" \\"]
    return [
        *(f"% {m.name}: {m.meaning}" for m in table.metrics),
        *(r"\begin{table*}", r"\centering"),
        *(rf"\caption{{{escape(caption)}}}", rf"\label{{tab:{label}}}"),
        *(r"\smallskip", FIT),
        rf"\begin{{tabular}}{{l{'r' * len(table.metrics)}}}",
        r"\toprule",
        " & ".join(map(escape, ["Method", *table.frame.columns])) + r" \\",
        r"\midrule",
        *body,
        *(r"\bottomrule", r"\end{tabular}%", "}"),
        r"\par\smallskip\parbox{\textwidth}{\footnotesize",
        _legend(table) + "}",
        r"\end{table*}",
    ]  # fmt: skip


def _place(table: Table, k: int) -> tuple[int, int]:
    """Baselines first, then L-MAC, then the yardsticks."""
    name = table.rows[k].get("method")
    if name not in METHODS:
        return 0, len(METHODS)
    kind = {"baseline": 0, "yardstick": 2}.get(METHODS[name].role, 1)
    return kind, list(METHODS).index(name)


def _cell(cell: Cell) -> str:
    if cell.mean == "undefined":
        return "--"
    text = cell.mean.replace("-", "$-$")
    text = rf"\textbf{{{text}}}" if cell.best else text
    above = cell.mark + r"\mathrm{u}" * bool(cell.undefined)
    # \rlap: the figures of a column stay aligned.
    return text + (rf"\rlap{{$^{{{above}}}$}}" if above else "")


def _legend(table: Table) -> str:
    """What the table uses."""
    cells = [cell for line in table.frame.to_numpy() for cell in line]
    parts = [r"Means over clips. \textbf{Bold}: best of the column; all ones "
             "and the ideal ratio mask are not ranked."]  # fmt: skip
    used = {cell.mark for cell in cells}
    meanings = [rf"$^{{{m}}}$ {MARKS[m]}" for m in MARKS if m in used]
    if meanings:
        test = MARK_TEST.replace("<", "$<$")
        parts += [f"{'; '.join(meanings)} ({test})."]
    if any(c.undefined and c.mean != "undefined" for c in cells):
        parts += [r"$^{\mathrm{u}}$ some clips have no value."]
    if any(c.mean == "undefined" for c in cells):
        parts += ["--: no clip has a value."]
    return " ".join(parts)
