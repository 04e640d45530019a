"""Pictures of explanations: the input, its masks and what a mask keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from speechbrain_lmac.report.figures.style import FAINT, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Below this the picture would show the noise floor of the recording only.
DYNAMIC_RANGE = 70  # dB
DPI = 120
MAX_TEXT = 48  # characters: more would meet the text at the right


class _Row(NamedTuple):
    """A picture, (frames, bins), and its texts."""

    values: torch.Tensor
    unit: str  # "mask value", or dB
    title: str
    note: str = ""


@styled
def build_explanation_figure(
    log_magnitude: torch.Tensor,
    mask: torch.Tensor,
    explanation: torch.Tensor,
    sample_rate: int,
    hop_samples: float,
    title: str = "",
    label: str = "",
    note: str = "",
    mel: bool = False,
    method: str = "",
    events: Sequence[tuple[float, float, float, float]] = (),
) -> Figure:
    """Draw the input, the mask and the explanation above one another.

    Input and explanation share one colour scale: dB below the loudest bin of
    the input, down to -70.

    Arguments
    ---------
    log_magnitude : torch.Tensor
        The input, shape (frames, bins or bands), ``log1p`` of magnitudes.
    mask : torch.Tensor
        Same shape, values in [0, 1].
    explanation : torch.Tensor
        The masked input, same shape and scale as ``log_magnitude``.
    sample_rate : int
        In Hz.
    hop_samples : float
        Samples between two frames.
    title : str
        For example the name of the clip.
    label : str
        The explained class.
    note : str
        What the classifier says, in one short line.
    mel : bool
        Whether these are mel bands; else bins from 0 to half the sample rate.
    method : str
        How the mask was made, in one short line.
    events : sequence of (float, float, float, float)
        Boxes on input and explanation: begin and end in seconds, low and high
        frequency in Hz; on mel bands of full height.

    Returns
    -------
    matplotlib.figure.Figure
        Panels are ``figure.axes[0:3]``.

    Example
    -------
    >>> x, mask = torch.rand(20, 33), torch.rand(20, 33)
    >>> figure = build_explanation_figure(x, mask, mask * x, 16000, 160)
    >>> [axes.get_title(loc="left") for axes in figure.axes[:3]]
    ['input', 'mask', 'explanation']
    """
    amplitudes = log_magnitude.expm1(), explanation.expm1()
    spectra = [decibels(x, amplitudes[0].max()) for x in amplitudes]
    texts = [f"explained class: {_short(label)}"] if label else []
    rows = [
        _Row(spectra[0], "dB", "input", "   ·   ".join([*texts, note])),
        _Row(mask, "mask value", "mask", method),
        _Row(spectra[1], "dB", "explanation"),
    ]
    figure = _draw(rows, 1.9, sample_rate, hop_samples, mel)
    for axes in figure.axes[0:3:2]:
        _box(axes, events, mel)
    if title:
        figure.suptitle(_short(title), size="x-large", weight="bold")
    return figure


@styled
def build_prompt_figure(
    amplitude: torch.Tensor,
    masks: Sequence[torch.Tensor],
    prompts: Sequence[tuple[str, float, float | None]],
    sample_rate: int,
    hop_samples: float,
    mel: bool = False,
) -> Figure:
    """Draw a sound in the first row and the mask of each prompt below.

    Arguments
    ---------
    amplitude : torch.Tensor
        Of the sound, shape (frames, bins or bands), >= 0; drawn in dB below
        its peak.
    masks : sequence of torch.Tensor
        One a prompt, each of the same shape, in [0, 1].
    prompts : sequence of (str, float, float or None)
        Prompt, similarity and probability of each mask.
    sample_rate : int
        In Hz.
    hop_samples : float
        Samples between two frames.
    mel : bool
        Whether the masks are on mel bands.

    Returns
    -------
    matplotlib.figure.Figure
        Panels are ``figure.axes[0 : 1 + prompts]``, from the top.

    Example
    -------
    >>> x, prompts = torch.rand(20, 33), [("a dog", 0.4, 0.9), ("rain", 0, 0.1)]
    >>> figure = build_prompt_figure(x, [x, 0 * x], prompts, 16000, 160)
    >>> figure.axes[1].get_title(loc="left")
    'a dog'
    """
    rows = [_Row(decibels(amplitude, amplitude.max()), "dB", "input")]
    for mask, (prompt, similarity, probability) in zip(
        masks, prompts, strict=True
    ):
        sure = "no probability: one prompt only"
        if probability is not None:
            sure = f"probability {probability:.2f}"
        note = (
            f"similarity {similarity:.2f}, {sure}, mask mean {mask.mean():.2f}"
        )
        rows += [_Row(mask, "mask value", _short(prompt), note)]
    return _draw(rows, 1.35, sample_rate, hop_samples, mel)


def _draw(
    rows: Sequence[_Row],
    inches: float,
    sample_rate: int,
    hop_samples: float,
    mel: bool,
) -> Figure:
    """Pictures above one another, each ``inches`` high, on common axes."""
    figure = new_figure(inches * len(rows) + 0.5, DPI)
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    frames, bins = rows[0].values.shape
    top = bins if mel else sample_rate / 2
    extent = (0, frames * hop_samples / sample_rate, 0, top)
    for axes, row in zip(panels, rows, strict=True):
        spectrum = row.unit == "dB"
        low, high = (-DYNAMIC_RANGE, 0) if spectrum else (0, 1)
        image = axes.imshow(
            row.values.T.cpu().numpy(), origin="lower", aspect="auto",
            extent=extent, cmap="magma" if spectrum else "gray", vmin=low,
            vmax=high,
        )  # fmt: skip
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_title(row.title)
        axes.set_title(row.note, loc="right", size="small", color=FAINT)
        # With an outline: the white of a mask's 1 would end in the page's.
        bar = figure.colorbar(image, ax=axes, pad=0.01, label=row.unit)
        bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    panels[-1].set_xlabel("time (s)")
    figure.supylabel("mel band" if mel else "frequency (Hz)", size="medium")
    return figure


def _box(axes, events, mel):
    """Outlines of events."""
    from matplotlib.patches import Rectangle

    for onset, offset, low, high in events:
        low, high = axes.get_ylim() if mel else (low, high)
        axes.add_patch(
            Rectangle(
                *((onset, low), offset - onset, high - low),
                **{"fill": False, "edgecolor": "white", "linewidth": 1},
            )
        )


def decibels(amplitude: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
    """Amplitudes in dB below a peak."""
    return 20 * (amplitude / peak.clamp(min=1e-12)).clamp(min=1e-12).log10()


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
