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

from speechbrain_lmac.features import Spectrum
from speechbrain_lmac.interpreters.l2i import L2IOutput, fit_dictionary
from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.training.brain import RecipeBrain
from speechbrain_lmac.training.lmac import quality

logger = get_logger(__name__)


class L2IPrediction(NamedTuple):
    """What a step knows of a batch.

    Attributes
    ----------
    spectrum : Spectrum
        Of the clips.
    output : ClassifierOutput
        What the frozen classifier says of the clips.
    l2i : L2IOutput
        Activations, reconstruction and imitated logits.
    """

    spectrum: Spectrum
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
            yield self.modules.frontend(wavs).view

    def compute_forward(self, batch, stage):
        """One STFT, one frozen forward, one of ``psi`` and ``theta``."""
        batch = batch.to(self.device)
        modules = self.modules
        with torch.no_grad():
            wavs = self.contaminate(batch, stage)
            spectrum = modules.frontend(wavs)
            output = modules.classifier(
                modules.frontend.classifier_input(spectrum.view, spectrum)
            )
        l2i = modules.decoder(output.hidden, spectrum.view.shape[1])
        return L2IPrediction(spectrum, output, l2i)

    def contaminate(self, batch, stage):
        """Training clips with what is added to them; others as they are."""
        wavs, contamination = batch.sig.data, self.hparams.contamination
        if contamination is None or stage != sb.Stage.TRAIN:
            return wavs
        return self.contaminated(contamination, wavs, batch.id, stage).mixture

    def compute_objectives(self, predictions, batch, stage):
        """The L2I objective; per-clip metrics from what is at hand."""
        terms, weights = self.terms(predictions, batch, stage), self.weights()
        self.add_terms(**terms)
        self.note_metrics(predictions, batch, stage)
        return sum(weights[name] * term for name, term in terms.items())

    def weights(self):
        """Weight of each term of the objective."""
        return {
            "l_fid": self.hparams.l_fid_w,
            "l_nmf": self.hparams.l_nmf_w,
            "l_h": self.hparams.reg_w_h,
        }

    def terms(self, predictions, batch, stage):
        """Fidelity to the classifier, reconstruction, sparse activations."""
        l2i, classifier = predictions.l2i, self.modules.classifier
        return {
            # 0 where theta gives the classifier's own probabilities.
            "l_fid": classifier.imitation_loss(
                l2i.logits, classifier.probabilities(predictions.output)
            ),
            "l_nmf": F.mse_loss(
                l2i.reconstruction.float(), predictions.spectrum.view
            ),
            "l_h": l2i.activations.float().mean(),
        }

    @torch.no_grad()
    def note_metrics(self, predictions, batch, stage):
        """Per-clip metrics of the masks; in training the cheap ones alone."""
        l2i, classifier = predictions.l2i, self.modules.classifier
        target = classifier.decide(predictions.output)
        fidelity = (classifier.decide(l2i) == target).float()
        correct = target == batch.label.data[:, 0].to(target.device)
        if stage == sb.Stage.TRAIN:
            self.add_terms(
                accuracy=correct.float().mean(), fidelity=fidelity.mean()
            )
            return
        mask = self.decoder.select(l2i, target).float()
        masked = self.modules.frontend.masked(mask, predictions.spectrum)
        outputs = (predictions.output, *map(classifier, masked))
        metrics = explanation_metrics(
            *map(classifier.probabilities, outputs), mask, target
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
