"""Training of L2I: activations of a dictionary that imitate a classifier.

Source: Parekh et al., "Listen to Interpret: Post-hoc Interpretability for
Audio Networks with NMF", NeurIPS 2022 (arXiv 2202.11479).

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.utils.distributed import ddp_broadcast, if_main_process
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.interpreters.l2i import L2IOutput, fit_dictionary
from speechbrain_lmac.interpreters.masking import mask_features
from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.training.brain import RecipeBrain
from speechbrain_lmac.training.lmac import quality

logger = get_logger(__name__)


class L2IPrediction(NamedTuple):
    """What a step knows of a batch.

    Attributes
    ----------
    log_magnitude : torch.Tensor
        ``log1p|STFT|``, shape (batch, frames, bins).
    output : ClassifierOutput
        What the frozen classifier says of the clips.
    l2i : L2IOutput
        Activations, reconstruction and imitated logits.
    """

    log_magnitude: torch.Tensor
    output: tuple
    l2i: L2IOutput


class L2IBrain(RecipeBrain):
    """Trains ``psi`` and ``theta`` of L2I, on a dictionary fitted beforehand.

    Modules: ``frontend``, ``classifier`` (frozen) and ``decoder`` (an
    ``L2IDecoder``). Hyperparameters: ``l_fid_w``, ``l_nmf_w``, ``reg_w_h``,
    ``dictionary_frames``, ``contamination`` (a ``TrainingContamination`` or
    None), ``batch_size``, ``seed``.
    """

    @property
    def decoder(self):
        """The decoder itself, not what distributes it."""
        return getattr(self.modules.decoder, "module", self.modules.decoder)

    def fit(self, epoch_counter, train_set, *args, **kwargs):
        """As the base's; the dictionary is fitted on the same clips."""
        loader = isinstance(train_set, torch.utils.data.DataLoader)
        self.dictionary_set = train_set.dataset if loader else train_set
        return super().fit(epoch_counter, train_set, *args, **kwargs)

    def on_fit_start(self):
        """As the base's; then the dictionary, unless a checkpoint had it."""
        super().on_fit_start()
        # In every process: asking waits for no other one.
        if self.decoder.has_dictionary():
            return
        dictionary = self.make_dictionary() if if_main_process() else None
        self.decoder.set_dictionary(ddp_broadcast(dictionary))

    def make_dictionary(self):
        """Fit the dictionary on crops of the training clips.

        They are those of epoch 0: the same whenever it is fitted.
        """
        hparams = self.hparams
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hparams.seed)
            dictionary = fit_dictionary(
                self.training_spectra(),
                self.decoder.dictionary.shape[1],
                hparams.seed,
                hparams.dictionary_frames,
            )
        logger.info("Dictionary of %d components fitted", dictionary.shape[1])
        return dictionary

    @torch.no_grad()
    def training_spectra(self):
        """Log-magnitudes of the training clips, batch by batch."""
        if self.draws is not None:
            self.draws.epoch = 0  # the same crops whenever it is fitted
        loader = make_dataloader(
            self.dictionary_set, batch_size=self.hparams.batch_size
        )
        for k, batch in enumerate(loader):
            if self.debug and k == self.debug_batches:
                break
            wavs = batch.sig.data.to(self.device)
            yield self.modules.frontend(wavs).log_magnitude

    def compute_forward(self, batch, stage):
        """One STFT, one frozen forward, one of ``psi`` and ``theta``."""
        batch = batch.to(self.device)
        modules = self.modules
        with torch.no_grad():
            wavs = self.contaminate(batch, stage)
            log_magnitude = modules.frontend(wavs).log_magnitude
            output = modules.classifier(modules.frontend.mel(log_magnitude))
        l2i = modules.decoder(output.hidden, log_magnitude.shape[1])
        return L2IPrediction(log_magnitude, output, l2i)

    def contaminate(self, batch, stage):
        """Training clips with what is added to them; others as they are."""
        wavs, contamination = batch.sig.data, self.hparams.contamination
        if contamination is None or stage != sb.Stage.TRAIN:
            return wavs
        return self.contaminated(contamination, wavs, batch.id, stage).mixture

    def compute_objectives(self, predictions, batch, stage):
        """Fidelity to the classifier, reconstruction, sparse activations."""
        hparams, l2i = self.hparams, predictions.l2i
        probs = predictions.output.logits.float().softmax(1)
        log_probs = l2i.logits.float().log_softmax(1)
        terms = {
            # 0 where theta gives the classifier's own probabilities.
            "l_fid": F.kl_div(log_probs, probs, reduction="batchmean"),
            "l_nmf": F.mse_loss(
                l2i.reconstruction.float(), predictions.log_magnitude
            ),
            "l_h": l2i.activations.float().mean(),
        }
        self.add_terms(**terms)
        self.note_metrics(predictions, probs, batch, stage)
        return (
            hparams.l_fid_w * terms["l_fid"]
            + hparams.l_nmf_w * terms["l_nmf"]
            + hparams.reg_w_h * terms["l_h"]
        )

    @torch.no_grad()
    def note_metrics(self, predictions, probs, batch, stage):
        """Per-clip metrics of the masks; in training the cheap ones alone."""
        l2i = predictions.l2i
        target = probs.argmax(1)
        fidelity = (l2i.logits.argmax(1) == target).float()
        correct = target == batch.label.data[:, 0].to(target.device)
        if stage == sb.Stage.TRAIN:
            self.add_terms(
                accuracy=correct.float().mean(), fidelity=fidelity.mean()
            )
            return
        mask = self.decoder.select(l2i, target).float()
        masked = mask_features(
            mask, predictions.log_magnitude, self.modules.frontend
        )
        masked_in, masked_out = (
            self.modules.classifier(part).logits.float().softmax(1)
            for part in masked
        )
        metrics = explanation_metrics(
            probs, masked_in, masked_out, mask, target
        )
        self.stats.append(
            batch.id,
            {"accuracy": correct.float(), "fidelity": fidelity, **metrics},
        )

    def stage_summary(self, stage_loss):
        """As the base's, with the quality that ranks L-MAC's checkpoints."""
        summary = super().stage_summary(stage_loss)
        if "Fid-In" in summary:
            summary["quality"] = quality(summary)
        return summary
