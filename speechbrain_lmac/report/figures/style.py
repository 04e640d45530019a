"""How figures look: the same colour, line and marker for a method in all.

matplotlib loads on first use and is driven through its objects (no pyplot), so
that figures can be made in any process, with or without a display.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.report.columns import METHODS, Method, method_label
from speechbrain_lmac.report.render import TEMPLATES
from speechbrain_lmac.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

WIDTH = 7.2  # inches: the text width of a page
INK, FAINT = "#22252b", "#6b7280"
FONT = "DejaVu Sans"  # comes with matplotlib
STYLE = TEMPLATES / "figures.mplstyle"
#: For methods that are not in METHODS.
OTHERS = ("#5e4fa2", "#6b4c1e", "#4d7a8c", "#a3a500", "#8c564b")


def styled(build: Callable[P, T]) -> Callable[P, T]:
    """Let a function build its figure in the common style."""

    @wraps(build)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        from matplotlib import rc_context

        with rc_context(fname=STYLE):
            return build(*args, **kwargs)

    return inner


def new_figure(height: float, dpi: float | None = None) -> Figure:
    """An empty figure as wide as the text of a page; height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure whole or not at all.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
        Of one of the ``build_*`` functions.
    path : str or pathlib.Path
        PNG, PDF or SVG, by its suffix; missing folders are made.

    Returns
    -------
    pathlib.Path
    """
    from matplotlib import rc_context

    _find_fonts(figure)
    buffer = io.BytesIO()
    with rc_context(fname=STYLE):  # ticks are made when they are drawn
        figure.savefig(buffer, format=Path(path).suffix[1:].lower())
    write_atomically(path, buffer.getvalue())
    return Path(path)


def style_of(method: str, methods: Sequence[str] = ()) -> Method:
    """Label, colour, line and marker of a method, the same in all figures.

    ``methods`` are all of the figure: those that are not known share out some
    further colours in this order.

    Example
    -------
    >>> style_of("lmac").color, style_of("mine").color
    ('#d55e00', '#5e4fa2')
    """
    if method in METHODS:
        return METHODS[method]
    unknown = [name for name in methods if name not in METHODS]
    k = unknown.index(method) if method in unknown else 0
    line = ("-", "--", ":", "-.")[k % 4]
    return Method(method, "unknown", OTHERS[k % len(OTHERS)], line, ".")


def draw_line(
    axes: Axes,
    x: np.ndarray,
    points: np.ndarray,
    method: str,
    methods: Sequence[str],
    band: bool = False,
) -> None:
    """A method's line through (points, 3): mean, low, high; L-MAC's is strong.

    Intervals are a band, or bars beside markers.
    """
    look = style_of(method, methods)
    strong = look.role == "main"
    mean, low, high = points.T
    axes.plot(
        x, mean, color=look.color, linestyle=look.line,
        marker="" if band else look.marker, markersize=5 if strong else 3.5,
        markeredgewidth=0.8, linewidth=2.2 if strong else 1.1,
        zorder=4 if strong else 3, label=look.label,
    )  # fmt: skip
    if band:
        axes.fill_between(
            x, low, high, color=look.color, linewidth=0, zorder=2,
            alpha=0.25 if strong else 0.1,
        )  # fmt: skip
    else:
        axes.vlines(
            x, low, high, color=look.color, zorder=3,
            linewidth=1.6 if strong else 0.8,
        )  # fmt: skip


def add_legend(
    figure: Figure,
    methods: Sequence[str],
    notes: dict[str, str] | None = None,
    title: str | None = None,
) -> None:
    """List the methods of the first panel's lines to the right of all."""
    handles = {line.get_label(): line for line in figure.axes[0].lines}
    handles |= {line.get_label(): line for line in figure.axes[-1].lines}
    labels = [method_label(method) for method in methods]
    shown = [f"{x}  {notes[m]}" if notes else x
             for m, x in zip(methods, labels, strict=True)]  # fmt: skip
    legend = figure.legend(
        [handles[label] for label in labels], shown, handlelength=3,
        loc="outside right upper", labelspacing=0.45, title=title,
        alignment="left",
    )  # fmt: skip
    legend.get_title().set_color(FAINT)
    for text, method in zip(legend.get_texts(), methods, strict=True):
        set_weight(text, method)


def set_weight(text: Any, method: str) -> None:
    """Write the name of a method, L-MAC's in bold."""
    text.set_fontweight("bold" if style_of(method).role == "main" else "normal")


def _find_fonts(figure: Figure) -> None:
    """Write CJK in a font that has it, or as codes, rather than as boxes."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        content = text.get_text()
        if content.isascii():
            continue
        fonts = [FONT if c.isspace() else _font_with(c) for c in content]
        if not all(fonts):
            _advise()
        families = dict.fromkeys(filter(None, [FONT, *fonts]))
        text.set_fontfamily(list(families))
        shown = [
            c if font else c.encode("unicode_escape").decode()
            for c, font in zip(content, fonts, strict=True)
        ]
        text.set_text("".join(shown))


@cache
def _advise() -> None:
    logger.warning(
        "Figures show codes instead of letters that no installed font has; "
        "install one, such as Noto Sans CJK, to read them."
    )


@cache
def _font_with(character: str) -> str:
    """Family of a font that has a character; empty if none has."""
    from matplotlib.font_manager import get_font

    for font in _fonts():
        if get_font(font.fname).get_char_index(ord(character)):
            return font.name
    return ""


@cache
def _fonts() -> list[Any]:
    """Upright fonts for text; matplotlib's own first, CJK next."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    # matplotlib keeps a list, without what was installed after it was made.
    listed = {font.fname for font in fontManager.ttflist}
    for path in set(findSystemFonts()) - listed:
        with contextlib.suppress(Exception):  # not every font can be read
            fontManager.addfont(path)

    def rank(font: Any) -> tuple:
        return font.name != FONT, "CJK JP" not in font.name, font.name

    # Those that matplotlib brings for formulas, and boxes as a last resort.
    odd = ("STIX", "cm", "Last")
    fonts = [
        font
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight == 400
        if not font.name.startswith(odd)
    ]
    return sorted(fonts, key=rank)
