"""Figure of mask means against similarities, one panel per method.

matplotlib loads on first use and is driven through its objects (no pyplot).
"""

import numpy as np

from speechbrain_lmac.report.columns import method_label
from speechbrain_lmac.report.figures.explanation import FAINT, INK
from speechbrain_lmac.report.figures.style import (
    NORMAL,
    SMALL,
    dress,
    in_order,
    new_figure,
    save_figure,
    style_of,
)

#: What stands for a prompt that the clip does not hold.
ABSENT = "#9aa1ad"


def build_scatter_figure(pairs):
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
    figure : matplotlib.figure.Figure
        A panel per method, ``figure.axes``, with one collection of absent and
        one of present prompts.

    Raises
    ------
    ValueError
        If there is no method, or the shapes differ.

    Example
    -------
    >>> figure = build_scatter_figure({"lmac_zs": (np.array([[0.1, 0.6]]),
    ...     np.array([[0.0, 0.4]]), np.array([[False, True]]))})
    >>> [len(c.get_offsets()) for c in figure.axes[0].collections]
    [1, 1]
    """
    if not pairs:
        raise ValueError("Expected at least one method but got none.")
    methods = in_order(pairs)
    figure = new_figure(3.1)
    panels = figure.subplots(
        1, len(methods), sharex=True, sharey=True, squeeze=False
    )[0]
    for axes, method in zip(panels, methods, strict=True):
        _draw_panel(axes, method, methods, *_check(method, pairs[method]))
    panels[0].set_ylabel("mask mean", size=NORMAL, color=INK)
    panels[0].set_ylim(bottom=0)
    return figure


def save_scatter_figure(path, pairs):
    """Draw and save the mask means against the similarities.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG, PDF or SVG.
    pairs : dict
        As for :func:`build_scatter_figure`.

    Returns
    -------
    path : pathlib.Path
    """
    return save_figure(build_scatter_figure(pairs), path)


def _check(method, arrays):
    similarity, mask_mean, present = (np.asarray(a) for a in arrays)
    if not similarity.shape == mask_mean.shape == present.shape:
        raise ValueError(
            f"Expected arrays of one shape for `{method}` but got "
            f"{similarity.shape}, {mask_mean.shape} and {present.shape}."
        )
    return similarity, mask_mean, present.astype(bool)


def _draw_panel(axes, method, methods, similarity, mask_mean, present):
    color, _, marker = style_of(method, methods)
    kinds = (
        ("prompt absent", ~present, ABSENT, ".", 6, 0.6),
        ("prompt present", present, color, marker, 12, 0.9),
    )
    for label, chosen, shade, shape, size, alpha in kinds:
        axes.scatter(
            similarity[chosen], mask_mean[chosen], s=size, c=shade, alpha=alpha,
            marker=shape, linewidths=0, label=label, rasterized=True,
        )  # fmt: skip
    dress(axes, "similarity of prompt and clip", None)
    axes.set_title(method_label(method), loc="left", size=NORMAL, color=INK)
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, frameon=False,
        fontsize=SMALL, handletextpad=0.1, columnspacing=0.8,
        borderaxespad=0.0, labelcolor=FAINT,
    )  # fmt: skip
    for handle in legend.legend_handles:
        handle.set_alpha(1)
