"""Pictures of explanations: the input, the mask and what the mask keeps.

matplotlib loads on first use and is driven through its objects (no pyplot), so
that pictures can be made in any process, with or without a display.
"""

import io
from pathlib import Path

import numpy as np
import torch

from speechbrain_lmac.utils.files import write_atomically

# Below this the picture would show the noise floor of the recording only.
DYNAMIC_RANGE = 70  # dB
FREQUENCY_AXES = {"linear": "frequency (Hz)", "mel": "mel band"}
# Colour maps and their numbers of levels: together the palette of the PNG.
SPECTRUM_MAP = ("magma", 160)
MASK_MAP = ("gray", 96)
INK, FAINT = "#22252b", "#6b7280"


def build_explanation_figure(
    log_magnitude,
    mask,
    explanation,
    sample_rate,
    hop_length,
    title=None,
    label=None,
    probs_text=None,
    frequency_axis="linear",
):
    """Draw the input, the mask and the explanation above one another.

    The three panels share the time axis. Input and explanation share one
    colour scale. On the linear frequency axis this is the magnitude
    ``expm1(log1p|X|)`` in dB below the loudest bin of the input, down to
    -70 dB; on the mel axis it is the log1p value that the classifier reads.

    Arguments
    ---------
    log_magnitude : torch.Tensor
        The input, shape (frames, bins), ``log1p`` of magnitudes, >= 0.
    mask : torch.Tensor
        Same shape, values in [0, 1].
    explanation : torch.Tensor
        The masked input, same shape and scale as ``log_magnitude``.
    sample_rate : int
        In Hz; the bins of the linear axis reach from 0 to half of it.
    hop_length : float
        Hop between two frames, in ms.
    title : str, optional
        The first line, for example the name of the clip.
    label : str, optional
        The explained class.
    probs_text : str, optional
        What the classifier says, in one short line.
    frequency_axis : str
        "linear" (bins of the STFT) or "mel" (bands).

    Returns
    -------
    figure : matplotlib.figure.Figure
        Panels are ``figure.axes[0:3]``.

    Raises
    ------
    ValueError
        If the shapes differ or are not (frames, bins), or the axis is unknown.

    Example
    -------
    >>> x, mask = torch.rand(20, 33), torch.rand(20, 33)
    >>> figure = build_explanation_figure(x, mask, mask * x, 16000, 10.0)
    >>> [axes.get_title(loc="left") for axes in figure.axes[:3]]
    ['input', 'mask', 'explanation']
    """
    arrays = _check_arrays(log_magnitude, mask, explanation)
    if frequency_axis not in FREQUENCY_AXES:
        raise ValueError(
            f"Expected `frequency_axis` as one of {list(FREQUENCY_AXES)} but "
            f"got {frequency_axis!r}."
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 6.6), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    frames, bins = arrays[0].shape
    hop = round(sample_rate * hop_length / 1000) / sample_rate
    top = sample_rate / 2 if frequency_axis == "linear" else bins
    images, unit = _image_values(arrays, frequency_axis)
    _draw_header(figure, title, label, probs_text)
    names = ("input", "mask", "explanation")
    # Fixed margins: a layout engine would double the drawing time.
    grid = figure.add_gridspec(
        3, 2, left=0.115, right=0.89, top=0.875, bottom=0.075, hspace=0.28,
        wspace=0.035, width_ratios=(1, 0.022),
    )  # fmt: skip
    panels = [figure.add_subplot(grid[row, 0]) for row in range(3)]
    for row, axes in enumerate(panels):
        image = _draw_panel(
            axes, images[row], (0, frames * hop, 0, top), names[row]
        )
        axes.set_ylabel(FREQUENCY_AXES[frequency_axis], size=9, color=INK)
        bar = figure.colorbar(image, cax=figure.add_subplot(grid[row, 1]))
        bar.set_label("mask value" if row == 1 else unit, size=9, color=INK)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, colors=FAINT)
        axes.tick_params(labelbottom=row == 2)
    panels[2].set_xlabel("time (s)", size=9, color=INK)
    return figure


def save_explanation_figure(path, *args, **kwargs):
    """Draw an explanation and save it as PNG.

    Arguments
    ---------
    path : str or pathlib.Path
        The file, written whole or not at all; missing folders are made.
    *args, **kwargs
        The arguments of :func:`build_explanation_figure`.

    Returns
    -------
    path : pathlib.Path

    Example
    -------
    >>> x, mask = torch.rand(20, 33), torch.rand(20, 33)
    >>> path = save_explanation_figure(
    ...     getfixture("tmpdir") / "dog.png", x, mask, mask * x, 16000, 10.0,
    ...     title="clip 7", label="dog")
    >>> path.name
    'dog.png'
    """
    return save_png(build_explanation_figure(*args, **kwargs), path)


def save_png(figure, path):
    """Save with a palette: a third of the size, no visible difference.

    The colours are those of the two colour maps and of the text, so that the
    colour bars stay as smooth as the maps are.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
        With an Agg canvas, drawn in ``SPECTRUM_MAP`` and ``MASK_MAP``.
    path : str or pathlib.Path
        The file, written whole or not at all; missing folders are made.

    Returns
    -------
    path : pathlib.Path
    """
    from matplotlib import colormaps
    from PIL import Image

    levels = [colormaps[SPECTRUM_MAP[0]](np.linspace(0, 1, SPECTRUM_MAP[1]))]
    levels += [colormaps[MASK_MAP[0]](np.linspace(0, 1, MASK_MAP[1]))]
    palette = Image.new("P", (1, 1))
    colors = np.concatenate(levels)[:, :3] * 255
    palette.putpalette(colors.round().astype(np.uint8).tobytes())

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    picture = Image.fromarray(pixels.copy())
    picture = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    return path


def _check_arrays(log_magnitude, mask, explanation):
    arrays = [
        torch.as_tensor(array).detach().cpu().float()
        for array in (log_magnitude, mask, explanation)
    ]
    shapes = [tuple(array.shape) for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise ValueError(
            "Expected `log_magnitude`, `mask` and `explanation` of one shape "
            f"(frames, bins) but got {shapes}."
        )
    return arrays


def _image_values(arrays, frequency_axis):
    """Turn arrays into (values, colour map, low, high) and name the unit."""
    log_magnitude, mask, explanation = arrays
    if frequency_axis == "mel":
        unit, low = "log1p mel energy", 0.0
        high = max(log_magnitude.max().item(), 1e-6)
        spectra = (log_magnitude, explanation)
    else:
        unit, low, high = "dB re input peak", -float(DYNAMIC_RANGE), 0.0
        peak = log_magnitude.max().expm1().clamp(min=1e-12)
        spectra = [
            20 * (array.expm1() / peak).clamp(min=1e-12).log10()
            for array in (log_magnitude, explanation)
        ]
    images = (
        (spectra[0], SPECTRUM_MAP, low, high),
        (mask, MASK_MAP, 0.0, 1.0),
        (spectra[1], SPECTRUM_MAP, low, high),
    )
    return images, unit


def _draw_header(figure, title, label, probs_text):
    texts = [(title, 0.968, 11, "bold", INK)]
    second = [f"explained class: {label}"] if label is not None else []
    second += [probs_text] if probs_text else []
    texts += [("   ·   ".join(second), 0.932, 9.5, "normal", FAINT)]
    for text, height, size, weight, color in texts:
        if text:
            # parse_math off: a "$" in a file name is a "$".
            figure.text(
                0.115, height, text, size=size, weight=weight, color=color,
                va="center", parse_math=False,
            )  # fmt: skip


def _draw_panel(axes, image, extent, name):
    from matplotlib import colormaps

    values, (name_of_map, levels), low, high = image
    drawn = axes.imshow(
        values.T.numpy(), origin="lower", aspect="auto", extent=extent,
        cmap=colormaps[name_of_map].resampled(levels), vmin=low, vmax=high,
        interpolation="antialiased", interpolation_stage="data",
    )  # fmt: skip
    axes.set_title(name, loc="left", size=9.5, color=INK, pad=4)
    axes.tick_params(labelsize=8, colors=FAINT, length=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawn
