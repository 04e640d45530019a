"""Bars of an evaluation's metrics, for all methods and conditions at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from speechbrain_lmac.metrics.table import METRICS, Metric
from speechbrain_lmac.report.columns import (
    PROTOCOLS,
    SUFFIXES,
    Row,
    as_number,
    condition_label,
    in_order,
    method_label,
)
from speechbrain_lmac.report.figures.style import (
    FAINT,
    INK,
    new_figure,
    set_weight,
    style_of,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def build_bars_figure(
    rows: Sequence[Row],
    metrics: Sequence[str] = ("AI", "AD", "AG", "FF", "Fid-In"),
) -> Figure:
    """Draw means with 95 % intervals: a column per metric, a line per method.

    Conditions stand one below the other, on common scales.

    Arguments
    ---------
    rows : sequence of dict
        Of :func:`speechbrain_lmac.report.tables.row_from_summaries`, of one
        data set, mask domain and protocol.
    metrics : sequence of str
        Names of METRICS.

    Returns
    -------
    matplotlib.figure.Figure
        ``figure.axes`` holds the panels row by row: for each condition, in
        the order of the rows, one per metric. A panel's patches are the bars
        of the methods that have a mean, in the order of the labels.

    Example
    -------
    >>> row = {"condition": "clean", "method": "lmac", "AI": 50.0,
    ...     "AI_low": 40.0, "AI_high": 60.0}
    >>> figure = build_bars_figure([row], ["AI"])
    >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
    [50.0]
    """
    chosen = [METRICS[name] for name in metrics]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.get("condition", "")), []).append(row)
    methods = in_order(str(row["method"]) for row in rows)
    inches = 0.115 * len(methods) + 0.22
    figure = new_figure(len(groups) * inches + 0.75)
    panels = figure.subplots(
        len(groups), len(chosen), sharex="col", sharey=True, squeeze=False
    )
    for line, (condition, group) in zip(panels, groups.items(), strict=True):
        for axes, metric in zip(line, chosen, strict=True):
            _draw_bars(axes, group, metric, methods)
        for label, method in zip(
            line[0].get_yticklabels(), methods, strict=True
        ):
            set_weight(label, method)
        line[-1].annotate(
            f"{condition_label(condition)}\n{_clips(group)}", (1, 0.5), (6, 0),
            "axes fraction", "offset points", rotation=-90, va="center",
            ha="left", multialignment="center",
        )  # fmt: skip
    for axes, metric in zip(panels[0], chosen, strict=True):
        axes.set_title(metric.title, loc="center", size="large")
    row = rows[0]
    protocol = row.get("protocol") or "published"
    domain = row.get("mask_domain")
    texts = (row.get("dataset"), domain and f"{domain} mask",
             PROTOCOLS.get(protocol, protocol))  # fmt: skip
    title = ", ".join(text for text in texts if text)
    figure.suptitle(title, size="medium", color=FAINT)
    return figure


def _clips(group: Sequence[Row]) -> str:
    counts = {row["n_clips"] for row in group if row.get("n_clips")}
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low}–{high}'} clips"


def _draw_bars(
    axes: Axes, group: Sequence[Row], metric: Metric, methods: Sequence[str]
) -> None:
    """One panel: a bar with its interval per method that has a mean."""
    rows = {str(row["method"]): row for row in group}
    for position, method in enumerate(methods):
        mean, low, high, undefined = (
            as_number(rows.get(method, {}).get(metric.name + suffix))
            for suffix in SUFFIXES
        )
        if not np.isfinite(mean):
            axes.annotate(
                "undefined" if undefined > 0 else "–", (0, position), (2, 0),
                textcoords="offset points", va="center", size="small",
                color=FAINT,
            )  # fmt: skip
            continue
        color = style_of(method, methods).color
        axes.barh(position, mean, 0.72, color=color, zorder=2)
        # A white edge, so that the interval is seen on dark bars.
        for color, width in (("white", 1.8), (INK, 0.8)):
            axes.plot(
                [low, high], [position, position], color=color, zorder=3,
                linewidth=width, solid_capstyle="butt", snap=False,
            )  # fmt: skip
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_yticks(range(len(methods)), [method_label(m) for m in methods])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.axvline(0, color=FAINT, linewidth=0.6, zorder=1)
