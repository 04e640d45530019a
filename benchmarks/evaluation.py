#!/usr/bin/env python3
"""What an evaluation costs: the metrics, L-MAC, and the baselines.

All figures are CPU times of one process and one thread, taken in turns within
one run; the networks have random weights, whose values do not matter here.

> python benchmarks/evaluation.py

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import statistics
import time

import torch

from speechbrain_lmac.attribution import ATTRIBUTIONS, LABELS
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.decoders import build_decoder
from speechbrain_lmac.evaluation import Evaluator
from speechbrain_lmac.frontend import FrontEnd
from speechbrain_lmac.masking import explain, mask_features
from speechbrain_lmac.metrics import explanation_metrics


class Clip:
    """A clip of noise, as the evaluator takes it."""

    class_string = "noise"

    def __init__(self, k, seconds=5.0):
        self.id = f"clip{k}"
        generator = torch.Generator().manual_seed(k)
        self.num_samples = round(16000 * seconds)
        wav = torch.rand(self.num_samples, generator=generator) - 0.5
        self.mixture = Mixture(wav, wav, torch.zeros_like(wav))

    def make(self):
        """The clip's waveforms."""
        return self.mixture


def jobs(batch_size):
    """What is timed, by name: functions without arguments."""
    frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    decoder = build_decoder(
        classifier, frontend, channels=[96, 64, 48, 32, 16]
    ).eval()
    evaluator = Evaluator(
        frontend, classifier, decoder, methods=list(ATTRIBUTIONS), heard=False
    )
    clips = [Clip(k) for k in range(batch_size)]
    batch, _ = evaluator._make(clips, {"noise": 0}, False)
    wavs = batch.mixture.mixture
    found = batch.explanation
    probs = batch.probs()

    def explanation():
        return explain(wavs, frontend, classifier, decoder)

    def scored_by_definition():
        made = explanation()
        masked = mask_features(
            made.mask,
            made.spectrum.log_magnitude,
            frontend,
            "stft",
            made.features,
        )
        both = torch.cat([masked.masked_in, masked.masked_out])
        return classifier(both)

    timed = {
        "classifier forward": lambda: classifier(found.features),
        "decoder forward": lambda: decoder(
            found.output.hidden, found.features.shape[1]
        ),
        "L-MAC": explanation,
        "L-MAC, masked-in and -out": scored_by_definition,
        "all metrics": lambda: explanation_metrics(
            probs, probs, probs, found.mask, probs.argmax(1)
        ),
    }
    for name, method in evaluator.methods.items():
        timed[LABELS[name]] = lambda method=method: method(batch)
    return timed


@torch.no_grad()
def measure(timed, rounds):
    """Median CPU seconds of each job; the jobs take turns."""
    times = {name: [] for name in timed}
    for turn in range(rounds + 1):
        for name, job in timed.items():
            start = time.process_time()
            job()
            if turn:  # the first turn warms up
                times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="clips of 5 s")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1234)
    found = measure(jobs(options.batch), options.rounds)
    unit = found["L-MAC"]
    print(f"{'':28}  ms/clip  of L-MAC")
    for name, seconds in found.items():
        per_clip = 1000 * seconds / options.batch
        print(f"{name:28} {per_clip:8.1f} {seconds / unit:9.3f}")


if __name__ == "__main__":
    main()
