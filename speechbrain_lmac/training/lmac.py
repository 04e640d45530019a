"""Training of L-MAC: a decoder that explains a frozen classifier.

Source: Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers",
ICML 2024 (arXiv 2403.13086).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.logger import get_logger
from torch import Tensor

from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.data.pipelines import multi_hot
from speechbrain_lmac.interpreters.masking import Explanation, explain
from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.training import losses
from speechbrain_lmac.training.brain import RecipeBrain

logger = get_logger(__name__)

# Mask means beyond which an explanation says nothing.
_COLLAPSED = (0.005, 0.98)


@register_checkpoint_hooks
class SparsityWeight:
    """The weight lambda_s of the mask's L1 norm, fixed or controlled.

    Too small a weight lets the mask open to all ones, too large a one closes
    it, and where the border lies depends on the classifier. With a target the
    weight follows the validation mask mean until it meets the target.

    Arguments
    ---------
    weight : float
        The weight, or where it starts.
    target_mask_mean : float or None
        Mask mean to reach on validation, in (0, 1); None keeps the weight.
    rate : float
        Exponent of the correction ``(mask mean / target) ** rate``.

    Example
    -------
    >>> weight = SparsityWeight(4.0, target_mask_mean=0.1, rate=0.5)
    >>> weight.update(0.4)  # too open: twice the weight
    8.0
    """

    def __init__(
        self,
        weight: float,
        target_mask_mean: float | None = None,
        rate: float = 1.0,
    ):
        if target_mask_mean is not None and not 0 < target_mask_mean < 1:
            raise ValueError(
                f"`target_mask_mean`: {target_mask_mean}; expected a number "
                "between 0 and 1, or null."
            )
        self.weight = float(weight)
        self.target = target_mask_mean
        self.rate = rate

    def update(self, mask_mean: float) -> float:
        """Correct the weight after a validation; returns it."""
        if self.target is not None and math.isfinite(mask_mean):
            step = (max(mask_mean, 1e-4) / self.target) ** self.rate
            self.weight *= min(max(step, 0.5), 2.0)
        return self.weight

    @mark_as_saver
    def save(self, path: str | Path) -> None:
        """SpeechBrain checkpoint hook."""
        Path(path).write_text(repr(self.weight), encoding="utf-8")

    @mark_as_loader
    def load(self, path: str | Path, end_of_epoch: bool) -> None:
        """SpeechBrain checkpoint hook."""
        self.weight = float(Path(path).read_text(encoding="utf-8"))


class ExplainerBrain(RecipeBrain):
    """Trains what explains a classifier, on a sum of weighted terms.

    The objective is the sum of :meth:`terms`, each times its weight in
    :meth:`weights`: a subclass with another objective overrides these two.
    """

    def terms(
        self, predictions: Any, batch: Any, stage: sb.Stage
    ) -> dict[str, Tensor]:
        """The terms of the objective by name, each a scalar."""
        raise NotImplementedError

    def weights(self) -> dict[str, float]:
        """Weight of each term at this step."""
        raise NotImplementedError

    def note_metrics(
        self, predictions: Any, batch: Any, stage: sb.Stage
    ) -> None:
        """Write what is measured besides the terms."""
        raise NotImplementedError

    def compute_objectives(
        self, predictions: Any, batch: Any, stage: sb.Stage
    ) -> Tensor:
        """The objective; terms and metrics are noted."""
        terms, weights = self.terms(predictions, batch, stage), self.weights()
        self.add_terms(**terms)
        self.note_metrics(predictions, batch, stage)
        total: Any = sum(weights[name] * term for name, term in terms.items())
        return total

    def stage_summary(self, stage_loss: float) -> dict[str, float]:
        """As the base's, with the quality that ranks checkpoints."""
        summary = super().stage_summary(stage_loss)
        if "Fid-In" in summary:
            summary["quality"] = quality(summary)
        return summary


class Prediction(NamedTuple):
    """What a step of L-MAC knows of a batch.

    Attributes
    ----------
    explanation : Explanation
        Of the (contaminated) clips.
    masked_in, masked_out : ClassifierOutput
        Of the clips under the mask, and under its complement.
    clean : torch.Tensor or None
        View of the clips before contamination, for the fine-tuning stage.
    """

    explanation: Explanation
    masked_in: ClassifierOutput
    masked_out: ClassifierOutput
    clean: Tensor | None


class LMACBrain(ExplainerBrain):
    """Trains the decoder of L-MAC.

    Modules: ``frontend``, ``classifier`` (frozen) and ``decoder``.
    Hyperparameters: ``l_in_w``, ``l_out_w``, ``mask_out_loss``,
    ``sparsity`` (a :class:`SparsityWeight`), ``reg_w_tv``, ``g_w``,
    ``finetuning``, ``crosscor_th``, ``crosscortype``, ``bin_th``,
    ``guidelosstype``, ``contamination`` (a ``TrainingContamination`` or
    None), ``wave_prob``, ``seed``.
    """

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Prediction:
        """One STFT, one frozen forward, one decoder forward, two masked."""
        batch = batch.to(self.device)
        mixture, clean = self.contaminate(batch, stage)
        frontend, classifier = self.modules.frontend, self.modules.classifier
        explanation = explain(
            mixture, frontend, classifier, self.modules.decoder
        )
        mask, spectrum = explanation.mask, explanation.spectrum
        masked_in, masked_out = frontend.masked(mask, spectrum)
        if stage == sb.Stage.TRAIN and self.through_the_wave():
            # A masked STFT is not the STFT of any signal; a decoder that is
            # trained through the waveform makes masks whose sound keeps the
            # decision.
            sound = frontend.listen(mask, spectrum, mixture.shape[1])
            masked_in = frontend.features(sound)
        return Prediction(
            explanation, classifier(masked_in), classifier(masked_out), clean
        )

    def contaminate(
        self, batch: Any, stage: sb.Stage
    ) -> tuple[Tensor, Tensor | None]:
        """Contaminated waveforms and, when fine-tuning, the clean views."""
        wavs, contamination = batch.sig.data, self.hparams.contamination
        if contamination is None or stage == sb.Stage.TEST:
            return wavs, None
        mixture = self.contaminated(contamination, wavs, batch.id, stage)
        if not self.hparams.finetuning:
            return mixture.mixture, None
        with torch.no_grad():
            return mixture.mixture, self.modules.frontend(mixture.target).view

    def through_the_wave(self) -> bool:
        """Whether this step's masked-in part goes through the waveform."""
        prob = self.hparams.wave_prob
        if not self.modules.frontend.listenable or not prob:
            return False
        # The golden ratio spreads the chosen steps evenly, without a draw.
        return (self.optimizer_step * 0.6180339887) % 1 < prob

    def weights(self) -> dict[str, float]:
        """Weight of each term of the objective."""
        return {
            "l_in": self.hparams.l_in_w,
            "l_out": self.hparams.l_out_w,
            "l1": self.hparams.sparsity.weight,
            "tv": self.hparams.reg_w_tv,
            "guidance": self.hparams.g_w,
        }

    def terms(
        self, predictions: Prediction, batch: Any, stage: sb.Stage
    ) -> dict[str, Tensor]:
        """Keep the decision, remove it from the rest, keep little."""
        explanation, masked_in, masked_out, clean = predictions
        hparams, classifier = self.hparams, self.modules.classifier
        mask, target = explanation.mask, explanation.target
        guided, guidance = self.guidance(explanation, clean)
        free = (~guided).float()
        before = classifier.probabilities(explanation.output)
        terms = {
            "l_in": classifier.evidence_loss(masked_in.logits, target),
            "l_out": classifier.rest_loss(
                masked_out.logits, target, hparams.mask_out_loss, before
            ),
            "l1": (losses.sparsity_loss(mask) * free).mean(),
        }
        if hparams.reg_w_tv:
            terms["tv"] = (losses.total_variation(mask) * free).mean()
        if guidance is not None:
            terms["guidance"] = (guidance * guided).mean()
            self.add_terms(guided=guided.float().mean())
        return terms

    def guidance(
        self, explanation: Explanation, clean: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Which clips the guidance holds for, and its value per clip.

        A clip passes the gate when something was added to it and its
        masked-in view already correlates with the clean one; it then gets the
        guidance in place of the sparsity.
        """
        mask, view = explanation.mask, explanation.spectrum.view
        if clean is None:
            return torch.zeros_like(mask[:, 0, 0], dtype=torch.bool), None
        hparams = self.hparams
        correlation = losses.cross_correlation(
            (mask * view).detach(), clean, hparams.crosscortype
        )
        linear = self.modules.frontend.linear
        guidance = losses.guidance_loss(
            mask, view, clean, hparams.guidelosstype, hparams.bin_th, linear
        )
        # Silence is flat, so it correlates with anything: it guides nothing.
        sounds = clean.amax((-2, -1)) > 1e-6
        # A clip as it was would guide its mask open: away from explaining.
        added = (view - clean).abs().amax((-2, -1)) > 1e-6
        return sounds & added & (correlation >= hparams.crosscor_th), guidance

    def note_metrics(
        self, predictions: Prediction, batch: Any, stage: sb.Stage
    ) -> None:
        """Per-clip metrics; in training the cheap ones alone."""
        explanation, *masked, _ = predictions
        mask, target = explanation.mask.detach(), explanation.target
        outputs = (explanation.output, *masked)
        classifier = self.modules.classifier
        before, kept, rest = map(classifier.probabilities, outputs)
        truth = multi_hot(batch.label, before.shape[1]).bool()
        correct = classifier.decides(before, truth).float()
        if stage == sb.Stage.TRAIN:
            self.add_terms(accuracy=correct.mean(), MM=mask.mean())
            return
        metrics = explanation_metrics(
            before, kept, rest, mask, target, classifier.decided_set
        )
        metrics |= {"accuracy": correct, **self.measure_mixtures(batch)}
        self.stats.append(batch.id, metrics)

    def measure_mixtures(self, batch: Any) -> dict[str, Tensor]:
        """What mixtures of the batch's clips tell of masks; here nothing."""
        return {}

    def stage_summary(self, stage_loss: float) -> dict[str, float]:
        """As the base's, with the weight of the sparsity."""
        summary = super().stage_summary(stage_loss)
        return {**summary, "reg_w_l1": self.hparams.sparsity.weight}

    def on_validated(self, summary: dict[str, float], epoch: int) -> None:
        """Collapse warning, and the sparsity weight's correction."""
        super().on_validated(summary, epoch)
        self.hparams.sparsity.update(summary["MM"])
        low, high = _COLLAPSED
        if not low < summary["MM"] < high:
            open_mask = summary["MM"] >= high
            logger.warning(
                "THE MASK HAS COLLAPSED TO ALL %s (validation mask mean "
                "%.4f): it explains nothing. %s `reg_w_l1` (now %.3g), or set "
                "`target_mask_mean` to let it be adapted.",
                "ONES" if open_mask else "ZEROS",
                summary["MM"],
                "Raise" if open_mask else "Lower",
                summary["reg_w_l1"],
            )


def quality(metrics: Mapping[str, float]) -> float:
    """One number to rank checkpoints by: the mean of five faithfulness scores.

    ``(AI/100 + (1 - AD/100) + AG/100 + FF + Fid-In) / 5``, at most 1. An
    all-ones mask gets little of it (AI and AG are 0), and so does an empty one
    (Fid-In, AD).

    Example
    -------
    >>> quality({"AI": 100, "AD": 0, "AG": 100, "FF": 1, "Fid-In": 1})
    1.0
    """
    shares = (metrics["AI"] + 100 - metrics["AD"] + metrics["AG"]) / 100
    return (shares + metrics["FF"] + metrics["Fid-In"]) / 5
