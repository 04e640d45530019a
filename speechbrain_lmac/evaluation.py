"""The evaluator: methods x conditions -> per-clip metrics.

A condition's clips are made, transformed and classified once, whatever the
number of methods; a method only turns them into masks. Each mask is scored on
the masked spectrogram, and on the sound that people hear: resynthesised and
read back.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import torch
from tqdm import tqdm

from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.data.pipelines import SameLengthBatchSampler
from speechbrain_lmac.decoders import mel_to_linear
from speechbrain_lmac.masking import (
    explain,
    mask_features,
    restore_loudness,
)
from speechbrain_lmac.methods import (
    ClipBatch,
    build_methods,
    check_protocols,
    under_protocol,
)
from speechbrain_lmac.metrics.curves import area, insertion_deletion
from speechbrain_lmac.metrics.functional import (
    average_drop,
    average_gain,
    average_increase,
    explanation_metrics,
    faithfulness,
    input_fidelity,
)
from speechbrain_lmac.metrics.separation import energy_kept, si_sdr_gain
from speechbrain_lmac.metrics.stats import ClipStats


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
    """

    values: dict
    mask: torch.Tensor
    masked_in_wavs: torch.Tensor
    masked_out_wavs: torch.Tensor
    probs: torch.Tensor
    masked_in_probs: torch.Tensor
    masked_out_probs: torch.Tensor


class Evaluator:
    """Scores methods on the clips of a condition.

    Arguments
    ---------
    frontend : FrontEnd
        Waveform to the domains of mask and classifier.
    classifier : AudioClassifier
        Frozen.
    decoder : torch.nn.Module
        The trained decoder.
    mask_domain : str
        ``stft`` or ``mel``.
    methods : sequence of str
        Some of :data:`speechbrain_lmac.methods.METHODS`.
    protocols : sequence of str
        Some of :data:`speechbrain_lmac.methods.PROTOCOLS`; a method's mask is
        computed once for all.
    curve_steps : int
        Steps of the insertion and deletion curves, whose areas are then
        scored, too (under the published protocol); 0 leaves them out.
    batch_size : int
        Clips of equal length are explained together; no score depends on it.
    seed : int
        For methods that draw.
    device : str
        Where to compute.
    """

    def __init__(
        self,
        frontend,
        classifier,
        decoder,
        mask_domain="stft",
        methods=("lmac", "all_ones", "random", "ideal"),
        protocols=("published",),
        curve_steps=0,
        batch_size=16,
        seed=1234,
        device="cpu",
    ):
        self.frontend = frontend.to(device)
        self.classifier = classifier.to(device)
        self.decoder = decoder.to(device).eval()
        self.mask_domain = mask_domain
        self.spread = mel_to_linear(self.frontend.mel_matrix)
        self.methods = build_methods(
            methods, self.classifier, self.frontend, mask_domain
        )
        check_protocols(protocols)
        self.protocols = list(protocols)
        self.curve_steps = curve_steps
        self.batch_size = batch_size
        self.seed = seed
        self.device = device

    @torch.no_grad()
    def evaluate(
        self, clips, labels, contaminated, on_scored=None, progressbar=True
    ):
        """Score every method on every clip.

        Arguments
        ---------
        clips : list of ConditionClip
            The clips of a condition.
        labels : dict of str to int
            Index of each class name, for the accuracy.
        contaminated : bool
            Whether the clips have an interferer; then the clean source is
            known and the separation figures are computed, too.
        on_scored : callable or None
            Called with (method, clip, k, mixture, scored): a ConditionClip,
            its place in the batch, its Mixture, the batch's Scored.
        progressbar : bool
            Show one.

        Returns
        -------
        dict of str to ClipStats
            Per method, and ``method@protocol`` for other protocols than the
            published; methods that are not defined here are left out.
        """
        stats = {}
        lengths = [clip.num_samples for clip in clips]
        batches = list(SameLengthBatchSampler(lengths, self.batch_size))
        for indices in tqdm(
            batches, desc="explaining", disable=not progressbar
        ):
            chosen = [clips[i] for i in indices]
            made = [clip.make() for clip in chosen]
            mixture = Mixture(
                *(
                    torch.stack(part).to(self.device)
                    for part in zip(*made, strict=True)
                )
            )
            truth = torch.tensor(
                [labels[clip.class_string] for clip in chosen],
                device=self.device,
            )
            batch = self._prepare(chosen, mixture, contaminated)
            for name, method in self.methods.items():
                mask = method(batch)
                if mask is None:
                    continue
                curves = self._curves(mask, batch)
                for protocol in self.protocols:
                    scored = self._score(mask, batch, mixture, truth, protocol)
                    key = row_key(name, protocol)
                    if protocol == "published":
                        scored.values.update(curves)
                    stats.setdefault(key, ClipStats()).append(
                        batch.ids, scored.values
                    )
                    for k, clip in enumerate(chosen if on_scored else []):
                        on_scored(key, clip, k, made[k], scored)
        return stats

    def _prepare(self, chosen, mixture, contaminated):
        """All that the methods share for a batch, computed once."""
        explanation = explain(
            mixture.mixture, self.frontend, self.classifier, self.decoder
        )
        sources = None
        if contaminated:
            sources = (
                self.frontend(mixture.target),
                self.frontend(mixture.interferer),
            )
        return ClipBatch(
            [clip.id for clip in chosen],
            explanation,
            sources,
            None if sources is None else self._in_domain(sources[0]),
            self._in_domain(explanation.spectrum),
            self.seed,
            self._classify,
        )

    def _curves(self, mask, batch):
        """Areas under the insertion and deletion curves, if asked for."""
        if not self.curve_steps:
            return {}
        curves = insertion_deletion(
            mask,
            batch.input_features,
            lambda x: self._classify(x).logits.float().softmax(1),
            batch.explanation.output.logits.argmax(1),
            self.curve_steps,
            batch.clip_seeds(),
        )
        return {
            "insertion_auc": area(curves.insertion),
            "deletion_auc": area(curves.deletion),
        }

    def _classify(self, inputs):
        """Features in the mask's domain to the classifier's output."""
        if self.mask_domain == "stft":
            inputs = self.frontend.mel(inputs)
        return self.classifier(inputs)

    def _in_domain(self, spectrum):
        """A spectrum in the domain where the mask acts."""
        if self.mask_domain == "stft":
            return spectrum.log_magnitude
        return self.frontend.mel(spectrum.log_magnitude)

    def _probs(self, features):
        return self.classifier(features).logits.float().softmax(1)

    def _score(self, mask, batch, mixture, truth, protocol):
        """All metrics of a method's masks for a batch."""
        mask = under_protocol(mask, protocol, batch)
        spectrum = batch.explanation.spectrum
        probs = batch.explanation.output.logits.float().softmax(1)
        target = probs.argmax(1)
        masked = mask_features(
            mask,
            spectrum.log_magnitude,
            self.frontend,
            self.mask_domain,
            batch.explanation.features,
        )
        gain, wavs_in, wavs_out = self._resynthesize(mask, spectrum, mixture)
        kept = masked.masked_in
        if protocol == "loudness":
            kept = restore_loudness(kept, batch.explanation.features)
            wavs_in = restore_level(wavs_in, mixture.mixture)
        masked_in = self._probs(kept)
        masked_out = self._probs(masked.masked_out)
        heard_in, heard_out = (
            self._probs(self.frontend.mel(self.frontend(w).log_magnitude))
            for w in (wavs_in, wavs_out)
        )
        values = {"accuracy": (target == truth).float()}
        values |= explanation_metrics(
            probs, masked_in, masked_out, mask, target
        )
        values |= heard_metrics(probs, heard_in, heard_out, target)
        agree = masked_in.argmax(1) == heard_in.argmax(1)
        values["agreement_wav"] = agree.float()
        if batch.sources is not None:
            for name, source in zip(
                ("target_kept", "interferer_kept"), batch.sources, strict=True
            ):
                power = source.stft.abs().square()
                values[name] = energy_kept(gain, power)
            values["SI-SDR_gain"] = si_sdr_gain(
                wavs_in, mixture.mixture, mixture.target
            )
        return Scored(
            values,
            mask,
            wavs_in,
            wavs_out,
            probs,
            masked_in,
            masked_out,
        )

    def _resynthesize(self, mask, spectrum, mixture):
        """Gain of the mask, and the sounds of masked-in and masked-out."""
        if self.mask_domain == "mel":
            mask = mask @ self.spread
        num_samples = mixture.mixture.shape[1]
        log_magnitude, stft = spectrum.log_magnitude, spectrum.stft
        gain = self.frontend.gain(log_magnitude, mask)
        rest = self.frontend.gain(log_magnitude, 1 - mask)
        return (
            gain,
            self.frontend.resynthesize(stft, gain, num_samples),
            self.frontend.resynthesize(stft, rest, num_samples),
        )


def row_key(method, protocol):
    """Name of a method under a protocol: the method alone if published.

    Example
    -------
    >>> row_key("ig", "published"), row_key("ig", "equal_mean")
    ('ig', 'ig@equal_mean')
    """
    return method if protocol == "published" else f"{method}@{protocol}"


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


#: Probabilities that differ by less are equal as heard: the way through the
#: waveform and back costs a few float32 digits.
ROUND_TRIP = 1e-4


def heard_metrics(probs, masked_in_probs, masked_out_probs, target):
    """The faithfulness metrics on what is heard, with the suffix ``_wav``.

    A change of less than ``ROUND_TRIP`` is none: else half of the clips would
    count as an increase (AI) when nothing is masked at all.

    Arguments
    ---------
    probs : torch.Tensor
        On the clip, shape (batch, classes).
    masked_in_probs, masked_out_probs : torch.Tensor
        On explanation and rest after resynthesis, same shape.
    target : torch.Tensor
        Explained classes, shape (batch,).

    Returns
    -------
    dict of str to torch.Tensor
        Per-clip values.

    Example
    -------
    >>> p = torch.tensor([[0.8, 0.2]])
    >>> values = heard_metrics(p, p, 1 - p, torch.tensor([0]))
    >>> round(values["FF_wav"].item(), 2), values["Fid-In_wav"].item()
    (0.6, 1.0)
    """
    same = (masked_in_probs - probs).abs() < ROUND_TRIP
    masked_in_probs = torch.where(same, probs, masked_in_probs)
    return {
        "AI_wav": average_increase(probs, masked_in_probs, target),
        "AD_wav": average_drop(probs, masked_in_probs, target),
        "AG_wav": average_gain(probs, masked_in_probs, target),
        "FF_wav": faithfulness(probs, masked_out_probs, target),
        "Fid-In_wav": input_fidelity(masked_in_probs, target),
    }
