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

from __future__ import annotations

import sys
from collections.abc import Callable

import reference_evaluation as reference
import reference_step as steps
import rounds
import torch

from speechbrain_lmac.attribution import ATTRIBUTIONS
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.masking import Explanation, explain
from speechbrain_lmac.metrics import explanation_metrics

#: Ours over SpeechBrain's, in CPU seconds a clip.
BAR = 0.1
OURS, RECIPE = "ours", "SpeechBrain's recipe"
LIGHT = "recipe, our decoder"


def slim_jobs(
    batch_size: int, seconds: float = 5.0
) -> dict[str, Callable[[], object]]:
    """What is timed, by name: functions without arguments."""
    frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    decoder = build_decoder(
        classifier, frontend, channels=[96, 64, 48, 32, 16]
    ).eval()
    wavs = torch.rand(batch_size, round(16000 * seconds)) - 0.5
    ids = [str(k) for k in range(batch_size)]
    batch = make_batch(wavs, ids, frontend, classifier, decoder, seed=0)
    made = batch.explanation
    probs = batch.probs()

    def explanation() -> Explanation:
        return explain(wavs, frontend, classifier, decoder)

    def scored_by_definition() -> object:
        mask, spectrum = (made := explanation()).mask, made.spectrum
        return classifier(torch.cat(frontend.masked(mask, spectrum)))

    methods = build_methods(list(ATTRIBUTIONS), classifier, frontend)
    return {
        "classifier forward": lambda: classifier(made.features),
        "class of a waveform": lambda: classifier(frontend.features(wavs)),
        "decoder forward": lambda: decoder(
            made.output.hidden, made.mask.shape[1]
        ),
        "L-MAC": explanation,
        "L-MAC, masked-in and -out": scored_by_definition,
        "all metrics": lambda: explanation_metrics(
            probs, probs, probs, made.mask, probs.argmax(1)
        ),
        **{
            name: lambda method=method: method(batch)
            for name, method in methods.items()
        },
    }


def recipe_jobs(
    batch_size: int, shrink: int = 1, seconds: float = 5.0
) -> dict[str, Callable[[], object]]:
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


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if the bar is met, or none is asked for."""
    parser = rounds.options(__doc__)
    parser.add_argument("--batch", type=int, help="clips of 5 s (16, or 2)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--recipe", action="store_true", help="against SpeechBrain's"
    )
    args = parser.parse_args(argv)
    batch = 2 if args.recipe or args.quick else 16
    batch, number = args.batch or batch, 1 if args.quick else args.rounds
    rounds.prepare()
    print(rounds.machine())
    if not args.recipe:
        jobs, unit = slim_jobs(batch, 1.0 if args.quick else 5.0), "L-MAC"
    elif args.quick:
        # SpeechBrain's decoder takes clips of some lengths alone.
        seconds = steps.clip_samples(2) / steps.SAMPLE_RATE
        jobs, unit = recipe_jobs(batch, 64, seconds), RECIPE
    else:
        jobs, unit = recipe_jobs(batch), RECIPE
    with torch.no_grad():
        times = rounds.take_turns(jobs, number)
    rounds.table(times, unit, per=batch)
    if not args.recipe:
        return 0
    of_theirs = rounds.ratio(times, OURS, RECIPE)
    met = rounds.judge("evaluation, ours / SpeechBrain's", of_theirs, BAR)
    return 0 if met or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
