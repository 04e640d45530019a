"""Whether an explanation is heard when its class is: scores in time.

Of a mixture whose target sounds for a known while, by the energies of the
explanation as it is heard: where its loudest moment lies (Pointing Game),
which frames its events cover (IoU, F1), and how well the energies of
segments of 100 ms part event from no event (AUC; the segments of Bolaños et
al., Interspeech 2025, arXiv 2506.04391).
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechbrain_lmac.features.activity import (
    frame_energy,
    heard_spans,
    smoothed,
)
from speechbrain_lmac.metrics.separation import mask_auc
from speechbrain_lmac.utils.checks import check_same_shape

SEGMENT_S = 0.1


def pointing_game(energy: Tensor, event: Tensor) -> Tensor:
    """Whether the loudest frame lies in the event: 1 or 0, (batch,).

    Of energies (batch, frames), averaged over 50 ms, and the event's frames,
    bool; NaN of silence.

    Example
    -------
    >>> energy = torch.zeros(2, 40)
    >>> energy[:, 10:20] = 1.0
    >>> event = torch.arange(40).expand(2, -1) > torch.tensor([[5], [25]])
    >>> pointing_game(energy, event)
    tensor([1., 0.])
    """
    check_same_shape(energy, event, ("energy", "event"))
    smooth = smoothed(energy)
    hit = event.gather(1, smooth.argmax(1, keepdim=True))[:, 0].float()
    return torch.where(smooth.amax(1) > 0, hit, torch.nan)


def frame_overlap(found: Tensor, event: Tensor) -> dict[str, Tensor]:
    """IoU and F1 of frames, bool (batch, frames); NaN where both are empty.

    Example
    -------
    >>> found = torch.tensor([[True, True, True, False]])
    >>> event = torch.tensor([[False, True, True, True]])
    >>> frame_overlap(found, event)
    {'event_iou': tensor([0.5000]), 'event_f1': tensor([0.6667])}
    """
    check_same_shape(found, event, ("found", "event"))
    both, either = (found & event).sum(1), (found | event).sum(1)
    return {
        "event_iou": both / either,
        "event_f1": 2 * both / (both + either),
    }


def segment_auc(energy: Tensor, event: Tensor) -> Tensor:
    """Area under the ROC of segments' energies against the event, (batch,).

    Of both (batch, segments); 0.5 is chance, NaN without or with nothing but
    event.
    """
    return mask_auc(energy.unsqueeze(2), event.unsqueeze(2))


def when_metrics(
    kept: Tensor, mixture: Tensor, target: Tensor, rate: int
) -> dict[str, Tensor]:
    """All scores in time of explanations, by name, each (batch,).

    Arguments
    ---------
    kept, mixture, target : torch.Tensor
        Explanation, input, and the source that is explained, as it is in the
        input: zeros but for the event; each (batch, samples).
    rate : int
        In Hz.

    Returns
    -------
    dict of str to torch.Tensor

    Example
    -------
    >>> target = torch.zeros(1, 16000)
    >>> target[:, 4000:8000] = torch.sin(torch.arange(4000) + 0.5)
    >>> scores = when_metrics(target, target, target, 16000)
    >>> {name: value.item() for name, value in scores.items()}
    {'pointing_game': 1.0, 'event_iou': 1.0, 'event_f1': 1.0, 'event_auc': 1.0}
    """
    energy, event = frame_energy(kept, rate), frame_energy(target, rate) > 0
    found = torch.zeros_like(event)
    for row, part, whole in zip(found, kept, mixture, strict=True):
        for first, last in heard_spans(part, whole, rate):
            row[first:last] = True
    sounding = (target != 0).to(target)
    share = frame_energy(sounding, rate, SEGMENT_S) / (SEGMENT_S * rate)
    return {
        "pointing_game": pointing_game(energy, event),
        **frame_overlap(found, event),
        "event_auc": segment_auc(
            frame_energy(kept, rate, SEGMENT_S), share >= 0.5
        ),
    }
