"""Curves of methods: insertion and deletion, and the sanity checks.

Each function returns a figure for
:func:`speechbrain_lmac.report.figures.style.save_figure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from speechbrain_lmac.metrics.stats import summarize
from speechbrain_lmac.report.columns import Method, in_order, method_label
from speechbrain_lmac.report.figures.style import (
    FAINT,
    add_legend,
    draw_line,
    new_figure,
    style_of,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 3.1  # inches
#: What stands for a prompt that the clip does not hold.
ABSENT = "#9aa1ad"


@styled
def build_curves_figure(
    curves: Mapping[str, Mapping[str, np.ndarray]],
) -> Figure:
    """Draw the mean insertion and deletion curves with 95 % bands.

    Arguments
    ---------
    curves : dict
        Method -> ``insertion`` and ``deletion``: probabilities of the
        explained class, 0 to 1, shape (clips, steps + 1); NaN where
        undefined. One of the two may be absent.

    Returns
    -------
    matplotlib.figure.Figure
        Panels are ``figure.axes[0:2]``; the legend gives the areas.

    Example
    -------
    >>> way = np.array([[0.0, 0.5, 1.0], [0.0, 0.3, 1.0]])
    >>> figure = build_curves_figure(
    ...     {"lmac": {"insertion": way, "deletion": 1 - way}})
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [0.0, 0.4, 1.0]
    """
    methods = in_order(curves)
    figure = new_figure(HEIGHT)
    panels = figure.subplots(1, 2, sharey=True)
    ways = (("insertion", "put in", "↑"), ("deletion", "taken out", "↓"))
    areas: dict[str, list[str]] = {method: [] for method in methods}
    for axes, (way, verb, arrow) in zip(panels, ways, strict=True):
        for method in reversed(methods):  # L-MAC last, on top
            if way not in curves[method]:
                areas[method] += ["–"]
                continue
            steps = curves[method][way].T
            points = np.array([summarize(step)[:3] for step in steps])
            share = np.linspace(0, 100, len(points))
            draw_line(axes, share, points, method, methods, band=True)
            mean = points[:, 0]
            areas[method] += [f"{(mean[1:] + mean[:-1]).mean() / 2:.2f}"]
        axes.set_xlim(0, 100)
        axes.set_xlabel(f"bins {verb}, largest mask value first (%)")
        axes.set_title(f"{way} {arrow}")
    panels[0].set_ylabel("probability of the\nexplained class")
    panels[0].set_ylim(0, 1)
    notes = {method: " / ".join(texts) for method, texts in areas.items()}
    add_legend(figure, methods, notes, "area: insertion / deletion")
    return figure


@styled
def build_randomization_figure(ssim: Mapping[str, Sequence[tuple]]) -> Figure:
    """Draw how masks change as the classifier loses its training.

    Cascading model randomisation (Adebayo et al., NeurIPS 2018): the blocks
    are re-initialised from the output down, and each mask is compared with
    that of the trained classifier. A line that stays high is of a method that
    does not explain what the classifier learned.

    Arguments
    ---------
    ssim : dict
        Method -> list of (block, mean, low, high): the structural similarity
        after this block and all before it were randomised. An ``original``
        without randomisation comes first; it is 1 and added if absent.

    Returns
    -------
    matplotlib.figure.Figure
        One panel, with a line of x positions and means per method.

    Example
    -------
    >>> figure = build_randomization_figure(
    ...     {"lmac": [("linear", 0.6, 0.5, 0.7), ("conv5", 0.2, 0.1, 0.3)]})
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['original', 'linear', 'conv5']
    """
    methods = in_order(ssim)
    start = ("original", 1.0, 1.0, 1.0)
    lines = {
        m: [*([] if ssim[m][0][0] == "original" else [start]), *ssim[m]]
        for m in methods
    }
    blocks = list(dict.fromkeys(p[0] for m in methods for p in lines[m]))
    figure = new_figure(HEIGHT)
    axes = figure.subplots()
    for method in reversed(methods):
        x = np.array([blocks.index(p[0]) for p in lines[method]], float)
        # Side by side, or intervals would hide one another.
        shift = 0.5 * ((methods.index(method) + 0.5) / len(methods) - 0.5)
        x[x > 0] += shift
        points = np.array([p[1:4] for p in lines[method]], float)
        draw_line(axes, x, points, method, methods)
    axes.set_xlabel("randomised blocks, from the output down")
    axes.set_xticks(range(len(blocks)), blocks)
    if len(blocks) > 8 or max(map(len, blocks)) > 10:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(blocks) - 0.5)
    axes.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
    axes.set_ylabel("SSIM with the original mask")
    axes.set_ylim(top=1.03)
    add_legend(figure, methods)
    return figure


@styled
def build_roar_figure(curves: Mapping[str, Sequence[tuple]]) -> Figure:
    """Draw the accuracy of classifiers retrained without what masks kept.

    ROAR, remove and retrain (Hooker et al., NeurIPS 2019): the lower the
    accuracy, the more the removed bins mattered.

    Arguments
    ---------
    curves : dict
        Method -> list of (share_removed, accuracy, low, high), all 0 to 1.

    Returns
    -------
    matplotlib.figure.Figure
        One panel in %, with a line per method.

    Example
    -------
    >>> figure = build_roar_figure({"lmac": [(0, 0.9, 0.8, 0.95),
    ...     (0.5, 0.4, 0.3, 0.5)]})
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [90.0, 40.0]
    """
    methods = in_order(curves)
    figure = new_figure(HEIGHT)
    axes = figure.subplots()
    for method in reversed(methods):
        points = 100 * np.array(curves[method], float)
        draw_line(axes, points[:, 0], points[:, 1:], method, methods)
    axes.set_xlabel("bins removed, largest mask value first (%)")
    axes.set_ylabel("accuracy after retraining (%)  ↓")
    axes.set_ylim(bottom=0)
    add_legend(figure, methods)
    return figure


@styled
def build_scatter_figure(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> Figure:
    """Draw the mask mean of each clip and prompt against their similarity.

    Prompts that name the clip's class stand out in the method's colour, on
    top of all others in grey. A method that follows the prompt rises to the
    right and keeps the two apart; one that does not is level.

    Arguments
    ---------
    pairs : dict
        Method -> (similarity, mask_mean, present): arrays of one shape, the
        last one bool, True where the clip holds what the prompt names.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per method, ``figure.axes``, with one collection of absent and
        one of present prompts.

    Example
    -------
    >>> figure = build_scatter_figure({"lmac_zs": (np.array([[0.1, 0.6]]),
    ...     np.array([[0.0, 0.4]]), np.array([[False, True]]))})
    >>> [len(c.get_offsets()) for c in figure.axes[0].collections]
    [1, 1]
    """
    methods = in_order(pairs)
    figure = new_figure(HEIGHT)
    panels = figure.subplots(
        1, len(methods), sharex=True, sharey=True, squeeze=False
    )[0]
    for axes, method in zip(panels, methods, strict=True):
        _scatter(axes, style_of(method, methods), *pairs[method])
        axes.set_title(method_label(method))
    panels[0].set_ylabel("mask mean")
    panels[0].set_ylim(bottom=0)
    return figure


def _scatter(
    axes: Axes,
    look: Method,
    similarity: np.ndarray,
    mask_mean: np.ndarray,
    present: np.ndarray,
) -> None:
    kinds = (
        ("prompt absent", ~present, ABSENT, ".", 6, 0.6),
        ("prompt present", present, look.color, look.marker, 12, 0.9),
    )
    for label, chosen, color, marker, size, alpha in kinds:
        axes.scatter(
            similarity[chosen], mask_mean[chosen], s=size, c=color, alpha=alpha,
            marker=marker, linewidths=0.5, label=label, rasterized=True,
        )  # fmt: skip
    axes.set_xlabel("similarity of prompt and clip")
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2,
        handletextpad=0.1, columnspacing=0.8, borderaxespad=0.0,
    )  # fmt: skip
    for handle in filter(None, legend.legend_handles):
        handle.set_alpha(1)
