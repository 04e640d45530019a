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

import argparse
import sys

import rounds
import torch
from evaluation import slim_jobs

METHODS = {
    "ig": "IG, 50 steps",
    "smoothgrad": "SmoothGrad, 25 samples",
    "shap": "GradientSHAP",
}
FORWARD, CLASSIFICATION = "classifier forward", "class of a waveform"
#: Explanation over classification, both from the waveform.
BAR = 3.0


def main(argv=None):
    """Command line; returns 0 if the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--quick", action="store_true", help="a try, no bar")
    args = parser.parse_args(argv)
    seconds, number = (1.0, 1) if args.quick else (args.seconds, args.rounds)
    rounds.prepare()
    print(rounds.machine())
    timed = slim_jobs(1, seconds)
    wanted = [FORWARD, CLASSIFICATION, "decoder forward", "L-MAC", *METHODS]
    with torch.no_grad():
        times = rounds.take_turns({n: timed[n] for n in wanted}, number)
    for name, value in rounds.medians(times).items():
        forwards = rounds.ratio(times, name, FORWARD)
        label = METHODS.get(name, name)
        print(f"{label:24}{1000 * value:9.1f} CPU ms {forwards:8.2f} forwards")
    met = rounds.judge(
        "explanation / classification",
        rounds.ratio(times, "L-MAC", CLASSIFICATION),
        BAR,
    )
    return 0 if met or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
