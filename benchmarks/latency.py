#!/usr/bin/env python3
"""How long an explanation takes, in forwards of the classifier.

> python benchmarks/latency.py [--rounds 15]

One clip of 5 s, the slim CNN, one thread. "L-MAC" is all that leads from the
waveform to the mask: STFT, features, classifier, decoder. Its bar is in
classifications, which start from the waveform, too; the ratio to the network
alone is printed beside it. The other methods start from the features, and
attribute the decision.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import sys

import rounds
import torch
from evaluation import slim_jobs

FORWARD, CLASSIFICATION = "classifier forward", "class of a waveform"
JOBS = (FORWARD, CLASSIFICATION, "decoder forward", "L-MAC")
#: Explanation over classification, both from the waveform.
BAR = 3.0


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if the bar is met."""
    parser = rounds.options(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    seconds, number = (1.0, 1) if args.quick else (5.0, args.rounds)
    rounds.prepare()
    print(rounds.machine())
    timed = slim_jobs(1, seconds)
    wanted = (*JOBS, "ig", "smoothgrad", "shap")
    with torch.no_grad():
        times = rounds.take_turns({n: timed[n] for n in wanted}, number)
    rounds.table(times, FORWARD)
    met = rounds.judge(
        "explanation / classification",
        rounds.ratio(times, "L-MAC", CLASSIFICATION),
        BAR,
    )
    return 0 if met or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
