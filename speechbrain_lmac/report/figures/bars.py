"""Bars of an evaluation's metrics, for all methods and conditions at once."""

from pathlib import Path

import numpy as np

from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.report.columns import (
    MAIN,
    PROTOCOL_LABELS,
    condition_label,
    group_rows,
    method_label,
)
from speechbrain_lmac.report.figures.style import (
    FAINT,
    INK,
    NORMAL,
    SMALL,
    dress,
    in_order,
    new_figure,
    save_figure,
    style_of,
)
from speechbrain_lmac.utils.files import safe_name


def build_bars_figure(rows, metrics=("AI", "AD", "AG", "FF", "Fid-In")):
    """Draw means with 95 % intervals: a column per metric, a line per method.

    Conditions stand one below the other, on common scales.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`speechbrain_lmac.report.tables.row_from_summaries`, of
        one data set, mask domain and protocol.
    metrics : sequence of str
        Names of METRICS.

    Returns
    -------
    figure : matplotlib.figure.Figure
        ``figure.axes`` holds the panels row by row: for each condition, in
        the order of the rows, one per metric. A panel's patches are the bars
        of the methods that have a mean, in the order of the labels.

    Raises
    ------
    ValueError
        If there is no row, a metric is unknown, or the rows are of several
        data sets, mask domains or protocols, or name a method twice.

    Example
    -------
    >>> row = {"condition": "clean", "method": "lmac", "AI": 50.0,
    ...     "AI_low": 40.0, "AI_high": 60.0}
    >>> figure = build_bars_figure([row], ["AI"])
    >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
    [50.0]
    """
    chosen = _check_metrics(metrics)
    groups = group_rows(rows)
    _check_groups(groups)
    methods = in_order(str(row["method"]) for row in rows)
    inches = 0.115 * len(methods) + 0.22
    figure = new_figure(len(groups) * inches + 0.75)
    panels = figure.subplots(
        len(groups), len(chosen), sharex="col", sharey=True, squeeze=False
    )
    for line, group in zip(panels, groups, strict=True):
        for axes, metric in zip(line, chosen, strict=True):
            _draw_bars(axes, group, metric, methods)
        for label, method in zip(
            line[0].get_yticklabels(), methods, strict=True
        ):
            label.set_fontweight("bold" if method in MAIN else "normal")
        condition = condition_label(group[0].get("condition", ""))
        line[-1].annotate(
            f"{condition}\n{_clips(group)}", (1, 0.5), (6, 0),
            "axes fraction", "offset points", rotation=-90, va="center",
            ha="left", size=NORMAL, color=INK, multialignment="center",
        )  # fmt: skip
    for axes, metric in zip(panels[0], chosen, strict=True):
        axes.set_title(metric.title, size=NORMAL + 1, color=INK, pad=4)
    figure.suptitle(_describe(groups[0]), size=NORMAL, color=FAINT)
    return figure


def save_bars_figure(path, rows, metrics=("AI", "AD", "AG", "FF", "Fid-In")):
    """Draw the metrics of methods and conditions, and save the figures.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG, PDF or SVG. Rows of several data sets, mask domains or protocols
        make several files, with what tells them apart added to the name.
    rows : list of dict
        As for :func:`build_bars_figure`, of any protocols.
    metrics : sequence of str
        Names of METRICS.

    Returns
    -------
    paths : list of pathlib.Path

    Example
    -------
    >>> rows = [{"condition": "clean", "method": "lmac", "protocol": name,
    ...     "AI": 50.0} for name in ("published", "loudness")]
    >>> folder = getfixture("tmpdir")
    >>> [p.name for p in save_bars_figure(folder / "a.png", rows, ["AI"])]
    ['a_published.png', 'a_loudness.png']
    """
    path, parts = Path(path), {}
    for row in rows:
        parts.setdefault(_family(row), []).append(row)
    # The names that are not the same for all rows.
    telling = [len(set(names)) > 1 for names in zip(*parts, strict=True)]
    paths = []
    for names, part in parts.items():
        names = [n for n, told in zip(names, telling, strict=True) if told]
        stem = safe_name("_".join(map(str, [path.stem, *names])))
        figure = build_bars_figure(part, metrics)
        paths += [save_figure(figure, path.with_name(stem + path.suffix))]
    return paths


def _check_metrics(names):
    unknown = [name for name in names if name not in METRICS]
    if unknown or not len(names):
        raise ValueError(
            f"Expected some of the metrics {', '.join(METRICS)} but got "
            f"{unknown or 'none'}."
        )
    return [METRICS[name] for name in names]


def _family(row):
    protocol = row.get("protocol") or "published"
    return row.get("dataset"), row.get("mask_domain"), protocol


def _check_groups(groups):
    found = {_family(row) for group in groups for row in group}
    if len(found) != 1:
        raise ValueError(
            "Expected rows of one data set, mask domain and protocol but got "
            f"{sorted(map(str, found))}."
        )
    for group in groups:
        methods = [row["method"] for row in group]
        if len(set(methods)) < len(methods):
            raise ValueError(
                f"Expected each method once but got {', '.join(methods)} "
                f"under {group[0].get('condition')}."
            )


def _describe(group):
    dataset, mask_domain, protocol = _family(group[0])
    named = f"{mask_domain} mask" if mask_domain else None
    texts = (dataset, named, PROTOCOL_LABELS.get(protocol, protocol))
    return ", ".join(text for text in texts if text)


def _clips(group):
    counts = {row["n_clips"] for row in group if row.get("n_clips")}
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low}–{high}'} clips"


def _draw_bars(axes, group, metric, methods):
    """One panel: a bar with its interval per method that has a mean."""
    rows = {str(row["method"]): row for row in group}
    for position, method in enumerate(methods):
        mean, low, high = (
            _number(rows.get(method, {}).get(metric.name + suffix))
            for suffix in ("", "_low", "_high")
        )
        if not np.isfinite(mean):
            text = "undefined" if _undefined(rows, method, metric) else "–"
            axes.annotate(
                text, (0, position), (2, 0), textcoords="offset points",
                va="center", size=SMALL, color=FAINT,
            )  # fmt: skip
            continue
        color, *_ = style_of(method, methods)
        axes.barh(position, mean, 0.72, color=color, zorder=2)
        if np.isfinite(low) and np.isfinite(high):
            # A white edge, so that it is seen on dark bars.
            for color, width in (("white", 1.8), (INK, 0.8)):
                axes.plot(
                    [low, high], [position, position], color=color, zorder=3,
                    linewidth=width, solid_capstyle="butt", snap=False,
                )  # fmt: skip
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_yticks(range(len(methods)), [method_label(m) for m in methods])
    dress(axes, None, None, "x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.axvline(0, color=FAINT, linewidth=0.6, zorder=1)


def _undefined(rows, method, metric):
    return _number(rows.get(method, {}).get(f"{metric.name}_undefined")) > 0


def _number(value):
    return float("nan") if value is None or value == "" else float(value)
