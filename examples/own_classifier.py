#!/usr/bin/env python3
"""Explain a PyTorch classifier of one's own, from training to a sound.

A small network that knows nothing of this package is trained on sounds made
by code, explained by L-MAC, and asked about a clip. Both trainings are far too
short for good explanations: what counts here is how the parts fit.

To run this example, do the following:
> python examples/own_classifier.py [OUTPUT_FOLDER]

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import torch
from torch import nn

from speechbrain_lmac.classifiers import TorchClassifier
from speechbrain_lmac.data.synthetic.sounds import make_clip
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.interpreters import Interpreter, build_decoder, explain
from speechbrain_lmac.training import losses

CLASSES = ["siren", "clock_tick", "rain"]


class MyNet(nn.Module):
    """One's own: images (batch, 1, bands, frames) to logits.

    Arguments
    ---------
    n_classes : int
        Number of classes.
    """

    def __init__(self, n_classes):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        )
        self.head = nn.Linear(32, n_classes)

    def forward(self, images):
        """Logits, shape (batch, n_classes)."""
        return self.head(self.features(images).mean((2, 3)))


def to_images(features):
    """What MyNet wants, from log1p mel features (batch, frames, bands)."""
    return features.transpose(1, 2).unsqueeze(1) - 0.5


def built_in_sounds(n_clips, fold):
    """Waveforms of 2 s (clips, samples) and classes (clips,)."""
    target = torch.arange(n_clips) % len(CLASSES)
    clips = [
        make_clip(CLASSES[k], fold, index, duration=2.0).waveform
        for index, k in enumerate(target.tolist())
    ]
    wavs = torch.stack([torch.from_numpy(c).float() for c in clips])
    # As an interpreter gives sounds to its classifier: at a peak of 1.
    return wavs / wavs.abs().amax(1, keepdim=True), target


def train_net(net, frontend, wavs, target, steps=60):
    """As one trains any classifier."""
    images = to_images(frontend.features(wavs))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def train_decoder(decoder, frontend, classifier, wavs, steps=20):
    """L-MAC in a few lines; recipes/ESC50/train_lmac.py does it in earnest."""
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.003)
    for _ in range(steps):
        found = explain(wavs, frontend, classifier, decoder)
        masked_in, masked_out = frontend.masked(found.mask, found.spectrum)
        kept = classifier(masked_in).logits
        rest = classifier(masked_out).logits
        loss = (
            4 * classifier.evidence_loss(kept, found.target)
            + 2 * classifier.rest_loss(rest, found.target, "saturating")
            + 3 * losses.sparsity_loss(found.mask).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main(output_folder=None):
    """Train, wrap, explain; returns the explanation of an unheard clip."""
    torch.manual_seed(0)
    frontend, net = FrontEnd(), MyNet(len(CLASSES))
    wavs, target = built_in_sounds(48, fold=1)
    print(f"Classifier: loss {train_net(net, frontend, wavs, target):.2f}")

    # All that this package needs to know of a network.
    classifier = TorchClassifier(
        net,
        layers=["features.1", "features.3", "features.5"],
        n_classes=len(CLASSES),
        transform=to_images,
    ).freeze()
    print("Cells of the hidden maps, in frames:", classifier.hidden_strides)

    decoder = build_decoder(classifier, frontend, channels=(32, 24, 16, 8))
    loss = train_decoder(decoder, frontend, classifier, wavs[:6])
    print(f"Decoder: loss {loss:.2f}")
    interpreter = AudioInterpreter(
        Interpreter(frontend, classifier, decoder.eval(), CLASSES),
        run_opts={"device": "cpu"},
    )
    clip, _ = built_in_sounds(1, fold=5)
    (found,) = interpreter.interpret_batch(clip)
    print(
        f"A {CLASSES[0]} is heard as {found.label} ({found.probability:.2f}); "
        f"what the mask keeps, {found.mask.mean():.0%}, as "
        f"{found.probability_masked_in:.2f}, the rest as "
        f"{found.probability_masked_out:.2f}."
    )
    if output_folder is not None:
        found.save(output_folder)
        print("Sounds in", output_folder)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
