#!/usr/bin/env python3
"""What a training step of L-MAC costs above what it cannot do without.

> python benchmarks/step_floor.py [--batch 16] [--rounds 10]

The floor of a step: one frozen forward, one decoder forward and backward, and
one classifier forward on twice the clips (masked-in and masked-out) with the
backward to its input. Slim CNN, crops of 2.5 s (lmac_small_published.yaml).

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import reference_step as steps
import rounds
import torch

from speechbrain_lmac.classifiers.slim import SlimCnn

CROP_SECONDS = 2.5
#: Step over floor.
BAR = 1.3


def floor_job(brain: Any, batch: Any) -> Callable[[], None]:
    """What no step of L-MAC can do without, as one function."""
    frontend, classifier = brain.modules.frontend, brain.modules.classifier
    decoder, wavs = brain.modules.decoder, batch.sig.data
    features = frontend.features(wavs)
    frames, n = features.shape[1], len(features)
    seed_mask = torch.rand(n, frames, frontend.n_bins) / 1e4
    seed_logits = torch.rand(2 * n, classifier.n_classes) / 1e4

    def floor() -> None:
        with torch.no_grad():
            hidden = classifier(features).hidden
        decoder(hidden, frames).backward(seed_mask)
        both = torch.cat([features, features]).requires_grad_()
        classifier(both).logits.backward(seed_logits)
        decoder.zero_grad(set_to_none=True)

    return floor


def step_job(brain: Any, batch: Any, wave_prob: float) -> Callable[[], None]:
    """A whole optimisation step, with or without the way through the wave."""

    def step() -> None:
        brain.hparams.wave_prob = wave_prob
        brain.fit_batch(batch)

    return step


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if the bar is met."""
    parser = rounds.options(__doc__)
    parser.add_argument("--batch", type=int, default=16, help="clips a step")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args(argv)
    size, number = (2, 1) if args.quick else (args.batch, args.rounds)
    rounds.prepare()
    print(rounds.machine())
    classifier = SlimCnn(n_classes=10).freeze()
    brain = steps.package_brain("lmac_small_published.yaml", classifier, size)
    batch = steps.make_batch(size, round(CROP_SECONDS * steps.SAMPLE_RATE))
    jobs = {
        "floor": floor_job(brain, batch),
        "step": step_job(brain, batch, 0.0),
        "step through the wave": step_job(brain, batch, 1.0),
    }
    times = rounds.take_turns(jobs, number)
    rounds.table(times, "floor")
    over_floor = rounds.ratio(times, "step", "floor")
    met = rounds.judge("step / floor", over_floor, BAR)
    return 0 if met or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
