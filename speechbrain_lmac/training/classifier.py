"""Training of a classifier with soft labels and an average of its weights."""

from __future__ import annotations

from typing import Any

import speechbrain as sb
import torch
from torch import Tensor, nn

from speechbrain_lmac.data.mixtures import mix_some
from speechbrain_lmac.data.pipelines import multi_hot
from speechbrain_lmac.metrics.labels import macro_f1
from speechbrain_lmac.training.brain import RecipeBrain
from speechbrain_lmac.utils.checks import UserError


class WeightAverage:
    """Exponential moving average of a module's weights and buffers.

    Arguments
    ---------
    module : torch.nn.Module
        The module that is trained.
    average : torch.nn.Module
        A module of the same shape: the average.
    decay : float
        Weight of the past per step, in [0, 1); shorter at the start, so that
        the first steps are forgotten.

    Example
    -------
    >>> module, average = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    >>> mean = WeightAverage(module, average, decay=0.5)
    >>> mean.reset()
    >>> before, _ = average.weight.item(), module.weight.data.add_(1.0)
    >>> mean.update(step=1000)
    >>> round(average.weight.item() - before, 3)
    0.5
    """

    def __init__(
        self, module: nn.Module, average: nn.Module, decay: float = 0.99
    ):
        self.module = module
        self.average = average
        self.decay = decay

    def reset(self) -> None:
        """Start over from the module's present weights."""
        self.average.load_state_dict(self.module.state_dict())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the module's present weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        values = self.module.state_dict()
        for name, mean in self.average.state_dict().items():
            value = values[name]
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


class ClassifierBrain(RecipeBrain):
    """Trains a classifier on log1p mel features with soft labels.

    Modules: ``frontend``, ``classifier`` (an ``AudioClassifier``) and
    ``average``, a second one of the same shape that holds the moving average
    of the weights: the one that is validated, tested and kept.
    Hyperparameters: ``augment`` (an ``Augmenter`` or None), ``ema_decay``.

    A classifier of several labels (``threshold``) is trained, validated and
    tested on mixtures of one to three clips of a batch (``mix_some``), in
    validation and test always the same ones.

    A subclass may train another kind of model, named by ``trained``, if it
    says how that classifies (:meth:`classify`).
    """

    #: Name of the module that is trained.
    trained = "classifier"
    #: Probability of a class on silence or noise from which it costs score;
    #: None for models to which nothing is no matter.
    max_unknown: float | None = 0.3

    def __init__(self, modules: dict, *args: Any, **kwargs: Any):
        modules["average"].requires_grad_(False)
        super().__init__(modules, *args, **kwargs)

    def on_fit_start(self) -> None:
        """Recover; a fresh start averages from the initial weights."""
        super().on_fit_start()
        trained = self.modules[self.trained]
        self.average = WeightAverage(
            getattr(trained, "module", trained),
            self.modules.average,
            self.hparams.ema_decay,
        )
        if not self.optimizer_step:
            self.average.reset()

    def compute_forward(self, batch: Any, stage: sb.Stage) -> tuple[Any, ...]:
        """Output and soft labels of a batch."""
        batch = batch.to(self.device)
        wavs = batch.sig.data
        labels = multi_hot(batch.label, self.hparams.out_n_neurons)
        if batch.label.data.shape[1] > 1 and not self.several:
            raise UserError(
                "`threshold`: clips have several labels, but one class is to "
                "exclude the others; add --threshold=0.5."
            )
        if self.several and stage != sb.Stage.TRAIN:
            generator = self.step_generator(stage, batch.id)
            wavs, labels = mix_some(wavs, labels, generator)
        features, labels = self.augmented(wavs, labels, stage)
        name = self.trained if stage == sb.Stage.TRAIN else "average"
        return self.modules[name](features), labels

    @property
    def several(self) -> bool:
        """Whether a sound may have several labels at once."""
        return getattr(self.modules.average, "threshold", None) is not None

    def probabilities(self, features: Tensor) -> Tensor:
        """Of the classes, by the averaged model, (..., batch, classes)."""
        average = self.modules.average
        return average.probabilities(average(features))

    def augmented(
        self, wavs: Tensor, labels: Tensor, stage: sb.Stage
    ) -> tuple[Tensor, Tensor]:
        """Features and soft labels (batch, classes); in training augmented.

        Of waveforms (batch, samples) and labels (batch, classes), 0 or 1;
        training adds sounds of no class.
        """
        augment = self.hparams.augment if stage == sb.Stage.TRAIN else None
        with torch.no_grad():
            if augment is not None:
                wavs, labels = augment.waveforms(wavs, labels, self.several)
            frontend = self.modules.frontend
            features = frontend.features(wavs)
            if augment is not None:
                features = augment.features(features)
        return features, labels

    def compute_objectives(
        self, predictions: Any, batch: Any, stage: sb.Stage
    ) -> Tensor:
        """Cross-entropy against the soft labels; accuracy per clip.

        Of several labels, a clip is right if all of its labels are, and no
        others.
        """
        output, labels = predictions
        classifier = self.modules.average
        loss = classifier.evidence_loss(output.logits, labels)
        probs = classifier.probabilities(output)[: len(batch.id)].detach()
        decided, truth = classifier.decided(probs), labels[: len(probs)] > 0.5
        if not self.several:  # clips that are mixed keep their own label
            truth = multi_hot(batch.label, probs.shape[1]).bool()
        correct = (decided == truth).all(1).float()
        if stage == sb.Stage.TRAIN:
            self.add_terms(accuracy=correct.mean())
        else:
            self.sets.append((decided, truth))
            confidence = probs.amax(1)
            self.stats.append(
                batch.id, {"accuracy": correct, "confidence": confidence}
            )
        return loss

    def on_stage_start(self, stage: Any, epoch: Any = None) -> None:
        """As the base's; forgets the last stage's decisions, too."""
        super().on_stage_start(stage, epoch)
        self.sets: list[tuple[Tensor, Tensor]] = []

    def stage_summary(self, stage_loss: float) -> dict[str, float]:
        """As the base's; validation and test also hear sounds of no class.

        ``silence`` and ``white_noise`` are the largest probability of any
        class on them: an explanation by masking needs a classifier that is
        sure of nothing where nothing is left. ``score`` ranks checkpoints:
        the accuracy, less a tenth of the loss, because on a small validation
        fold many epochs tie in accuracy, less what either of the two exceeds
        ``max_unknown`` by. Of several labels it begins with ``macro_F1``.
        """
        summary = super().stage_summary(stage_loss)
        if "confidence" in summary:
            unknown = self.unknown_confidence()
            score = summary["accuracy"]
            if self.several:
                decided, truth = map(torch.cat, zip(*self.sets, strict=True))
                score = summary["macro_F1"] = macro_f1(decided, truth)
            score -= 0.1 * summary["loss"]
            if self.max_unknown is not None:
                score -= max(0.0, max(unknown.values()) - self.max_unknown)
            summary |= {"score": score, **unknown}
        return summary

    @torch.no_grad()
    def unknown_confidence(self) -> dict[str, float]:
        """Largest class probability on silence, and on white noise.

        The noise comes at eight levels from -40 to -10 dB.
        """
        frontend = self.modules.frontend
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(8, 5 * frontend.sample_rate, generator=generator)
        wavs = noise * torch.logspace(-2, -0.5, 8)[:, None]
        wavs = torch.cat([torch.zeros_like(wavs[:1]), wavs]).to(self.device)
        top = self.probabilities(frontend.features(wavs)).amax(-1)
        return {
            "silence": float(top[..., 0].max()),
            "white_noise": float(top[..., 1:].max()),
        }

    def on_fit_batch_end(
        self, batch: Any, outputs: Any, loss: Tensor, should_step: bool
    ) -> None:
        """Average the weights after each optimiser step."""
        if should_step:
            self.average.update(self.optimizer_step)
