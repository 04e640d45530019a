"""How figures look: the same colour, line and marker for a method in all.

Lines and markers tell apart what an eye or a printer does not. matplotlib
loads on first use and is driven through its objects (no pyplot).
"""

import io
from pathlib import Path

import numpy as np

from speechbrain_lmac.report.columns import (
    MAIN,
    METHOD_LABELS,
    OURS,
    YARDSTICKS,
    method_label,
)
from speechbrain_lmac.report.figures.explanation import FAINT, INK
from speechbrain_lmac.utils.files import write_atomically

FORMATS = ("png", "pdf", "svg")
WIDTH = 7.2  # inches: the text width of a page
DPI = 200
SMALL, NORMAL = 6.5, 7.5  # points

# Any two differ for protanopes and deuteranopes, too (by 11 in CIELAB or more,
# under the model of Machado et al. 2009); the warm, strong ones are L-MAC's.
STYLES = {
    "lmac": ("#d55e00", "-", "o"),
    "lmac_ft": ("#e69f00", "-", "s"),
    "lmac_zs": ("#882255", "-", "D"),
    "l2i": ("#009e73", "-.", "P"),
    "saliency": ("#56b4e9", "-", "v"),
    "smoothgrad": ("#332288", "--", "^"),
    "ig": ("#ddcc77", "-", "<"),
    "gradcam": ("#0c7bdc", "-", "X"),
    "gradcampp": ("#222255", "-.", "d"),
    "guided_gradcam": ("#666633", ":", ">"),
    "guided_backprop": ("#663333", "--", "p"),
    "shap": ("#8073ac", "-.", "h"),
    "all_ones": ("#b8bcc4", ":", "1"),
    "random": ("#7a7f89", "--", "2"),
    "ideal": ("#22252b", ":", "*"),
}
OTHERS = ("#5e4fa2", "#6b4c1e", "#4d7a8c", "#a3a500", "#8c564b")


def style_of(method, methods=()):
    """Colour, line and marker of a method, the same in all figures.

    Arguments
    ---------
    method : str
        As in the column ``method``.
    methods : sequence of str
        All methods of the figure: those that are not known share out some
        further colours in this order.

    Returns
    -------
    color, line, marker : str
        As matplotlib names them.

    Example
    -------
    >>> style_of("lmac")
    ('#d55e00', '-', 'o')
    """
    if method in STYLES:
        return STYLES[method]
    unknown = [name for name in methods if name not in STYLES]
    number = unknown.index(method) if method in unknown else 0
    lines = ("-", "--", ":", "-.")
    return OTHERS[number % len(OTHERS)], lines[number % 4], "."


def in_order(methods):
    """Methods as figures list them: L-MAC, baselines, yardsticks.

    Example
    -------
    >>> in_order(["random", "mine", "ig", "lmac"])
    ['lmac', 'ig', 'mine', 'random']
    """
    known = [name for name in METHOD_LABELS if name not in YARDSTICKS]
    known = [*OURS, *(name for name in known if name not in OURS)]

    def rank(name):
        if name in YARDSTICKS:
            return len(known) + 1 + YARDSTICKS.index(name)
        return known.index(name) if name in known else len(known)

    return sorted(dict.fromkeys(methods), key=rank)


def new_figure(height):
    """Make an empty figure as wide as the text of a page.

    Arguments
    ---------
    height : float
        In inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(WIDTH, height), dpi=DPI, facecolor="white",
        layout="constrained",
    )  # fmt: skip
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path):
    """Write a figure whole or not at all.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
        Any figure.
    path : str or pathlib.Path
        PNG, PDF or SVG; missing folders are made.

    Returns
    -------
    path : pathlib.Path

    Raises
    ------
    ValueError
        If the name ends otherwise.
    """
    path = Path(path)
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise ValueError(
            f"Expected a file name that ends with .{', .'.join(FORMATS)} but "
            f"got {path.name!r}."
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    return path


def dress(axes, label, limits, grid="both"):
    """Give a panel its grid, its small ticks and a label below.

    Arguments
    ---------
    axes : matplotlib.axes.Axes
        The panel.
    label : str or None
        Of the x axis.
    limits : tuple of float or None
        Of the x axis.
    grid : str
        "x", "y" or "both".
    """
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color="#e3e5e9", linewidth=0.5)
    axes.tick_params(labelsize=SMALL, colors=FAINT, length=2, pad=2)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
        axes.spines[side].set_color("#c3c7ce")
    if label:
        axes.set_xlabel(label, size=NORMAL, color=INK)
    if limits:
        axes.set_xlim(*limits)


def draw_line(axes, x, y, method, methods, markers=True):
    """Draw a method's line; that of L-MAC is strong.

    Arguments
    ---------
    axes : matplotlib.axes.Axes
        The panel.
    x, y : array-like
        Shape (points,).
    method : str
        Whose line it is.
    methods : sequence of str
        All methods of the figure.
    markers : bool
        Mark the points.
    """
    color, line, marker = style_of(method, methods)
    strong = method in MAIN
    axes.plot(
        x, y, color=color, linestyle=line, marker=marker if markers else "",
        markersize=5 if strong else 3.5, markeredgewidth=0.8,
        linewidth=2.2 if strong else 1.1, zorder=4 if strong else 3,
        label=method_label(method),
    )  # fmt: skip


def draw_band(axes, x, low, high, method, methods):
    """Fill the interval around a line, for L-MAC more strongly.

    Arguments
    ---------
    axes : matplotlib.axes.Axes
        The panel.
    x, low, high : array-like
        Shape (points,).
    method : str
        Whose line it is.
    methods : sequence of str
        All methods of the figure.
    """
    color, *_ = style_of(method, methods)
    axes.fill_between(
        x, low, high, color=color, linewidth=0, zorder=2,
        alpha=0.25 if method in MAIN else 0.1,
    )  # fmt: skip


def draw_points(axes, x, points, method, methods):
    """Draw a method's line through means, each with its interval.

    Arguments
    ---------
    axes : matplotlib.axes.Axes
        The panel.
    x : numpy.ndarray
        Shape (points,).
    points : list of tuple
        (anything, mean, low, high) for each x.
    method : str
        Whose line it is.
    methods : sequence of str
        All methods of the figure.
    """
    mean, low, high = np.array([p[1:4] for p in points], float).T
    draw_line(axes, x, mean, method, methods)
    color, *_ = style_of(method, methods)
    axes.vlines(
        x, low, high, color=color, zorder=3,
        linewidth=1.6 if method in MAIN else 0.8,
    )  # fmt: skip


def add_legend(figure, methods, labels, title, markers=True):
    """List the methods to the right of the panels.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
        Has a constrained layout, so that the panels make room.
    methods : sequence of str
        In the order of the list.
    labels : dict
        Method -> text.
    title : str or None
        Above the list.
    markers : bool
        Whether the lines have markers.
    """
    from matplotlib.lines import Line2D

    handles = []
    for method in methods:
        color, line, marker = style_of(method, methods)
        strong = method in MAIN
        handles += [
            Line2D(
                [], [], color=color, linestyle=line,
                marker=marker if markers else "", label=labels[method],
                markersize=5 if strong else 3.5, markeredgewidth=0.8,
                linewidth=2.2 if strong else 1.1,
            )
        ]  # fmt: skip
    legend = figure.legend(
        handles=handles, loc="outside right upper", frameon=False,
        fontsize=SMALL, handlelength=3, labelspacing=0.45, title=title,
        title_fontsize=SMALL, alignment="left", labelcolor=INK,
    )  # fmt: skip
    legend.get_title().set_color(FAINT)
    for text, method in zip(legend.get_texts(), methods, strict=True):
        text.set_fontweight("bold" if method in MAIN else "normal")
