"""The figures of an evaluation: what is drawn equals what was measured."""

import itertools

import numpy as np
import pytest
from report_toys import NAN, make_row

from speechbrain_lmac.metrics.stats import summarize
from speechbrain_lmac.report.columns import METHODS, in_order
from speechbrain_lmac.report.figures import style
from speechbrain_lmac.report.figures.bars import build_bars_figure
from speechbrain_lmac.report.figures.plots import (
    build_curves_figure,
    build_randomization_figure,
    build_roar_figure,
    build_scatter_figure,
)
from speechbrain_lmac.report.figures.style import (
    new_figure,
    save_figure,
    style_of,
    styled,
)

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex  # noqa: E402

NAMES = ("AI", "AD", "AG", "FF", "Fid-In")


def many_rows(methods=METHODS, conditions=("clean", "white_noise", "speech")):
    """Distinct means for all methods, conditions and metrics."""
    return [
        make_row(
            method, condition,
            AI=50 + i + j, AD=30 - i, AG=j + i, FF=i / 50 - 0.1, Fid_In=i / 20,
        )
        for j, condition in enumerate(conditions)
        for i, method in enumerate(methods)
        if (method, condition) != ("ideal", "clean")
    ]  # fmt: skip


def label_texts(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def overlaps(texts):
    """Pairs of texts of a drawn figure whose boxes touch."""
    texts = [t for t in texts if t.get_visible() and t.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    return [
        (a.get_text(), b.get_text())
        for (a, box), (b, other) in itertools.combinations(
            zip(texts, boxes, strict=True), 2
        )
        if box.overlaps(other)
    ]


def all_texts(figure):
    """Titles, labels, ticks and notes of a figure."""
    figure.canvas.draw()  # settles the ticks
    texts = [*figure.texts]  # with the title of all panels
    for axes in figure.axes:
        texts += [axes.title, axes._left_title, axes.xaxis.label]
        texts += [axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            texts += [
                tick.label1
                for tick in axis.get_major_ticks()
                if tick.label1.get_visible()
                and axis.get_view_interval()[0] <= tick.get_loc()
                and tick.get_loc() <= axis.get_view_interval()[1]
            ]
    for legend in figure.legends:
        texts += [legend.get_title(), *legend.get_texts()]
    return texts


def test_bars_are_as_long_as_the_means():
    rows = many_rows()
    figure = build_bars_figure(rows)
    assert len(figure.axes) == 3 * len(NAMES)
    panels = iter(figure.axes)
    for condition in ("clean", "white_noise", "speech"):
        group = {r["method"]: r for r in rows if r["condition"] == condition}
        order = [m for m in in_order(METHODS) if m in group]
        for name in NAMES:
            axes = next(panels)
            widths = [bar.get_width() for bar in axes.patches]
            assert widths == [group[m][name] for m in order]
            colors = [to_hex(bar.get_facecolor()) for bar in axes.patches]
            assert colors == [METHODS[m].color for m in order]
            # make_row's intervals are the mean - 1 and + 1; each is drawn
            # twice, for its edge.
            lines = {tuple(line.get_xdata()) for line in axes.lines[:-1]}
            ends = {(group[m][name] - 1, group[m][name] + 1) for m in order}
            assert lines == ends


def test_bars_stand_beside_their_labels():
    rows = [row | {"protocol": "equal_mean"} for row in many_rows(
        ["random", "ig", "lmac"])]  # fmt: skip
    figure = build_bars_figure(rows)
    assert "mean of the interpreter's" in figure._suptitle.get_text()
    assert figure.axes[1].get_title() == "AD ↓"
    assert figure.axes[4].texts[-1].get_text() == "Clean\n8 clips"
    axes = figure.axes[0]
    assert label_texts(axes) == ["L-MAC", "Integrated Gradients", "Random"]
    centers = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert centers == pytest.approx(list(axes.get_yticks()))
    # The first label is at the top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    bold = [text.get_fontweight() for text in axes.get_yticklabels()]
    assert bold == ["bold", "normal", "normal"]


def test_undefined_and_absent_means_have_no_bar():
    rows = [make_row("lmac", SPS=0.5), make_row("ig", SPS=NAN)]
    rows += [make_row("shap", AI=5)]
    rows[1]["SPS_undefined"] = 8
    axes = build_bars_figure(rows, ["SPS"]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5]
    assert label_texts(axes)[1:] == ["Integrated Gradients", "GradientSHAP"]
    notes = {text.xy[1]: text.get_text() for text in axes.texts[:-1]}
    assert notes == {1: "undefined", 2: "–"}


def test_nothing_overlaps_with_all_methods_and_conditions():
    conditions = ("clean", "mixtures", "white_noise")
    figure = build_bars_figure(many_rows(conditions=conditions))
    assert overlaps(all_texts(figure)) == []
    assert figure.get_size_inches()[1] < 10.7  # a page


def test_curves_are_the_means_with_their_intervals():
    """And the legend gives the areas below them."""
    ours = np.array([[0.0, 0.5, 1.0], [0.0, 0.7, 1.0], [NAN] * 3])
    curves = {
        "ig": {"insertion": np.random.default_rng(0).random((30, 3))},
        "lmac": {"insertion": ours, "deletion": np.array([[1.0, 0.2, 0.0]])},
    }
    figure = build_curves_figure(curves)
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["L-MAC"].get_ydata(), [0, 0.6, 1])
    np.testing.assert_allclose(lines["L-MAC"].get_xdata(), [0, 50, 100])
    other = lines["Integrated Gradients"]
    assert other.get_color() == METHODS["ig"].color
    assert lines["L-MAC"].get_linewidth() > other.get_linewidth()
    # L-MAC is drawn last: its band, too.
    outline = axes.collections[-1].get_paths()[0].vertices[:, 1]
    middle = summarize(ours[:, 1])
    assert {middle.low, middle.high} <= set(outline)
    first, second = [t.get_text() for t in figure.legends[0].get_texts()]
    # (0 + 0.6) / 4 + (0.6 + 1) / 4 = 0.55; (1 + 0.2 + 0.2 + 0) / 4 = 0.35
    assert first == "L-MAC  0.55 / 0.35"
    assert second.startswith("Integrated Gradients  0.")
    assert second.endswith(" / –")


def test_randomization_begins_with_the_original():
    ssim = {
        "lmac": [("linear", 0.5, 0.4, 0.7), ("conv5", 0.1, -0.1, 0.2)],
        "ig": [("original", 1.0, 1.0, 1.0), ("linear", 0.9, 0.8, 1.0)],
    }
    [axes] = build_randomization_figure(ssim).axes
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["original", "linear", "conv5"]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["L-MAC"].get_ydata().tolist() == [1.0, 0.5, 0.1]
    # Beside the ticks, so that intervals do not hide one another.
    x = lines["L-MAC"].get_xdata()
    assert x.round().tolist() == [0, 1, 2]
    assert x[1] != lines["Integrated Gradients"].get_xdata()[1]
    ends = [
        sorted(path.vertices[:, 1])
        for collection in axes.collections
        for path in collection.get_paths()
    ]
    assert [0.4, 0.7] in ends and [-0.1, 0.2] in ends and [0.8, 1.0] in ends
    assert axes.get_ylim()[0] < -0.1


def test_roar_is_drawn_in_percent():
    points = [(0.0, 0.9, 0.85, 0.95), (0.5, 0.6, 0.5, 0.7), (0.9, 0.1, 0, 0.2)]
    [axes] = build_roar_figure({"lmac": points, "random": points[:2]}).axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["L-MAC"].get_xdata(), [0, 50, 90])
    np.testing.assert_allclose(lines["L-MAC"].get_ydata(), [90, 60, 10])
    assert len(lines["Random"].get_xdata()) == 2
    assert axes.get_ylim()[0] == 0


def line_figures():
    """The figures with lines, with all methods."""
    rng = np.random.default_rng(0)
    clips = {
        m: {"insertion": rng.random((4, 3)), "deletion": rng.random((4, 3))}
        for m in METHODS
    }
    blocks = ["linear", *(f"convolution_block_{i}" for i in range(10))]
    ssim = {m: [(b, 0.5, 0.4, 0.6) for b in blocks] for m in METHODS}
    roar = {m: [(s, 0.5, 0.4, 0.6) for s in (0.1, 0.5)] for m in METHODS}
    return [
        (build_curves_figure, clips),
        (build_randomization_figure, ssim),
        (build_roar_figure, roar),
    ]


@pytest.mark.parametrize("build, values", line_figures())
def test_line_figures_with_all_methods(build, values, tmp_path):
    figure = build(values)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0].startswith("L-MAC")
    assert len(names) == len(METHODS)
    # Turned labels have boxes that overlap where their letters do not.
    texts = [t for t in all_texts(figure) if t.get_rotation() != 30]
    assert overlaps(texts) == []
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        path = save_figure(figure, tmp_path / "new" / f"a.{kind}")
        assert path.read_bytes().startswith(start)


def test_points_of_every_method_are_seen():
    """Markers of mere lines vanish without edges."""
    ones = np.ones((2, 3), bool)
    pairs = {m: (0.5 * ones, 0.5 * ones, ones) for m in ("random", "lmac")}
    for axes in build_scatter_figure(pairs).axes:
        assert axes.collections[-1].get_linewidths().min() > 0


@styled
def labelled_figure(text):
    figure = new_figure(1.0)
    figure.subplots().set_title(text)
    return figure


@pytest.mark.parametrize(
    "installed, shown", [("Noto", "犬 $x$ é"), ("", "\\u72ac $x$ é")]
)
def test_letters_are_no_boxes(tmp_path, monkeypatch, installed, shown, recwarn):
    """CJK in a font that has it, or as codes; a "$" is a "$"."""
    fonts = {"犬": installed}
    monkeypatch.setattr(style, "_font_with", lambda c: fonts.get(c, style.FONT))
    monkeypatch.setattr(style, "_advise", lambda: None)
    figure = labelled_figure("犬 $x$ é")
    save_figure(figure, tmp_path / "a.svg")
    [title] = [t for t in all_texts(figure) if "$x$" in t.get_text()]
    assert title.get_text() == shown
    assert title.get_fontfamily() == [style.FONT] + [installed] * bool(
        installed
    )


def test_a_font_is_found_by_its_letters():
    assert style._font_with("é") == style.FONT
    # Of no language: a private character.
    assert style._font_with("\U000f1234") == ""


def test_a_font_that_was_installed_today_is_found(monkeypatch):
    """matplotlib's list of fonts is kept on disk, and older."""
    from matplotlib import font_manager

    path = font_manager.findfont("DejaVu Serif")
    fonts = [f for f in font_manager.fontManager.ttflist if f.fname != path]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path, "no"])
    assert path in [font.fname for font in style._fonts.__wrapped__()]


def test_each_method_has_its_own_look():
    looks = METHODS.values()
    assert len({look.color for look in looks}) == len(METHODS)
    assert len({look.marker for look in looks}) == len(METHODS)
    unknown = ["x", "lmac", "y", "z"]
    assert len({style_of(method, unknown) for method in unknown}) == 4


# Machado, Oliveira, Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanope": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranope": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(color, vision):
    """CIELAB coordinates of a colour as an eye sees it."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    rgb = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
    xyz = to_xyz @ np.clip(VISION[vision] @ rgb, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_the_colour_blind_tell_methods_apart(vision):
    seen = {name: lab(m.color, vision) for name, m in METHODS.items()}
    distances = {
        (a, b): np.linalg.norm(seen[a] - seen[b])
        for a, b in itertools.combinations(seen, 2)
    }
    # 2 is just noticeable side by side.
    assert min(distances.values()) > 11
    ours = [d for pair, d in distances.items() if "lmac" in pair]
    assert min(ours) > 18
