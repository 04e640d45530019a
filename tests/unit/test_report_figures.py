"""The pictures of explanations: labels, scales, files."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from speechbrain_lmac.report.figures.explanation import (
    build_explanation_figure,
    save_explanation_figure,
)

pytest.importorskip("matplotlib")


@pytest.fixture
def arrays():
    """Make a log-magnitude, a mask and their product, (frames, bins)."""
    generator = torch.Generator().manual_seed(0)
    log_magnitude = 3 * torch.rand(60, 65, generator=generator)
    mask = torch.rand(60, 65, generator=generator)
    return log_magnitude, mask, mask * log_magnitude


def test_axes_carry_names_and_units(arrays):
    figure = build_explanation_figure(
        *arrays, 16000, 10.0, title="a $clip_$", label="dog", probs_text="p 0.9"
    )
    panels, bars = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title(loc="left") for axes in panels] == [
        *("input", "mask", "explanation"),
    ]
    assert {axes.get_ylabel() for axes in panels} == {"frequency (Hz)"}
    assert panels[2].get_xlabel() == "time (s)"
    assert [axes.get_ylabel() for axes in bars] == [
        *("dB re input peak", "mask value", "dB re input peak"),
    ]
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["a $clip_$", "explained class: dog   ·   p 0.9"]


def test_extent_is_seconds_and_hertz(arrays):
    figure = build_explanation_figure(*arrays, 16000, 10.0)
    for axes in figure.axes[:3]:
        # 60 frames of 10 ms; 65 bins up to half of the sample rate.
        assert axes.images[0].get_extent() == pytest.approx([0, 0.6, 0, 8000])


def test_input_and_explanation_share_one_scale_in_db(arrays):
    log_magnitude, _, explanation = arrays
    figure = build_explanation_figure(*arrays, 16000, 10.0)
    images = [axes.images[0] for axes in figure.axes[:3]]
    assert images[0].get_clim() == images[2].get_clim() == (-70.0, 0.0)
    assert images[1].get_clim() == (0.0, 1.0)
    peak = np.expm1(log_magnitude.numpy()).max()
    expected = 20 * np.log10(np.expm1(explanation.numpy().T) / peak)
    # float32 logarithms of ratios down to 1e-5.
    np.testing.assert_allclose(images[2].get_array(), expected, atol=1e-3)


def test_mel_axis_shows_bands_and_log1p(arrays):
    figure = build_explanation_figure(
        *arrays, 16000, 10.0, frequency_axis="mel"
    )
    axes = figure.axes[0]
    assert axes.get_ylabel() == "mel band"
    assert axes.images[0].get_extent()[3] == 65
    assert figure.axes[3].get_ylabel() == "log1p mel energy"
    np.testing.assert_array_equal(
        axes.images[0].get_array(), arrays[0].numpy().T
    )


@pytest.mark.parametrize("frequency_axis", ["linear", "mel"])
def test_png_is_readable_and_small(arrays, tmp_path, frequency_axis):
    image = pytest.importorskip("PIL.Image")
    path = save_explanation_figure(
        tmp_path / "new" / "a.png", *arrays, 16000, 10.0,
        frequency_axis=frequency_axis,
    )  # fmt: skip
    with image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == (720, 660)
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels[0, 0].min() > 245  # a white margin
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert path.stat().st_size < 300_000


def test_silence_can_be_drawn(tmp_path):
    silence = torch.zeros(10, 9)
    path = save_explanation_figure(
        tmp_path / "a.png", silence, silence, silence, 16000, 10.0
    )
    assert path.stat().st_size > 0


def test_wrong_arguments(arrays):
    x, mask, explanation = arrays
    with pytest.raises(ValueError, match=r"\(frames, bins\) but got"):
        build_explanation_figure(x, mask[:-1], explanation, 16000, 10.0)
    with pytest.raises(ValueError, match=r"\(frames, bins\) but got"):
        build_explanation_figure(x[None], mask[None], x[None], 16000, 10.0)
    with pytest.raises(ValueError, match="'linear', 'mel'.*got 'bark'"):
        build_explanation_figure(*arrays, 16000, 10.0, frequency_axis="bark")


def test_matplotlib_loads_on_first_use_and_without_pyplot():
    code = (
        "import sys, torch\n"
        "from speechbrain_lmac.report.figures.explanation import *\n"
        "assert 'matplotlib' not in sys.modules\n"
        "x = torch.rand(9, 9)\n"
        "build_explanation_figure(x, x, x, 16000, 10.0)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
