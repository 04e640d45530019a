"""Another classifier, asked whether it hears what an explanation tells.

A mask can convince the very network that it was made for and nobody else. A
judge of another architecture and training tells the two apart, on the clips
that both classifiers decide alike. Both its columns are needed: a mask that
changes nothing keeps every decision and removes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechbrain_lmac.classifiers.base import AudioClassifier, fingerprint
from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.data.captions.prompts import class_key
from speechbrain_lmac.data.decoding import resample
from speechbrain_lmac.data.labelled import listed
from speechbrain_lmac.features import BaseFrontEnd
from speechbrain_lmac.utils.checks import UserError


class Verdict(NamedTuple):
    """What a judge says of the clips of a batch, before any mask.

    Attributes
    ----------
    judge : Judge
        Who says it.
    clips : torch.Tensor
        Places in the batch of those that both decide alike, int64 (agreed,).
    target : torch.Tensor
        Their explained classes by the judge's index, int64 (agreed,).
    probs : torch.Tensor
        The judge's probabilities of these, (agreed,).
    """

    judge: Judge
    clips: Tensor
    target: Tensor
    probs: Tensor

    def of(self, wavs: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and decisions, (agreed,), on sounds of the batch."""
        if not len(self.clips):
            return self.probs, self.probs
        return self.judge.answer(wavs[self.clips], self.target)

    def values(self, wavs: Tensor, rest_probs: Tensor) -> dict[str, Tensor]:
        """Metrics (batch,) of explanations (batch, samples).

        ``rest_probs`` (agreed,) are the probabilities on the rest. NaN where
        the two classifiers do not agree on the clip.
        """
        probs, kept = self.of(wavs)
        found = {
            "judge_keeps": torch.where(probs.isnan(), torch.nan, kept.float()),
            "judge_FF": self.probs - rest_probs,
            "judge_gain": probs - self.probs,
        }
        nothing = torch.full((len(wavs),), torch.nan, device=probs.device)
        return {
            name: nothing.index_copy(0, self.clips, value)
            for name, value in found.items()
        }


class Judge:
    """A frozen classifier that is asked about classes of another one.

    Arguments
    ---------
    frontend, classifier : torch.nn.Module
        As of :func:`load_judge`; the classifier names its labels.
    names : sequence of str
        Classes of the explained classifier by its index. Case and underscores
        make no difference.
    rate : int
        Sample rate of the sounds to be judged, in Hz.

    Raises
    ------
    UserError
        If the two have no class in common.
    """

    def __init__(
        self,
        frontend: BaseFrontEnd,
        classifier: AudioClassifier,
        names: Sequence[str],
        rate: int,
    ):
        labels = classifier.labels or []
        known = {class_key(name): k for k, name in enumerate(labels)}
        places = [known.get(class_key(name), -1) for name in names]
        if max(places) < 0:
            raise UserError(
                f"`judge`: it knows {listed(labels) or 'no class by name'}, "
                f"the explained classifier {listed(names)}: none in common. "
                "Give a classifier of the same classes."
            )
        self.frontend, self.classifier = frontend.eval(), classifier.eval()
        self.rate, self.places = rate, torch.tensor(places)

    def to(self, device: str) -> Judge:
        """Move it; returns ``self``."""
        self.frontend.to(device)
        self.classifier.to(device)
        self.places = self.places.to(device)
        return self

    def facts(self) -> dict[str, Any]:
        """What its answers depend on, as JSON."""
        weights = fingerprint(self.classifier)
        return {**self.classifier.facts(), "weights": weights}

    def answer(self, wavs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of classes, and whether it decides for them, (batch,).

        Waveforms are (batch, samples), the classes its own indices (batch,).
        """
        rates = self.rate, self.frontend.sample_rate
        if rates[0] != rates[1]:
            moved = [resample(wav, *rates) for wav in wavs.cpu()]
            wavs = torch.stack(moved).to(wavs.device)
        output = self.classifier(self.frontend.features(wavs))
        probs = self.classifier.probabilities(output)
        both = probs, self.classifier.decided(probs)
        ours, decided = (x.gather(1, target[:, None])[:, 0] for x in both)
        return ours, decided

    def hear(self, wavs: Tensor, target: Tensor, decided: Tensor) -> Verdict:
        """Listen to clips (batch, samples) before any of them is masked.

        ``target`` (batch,) are the classes that the explained classifier's
        masks are for, ``decided`` (batch,) whether it decides for them.
        """
        places = self.places[target]
        probs, agrees = self.answer(wavs, places.clamp_min(0))
        clips = (agrees & decided & (places >= 0)).nonzero()[:, 0]
        return Verdict(self, clips, places[clips], probs[clips])


def load_judge(
    source: str | Path | Mapping[str, Any] | None,
) -> tuple[BaseFrontEnd, AudioClassifier] | None:
    """Load another classifier that hears explanations, too.

    Arguments
    ---------
    source : str or pathlib.Path or dict or None
        Whatever :func:`~speechbrain_lmac.classifiers.load_any_classifier`
        takes, or a dict of its arguments; None for no judge.

    Returns
    -------
    tuple of (BaseFrontEnd, AudioClassifier) or None

    Raises
    ------
    UserError
        If there is no such model, or it wants to run code that is not
        trusted.

    Example
    -------
    >>> try:
    ...     load_judge({"source": "/nowhere", "sample_rate": 16000})
    ... except UserError as err:
    ...     print(str(err).partition(";")[0])
    `judge`: there is no /nowhere
    """
    if source is None:
        return None
    given = source if isinstance(source, Mapping) else {"source": source}
    try:
        return load_any_classifier(**given)
    except UserError as err:
        raise UserError(str(err).replace("`model`", "`judge`")) from err
