"""Training of L-MAC: a decoder that explains a frozen classifier.

Source: Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers",
ICML 2024 (arXiv 2403.13086).

Authors
 * The speechbrain_lmac authors 2026
"""

import math
from typing import NamedTuple

import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.interpreters.masking import (
    Explanation,
    explain,
    mask_features,
)
from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.training import losses
from speechbrain_lmac.training.brain import RecipeBrain

logger = get_logger(__name__)

#: Mask means beyond which an explanation says nothing.
COLLAPSED = (0.005, 0.98)


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

    def __init__(self, weight, target_mask_mean=None, rate=1.0):
        if target_mask_mean is not None and not 0 < target_mask_mean < 1:
            raise ValueError(
                "Expected `target_mask_mean` in (0, 1) or null, but got "
                f"{target_mask_mean}"
            )
        self.weight = float(weight)
        self.target = target_mask_mean
        self.rate = rate

    def update(self, mask_mean):
        """Correct the weight after a validation; returns it."""
        if self.target is not None and math.isfinite(mask_mean):
            step = (max(mask_mean, 1e-4) / self.target) ** self.rate
            self.weight *= min(max(step, 0.5), 2.0)
        return self.weight

    @mark_as_saver
    def save(self, path):
        """SpeechBrain checkpoint hook."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(repr(self.weight))

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """SpeechBrain checkpoint hook."""
        with open(path, encoding="utf-8") as file:
            self.weight = float(file.read())


class Prediction(NamedTuple):
    """What a step knows of a batch.

    Attributes
    ----------
    explanation : Explanation
        Spectrum, features, classifier output and mask of the (contaminated)
        clips.
    logits_in, logits_out : torch.Tensor
        Logits on the masked-in and masked-out clips, (batch, classes).
    clean : torch.Tensor or None
        Log-magnitude before contamination, for the fine-tuning stage.
    """

    explanation: Explanation
    logits_in: torch.Tensor
    logits_out: torch.Tensor
    clean: torch.Tensor | None


class LMACBrain(RecipeBrain):
    """Trains the decoder of L-MAC.

    Modules: ``frontend``, ``classifier`` (frozen) and ``decoder``.
    Hyperparameters: ``l_in_w``, ``l_out_w``, ``mask_out_loss``,
    ``sparsity`` (a :class:`SparsityWeight`), ``reg_w_tv``, ``g_w``,
    ``finetuning``, ``crosscor_th``, ``crosscortype``, ``bin_th``,
    ``guidelosstype``, ``mask_domain``, ``contamination`` (a
    ``TrainingContamination`` or None), ``wave_prob``, ``seed``.
    """

    def compute_forward(self, batch, stage):
        """One STFT, one frozen forward, one decoder forward, two masked."""
        batch = batch.to(self.device)
        mixture, clean = self.contaminate(batch, stage)
        modules, domain = self.modules, self.hparams.mask_domain
        explanation = explain(
            mixture, modules.frontend, modules.classifier, modules.decoder
        )
        masked = mask_features(
            explanation.mask,
            explanation.spectrum.log_magnitude,
            modules.frontend,
            domain,
            explanation.features,
        )
        masked_in = masked.masked_in
        if stage == sb.Stage.TRAIN and self.hear_this_step():
            masked_in = self.heard(explanation, mixture.shape[1])
        return Prediction(
            explanation,
            modules.classifier(masked_in).logits.float(),
            modules.classifier(masked.masked_out).logits.float(),
            clean,
        )

    def contaminate(self, batch, stage):
        """Contaminated waveforms and, when fine-tuning, the clean spectra."""
        wavs, contamination = batch.sig.data, self.hparams.contamination
        if contamination is None or stage == sb.Stage.TEST:
            return wavs, None
        mixture = self.contaminated(contamination, wavs, batch.id, stage)
        if not self.hparams.finetuning:
            return mixture.mixture, None
        with torch.no_grad():
            clean = self.modules.frontend(mixture.target).log_magnitude
        return mixture.mixture, clean

    def hear_this_step(self):
        """Whether this step's masked-in part goes through the waveform."""
        prob = self.hparams.wave_prob
        if self.hparams.mask_domain != "stft" or not prob:
            return False
        # The golden ratio spreads the chosen steps evenly, without a draw.
        return (self.optimizer_step * 0.6180339887) % 1 < prob

    def heard(self, explanation, num_samples):
        """Features of the explanation as it sounds: through ISTFT and STFT.

        A masked STFT is not the STFT of any signal; a decoder that is trained
        through the waveform makes masks whose sound keeps the decision.
        """
        frontend, spectrum = self.modules.frontend, explanation.spectrum
        gain = frontend.gain(spectrum.log_magnitude, explanation.mask)
        wavs = frontend.resynthesize(spectrum.stft, gain, num_samples)
        return frontend.mel(frontend(wavs).log_magnitude)

    def compute_objectives(self, predictions, batch, stage):
        """The L-MAC objective; per-clip metrics from what is at hand."""
        hparams, explanation = self.hparams, predictions.explanation
        target = explanation.output.logits.argmax(1)
        gate, guidance = self.guidance(predictions)
        free = (~gate).float()
        mask = explanation.mask
        terms = {
            "l_in": losses.mask_in_loss(predictions.logits_in, target),
            "l_out": losses.mask_out_loss(
                predictions.logits_out, target, hparams.mask_out_loss
            ),
            "l1": (losses.sparsity_loss(mask) * free).mean(),
        }
        loss = (
            hparams.l_in_w * terms["l_in"]
            + hparams.l_out_w * terms["l_out"]
            + hparams.sparsity.weight * terms["l1"]
        )
        if hparams.reg_w_tv:
            terms["tv"] = (losses.total_variation(mask) * free).mean()
            loss = loss + hparams.reg_w_tv * terms["tv"]
        if guidance is not None:
            terms["guidance"] = (guidance * gate).mean()
            terms["guided"] = gate.float().mean()
            loss = loss + hparams.g_w * terms["guidance"]
        self.add_terms(**terms)
        self.note_metrics(predictions, target, batch, stage)
        return loss

    def guidance(self, predictions):
        """Which clips the guidance holds for, and its value per clip.

        A clip passes the gate when something was added to it and its
        masked-in spectrogram already correlates with the clean one; it then
        gets the guidance in place of the sparsity.
        """
        mask = predictions.explanation.mask
        if predictions.clean is None:
            return torch.zeros(len(mask), dtype=bool, device=mask.device), None
        hparams, clean = self.hparams, predictions.clean
        log_magnitude = predictions.explanation.spectrum.log_magnitude
        if hparams.mask_domain == "mel":
            log_magnitude = predictions.explanation.features
            clean = self.modules.frontend.mel(clean)
        correlation = losses.cross_correlation(
            (mask * log_magnitude).detach(), clean, hparams.crosscortype
        )
        guidance = losses.guidance_loss(
            mask, log_magnitude, clean, hparams.guidelosstype, hparams.bin_th
        )
        # Silence is flat, so it correlates with anything: it guides nothing.
        heard = clean.amax((-2, -1)) > 1e-6
        # A clip as it was would guide its mask open: away from explaining.
        added = (log_magnitude - clean).abs().amax((-2, -1)) > 1e-6
        gate = heard & added & (correlation >= hparams.crosscor_th)
        return gate, guidance

    def note_metrics(self, predictions, target, batch, stage):
        """Per-clip metrics; in training the cheap ones alone."""
        output = predictions.explanation.output
        mask = predictions.explanation.mask.detach()
        correct = target == batch.label.data[:, 0].to(target.device)
        if stage == sb.Stage.TRAIN:
            self.add_terms(accuracy=correct.float().mean(), MM=mask.mean())
            return
        metrics = explanation_metrics(
            output.logits.float().softmax(1),
            predictions.logits_in.softmax(1),
            predictions.logits_out.softmax(1),
            mask,
            target,
        )
        self.stats.append(batch.id, {"accuracy": correct.float(), **metrics})

    def stage_summary(self, stage_loss):
        """As the base's, with the quality that ranks checkpoints."""
        summary = super().stage_summary(stage_loss)
        if "Fid-In" in summary:
            summary["quality"] = quality(summary)
        summary["reg_w_l1"] = self.hparams.sparsity.weight
        return summary

    def on_validated(self, summary, epoch):
        """Collapse warning, and the sparsity weight's correction."""
        super().on_validated(summary, epoch)
        self.hparams.sparsity.update(summary["MM"])
        low, high = COLLAPSED
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


def quality(metrics):
    """One number to rank checkpoints by: the mean of five faithfulness scores.

    ``(AI/100 + (1 - AD/100) + AG/100 + FF + Fid-In) / 5``. An all-ones mask
    gets little of it (AI and AG are 0), and so does an empty one (Fid-In, AD).

    Arguments
    ---------
    metrics : dict
        Means of AI, AD, AG (percent), FF and Fid-In.

    Returns
    -------
    float
        Higher is better; at most 1.

    Example
    -------
    >>> quality({"AI": 100, "AD": 0, "AG": 100, "FF": 1, "Fid-In": 1})
    1.0
    """
    shares = (metrics["AI"] + 100 - metrics["AD"] + metrics["AG"]) / 100
    return (shares + metrics["FF"] + metrics["Fid-In"]) / 5
