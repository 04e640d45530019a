"""Clips in batches: all that methods and scores share, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.evaluation.judge import Verdict
from speechbrain_lmac.features import BaseFrontEnd, Spectrum
from speechbrain_lmac.interpreters.masking import Explanation, explain
from speechbrain_lmac.utils.seeding import seed_of


class ClipBatch(NamedTuple):
    """What a method may look at to make masks for a batch of clips.

    Attributes
    ----------
    ids : list of str
        The clips.
    frontend, classifier : torch.nn.Module
        Of the interpreter.
    explanation : Explanation
        The trained decoder's.
    seed : int
        For methods that draw.
    sources : tuple of Spectrum or None
        Target and interferer; None where nothing was added to the clip.
    mixture : Mixture or None
        The waveforms, each (batch, samples).
    truth : torch.Tensor or None
        Each clip's true classes, bool (batch, classes).
    named : bool
        Whether the clips' own classes are explained, not the decisions.
    placed : bool
        Whether the targets are silence but for one event.
    verdict : Verdict or None
        What a judge says of the clips; None without one.
    """

    ids: list[str]
    frontend: BaseFrontEnd
    classifier: AudioClassifier
    explanation: Explanation
    seed: int
    sources: tuple[Spectrum, ...] | None = None
    mixture: Mixture | None = None
    truth: Tensor | None = None
    named: bool = False
    placed: bool = False
    verdict: Verdict | None = None

    @property
    def view(self) -> Tensor:
        """What masks multiply, (batch, frames, bins)."""
        return self.explanation.spectrum.view

    @property
    def target(self) -> Tensor:
        """The explained classes, int64 (batch,)."""
        return self.explanation.target

    @property
    def heard(self) -> Tensor | None:
        """Bins of a mask that the classifier hears, bool; None for all."""
        return self.frontend.heard

    def forward(self, view: Tensor) -> ClassifierOutput:
        """From (changed) views to the classifier, with gradients."""
        spectrum = self.explanation.spectrum
        return self.classifier(self.frontend.classifier_input(view, spectrum))

    def classify(self, inputs: Tensor) -> Tensor:
        """Class probabilities of classifier inputs, (batch, classes)."""
        return self.classifier.probabilities(self.classifier(inputs))

    def probs(self) -> Tensor:
        """Class probabilities on the clips, (batch, classes)."""
        return self.classifier.probabilities(self.explanation.output)

    def clip_seeds(self) -> list[int]:
        """One seed per clip, from the evaluation's seed and the clip's id."""
        return [seed_of(f"{self.seed}|{clip_id}") for clip_id in self.ids]


def make_batch(
    wavs: Tensor,
    ids: Sequence[str],
    frontend: BaseFrontEnd,
    classifier: AudioClassifier,
    decoder: Callable[..., Any],
    seed: int,
    target: Tensor | None = None,
) -> ClipBatch:
    """Explained clips (batch, samples) of which no sources are known.

    What is explained is the classifier's decision, or the classes ``target``
    (batch,).
    """
    explanation = explain(wavs, frontend, classifier, decoder, target)
    return ClipBatch(list(ids), frontend, classifier, explanation, seed)
