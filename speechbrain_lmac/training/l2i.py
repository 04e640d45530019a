"""Training of L2I: activations of a dictionary that imitate a classifier.

Source: Parekh et al., "Listen to Interpret: Post-hoc Interpretability for
Audio Networks with NMF", NeurIPS 2022 (arXiv 2202.11479).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.utils.distributed import ddp_broadcast, if_main_process
from speechbrain.utils.logger import get_logger
from torch import Tensor

from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.data.pipelines import multi_hot
from speechbrain_lmac.features import Spectrum
from speechbrain_lmac.interpreters.l2i import (
    L2IDecoder,
    L2IOutput,
    fit_dictionary,
)
from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.training.lmac import ExplainerBrain

logger = get_logger(__name__)


class L2IPrediction(NamedTuple):
    """What a step of L2I knows of a batch.

    Attributes
    ----------
    spectrum : Spectrum
        Of the clips.
    output : ClassifierOutput
        Of the frozen classifier.
    l2i : L2IOutput
        Activations, reconstruction and imitated logits.
    """

    spectrum: Spectrum
    output: ClassifierOutput
    l2i: L2IOutput


class L2IBrain(ExplainerBrain):
    """Trains ``psi`` and ``theta`` of L2I, on a dictionary fitted beforehand.

    Modules: ``frontend``, ``classifier`` (frozen) and ``decoder`` (an
    ``L2IDecoder``). Hyperparameters: ``l_fid_w``, ``l_nmf_w``, ``reg_w_h``,
    ``dictionary_frames``, ``contamination`` (a ``TrainingContamination`` or
    None), ``batch_size``, ``seed``.
    """

    @property
    def decoder(self) -> L2IDecoder:
        """The decoder itself, not what distributes it."""
        return getattr(self.modules.decoder, "module", self.modules.decoder)

    def on_fit_start(self) -> None:
        """As the base's; then the dictionary, unless a checkpoint had it."""
        super().on_fit_start()
        # In every process: asking waits for no other one.
        if self.decoder.has_dictionary():
            return
        dictionary = self.make_dictionary() if if_main_process() else None
        self.decoder.set_dictionary(ddp_broadcast(dictionary))

    def make_dictionary(self) -> Tensor:
        """Fit the dictionary on crops of the training clips.

        They are those of epoch 0: the same whenever it is fitted.
        """
        hparams = self.hparams
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hparams.seed)
            dictionary = fit_dictionary(
                self.training_views(),
                self.decoder.dictionary.shape[1],
                hparams.seed,
                hparams.dictionary_frames,
            )
        logger.info("Dictionary of %d components fitted", dictionary.shape[1])
        return dictionary

    @torch.no_grad()
    def training_views(self) -> Iterator[Tensor]:
        """Log magnitudes of the training clips, batch by batch."""
        if self.draws is not None:
            self.draws.epoch = 0  # the same crops whenever it is fitted
        loader = make_dataloader(
            self.train_set, batch_size=self.hparams.batch_size
        )
        for k, batch in enumerate(loader):
            if self.debug and k == self.debug_batches:
                break
            yield self.modules.frontend(batch.sig.data.to(self.device)).view

    def compute_forward(self, batch: Any, stage: sb.Stage) -> L2IPrediction:
        """One STFT, one frozen forward, one of ``psi`` and ``theta``."""
        batch, modules = batch.to(self.device), self.modules
        wavs, contamination = batch.sig.data, self.hparams.contamination
        with torch.no_grad():
            if contamination is not None and stage == sb.Stage.TRAIN:
                wavs, *_ = self.contaminated(
                    contamination, wavs, batch.id, stage
                )
            spectrum = modules.frontend(wavs)
            output = modules.classifier(
                modules.frontend.classifier_input(spectrum.view, spectrum)
            )
        l2i = modules.decoder(output.hidden, spectrum.view.shape[1])
        return L2IPrediction(spectrum, output, l2i)

    def weights(self) -> dict[str, float]:
        """Weight of each term of the objective."""
        return {
            "l_fid": self.hparams.l_fid_w,
            "l_nmf": self.hparams.l_nmf_w,
            "l_h": self.hparams.reg_w_h,
        }

    def terms(
        self, predictions: L2IPrediction, batch: Any, stage: sb.Stage
    ) -> dict[str, Tensor]:
        """Fidelity to the classifier, reconstruction, sparse activations."""
        spectrum, output, l2i = predictions
        classifier = self.modules.classifier
        return {
            # 0 where theta gives the classifier's own probabilities.
            "l_fid": classifier.imitation_loss(
                l2i.logits, classifier.probabilities(output)
            ),
            "l_nmf": F.mse_loss(l2i.reconstruction.float(), spectrum.view),
            "l_h": l2i.activations.float().mean(),
        }

    @torch.no_grad()
    def note_metrics(
        self, predictions: L2IPrediction, batch: Any, stage: sb.Stage
    ) -> None:
        """Per-clip metrics of the masks; in training the cheap ones alone."""
        spectrum, output, l2i = predictions
        classifier = self.modules.classifier
        target = classifier.decide(output)
        before, own = map(classifier.probabilities, (output, l2i))
        truth = multi_hot(batch.label, before.shape[1]).bool()
        alike = map(classifier.decided, (before, own))
        values = {
            "accuracy": classifier.decides(before, truth).float(),
            "fidelity": torch.eq(*alike).all(1).float(),
        }
        if stage == sb.Stage.TRAIN:
            self.add_terms(**{k: v.mean() for k, v in values.items()})
            return
        mask = self.decoder.select(l2i, target).float()
        masked = self.modules.frontend.masked(mask, spectrum)
        kept, rest = (classifier.probabilities(classifier(x)) for x in masked)
        metrics = explanation_metrics(
            before, kept, rest, mask, target, classifier.decided_set
        )
        self.stats.append(batch.id, {**values, **metrics})
