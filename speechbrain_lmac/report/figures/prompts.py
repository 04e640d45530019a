"""One picture of a sound and its masks under several prompts.

matplotlib loads on first use and is driven through its objects (no pyplot).
"""

from pathlib import Path

import torch

from speechbrain_lmac.report.figures.explanation import (
    DYNAMIC_RANGE,
    FAINT,
    FREQUENCY_AXES,
    INK,
    MASK_MAP,
    SPECTRUM_MAP,
    save_png,
)
from speechbrain_lmac.report.figures.style import (
    NORMAL,
    SMALL,
    WIDTH,
    save_figure,
)

# Inches of a row.
ROW = 1.35
MAX_TITLE = 44  # characters: more would meet the numbers at the right


def build_prompt_figure(
    amplitude, masks, prompts, sample_rate, hop_samples, mel=False
):
    """Draw a sound in the first row and the mask of each prompt below.

    Arguments
    ---------
    amplitude : torch.Tensor
        Amplitudes of the sound, shape (frames, bins or bands), >= 0; drawn in
        dB below their peak.
    masks : sequence of torch.Tensor
        One a prompt, each of the same shape, in [0, 1].
    prompts : sequence of (str, float, float or None)
        Prompt, similarity and probability of each mask.
    sample_rate : int
        In Hz.
    hop_samples : int
        Samples between two frames.
    mel : bool
        Whether the masks are on mel bands.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Panels are ``figure.axes[0 : 1 + prompts]``, from the top.

    Raises
    ------
    ValueError
        If there is no mask, or the shapes or numbers differ.

    Example
    -------
    >>> x, prompts = torch.rand(20, 33), [("a dog", 0.4, 0.9), ("rain", 0, 0.1)]
    >>> figure = build_prompt_figure(x, [x, 0 * x], prompts, 16000, 160)
    >>> figure.axes[1].get_title(loc="left")
    'a dog'
    """
    _check(amplitude, masks, prompts)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(masks)
    figure = Figure(
        figsize=(WIDTH, ROW * (count + 1) + 0.4), dpi=100,
        facecolor="white", layout="constrained",
    )  # fmt: skip
    FigureCanvasAgg(figure)
    panels = figure.subplots(count + 1, 1, sharex=True, squeeze=False)[:, 0]
    frames, bins = amplitude.shape
    top = bins if mel else sample_rate / 2
    extent = (0, frames * hop_samples / sample_rate, 0, top)
    sound = _draw(panels[0], _decibels(amplitude), extent, SPECTRUM_MAP,
                  (-DYNAMIC_RANGE, 0), "input")  # fmt: skip
    bars = [(sound, panels[:1], "dB re peak")]
    for axes, mask, (prompt, similarity, probability) in zip(
        panels[1:], masks, prompts, strict=True
    ):
        image = _draw(axes, mask, extent, MASK_MAP, (0, 1), _short(prompt))
        told = f"similarity {similarity:.2f}, "
        told += (
            "no probability: one prompt only"
            if probability is None
            else f"probability {probability:.2f}"
        )
        told += f", mask mean {float(mask.mean()):.2f}"
        axes.set_title(told, loc="right", size=SMALL, color=FAINT)
    bars.append((image, panels[1:], "mask value"))
    for image, axes, label in bars:
        # Bars of one width, whatever the number of rows beside them; with an
        # outline: the white of a mask's 1 would end in the page's white.
        bar = figure.colorbar(
            image, ax=list(axes), pad=0.01, aspect=12 * len(axes)
        )
        bar.set_label(label, size=SMALL, color=INK)
        bar.outline.set(edgecolor=FAINT, linewidth=0.5)
        bar.ax.tick_params(labelsize=SMALL, colors=FAINT, length=2)
    panels[-1].set_xlabel("time (s)", size=NORMAL, color=INK)
    name = FREQUENCY_AXES["mel" if mel else "linear"]
    figure.supylabel(name, size=NORMAL, color=INK)
    return figure


def save_prompt_figure(path, *args, **kwargs):
    """Draw and save a sound and its masks.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG, PDF or SVG.
    *args, **kwargs
        As for :func:`build_prompt_figure`.

    Returns
    -------
    path : pathlib.Path
    """
    save = save_png if Path(path).suffix.lower() == ".png" else save_figure
    return save(build_prompt_figure(*args, **kwargs), path)


def _check(amplitude, masks, prompts):
    shapes = {tuple(mask.shape) for mask in masks}
    if shapes != {tuple(amplitude.shape)} or amplitude.dim() != 2:
        raise ValueError(
            f"Expected masks of the sound's shape {tuple(amplitude.shape)} "
            f"(frames, bins), at least one, but got {sorted(shapes)}."
        )
    if len(masks) != len(prompts):
        raise ValueError(
            f"Expected a prompt for each of {len(masks)} masks but got "
            f"{len(prompts)}."
        )


def _decibels(amplitude):
    peak = amplitude.max().clamp(min=1e-12)
    return 20 * (amplitude / peak).clamp(min=1e-12).log10()


def _short(prompt):
    cut = len(prompt) > MAX_TITLE
    return f"{prompt[: MAX_TITLE - 1]}…" if cut else prompt


def _draw(axes, values, extent, color_map, limits, title):
    from matplotlib import colormaps

    name, levels = color_map
    image = axes.imshow(
        torch.as_tensor(values).T.numpy(), origin="lower", aspect="auto",
        extent=extent, cmap=colormaps[name].resampled(levels),
        vmin=limits[0], vmax=limits[1], interpolation="antialiased",
        interpolation_stage="data",
    )  # fmt: skip
    # parse_math off: a "$" in a prompt is a "$".
    axes.set_title(title, loc="left", size=NORMAL, color=INK, parse_math=False)
    axes.tick_params(labelsize=SMALL, colors=FAINT, length=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image
