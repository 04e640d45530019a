#!/usr/bin/env python3
"""Peak memory of training L-MAC for CNN14: a process of its own, to the end.

> python benchmarks/memory.py [--batch 16] [--steps 2]
> python benchmarks/memory.py --reference

Largest resident memory of a process that builds CNN14 and the decoder of
lmac_cnn14.yaml and takes optimisation steps on clips of 5 s, less what it
held after its imports: weights, optimiser, maps, gradients. The second
command does the same for the step of SpeechBrain's recipe (10 GiB).

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import reference_step as steps
import rounds
from training_step import CLIP_SECONDS, OURS, RECIPE, build, build_narrow

#: GiB at a batch of 16.
BAR = 3.0


def measure(
    name: str, batch_size: int, num_steps: int, shrink: int = 1
) -> tuple[float, float]:
    """Memory in GiB above the imports': built, and at the peak."""
    start = rounds.memory()
    classifier = steps.build_classifier(shrink)
    make = build if shrink == 1 else build_narrow
    brain = make(name, classifier, batch_size, "cpu")
    seconds = CLIP_SECONDS if shrink == 1 else 1
    batch = steps.make_batch(batch_size, seconds * steps.SAMPLE_RATE)
    built = rounds.memory() - start
    for _ in range(num_steps):
        brain.fit_batch(batch)
    return built / 2**30, (rounds.memory("VmHWM") - start) / 2**30


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if the bar is met."""
    parser = rounds.options(__doc__)
    parser.add_argument("--batch", type=int, default=16, help="clips a step")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(argv)
    name = RECIPE if args.reference else OURS
    rounds.prepare()
    if args.child:
        size, shrink = (2, 64) if args.quick else (args.batch, 1)
        print(*measure(name, size, args.steps, shrink))
        return 0
    print(rounds.machine())
    # In a process of its own nothing else was in memory before.
    done = subprocess.run(
        [sys.executable, __file__, "--child", *argv],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    built, peak = map(float, done.stdout.split()[-2:])
    print(f"{name}: {built:.2f} GiB before the first step")
    met = rounds.judge(f"{name}: peak in GiB above the imports", peak, BAR)
    return 0 if met or args.quick or args.reference else 1


if __name__ == "__main__":
    sys.exit(main())
