"""The picture of a sound and its masks under several prompts."""

import pytest
import torch

from speechbrain_lmac.report.figures.prompts import (
    build_prompt_figure,
    save_prompt_figure,
)


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
    with pytest.raises(ValueError, match="Expected masks of the sound's"):
        build_prompt_figure(x, [], [], 16000, 160)
    with pytest.raises(ValueError, match="Expected a prompt for each"):
        build_prompt_figure(x, [x], prompts, 16000, 160)


def test_the_bars_of_the_figure_are_whole(tmp_path):
    from PIL import Image

    x, prompts = torch.rand(10, 6), [("a", 0.3, 0.5), ("b", 0.1, 0.5)]
    figure = build_prompt_figure(x, [x, x], prompts, 16000, 160)
    figure.canvas.draw()
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    widths = [axes.get_position().width for axes in bars]
    # The second one is as high as its rows and the gaps between them.
    assert widths[0] == pytest.approx(widths[1], rel=0.2)
    assert all(axes.spines["outline"].get_visible() for axes in bars)
    path = save_prompt_figure(
        tmp_path / "a.png", x, [x, x], prompts, 16000, 160
    )
    with Image.open(path) as picture:  # no fewer levels than the bar shows
        assert picture.mode == "P"
        assert len(picture.getcolors()) > 128
    assert save_prompt_figure(
        tmp_path / "a.svg", x, [x, x], prompts, 16000, 160
    ).is_file()
