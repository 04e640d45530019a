"""What a batch of masks scores: on spectrograms, as heard, by their sources.

Masked-in and masked-out parts are made and classified once for all protocols
that share them; the metrics themselves are those of
:mod:`speechbrain_lmac.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechbrain_lmac.evaluation.batches import ClipBatch
from speechbrain_lmac.evaluation.methods import (
    MASK_PROTOCOLS,
    under_protocol,
)
from speechbrain_lmac.evaluation.settings import EvaluationSettings
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.metrics.curves import area, insertion_deletion
from speechbrain_lmac.metrics.explanation import (
    faithfulness_metrics,
    mask_metrics,
)
from speechbrain_lmac.metrics.functional import average_drop_speechbrain
from speechbrain_lmac.metrics.separation import (
    energy_kept,
    mask_auc,
    si_sdr_gain,
)
from speechbrain_lmac.metrics.waveforms import waveform_metrics
from speechbrain_lmac.metrics.when import when_metrics

#: Probabilities that differ by less are equal as heard: the way through the
#: waveform and back costs a few float32 digits.
ROUND_TRIP = 1e-4


class Scored(NamedTuple):
    """A method's masks for a batch, their sounds and what they score.

    Attributes
    ----------
    values : dict
        Metric name to per-clip values.
    mask, view : torch.Tensor
        Shape (batch, frames, mask_bins); the view is what it multiplies.
    masked_in_wavs, masked_out_wavs : torch.Tensor
        Shape (batch, samples).
    probs, masked_in_probs, masked_out_probs : torch.Tensor
        Shape (batch, classes).
    forwards : float
        Inputs that the classifier took for each mask.
    """

    values: dict[str, Tensor]
    mask: Tensor
    masked_in_wavs: Tensor
    masked_out_wavs: Tensor
    probs: Tensor
    masked_in_probs: Tensor
    masked_out_probs: Tensor
    view: Tensor
    forwards: float = 0.0


class _Parts(NamedTuple):
    """What protocols with the same mask share."""

    mask: Tensor
    masked_in: Tensor  # the classifier's input
    masked_out_probs: Tensor
    masked_in_wavs: Tensor
    masked_out_wavs: Tensor
    heard_out_probs: Tensor | None
    judged_out_probs: Tensor | None
    values: dict  # metrics of the mask alone


class Scorer:
    """Scores masks under protocols, as the settings of an evaluation say."""

    def __init__(self, settings: EvaluationSettings):
        self.settings = settings

    def __call__(
        self,
        mask: Tensor,
        batch: ClipBatch,
        protocols: Sequence[str],
        forwards: float = 0.0,
    ) -> dict[str, Scored]:
        """Score a method's masks (batch, frames, mask_bins), by protocol."""
        shared = self._order_metrics(mask, batch)
        parts, scored = {}, {}
        for protocol in protocols:
            kind = protocol if protocol in MASK_PROTOCOLS else "published"
            if kind not in parts:
                changed = under_protocol(mask, protocol, batch)
                parts[kind] = self._parts(changed, batch)
            result = self._score(parts[kind], batch, protocol)
            scored[protocol] = result._replace(forwards=forwards)
            scored[protocol].values.update(shared)
        return scored

    def _order_metrics(self, mask, batch):
        """Metrics that no protocol changes: they see the bins' order alone."""
        values, steps = {}, self.settings.curve_steps
        if batch.sources is not None:
            power, other = map(batch.frontend.mask_power, batch.sources)
            values["mask_auc"] = mask_auc(mask, power > other, power + other)
            values["mask_auc_bins"] = mask_auc(mask, power > other)
        if not steps:
            return values
        curves = insertion_deletion(
            mask,
            batch.view,
            lambda x: batch.classifier.probabilities(batch.forward(x)),
            batch.target,
            steps,
            batch.clip_seeds(),
        )
        for name, curve in curves._asdict().items():
            values[f"{name}_auc"] = area(curve)
            for step, column in enumerate(curve.unbind(1)):
                values[curve_point(name, step, steps)] = column
        return values

    def _parts(self, mask, batch):
        """Mask-in and mask-out, their sounds, and the mask's own metrics."""
        frontend, spectrum = batch.frontend, batch.explanation.spectrum
        masked = frontend.masked(mask, spectrum)
        mixture, reference, _ = batch.mixture
        gain, kept, rest = frontend.parts(mask, spectrum, mixture.shape[1])
        peak = mask.flatten(1).amax(1)
        as_heard = judged = None
        values = {
            **mask_metrics(heard_part(mask, batch.heard)),
            "empty_mask": (peak == 0).float(),
            "nan_mask": peak.isnan().float(),
        }
        if batch.sources is not None:
            target, interferer = map(frontend.power, batch.sources)
            values["target_kept"] = energy_kept(gain, target)
            values["interferer_kept"] = energy_kept(gain, interferer)
            if batch.named:
                wins = values["target_kept"] > values["interferer_kept"]
                values["target_wins"] = wins.float()
            values["SI-SDR_gain"] = si_sdr_gain(kept, mixture, reference)
        if batch.placed:
            rate = frontend.sample_rate
            values |= when_metrics(kept, mixture, reference, rate)
        if self.settings.heard:
            as_heard = batch.classify(frontend.features(rest))
            values |= waveform_metrics(kept, rest, mixture)
        if batch.verdict is not None:
            judged, _ = batch.verdict.of(rest)
        out = batch.classify(masked.masked_out)
        return _Parts(
            *(mask, masked.masked_in, out, kept, rest),
            *(as_heard, judged, values),
        )

    def _score(self, parts, batch, protocol):
        """All metrics of masks under a protocol."""
        probs, target, frontend = batch.probs(), batch.target, batch.frontend
        kept, wavs_in = parts.masked_in, parts.masked_in_wavs
        if protocol == "loudness":
            kept = frontend.restore_loudness(kept, batch.explanation.features)
            wavs_in = restore_level(wavs_in, batch.mixture.mixture)
        masked_in = batch.classify(kept)
        classifier = batch.classifier
        values = {"accuracy": classifier.decides(probs, batch.truth).float()}
        decided = classifier.decided_set
        values |= faithfulness_metrics(
            probs, masked_in, parts.masked_out_probs, target, decided
        )
        if self.settings.ad_variant == "speechbrain":
            values["AD_speechbrain"] = average_drop_speechbrain(
                probs, masked_in, target
            )
        values |= parts.values
        if self.settings.heard:
            heard_in = batch.classify(frontend.features(wavs_in))
            values |= heard_metrics(
                probs, heard_in, parts.heard_out_probs, target, decided
            )
            alike = map(classifier.decided, (masked_in, heard_in))
            values["agreement_wav"] = torch.eq(*alike).all(1).float()
        if batch.verdict is not None:
            values |= batch.verdict.values(wavs_in, parts.judged_out_probs)
        return Scored(
            values,
            parts.mask,
            wavs_in,
            parts.masked_out_wavs,
            probs,
            masked_in,
            parts.masked_out_probs,
            batch.view,
        )


def curve_point(way: str, step: int, steps: int) -> str:
    """Column of a point of a curve: the share of the bins that has moved.

    Example
    -------
    >>> curve_point("insertion", 3, 10)
    'insertion_0.3'
    """
    return f"{way}_{step / steps:g}"


def restore_level(wavs: Tensor, reference: Tensor) -> Tensor:
    """Amplify waveforms to the energy of others; silence stays silent.

    Example
    -------
    >>> restore_level(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([[0., 2.]])
    """
    norm = wavs.norm(dim=1, keepdim=True)
    gain = reference.norm(dim=1, keepdim=True) / norm.clamp_min(1e-6)
    return torch.where(norm > 1e-6, wavs * gain, wavs)


def heard_metrics(
    probs: Tensor,
    masked_in: Tensor,
    masked_out: Tensor,
    target: Tensor,
    decided: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """:func:`faithfulness_metrics` of what is heard, with the suffix ``_wav``.

    A change of less than ``ROUND_TRIP`` is none: else half of the clips would
    count as an increase (AI) when nothing is masked at all.

    Example
    -------
    >>> p = torch.tensor([[0.8, 0.2]])
    >>> values = heard_metrics(p, p, 1 - p, torch.tensor([0]))
    >>> round(values["FF_wav"].item(), 2), values["Fid-In_wav"].item()
    (0.6, 1.0)
    """
    same = (masked_in - probs).abs() < ROUND_TRIP
    masked_in = torch.where(same, probs, masked_in)
    values = faithfulness_metrics(probs, masked_in, masked_out, target, decided)
    return {f"{name}_wav": value for name, value in values.items()}
