#!/usr/bin/env python3
"""Two classifiers of waveforms, trained on ESC-10 on a CPU in minutes.

``ecapa`` is SpeechBrain's ECAPA-TDNN with few channels, left as a folder that
its EncoderClassifier loads; ``cnn`` is a network of one's own, left as weights
of :func:`build`. Both can then be explained, by a trained L-MAC
(recipes/ESC50/README.md) or at once.

To run this example, do the following:
> python examples/waveform_classifiers.py ecapa DATA_FOLDER OUTPUT_FOLDER
> python examples/waveform_classifiers.py cnn DATA_FOLDER OUTPUT_FOLDER

DATA_FOLDER holds audio/ and meta/esc50.csv; of its folds 1 and 2 are trained
on, 3 is validated on, 4 is tested on.

Authors
 * The speechbrain_lmac authors 2026
"""

import copy
import math
import sys
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from torch import nn

from speechbrain_lmac.data import AudioCache, Augmenter, make_label_encoder
from speechbrain_lmac.data.labelled import labelled_rows
from speechbrain_lmac.training import cosine_warmup
from speechbrain_lmac.training.classifier import WeightAverage

FOLDS = {"train_fold_nums": [1, 2], "valid_fold_nums": 3, "test_fold_nums": 4}
RATE = 16000  # Hz
# Cosines lie in [-1, 1]; the scale of SpeechBrain's additive angular margin.
SCALE = 30
# At the first rate; fifteen more follow at a lower one.
EPOCHS = {"ecapa": 40, "cnn": 60}

#: As SpeechBrain's published folders say it, with fewer channels.
ECAPA = """\
n_mels: 60
channels: 96
lin_neurons: 96
out_n_neurons: 10

compute_features: !new:speechbrain.lobes.features.Fbank
    sample_rate: 16000
    n_mels: !ref <n_mels>

mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False

embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [!ref <channels>, !ref <channels>, !ref <channels>,
               !ref <channels>, !ref <channels> * 3]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 64
    lin_neurons: !ref <lin_neurons>

classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: !ref <lin_neurons>
    out_neurons: !ref <out_n_neurons>

modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>

label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
"""


class Ecapa(nn.Module):
    """The modules of the file in the order of an EncoderClassifier."""

    def __init__(self):
        super().__init__()
        parts = load_hyperpyyaml(ECAPA)["modules"]
        self.parts = nn.ModuleDict(parts)

    def forward(self, wavs):
        """Logits (batch, classes) of waveforms (batch, samples)."""
        parts, lengths = self.parts, torch.ones(len(wavs), device=wavs.device)
        features = parts["compute_features"](wavs)
        features = parts["mean_var_norm"](features, lengths)
        embedding = parts["embedding_model"](features, lengths)
        return SCALE * parts["classifier"](embedding).squeeze(1)

    def save(self, folder, label_encoder):
        """A folder for ``EncoderClassifier.from_hparams(source=folder)``."""
        (folder / "hyperparams.yaml").write_text(ECAPA, encoding="utf-8")
        for name in ("embedding_model", "classifier"):
            state = self.parts[name].state_dict()
            torch.save(state, folder / f"{name}.ckpt")
        label_encoder.save(folder / "label_encoder.ckpt")


class WaveCnn(nn.Module):
    """Filters on the raw waveform, their energies, and a small 2-D CNN.

    The filters begin as windowed cosines and sines of rising frequency, and
    are learned with the rest.

    Arguments
    ---------
    n_classes : int
        Number of classes.
    n_filters : int
        Pairs of filters.
    width : int
        Samples of a filter; they move by 160, a hundredth of a second.
    """

    def __init__(self, n_classes=10, n_filters=64, width=400):
        super().__init__()
        self.filters = nn.Conv1d(
            1, 2 * n_filters, width, 160, width // 2, bias=False
        )
        mel = torch.linspace(
            math.log(1 + 40 / 700), math.log(1 + 7800 / 700), n_filters
        )
        phase = torch.outer(
            2 * math.pi * 700 * mel.expm1() / RATE, torch.arange(width)
        )
        window = torch.hann_window(width) / width**0.5
        pairs = torch.cat([phase.cos(), phase.sin()]) * window
        self.filters.weight.data = pairs[:, None]
        self.norm = nn.BatchNorm2d(1)
        widths = (1, 32, 64, 128)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, 2 if a == 1 else 1, 1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.Conv2d(b, b, 3, padding=1, groups=b, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.AvgPool2d(2, ceil_mode=True),
            )
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.head = nn.Linear(widths[-1], n_classes)

    def forward(self, wavs):
        """Logits (batch, classes) of waveforms (batch, samples)."""
        cosines, sines = self.filters(wavs[:, None]).chunk(2, 1)
        energy = cosines.square() + sines.square()
        x = self.norm((energy + 1e-5).log().transpose(1, 2)[:, None])
        for block in self.blocks:  # (batch, channels, frames, filters)
            x = block(x)
        return self.head(x.mean(3).amax(2) + x.mean((2, 3)))

    def save(self, folder, label_encoder):
        """The weights, and the names of the classes beside them."""
        torch.save(self.state_dict(), folder / "net.pt")
        label_encoder.save(folder / "label_encoder.txt")


def build(n_classes=10):
    """The network that ``net.pt`` holds the weights of."""
    return WaveCnn(n_classes)


def read_clips(data_folder):
    """``{split: (waveforms, classes)}`` of the ten classes, and their names."""
    rows, names = labelled_rows(data_folder, "esc50", FOLDS, "esc10")
    audio = AudioCache(sample_rate=RATE)
    clips = {}
    for split, part in rows.groupby("split"):
        wavs = [audio(Path(data_folder, wav)) for wav in part.wav]
        target = [names.index(name) for name in part.class_string]
        clips[split] = nn.utils.rnn.pad_sequence(wavs, True), target
    return {k: (w, torch.tensor(t)) for k, (w, t) in clips.items()}, names


@torch.no_grad()
def test(net, wavs, target):
    """Share of clips decided rightly, cross-entropy in nats, confidence."""
    logits = torch.cat([net.eval()(part) for part in wavs.split(16)])
    loss = nn.functional.cross_entropy(logits, target).item()
    top, decided = logits.softmax(1).max(1)
    return (decided == target).float().mean().item(), loss, top.mean().item()


def train(net, clips, epochs, augment, lr, batch_size=20, every=5):
    """Train, and keep the averaged weights that validate best."""
    wavs, target = clips["train"]
    labels = nn.functional.one_hot(target).float()
    optimizer = torch.optim.AdamW(net.parameters(), lr, weight_decay=0.05)
    average = copy.deepcopy(net)
    mean, best, step = WeightAverage(net, average, 0.99), (-1.0, {}), 0
    steps = epochs * (len(wavs) // batch_size)
    for epoch in range(1, epochs + 1):
        net.train()
        for rows in torch.randperm(len(wavs)).split(batch_size):
            if len(rows) < batch_size:
                continue
            for group in optimizer.param_groups:
                group["lr"] = lr * cosine_warmup(step / steps)
            batch = augment.waveforms(wavs[rows], labels[rows])
            loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean.update(step := step + 1)
        if epoch % every == 0 or epoch == epochs:
            right, nats, sure = test(average, *clips["valid"])
            print(f"epoch {epoch}: loss {loss:.3f}, valid accuracy {right:.3f}")
            print(f"    loss {nats:.3f}, confidence {sure:.3f}")
            if right - 0.1 * nats > best[0]:
                best = right - 0.1 * nats, copy.deepcopy(average.state_dict())
    average.load_state_dict(best[1])
    return average


def main(kind, data_folder, output_folder, epochs=None):
    """Train a classifier, say how good it is, and leave it in a folder."""
    torch.manual_seed(1234)
    clips, names = read_clips(data_folder)
    net = {"ecapa": Ecapa, "cnn": WaveCnn}[kind]()
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters")
    mixed = Augmenter(mix_prob=0.6, noise_prob=0.3, unknown_share=0.1)
    net = train(net, clips, int(epochs or EPOCHS[kind]), mixed, lr=0.003)
    # What is sure of whole clips has something to lose without its evidence
    sure = Augmenter(
        mix_prob=0.0, noise_prob=0.2, unknown_share=0.05, label_smoothing=0.0
    )
    net = train(net, clips, 15, sure, lr=0.001)
    wavs, target = clips["test"]
    # The longest is .1 s longer; silence behind the others would be heard.
    right, nats, sure = test(net, wavs[:, : 5 * RATE], target)
    print(f"test accuracy {right:.3f}, loss {nats:.3f}, confidence {sure:.3f}")
    folder = Path(output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    net.save(folder, make_label_encoder(names))
    return right


if __name__ == "__main__":
    main(*sys.argv[1:])
