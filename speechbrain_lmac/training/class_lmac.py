"""Training of an L-MAC that is told the class.

Clips are mixed with one another, so that both sources are known. The mask of
a class that is there keeps its source (its ratio of magnitudes is the guide),
keeps the class and removes it from the rest; the mask of a class that is not
there is empty.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import speechbrain as sb
import torch
import torch.nn.functional as F
from torch import Tensor

from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.data.mixtures import Mixture, mix_at_snr
from speechbrain_lmac.data.pipelines import multi_hot
from speechbrain_lmac.features import Parts
from speechbrain_lmac.interpreters.masking import Explanation, explain
from speechbrain_lmac.training.lmac import LMACBrain
from speechbrain_lmac.training.mixtures import measure_mixtures, mix_partners

# An absent class may rise by this under its mask: less is not heard as it.
_FREE_RISE = 0.02


class Query(NamedTuple):
    """What a step asks of mixtures.

    Attributes
    ----------
    mixed : Mixture
        Waveforms; the target is the source whose class is known.
    target : torch.Tensor
        The asked classes, int64 (batch,).
    present : torch.Tensor
        Whether the asked class is there, bool (batch,).
    sole : torch.Tensor
        Whether the target is all that is there of the class and nothing else,
        or the class is not there, bool (batch,).
    """

    mixed: Mixture
    target: Tensor
    present: Tensor
    sole: Tensor


class Answer(NamedTuple):
    """What a step knows of mixtures and the asked classes.

    Attributes
    ----------
    explanation : Explanation
        Of the mixtures, for the asked classes.
    masked_in, masked_out : ClassifierOutput
        Of the mixtures under the masks, and under their complements.
    query : Query
        What was asked.
    sounds : Parts or None
        Of the masks and their complements, where the step went through them.
    """

    explanation: Explanation
    masked_in: ClassifierOutput
    masked_out: ClassifierOutput
    query: Query
    sounds: Parts | None = None


def draw_query(
    wavs: Tensor,
    labels: Tensor,
    mix_prob: float,
    mix_snr: tuple[float, float],
    noise_prob: float,
    absent_prob: float,
    generator: torch.Generator,
) -> Query:
    """Mix clips with one another or with noise, and choose classes to ask for.

    Arguments
    ---------
    wavs : torch.Tensor
        Waveforms, (batch, samples).
    labels : torch.Tensor
        Their classes, 0 or 1, (batch, classes).
    mix_prob, mix_snr : float, pair of float
        Share of clips that another one of the batch is added to, at a level
        drawn from this range, in dB.
    noise_prob : float
        Share of the others that white noise is added to.
    absent_prob : float
        Share of clips that are asked for a class which is in neither source.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Query

    Example
    -------
    >>> generator = torch.Generator().manual_seed(0)
    >>> wavs, labels = torch.randn(3, 50), torch.eye(3, 4)
    >>> query = draw_query(wavs, labels, 1, (0, 0), 0, 1, generator)
    >>> query.present.any().item()
    False
    """
    batch, cpu = len(labels), labels.cpu()
    mixed, partner, known = mix_partners(
        wavs, cpu.argmax(1), mix_prob, mix_snr, generator
    )
    noisy = ~known.cpu() & (torch.rand(batch, generator=generator) < noise_prob)
    if noisy.any():
        noise = torch.randn(wavs.shape, generator=generator).to(wavs)
        low, high = mix_snr
        level = low + (high - low) * torch.rand(batch, generator=generator)
        # Louder noise than a clip leaves nothing to explain.
        other = mix_at_snr(wavs, noise, level.abs().to(wavs))
        pick = noisy[:, None].to(wavs.device)
        mixed = Mixture(
            *(
                torch.where(pick, b, a)
                for a, b in zip(mixed, other, strict=True)
            )
        )
    own = torch.rand(cpu.shape, generator=generator) * (cpu > 0)
    # Of a clip's labels rather one that is not the other source's as well.
    shared = (cpu[partner] > 0) & known.cpu()[:, None]
    own = torch.where(shared, own * 1e-3, own)
    # Of both sources, whether the second was added or not.
    away = torch.rand(cpu.shape, generator=generator)
    away = away.masked_fill(cpu + cpu[partner] > 0, -1.0)
    absent = torch.rand(batch, generator=generator) < absent_prob
    absent &= away.amax(1) > 0
    target = torch.where(absent, away.argmax(1), own.argmax(1))
    twice = shared.gather(1, target[:, None]).squeeze(1)
    sole = absent | ((cpu.sum(1) == 1) & ~twice)
    return Query(mixed, *(x.to(wavs.device) for x in (target, ~absent, sole)))


class ClassLMACBrain(LMACBrain):
    """Trains a decoder that is told the class, a ``ClassDecoder``.

    Hyperparameters besides those of :class:`LMACBrain`: ``mix_prob``,
    ``mix_snr``, ``noise_prob``, ``absent_prob`` (:func:`draw_query`),
    ``energy_power``, the power of a band's energy that it counts with in the
    guidance, and ``classified_share``, the share of a step's masks whose sound
    the classifier hears: known sources teach for less time. Validation and
    test explain the decisions on clips as they are.
    """

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Any:
        """As of :class:`LMACBrain`; in training of mixtures and queries."""
        if stage != sb.Stage.TRAIN:
            return super().compute_forward(batch, stage)
        batch = batch.to(self.device)
        frontend, classifier = self.modules.frontend, self.modules.classifier
        hparams, wavs = self.hparams, batch.sig.data
        query = draw_query(
            wavs,
            multi_hot(batch.label, classifier.n_classes),
            hparams.mix_prob,
            hparams.mix_snr,
            hparams.noise_prob,
            hparams.absent_prob,
            self.step_generator(stage, batch.id),
        )
        explanation = explain(
            query.mixed.mixture,
            frontend,
            classifier,
            self.modules.decoder,
            query.target,
        )
        heard = math.ceil(hparams.classified_share * len(wavs))
        mask = explanation.mask[:heard]
        spectrum = explanation.spectrum.rows(slice(heard))
        sounds = None
        if self.through_the_wave():
            sounds = frontend.parts(mask, spectrum, wavs.shape[1])
            masked = tuple(map(frontend.features, sounds[1:]))
        else:
            masked = frontend.masked(mask, spectrum)
        kept, rest = map(classifier, masked)
        return Answer(explanation, kept, rest, query, sounds)

    def weights(self) -> dict[str, float]:
        """Weight of each term of the objective."""
        return {
            **super().weights(),
            "absent": self.hparams.absent_w,
            "rise": self.hparams.rise_w,
        }

    def terms(self, predictions: Any, batch: Any, stage: sb.Stage) -> Any:
        """Of a class that is there and of one that is not."""
        if stage != sb.Stage.TRAIN:
            return super().terms(predictions, batch, stage)
        explanation, masked_in, masked_out, query, _ = predictions
        classifier, mask = self.modules.classifier, explanation.mask
        absent = (~query.present).to(mask)
        terms = {
            "l1": mask.mean(),
            "absent": (mask.mean((1, 2)) * absent).mean(),
            "guidance": self.guided_by_sources(predictions),
        }
        # The classifier hears the first ones of the batch.
        heard = len(masked_in.logits)
        before = classifier.probabilities(explanation.output)[:heard]
        asked, present = query.target[:heard], query.present[:heard]
        rise = classifier.probabilities(masked_in) - before
        rise = rise.gather(1, asked[:, None]).squeeze(1) - _FREE_RISE
        terms["rise"] = (rise.relu() * absent[:heard]).mean()
        if present.any():
            terms["l_in"] = classifier.evidence_loss(
                masked_in.logits[present], asked[present]
            )
            terms["l_out"] = classifier.rest_loss(
                masked_out.logits[present],
                asked[present],
                self.hparams.mask_out_loss,
                before[present],
            )
        return terms

    def guided_by_sources(self, answer: Answer) -> Tensor:
        """Cross-entropy of masks and ratios of magnitudes, louder bands first.

        On the bands that the classifier hears, as masks are made. The ratio of
        an absent class is 0; a clip of several labels, whose sources nobody
        knows, guides nothing.
        """
        frontend, query = self.modules.frontend, answer.query
        mask = answer.explanation.mask
        with torch.no_grad():
            named, other = (
                frontend.on_bands(frontend.mask_power(frontend(wavs)).sqrt())
                for wavs in (query.mixed.target, query.mixed.interferer)
            )
            total = named + other
            wanted = named / total.clamp_min(1e-8)
            wanted = wanted * query.present[:, None, None]
            weight = total ** (2 * self.hparams.energy_power)
            weight = weight / weight.mean((1, 2), keepdim=True).clamp_min(1e-8)
        # Away from 0 and 1, where a logarithm has no gradient.
        entropy = F.binary_cross_entropy(
            frontend.on_bands(mask).clamp(1e-6, 1 - 1e-6),
            wanted,
            reduction="none",
        )
        return (weight * entropy * query.sole[:, None, None]).mean()

    def note_metrics(self, predictions: Any, batch: Any, stage: Any) -> None:
        """As of :class:`LMACBrain`, and how masks follow the class."""
        if stage != sb.Stage.TRAIN:
            super().note_metrics(predictions, batch, stage)
            return
        mean = predictions.explanation.mask.detach().mean((1, 2))
        present = predictions.query.present
        for name, which in (("MM", present), ("absent MM", ~present)):
            if which.any():
                self.add_terms(**{name: mean[which].mean()})

    @torch.no_grad()
    def measure_mixtures(self, batch: Any) -> dict[str, Tensor]:
        """Which source the masks of 0 dB mixtures keep, asked by class."""
        frontend, classifier = self.modules.frontend, self.modules.classifier

        def explained(wavs, target):
            decoder = self.modules.decoder
            found = explain(wavs, frontend, classifier, decoder, target)
            return found.mask, found.spectrum

        labels = batch.label.data[:, 0]
        return measure_mixtures(frontend, batch.sig.data, labels, explained)

    def stage_summary(self, stage_loss: float) -> dict[str, float]:
        """As of :class:`LMACBrain`; the quality counts the sources, too."""
        summary = super().stage_summary(stage_loss)
        if "named wins" in summary:
            follows = summary["named wins"] + summary["kept"]
            summary["quality"] = (5 * summary["quality"] + follows) / 7
        return summary
