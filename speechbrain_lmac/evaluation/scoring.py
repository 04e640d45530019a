"""What a batch of masks scores: on spectrograms, as heard, by their sources.

Masked-in and masked-out parts are made and classified once for all protocols
that share them; the metrics themselves are those of
:mod:`speechbrain_lmac.metrics`.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import torch

from speechbrain_lmac.evaluation.methods import under_protocol
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.metrics.curves import area, insertion_deletion
from speechbrain_lmac.metrics.explanation import (
    check_ad_variant,
    faithfulness_metrics,
    mask_metrics,
)
from speechbrain_lmac.metrics.functional import average_drop_speechbrain
from speechbrain_lmac.metrics.separation import (
    energy_kept,
    mask_auc,
    si_sdr_gain,
)

#: Probabilities that differ by less are equal as heard: the way through the
#: waveform and back costs a few float32 digits.
ROUND_TRIP = 1e-4


class Scored(NamedTuple):
    """A method's masks for a batch, their sounds and what they score.

    Attributes
    ----------
    values : dict
        Metric name to per-clip values.
    mask : torch.Tensor
        Shape (batch, frames, bins or bands).
    masked_in_wavs, masked_out_wavs : torch.Tensor
        Shape (batch, samples).
    probs, masked_in_probs, masked_out_probs : torch.Tensor
        Shape (batch, classes).
    view : torch.Tensor
        The clips in the mask's domain, same shape as ``mask``.
    """

    values: dict
    mask: torch.Tensor
    masked_in_wavs: torch.Tensor
    masked_out_wavs: torch.Tensor
    probs: torch.Tensor
    masked_in_probs: torch.Tensor
    masked_out_probs: torch.Tensor
    view: torch.Tensor


class _Parts(NamedTuple):
    """What protocols with the same mask share."""

    mask: torch.Tensor
    masked_in: torch.Tensor  # features
    masked_out_probs: torch.Tensor
    masked_in_wavs: torch.Tensor
    masked_out_wavs: torch.Tensor
    heard_out_probs: torch.Tensor | None
    values: dict  # metrics of the mask alone


class Scorer:
    """Scores masks under protocols.

    Arguments
    ---------
    frontend : FrontEnd
        Waveform to the domains of mask and classifier.
    classifier : AudioClassifier
        Frozen.
    curve_steps : int
        Steps of the insertion and deletion curves; 0 leaves them out.
    ad_variant : str
        ``definition``, or ``speechbrain`` for a further column
        ``AD_speechbrain``: AD with that toolkit's second softmax.
    heard : bool
        Whether to score the resynthesised sounds, too: a second classifier
        forward of explanation and rest.
    """

    def __init__(
        self,
        frontend,
        classifier,
        curve_steps=0,
        ad_variant="definition",
        heard=True,
    ):
        self.frontend = frontend
        self.classifier = classifier
        self.curve_steps = curve_steps
        check_ad_variant(ad_variant)
        self.ad_variant = ad_variant
        self.heard = heard

    def __call__(self, mask, batch, protocols):
        """Score a method's masks.

        Arguments
        ---------
        mask : torch.Tensor
            Shape (batch, frames, bins or bands).
        batch : ClipBatch
            The clips.
        protocols : sequence of str
            Some of :data:`speechbrain_lmac.evaluation.methods.PROTOCOLS`.

        Returns
        -------
        dict of str to Scored
            By protocol.
        """
        shared = self._order_metrics(mask, batch)
        parts, scored = {}, {}
        for protocol in protocols:
            view = "equal_mean" if protocol == "equal_mean" else "published"
            if view not in parts:
                parts[view] = self._parts(
                    under_protocol(mask, protocol, batch), batch
                )
            scored[protocol] = self._score(parts[view], batch, protocol)
            scored[protocol].values.update(shared)
        return scored

    def features(self, wavs):
        """The classifier's input for waveforms."""
        return self.frontend.features(wavs)

    def probs(self, features):
        """Class probabilities for features."""
        return self.classifier.probabilities(self.classifier(features))

    def _order_metrics(self, mask, batch):
        """Metrics that no protocol changes: they see the bins' order alone."""
        values = {}
        if batch.sources is not None:
            target, interferer = map(self.frontend.mask_power, batch.sources)
            values["mask_auc"] = mask_auc(mask, target > interferer)
        if self.curve_steps:
            values |= self._curves(mask, batch)
        return values

    def _curves(self, mask, batch):
        """Insertion and deletion curves, point by point, and their areas."""
        curves = insertion_deletion(
            mask,
            batch.view,
            lambda x: self.classifier.probabilities(batch.forward(x)),
            batch.target,
            self.curve_steps,
            batch.clip_seeds(),
        )
        values = {}
        for name, curve in curves._asdict().items():
            values[f"{name}_auc"] = area(curve)
            for step, column in enumerate(curve.unbind(1)):
                values[curve_point(name, step, self.curve_steps)] = column
        return values

    def _parts(self, mask, batch):
        """Mask-in and mask-out, their sounds, and the mask's own metrics."""
        spectrum = batch.explanation.spectrum
        masked = self.frontend.masked(mask, spectrum)
        gain, wavs_in, wavs_out = self.frontend.parts(
            mask, spectrum, batch.mixture.mixture.shape[1]
        )
        return _Parts(
            mask,
            masked.masked_in,
            self.probs(masked.masked_out),
            wavs_in,
            wavs_out,
            self.probs(self.features(wavs_out)) if self.heard else None,
            {
                **self._mask_metrics(mask),
                **self._separation(gain, wavs_in, batch),
            },
        )

    def _mask_metrics(self, mask):
        peak = mask.flatten(1).amax(1)
        return {
            **mask_metrics(heard_part(mask, self.frontend.heard)),
            "empty_mask": (peak == 0).float(),
            "nan_mask": peak.isnan().float(),
        }

    def _separation(self, gain, wavs_in, batch):
        """How well the explanation singles out the target, if it is known."""
        if batch.sources is None:
            return {}
        target, interferer = map(self.frontend.power, batch.sources)
        return {
            "target_kept": energy_kept(gain, target),
            "interferer_kept": energy_kept(gain, interferer),
            "SI-SDR_gain": si_sdr_gain(
                wavs_in, batch.mixture.mixture, batch.mixture.target
            ),
        }

    def _score(self, parts, batch, protocol):
        """All metrics of masks under a protocol."""
        probs = batch.probs()
        target = batch.target
        kept, wavs_in = parts.masked_in, parts.masked_in_wavs
        if protocol == "loudness":
            kept = self.frontend.restore_loudness(
                kept, batch.explanation.features
            )
            wavs_in = restore_level(wavs_in, batch.mixture.mixture)
        masked_in = self.probs(kept)
        values = {"accuracy": (target == batch.truth).float()}
        values |= faithfulness_metrics(
            probs, masked_in, parts.masked_out_probs, target
        )
        if self.ad_variant == "speechbrain":
            values["AD_speechbrain"] = average_drop_speechbrain(
                probs, masked_in, target
            )
        values |= parts.values
        if self.heard:
            heard_in = self.probs(self.features(wavs_in))
            values |= heard_metrics(
                probs, heard_in, parts.heard_out_probs, target
            )
            agree = masked_in.argmax(1) == heard_in.argmax(1)
            values["agreement_wav"] = agree.float()
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


def curve_point(way, step, steps):
    """Column of a point of a curve: the share of the bins that has moved.

    Example
    -------
    >>> curve_point("insertion", 3, 10)
    'insertion_0.3'
    """
    return f"{way}_{step / steps:g}"


def restore_level(wavs, reference):
    """Amplify waveforms to the energy of others; silence stays silent.

    Example
    -------
    >>> restore_level(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([[0., 2.]])
    """
    norm = wavs.norm(dim=1, keepdim=True)
    gain = reference.norm(dim=1, keepdim=True) / norm.clamp_min(1e-6)
    return torch.where(norm > 1e-6, wavs * gain, wavs)


def heard_metrics(probs, masked_in_probs, masked_out_probs, target):
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
    same = (masked_in_probs - probs).abs() < ROUND_TRIP
    masked_in_probs = torch.where(same, probs, masked_in_probs)
    values = faithfulness_metrics(
        probs, masked_in_probs, masked_out_probs, target
    )
    return {f"{name}_wav": value for name, value in values.items()}
