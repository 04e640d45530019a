"""When an explanation is heard: its events, their probabilities, their files.

Events are found in the sound of the explanation, so that they mean the same
for every method, mask domain and length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from speechbrain_lmac.features.activity import (
    FRAME_S,
    SHORT_S,
    band_of,
    fade_gate,
    heard_spans,
)

if TYPE_CHECKING:
    from speechbrain_lmac.inference.clips import ClipExplainer
    from speechbrain_lmac.inference.explanation import Explanation

#: Seconds over which an event fades in and out.
FADE_S = 0.01


@dataclass(frozen=True)
class Event:
    """A stretch of time in which an explanation is heard.

    Attributes
    ----------
    label : str
        The explained class; of a long recording that of the window.
    onset_s, offset_s : float
        Begin and end, in seconds.
    low_hz, high_hz : float
        5 % and 95 % of the event's energy lie below, in Hz.
    probability, probability_without : float or None
        Of ``label``: on the explanation of this event alone, and on the input
        without it, each as a sound of its own. Of a recording of several
        windows: within a window around the event. None for a prompt alone.
    """

    label: str
    onset_s: float
    offset_s: float
    low_hz: float
    high_hz: float
    probability: float | None = None
    probability_without: float | None = None


def find_events(
    waveform: torch.Tensor,
    original: torch.Tensor,
    rate: int,
    labels: Iterable[tuple[str, float]],
) -> list[Event]:
    """Events of an explanation, without probabilities.

    Arguments
    ---------
    waveform, original : torch.Tensor
        Explanation and input at one level, each (samples,).
    rate : int
        In Hz.
    labels : iterable of (str, float)
        Explained classes and the second until which each was explained.

    Returns
    -------
    list of Event
        In order of time; empty if nothing is heard.

    Example
    -------
    >>> sound = torch.zeros(16000)
    >>> sound[4000:8000] = torch.sin(torch.arange(4000) * torch.pi / 8)
    >>> find_events(sound, sound, 16000, [("dog", 1.0)])[0].onset_s
    0.25
    >>> find_events(0 * sound, sound, 16000, [("dog", 1.0)])
    []
    """
    spans = heard_spans(waveform, original, rate)
    seconds, events, begin = len(waveform) / rate, [], 0.0
    for label, end in labels:
        for first, last in spans:
            onset = max(first * FRAME_S, begin)
            offset = min(last * FRAME_S, end, seconds)
            if offset - onset >= SHORT_S - FRAME_S / 2:
                part = waveform[round(onset * rate) : round(offset * rate)]
                times = round(onset, 4), round(offset, 4)
                events.append(Event(label, *times, *band_of(part, rate)))
        begin = end
    return events


def with_events(
    explainer: ClipExplainer, found: Sequence[Explanation], size: int
) -> list[Explanation]:
    """Explanations of a clip with their events, all classified together.

    ``size`` are the samples that the classifier hears at once, at most: memory
    does not depend on the length of a recording.
    """
    rate = explainer.frontend.sample_rate
    made = [
        find_events(one.waveform, one.original, rate, _labels(one))
        for one in found
    ]
    pairs = [(one, e) for one, es in zip(found, made, strict=True) for e in es]
    sure = _classified(explainer, pairs, min(size, len(found[0].waveform)))
    return [
        replace(one, events=[next(sure) for _ in events])
        for one, events in zip(found, made, strict=True)
    ]


def _classified(explainer, pairs, size):
    """Events, each with its explanation, with their probabilities."""
    names = explainer.names
    unknown = explainer.zero_shot and len(names) == 1
    step = max(1, explainer.group_size(size) // 2)
    for k in range(0, len(pairs), step):
        some = pairs[k : k + step]
        parts = [_parts(*pair, size) for pair in some]
        sounds = [torch.stack(part) for part in zip(*parts, strict=True)]
        answers = explainer.classify(torch.cat(sounds))[:, 0].chunk(2)
        for (_, event), alone, rest in zip(some, *answers, strict=True):
            target = names.index(event.label)
            probs = alone[target].item(), rest[target].item()
            yield (
                event
                if unknown
                else replace(
                    event, probability=probs[0], probability_without=probs[1]
                )
            )


def _labels(one: Explanation) -> Iterator[tuple[str, float]]:
    """Which class was explained until which second."""
    windows = one.windows or []
    for now, later in zip(windows, windows[1:], strict=False):
        if now.label != later.label:
            yield now.label, (now.end + later.start) / 2
    last = windows[-1].label if windows else one.label
    yield last, len(one.waveform) / one.sample_rate


def _parts(one, event, size):
    """An event's explanation alone, and the input without it, (size,) each."""
    rate, n = one.sample_rate, len(one.waveform)
    first, last = round(event.onset_s * rate), round(event.offset_s * rate)
    start = min(max((first + last - size) // 2, 0), n - size)
    gate = fade_gate(size, first - start, last - start, round(FADE_S * rate))
    alone = gate * one.waveform[start : start + size]
    return alone, one.original[start : start + size] - alone


def audacity_labels(events: Iterable[Event]) -> str:
    r"""A label track for Audacity, with frequency ranges.

    Example
    -------
    >>> text = audacity_labels([Event("dog", 0.5, 1.25, 300.0, 4000.0, 0.9)])
    >>> [line.split("\t") for line in text.splitlines()]
    [['0.500000', '1.250000', 'dog 0.90'], ['\\', '300.00', '4000.00']]
    """
    lines = []
    for e in events:
        sure = "" if e.probability is None else f" {e.probability:.2f}"
        lines += [f"{e.onset_s:.6f}\t{e.offset_s:.6f}\t{_flat(e.label)}{sure}"]
        lines += [f"\\\t{e.low_hz:.2f}\t{e.high_hz:.2f}"]
    return "".join(f"{line}\n" for line in lines)


RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)"),
    *("Low Freq (Hz)", "High Freq (Hz)"),
    *("Class", "Probability", "Probability Without"),
)


def raven_table(events: Iterable[Event]) -> str:
    r"""A selection table for Raven: its own columns, and three of ours.

    Example
    -------
    >>> table = raven_table([Event("dog", 0.5, 1.25, 300.0, 4000.0, 0.9, 0.1)])
    >>> table.splitlines()[1].split("\t")[3:]
    ['0.500000', '1.250000', '300.00', '4000.00', 'dog', '0.9000', '0.1000']
    """
    rows: list[Sequence[str]] = [RAVEN]
    for k, e in enumerate(events, 1):
        places = f"{e.onset_s:.6f}", f"{e.offset_s:.6f}"
        band = f"{e.low_hz:.2f}", f"{e.high_hz:.2f}"
        sure = ["" if p is None else f"{p:.4f}"
                for p in (e.probability, e.probability_without)]  # fmt: skip
        fixed = str(k), "Spectrogram 1", "1"
        rows.append((*fixed, *places, *band, _flat(e.label), *sure))
    return "".join("\t".join(row) + "\n" for row in rows)


def _flat(label):
    """A label on one line without tabs, which part the columns."""
    return " ".join(label.split())
