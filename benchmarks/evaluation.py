#!/usr/bin/env python3
"""What an evaluation costs: the metrics, L-MAC, and the baselines.

All figures are CPU times of one process and one thread, taken in turns within
one run; the networks have random weights, whose values do not matter here.

> python benchmarks/evaluation.py
> python benchmarks/evaluation.py --recipe

The second command compares the test step of CNN14, all metrics included, with
that of SpeechBrain's recipe, which asks for Quantus.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import sys

import reference_evaluation as reference
import reference_step as steps
import rounds
import torch

from speechbrain_lmac.attribution import ATTRIBUTIONS
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.evaluation.evaluator import Evaluator
from speechbrain_lmac.features.stft import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.masking import explain, mask_features
from speechbrain_lmac.metrics import explanation_metrics

#: Ours over SpeechBrain's, in CPU seconds a clip.
BAR = 0.1
OURS, RECIPE = "ours", "SpeechBrain's recipe"
LIGHT = "recipe, our decoder"


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


def slim_jobs(batch_size, seconds=5.0):
    """What is timed, by name: functions without arguments."""
    frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    decoder = build_decoder(
        classifier, frontend, channels=[96, 64, 48, 32, 16]
    ).eval()
    evaluator = Evaluator(
        frontend, classifier, decoder, methods=list(ATTRIBUTIONS), heard=False
    )
    clips = [Clip(k, seconds) for k in range(batch_size)]
    batch, _ = evaluator._make(clips, {"noise": 0}, False)
    wavs = batch.mixture.mixture
    found = batch.explanation
    probs = batch.probs()

    def classification():
        return classifier(frontend.mel(frontend(wavs).log_magnitude))

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
        "class of a waveform": classification,
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
        timed[name] = lambda method=method: method(batch)
    return timed


def recipe_jobs(batch_size, shrink=1, seconds=5.0):
    """Test steps of CNN14 with all metrics: ours and the recipe's."""
    num_samples = round(seconds * steps.SAMPLE_RATE)
    classifier, frontend = steps.build_classifier(shrink), FrontEnd()
    batch = steps.make_batch(batch_size, num_samples)
    widths = [256, 256, 160, 64, 32, 16]
    decoder = build_decoder(
        classifier, frontend, channels=[-(-c // shrink) for c in widths]
    )
    ours = steps.package_brain(
        steps.LIGHT, classifier, batch_size, decoder=decoder
    )
    ours.modules.eval()
    same = reference.WithFrames(decoder, frontend.num_frames(num_samples))
    brains = {
        OURS: ours,
        RECIPE: reference.recipe_evaluation(classifier),
        LIGHT: reference.recipe_evaluation(classifier, same),
    }
    return {n: reference.test_job(b, batch) for n, b in brains.items()}


def table(timed, options, unit):
    """Measure and print; returns the seconds of each round."""
    with torch.no_grad():
        times = rounds.take_turns(timed, options.rounds)
    print(f"{'':28}  ms/clip  of {unit}")
    for name, seconds in rounds.medians(times).items():
        per_clip = 1000 * seconds / options.batch
        print(
            f"{name:28} {per_clip:8.1f} {rounds.ratio(times, name, unit):9.3f}"
        )
    return times


def main(argv=None):
    """Command line; returns 0 if the bar is met, or none is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, help="clips of 5 s (16, or 2)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--recipe", action="store_true", help="against SpeechBrain's"
    )
    parser.add_argument("--quick", action="store_true", help="a try, no bar")
    options = parser.parse_args(argv)
    options.batch = options.batch or (2 if options.recipe else 16)
    rounds.prepare()
    print(rounds.machine())
    size = {}
    if options.quick:
        options.batch, options.rounds, size = 2, 1, {"seconds": 1.0}
    if not options.recipe:
        table(slim_jobs(options.batch, **size), options, "L-MAC")
        return 0
    if options.quick:
        # SpeechBrain's decoder takes clips of some lengths alone.
        seconds = steps.clip_samples(2) / steps.SAMPLE_RATE
        size = {"seconds": seconds, "shrink": 64}
    times = table(recipe_jobs(options.batch, **size), options, RECIPE)
    met = rounds.judge(
        "evaluation, ours / SpeechBrain's",
        rounds.ratio(times, OURS, RECIPE),
        BAR,
    )
    return 0 if met or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
