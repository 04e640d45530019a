"""One L-MAC training step for CNN14: SpeechBrain's recipe, and this package.

The published recipe is a script, not part of the installed SpeechBrain. Its
step is written anew here from the blocks that are installed (``Cnn14``,
``CNN14PSI_stft``, ``STFT``, ``Filterbank``, ``spectral_magnitude``) and does
the work that the recipe does, what it computes more than once included.

Authors
 * The speechbrain_lmac authors 2026
"""

import contextlib
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.lobes.models.Cnn14 import Cnn14, CNN14PSI_stft, ConvBlock
from speechbrain.processing.features import (
    STFT,
    Filterbank,
    spectral_magnitude,
)

from speechbrain_lmac.classifiers.cnn14 import Cnn14Classifier
from speechbrain_lmac.features.stft import FrontEnd
from speechbrain_lmac.interpreters.decoders import ReferenceDecoder
from speechbrain_lmac.training.lmac import LMACBrain
from speechbrain_lmac.utils.hparams import load_hparams

HPARAMS = Path(__file__).resolve().parents[1] / "recipes/ESC50/hparams"
LIGHT = "lmac_cnn14.yaml"
SAMPLE_RATE = 16000  # Hz
N_CLASSES = 50
#: What the published recipe sums over the batch, and this package does not.
REG_W_L1 = 0.4
ADAM = {"lr": 2e-4, "weight_decay": 2e-6}


def build_classifier(shrink=1):
    """CNN14 and its head with random weights, frozen; channels over `shrink`.

    The batch norms know the statistics of noise, so that the maps neither
    fade nor grow with depth, as in a trained network.
    """
    if shrink == 1:
        embedder = Cnn14(mel_bins=80, emb_dim=2048, return_reps=True)
    else:
        with torch.device("meta"):
            embedder = Cnn14(mel_bins=80, emb_dim=1, return_reps=True)
        embedder.norm0 = torch.nn.BatchNorm2d(80)
        widths = [1] + [64 * 2**k // shrink for k in range(6)]
        for k, (c_in, c_out) in enumerate(
            zip(widths, widths[1:], strict=False), 1
        ):
            setattr(embedder, f"conv_block{k}", ConvBlock(c_in, c_out, "bn"))
    norms = [m for m in embedder.modules() if hasattr(m, "momentum")]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        embedder.train()(torch.rand(2, 105, 80))
    head = torch.nn.Linear(2048 // shrink, N_CLASSES)
    classifier = Cnn14Classifier(embedder, head).freeze()
    return unsaturated(classifier)


@torch.no_grad()
def unsaturated(classifier):
    """Scale the head: as sure of noise as a trained network of its clips.

    Without, a random CNN14 is sure beyond what a float can hold: masked-in
    clips give no gradient, and what is left of it is denormal.
    """
    frontend = FrontEnd()
    wavs = make_batch(2, SAMPLE_RATE).sig.data
    logits = classifier(frontend.features(wavs)).logits
    classifier.classifier.weight.mul_(3 / logits.std())
    return classifier


class RecipeStep(sb.Brain):
    """SpeechBrain's L-MAC recipe: the step that its users run.

    Left out: the recipe's bookkeeping in training (two ``MetricStats``).
    """

    def preprocess(self, wavs):
        """STFT log-magnitude and log mel, as the recipe calls it."""
        stft = self.modules.compute_stft(wavs)
        magnitude = spectral_magnitude(stft, power=0.5)
        log_mel = torch.log1p(self.hparams.compute_fbank(magnitude))
        return torch.log1p(magnitude), log_mel

    def classify(self, log_mel):
        """Logits and hidden maps."""
        embedding, hidden = self.hparams.embedding_model(log_mel)
        return self.hparams.classifier(embedding).squeeze(1), hidden

    def compute_forward(self, batch, stage):
        """The clip's class and its mask."""
        wavs = batch.to(self.device).sig.data
        _, log_mel = self.preprocess(wavs)
        logits, hidden = self.classify(log_mel)
        return wavs, logits, self.modules.psi(hidden).squeeze(1).sigmoid()

    def masked_logits(self, masked):
        """Logits of a masked log-magnitude."""
        mel = self.hparams.compute_fbank(torch.expm1(masked))
        return self.classify(torch.log1p(mel))[0]

    def compute_objectives(self, predictions, batch, stage):
        """The published objective; fine-tuning and TV are off, as there."""
        wavs, logits, mask = predictions
        # The recipe prepares the clean and the contaminated clip once more
        # each, even where, as without contamination, they are the same.
        clean, _ = self.preprocess(batch.to(self.device).sig.data)
        log_magnitude, _ = self.preprocess(wavs)
        frames = mask.shape[1]
        clean, log_magnitude = clean[:, :frames], log_magnitude[:, :frames]
        masked_in, masked_out = mask * log_magnitude, (1 - mask) * log_magnitude
        target = logits.argmax(1)
        nll_in, nll_out = (
            F.nll_loss(self.masked_logits(masked).log_softmax(1), target)
            for masked in (masked_in, masked_out)
        )
        not_guided = torch.ones(len(mask), device=mask.device)
        sparsity = (
            mask.abs().mean() * self.hparams.reg_w_l1 * not_guided
        ).sum()
        return 4 * nll_in - 0.2 * nll_out + sparsity


def recipe_brain(classifier, device="cpu", step=RecipeStep):
    """SpeechBrain's step or a subclass, ready to fit batches."""
    timing = {"win_length": 23.2199, "hop_length": 11.6099, "n_fft": 1024}
    fbank = Filterbank(
        n_mels=80, n_fft=1024, sample_rate=SAMPLE_RATE, log_mel=False
    )
    brain = step(
        modules={
            "compute_stft": STFT(sample_rate=SAMPLE_RATE, **timing),
            "psi": CNN14PSI_stft(dim=classifier.hidden_channels[0]),
        },
        opt_class=lambda params: torch.optim.Adam(params, **ADAM),
        hparams={
            "compute_fbank": fbank,
            "embedding_model": classifier.embedding_model.to(device),
            "classifier": classifier.classifier.to(device),
            "reg_w_l1": REG_W_L1,
        },
        run_opts={"device": device},
    )
    return ready(brain)


def package_brain(recipe, classifier, batch_size, device="cpu", decoder=None):
    """Our step, from a file of ``recipes/ESC50/hparams``.

    The classifier, and the decoder if there is one, take the place of those
    that the file builds; the sparsity weight is made to match the batch size.
    """
    unused = ["cache_folder", "checkpointer", "train_logger"]
    if decoder is not None:
        unused += ["embedding_model", "head", "classifier", "decoder"]
        unused += ["pretrained_classifier"]
    with tempfile.TemporaryDirectory() as folder:
        hparams = load_hparams(
            HPARAMS / recipe,
            {
                "data_folder": folder,
                "output_folder": folder,
                "reg_w_l1": REG_W_L1 * batch_size,
                **dict.fromkeys(unused),
            },
        )
    # A second CNN14 would be counted in the memory.
    hparams |= dict.fromkeys({"embedding_model", "head"} & set(hparams))
    modules = hparams["modules"]
    hparams["classifier"] = modules["classifier"] = classifier
    modules["decoder"] = modules["decoder"] if decoder is None else decoder
    return ready(
        LMACBrain(
            modules=modules,
            opt_class=hparams["opt_class"],
            hparams=hparams,
            run_opts={"device": device},
        )
    )


def ready(brain):
    """What ``Brain.fit`` does before its first batch."""
    brain.on_fit_start()
    brain.modules.train()
    brain.on_stage_start(sb.Stage.TRAIN, 1)
    brain.steps_per_epoch = 100  # learning-rate schedules ask for it
    return brain


def make_batch(batch_size, num_samples):
    """Noise under a slow envelope, in place of clips; peak 1."""
    time = torch.linspace(0, 6.28, num_samples)
    rates = torch.arange(1, batch_size + 1)[:, None]
    wavs = torch.randn(batch_size, num_samples) * (rates * time).sin()
    wavs = wavs / wavs.abs().amax(1, keepdim=True)
    return PaddedBatch(
        [
            {"id": str(k), "sig": wav, "label": torch.tensor([k])}
            for k, wav in enumerate(wavs)
        ]
    )


@contextlib.contextmanager
def precision(dtype):
    """Build and run everything in one precision.

    In double precision ``Tensor.float`` keeps doubles: the package asks for
    single precision by name where mixed precision would harm.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        if dtype == torch.float64:
            with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
                yield
        else:
            yield
    finally:
        torch.set_default_dtype(default)


class Comparison(NamedTuple):
    """The two objectives on the same clips and weights.

    Attributes
    ----------
    frames : tuple of int
        Frames of the mask that the reference and the package score.
    losses : tuple of float
        The reference's and the package's objective.
    loss_error : float
        Their difference, relative to the reference's.
    grad_error : float
        L2 norm of the difference of the decoder's gradients, relative to
        that of the reference's: the worst of its parameters.
    """

    frames: tuple
    losses: tuple
    loss_error: float
    grad_error: float


def clip_samples(cells, hop=186):
    """Samples of a clip all of whose frames SpeechBrain's decoder covers.

    CNN14's deepest map has ``frames // 32`` cells, from which the decoder
    makes ``32 * cells + 9`` frames: the clip gets exactly as many.
    """
    return hop * (32 * cells + 8)


def compare_objectives(
    num_samples, shrink=1, batch_size=4, dtype=torch.float32
):
    """Objective and gradients of both steps, with the same decoder weights.

    Clips of `num_samples`; `shrink` divides the channels of CNN14 and decoder.
    """
    with precision(dtype):
        classifier = build_classifier(shrink)
        batch = make_batch(batch_size, num_samples)
        reference = recipe_brain(classifier)
        with torch.device("meta"):
            decoder = ReferenceDecoder(dim=2048 // shrink)
        decoder.psi = reference.modules.psi  # the same weights
        ours = package_brain(LIGHT, classifier, batch_size, decoder=decoder)
        (theirs, their_grads, their_mask), (loss, grads, mask) = (
            _loss_and_grads(brain, batch, decoder.psi)
            for brain in (reference, ours)
        )
    return Comparison(
        (their_mask.shape[1], mask.shape[1]),
        (theirs, loss),
        abs(loss - theirs) / abs(theirs),
        max(
            float((a - b).norm() / a.norm())
            for a, b in zip(their_grads, grads, strict=True)
        ),
    )


def _loss_and_grads(brain, batch, decoder):
    decoder.zero_grad(set_to_none=True)
    predictions = brain.compute_forward(batch, sb.Stage.TRAIN)
    loss = brain.compute_objectives(predictions, batch, sb.Stage.TRAIN)
    loss.backward()
    grads = [p.grad for p in decoder.parameters()]
    explanation = getattr(predictions, "explanation", None)
    mask = predictions[2] if explanation is None else explanation.mask
    return loss.item(), grads, mask.detach()
