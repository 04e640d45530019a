"""Training of LMAC-TD: explanations as waveforms.

Source: Mancini, Paissan, Ravanelli, Subakan, "LMAC-TD: Producing Time Domain
Explanations for Audio Classifiers", ICASSP 2025 (arXiv 2409.08655). The class
that is asked for, and the mixtures of known sources, are those of
:mod:`speechbrain_lmac.training.class_lmac`.
"""

from __future__ import annotations

from typing import Any

import speechbrain as sb

from speechbrain_lmac.training.class_lmac import ClassLMACBrain
from speechbrain_lmac.training.losses import waveform_residual


class LMACTDBrain(ClassLMACBrain):
    """Trains a ``TimeDecoder`` and, if it is learned, its front end.

    Hyperparameters besides those of :class:`ClassLMACBrain`: ``sparsity_of``,
    ``mask`` (its mean) or ``sound`` (mean log1p amplitude of the explanation,
    as published).
    """

    def terms(self, predictions: Any, batch: Any, stage: sb.Stage) -> Any:
        """As of :class:`ClassLMACBrain`, and of the waveforms."""
        terms = super().terms(predictions, batch, stage)
        if stage != sb.Stage.TRAIN:
            return terms
        explanation, _, _, (mixed, _, present) = predictions
        mask, spectrum = explanation.mask, explanation.spectrum
        frontend, n = self.modules.frontend, mixed.mixture.shape[1]
        kept = frontend.listen(mask, spectrum, n)
        # Of a class that is not there silence is wanted.
        wanted = mixed.target * present[:, None]
        residual = waveform_residual(kept, wanted, mixed.mixture)
        terms["source"] = residual.mean()
        if self.hparams.sparsity_of == "sound":
            inner = frontend.inner
            terms["l1"] = inner.log_amplitude(inner(kept).view).mean()
        if frontend.learned:
            # Of linear decoders: explanation and rest, whatever the mask.
            whole = frontend.decode(spectrum.view, n)
            residual = waveform_residual(whole, mixed.mixture, mixed.mixture)
            terms["sum"] = residual.mean()
        return terms
