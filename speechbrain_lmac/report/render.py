"""Templates filled in: the results as Markdown, LaTeX and one HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.report import columns
from speechbrain_lmac.report.columns import Row, method_label, result_tables

TEMPLATES = Path(__file__).parent / "templates"
LATEX = {
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


def render(template: str, **values: Any) -> str:
    """Fill in a template; HTML escapes all values, others use filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    latex: dict[str, Any] = {
        **{"block_start_string": "<%", "block_end_string": "%>"},
        **{"variable_start_string": "<<", "variable_end_string": ">>"},
        **{"comment_start_string": "<#", "comment_end_string": "#>"},
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=".html." in template,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        undefined=StrictUndefined, **(latex if ".tex." in template else {}),
    )  # fmt: skip
    environment.filters |= {
        "condition": columns.condition_label,
        "explained": columns.class_text,
        "latex": plain_latex,
        "markdown": plain_markdown,
        "method": method_label,
        "slug": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()),
    }
    names = ("BOLD", "MARK_TEST", "PROTOCOLS")
    constants = {name: getattr(columns, name) for name in names}
    return environment.get_template(template).render(constants, **values)


def tables_context(
    rows: Iterable[Row], comparisons: Sequence[Row]
) -> dict[str, Any]:
    """What a template shows of results: tables, and how to read them."""
    tables = list(result_tables(rows, comparisons))
    shown = {metric.name for table in tables for metric in table.metrics}
    methods = dict.fromkeys(name for t in tables for name in t.methods)
    labels = [(name, method_label(name)) for name in methods]
    by_title = groupby(tables, key=lambda table: table.title)
    return {
        "tables": tables,
        "groups": [list(group) for _, group in by_title],
        "folded": {table.protocol for table in tables} - {"published"},
        "legend": [m for name, m in METRICS.items() if name in shown],
        "names": [(name, label) for name, label in labels if name != label],
        "marks": _meanings(comparisons),
    }


def _meanings(comparisons: Sequence[Row]) -> dict[str, str]:
    """What each mark means; empty without comparisons."""
    first = comparisons[0].get("first", "lmac") if comparisons else None
    return {
        mark: meaning.format(method_label(first))
        for mark, meaning in columns.MARKS.items()
        if first
    }


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
    return re.sub(r"[\\|*<`\[]", r"\\\g<0>", text)


def plain_latex(text: object) -> str:
    r"""Text that LaTeX prints as it is, on one line.

    Example
    -------
    >>> print(plain_latex("50 % of a_b & {c}"))
    50 \% of a\_b \& \{c\}
    """
    return "".join(LATEX.get(c, c) for c in " ".join(str(text).split()))
