"""The figures of an evaluation: metrics, curves and sanity checks.

Each figure has a ``build_*`` that returns it and a ``save_*`` that writes it;
:mod:`speechbrain_lmac.report.figures.style` gives every method its look.
"""

import numpy as np

from speechbrain_lmac.metrics.stats import summarize
from speechbrain_lmac.report.columns import method_label
from speechbrain_lmac.report.figures.bars import (
    build_bars_figure,
    save_bars_figure,
)
from speechbrain_lmac.report.figures.style import (
    FAINT,
    INK,
    NORMAL,
    add_legend,
    draw_band,
    draw_line,
    draw_points,
    dress,
    in_order,
    new_figure,
    save_figure,
)

__all__ = [
    "build_bars_figure",
    "build_curves_figure",
    "build_randomization_figure",
    "build_roar_figure",
    "save_bars_figure",
    "save_curves_figure",
    "save_randomization_figure",
    "save_roar_figure",
]


def build_curves_figure(curves):
    """Draw the mean insertion and deletion curves with 95 % bands.

    Arguments
    ---------
    curves : dict
        Method -> ``insertion`` and ``deletion``: probabilities of the
        explained class, 0 to 1, shape (clips, steps + 1); NaN where
        undefined. One of the two may be absent.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Panels are ``figure.axes[0:2]``; the legend gives the areas.

    Raises
    ------
    ValueError
        If there is no curve, or one is not (clips, steps + 1).

    Example
    -------
    >>> way = np.array([[0.0, 0.5, 1.0], [0.0, 0.3, 1.0]])
    >>> figure = build_curves_figure(
    ...     {"lmac": {"insertion": way, "deletion": 1 - way}})
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [0.0, 0.4, 1.0]
    """
    methods = _check_methods(curves)
    figure = new_figure(3.1)
    panels = figure.subplots(1, 2, sharey=True)
    ways = (("insertion", "put in", "↑"), ("deletion", "taken out", "↓"))
    areas = {method: [] for method in methods}
    for axes, (way, verb, arrow) in zip(panels, ways, strict=True):
        for method in reversed(methods):  # L-MAC last, on top
            values = _check_curves(curves[method].get(way), method, way)
            if values is None:
                areas[method] += ["–"]
                continue
            area = _draw_curve(axes, values, method, methods)
            areas[method] += [f"{area:.2f}"]
        dress(axes, f"bins {verb}, largest mask value first (%)", (0, 100))
        axes.set_title(f"{way} {arrow}", loc="left", size=NORMAL, color=INK)
    panels[0].set_ylabel(
        "probability of the\nexplained class", size=NORMAL, color=INK
    )
    panels[0].set_ylim(0, 1)
    labels = {m: f"{method_label(m)}  {' / '.join(areas[m])}" for m in methods}
    add_legend(figure, methods, labels, "area: insertion / deletion", False)
    return figure


def _draw_curve(axes, values, method, methods):
    """Draw a mean curve with its band; return the area below it."""
    points = [summarize(column) for column in values.T]
    mean, low, high = (
        np.array([getattr(point, name) for point in points])
        for name in ("mean", "low", "high")
    )
    share = np.linspace(0, 100, len(points))
    draw_line(axes, share, mean, method, methods, markers=False)
    draw_band(axes, share, low, high, method, methods)
    return (mean[1:] + mean[:-1]).mean() / 2


def save_curves_figure(path, curves):
    """Draw and save insertion and deletion curves.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG, PDF or SVG.
    curves : dict
        As for :func:`build_curves_figure`.

    Returns
    -------
    path : pathlib.Path
    """
    return save_figure(build_curves_figure(curves), path)


def build_randomization_figure(ssim):
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
    figure : matplotlib.figure.Figure
        One panel, with a line of x positions and means per method.

    Raises
    ------
    ValueError
        If there is no method.

    Example
    -------
    >>> figure = build_randomization_figure(
    ...     {"lmac": [("linear", 0.6, 0.5, 0.7), ("conv5", 0.2, 0.1, 0.3)]})
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['original', 'linear', 'conv5']
    """
    methods = _check_methods(ssim)
    start = ("original", 1.0, 1.0, 1.0)
    points = {
        method: [
            *(
                []
                if [p[0] for p in ssim[method][:1]] == ["original"]
                else [start]
            ),
            *ssim[method],
        ]
        for method in methods
    }
    blocks = list(dict.fromkeys(p[0] for m in methods for p in points[m]))
    figure = new_figure(3.1)
    axes = figure.subplots()
    for method in reversed(methods):
        x = np.array([blocks.index(p[0]) for p in points[method]], float)
        # Side by side, or intervals would hide one another.
        shift = 0.5 * ((methods.index(method) + 0.5) / len(methods) - 0.5)
        x[x > 0] += shift
        draw_points(axes, x, points[method], method, methods)
    dress(axes, "randomised blocks, from the output down", None)
    axes.set_xticks(range(len(blocks)), blocks)
    turned = len(blocks) > 8 or max(map(len, blocks)) > 10
    if turned:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(blocks) - 0.5)
    axes.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
    axes.set_ylabel("SSIM with the original mask", size=NORMAL, color=INK)
    axes.set_ylim(top=1.03)
    add_legend(figure, methods, {m: method_label(m) for m in methods}, None)
    return figure


def save_randomization_figure(path, ssim):
    """Draw and save the similarities under model randomisation.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG, PDF or SVG.
    ssim : dict
        As for :func:`build_randomization_figure`.

    Returns
    -------
    path : pathlib.Path
    """
    return save_figure(build_randomization_figure(ssim), path)


def build_roar_figure(curves):
    """Draw the accuracy of classifiers retrained without what masks kept.

    ROAR, remove and retrain (Hooker et al., NeurIPS 2019): the lower the
    accuracy, the more the removed bins mattered.

    Arguments
    ---------
    curves : dict
        Method -> list of (share_removed, accuracy, low, high), all 0 to 1.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel in %, with a line per method.

    Raises
    ------
    ValueError
        If there is no method, or a share lies outside 0 to 1.

    Example
    -------
    >>> figure = build_roar_figure({"lmac": [(0, 0.9, 0.8, 0.95),
    ...     (0.5, 0.4, 0.3, 0.5)]})
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [90.0, 40.0]
    """
    methods = _check_methods(curves)
    figure = new_figure(3.1)
    axes = figure.subplots()
    for method in reversed(methods):
        points = [(p[0], *(100 * v for v in p[1:])) for p in curves[method]]
        if any(not 0 <= share <= 1 for share, *_ in points):
            raise ValueError(
                f"Expected shares of `{method}` from 0 to 1 but got "
                f"{[share for share, *_ in points]}."
            )
        x = 100 * np.array([share for share, *_ in points], float)
        draw_points(axes, x, points, method, methods)
    dress(axes, "bins removed, largest mask value first (%)", None)
    axes.set_ylabel("accuracy after retraining (%)  ↓", size=NORMAL, color=INK)
    axes.set_ylim(bottom=0)
    add_legend(figure, methods, {m: method_label(m) for m in methods}, None)
    return figure


def save_roar_figure(path, curves):
    """Draw and save the curves of remove and retrain.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG, PDF or SVG.
    curves : dict
        As for :func:`build_roar_figure`.

    Returns
    -------
    path : pathlib.Path
    """
    return save_figure(build_roar_figure(curves), path)


def _check_methods(values):
    if not values:
        raise ValueError("Expected at least one method but got none.")
    return in_order(values)


def _check_curves(values, method, way):
    if values is None:
        return None
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"Expected the {way} curves of `{method}` of shape (clips, steps "
            f"+ 1) but got {values.shape}."
        )
    return values
