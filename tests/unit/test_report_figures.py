"""The pictures of explanations: labels, scales, files."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from speechbrain_lmac.report.figures.explanation import (
    build_explanation_figure,
    build_prompt_figure,
)
from speechbrain_lmac.report.figures.style import save_figure


@pytest.fixture
def arrays():
    """Make a log-magnitude, a mask and their product, (frames, bins)."""
    generator = torch.Generator().manual_seed(0)
    log_magnitude = 3 * torch.rand(60, 65, generator=generator)
    mask = torch.rand(60, 65, generator=generator)
    return log_magnitude, mask, mask * log_magnitude


def test_axes_carry_names_and_units(arrays):
    figure = build_explanation_figure(
        *arrays, 16000, 160, title="a $clip_$", label="dog", note="p 0.9"
    )
    panels, bars = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title(loc="left") for axes in panels] == [
        *("input", "mask", "explanation"),
    ]
    assert panels[0].get_title(loc="right") == (
        "explained class: dog   ·   p 0.9"
    )
    assert panels[2].get_xlabel() == "time (s)"
    assert [axes.get_ylabel() for axes in bars] == ["dB", "mask value", "dB"]
    texts = [text.get_text() for text in figure.texts]
    assert set(texts) == {"a $clip_$", "frequency (Hz)"}
    assert not figure.texts[0].get_parse_math()


@pytest.mark.parametrize("mel, top", [(False, 8000), (True, 65)])
def test_extent_is_seconds_and_hertz_or_bands(arrays, mel, top):
    figure = build_explanation_figure(*arrays, 16000, 160, mel=mel)
    for axes in figure.axes[:3]:
        # 60 frames of 10 ms; 65 bins up to half of the sample rate.
        assert axes.images[0].get_extent() == pytest.approx([0, 0.6, 0, top])


def test_input_and_explanation_share_one_scale_in_db(arrays):
    log_magnitude, mask, explanation = arrays
    figure = build_explanation_figure(*arrays, 16000, 160)
    images = [axes.images[0] for axes in figure.axes[:3]]
    assert images[0].get_clim() == images[2].get_clim() == (-70.0, 0.0)
    assert images[1].get_clim() == (0.0, 1.0)
    peak = np.expm1(log_magnitude.numpy()).max()
    expected = 20 * np.log10(np.expm1(explanation.numpy().T) / peak)
    # float32 logarithms of ratios down to 1e-5.
    np.testing.assert_allclose(images[2].get_array(), expected, atol=1e-3)
    np.testing.assert_array_equal(images[1].get_array(), mask.numpy().T)


def test_png_is_readable_and_small(arrays, tmp_path):
    from PIL import Image

    figure = build_explanation_figure(*arrays, 16000, 160)
    path = save_figure(figure, tmp_path / "new" / "a.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.size[0] == 864
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels[0, 0].min() > 245  # a white margin
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert path.stat().st_size < 600_000


def test_a_row_of_the_figure_a_prompt():
    x = torch.rand(10, 6)
    prompts = [("a $x_1$ dog", 0.3, 0.8), ("r" * 90, 0.1, None)]
    figure = build_prompt_figure(x, [x, x], prompts, 16000, 160, mel=True)
    input_axes, first, second, *_ = figure.axes
    assert input_axes.get_title(loc="left") == "input"
    assert first.get_title(loc="left") == "a $x_1$ dog"
    assert "probability 0.80" in first.get_title(loc="right")
    assert "one prompt only" in second.get_title(loc="right")
    assert len(second.get_title(loc="left")) < 50


def test_matplotlib_loads_on_first_use_and_without_pyplot():
    code = (
        "import sys, torch\n"
        "from speechbrain_lmac.report import *\n"
        "assert 'matplotlib' not in sys.modules\n"
        "x = torch.rand(9, 9)\n"
        "build_explanation_figure(x, x, x, 16000, 160)\n"
        "build_roar_figure({'lmac': [(0, 0.5, 0.4, 0.6)]})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
