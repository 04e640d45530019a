"""Training of LMAC-TD: explanations as waveforms.

Source: Mancini, Paissan, Ravanelli, Subakan, "LMAC-TD: Producing Time Domain
Explanations for Audio Classifiers", ICASSP 2025 (arXiv 2409.08655). The class
that is asked for, and the mixtures of known sources, are those of
:mod:`speechbrain_lmac.training.class_lmac`.
"""

from __future__ import annotations

from typing import Any

import speechbrain as sb
from torch import Tensor

from speechbrain_lmac.training.class_lmac import Answer, ClassLMACBrain
from speechbrain_lmac.training.losses import waveform_residual


class LMACTDBrain(ClassLMACBrain):
    """Trains a ``TimeDecoder`` and, if it is learned, its front end.

    Hyperparameters are those of :class:`ClassLMACBrain`, with a ``wave_prob``
    of 1: what is scored is the sound; and ``sparsity_of``, ``mask`` (its mean)
    or ``sound`` (mean log1p amplitude of the explanation, as published).
    """

    def terms(self, predictions: Any, batch: Any, stage: sb.Stage) -> Any:
        """As of :class:`ClassLMACBrain`, and of the waveforms."""
        terms = super().terms(predictions, batch, stage)
        if stage != sb.Stage.TRAIN:
            return terms
        frontend, (_, kept, rest) = self.modules.frontend, predictions.sounds
        if self.hparams.sparsity_of == "sound":
            inner = frontend.inner
            terms["l1"] = inner.log_amplitude(inner(kept).view).mean()
        if frontend.learned:
            clip = predictions.query.mixed.mixture
            terms["sum"] = waveform_residual(kept + rest, clip, clip).mean()
        return terms

    def guided_by_sources(self, answer: Answer) -> Tensor:
        """How far explanations are from the source that was asked for.

        Of a class that is not there silence is wanted. Sources that are no
        class's alone guide nothing.
        """
        query, sounds = answer.query, answer.sounds
        assert sounds is not None  # every step goes through the sounds
        mixed, wanted = query.mixed, query.mixed.target
        wanted = wanted * query.present[:, None]
        residual = waveform_residual(sounds.kept, wanted, mixed.mixture)
        return (residual * query.sole).mean()
