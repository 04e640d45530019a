#!/usr/bin/env python3
"""What was tried to make a training step faster, and whether it pays.

> python benchmarks/alternatives.py [--model cnn14] [--compile]

Ratios to what the package does: to the frozen forward, and to the two masked
forwards with the backward to their input. CPU time of one thread.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import sys

import reference_step as steps
import rounds
import torch

from speechbrain_lmac.classifiers.cnn14 import Cnn14Classifier
from speechbrain_lmac.classifiers.slim import SlimCnn

FROZEN, MASKED = "frozen forward", "masked forwards"


def masked_job(classify, features, together=False, dtype=None):
    """Two forwards and the backward to the input, as in a step."""

    def forwards(parts):
        if together:
            return [classify(torch.cat(parts)).logits]
        return [classify(part).logits for part in parts]

    def job():
        parts = [features.clone().requires_grad_() for _ in range(2)]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            logits = forwards(parts)
        torch.cat(logits).float().square().mean().backward()

    return job


def frozen_job(classify, features, mode=torch.no_grad, dtype=None):
    """A forward without gradients."""

    def job():
        autocast = torch.autocast(
            "cpu", torch.bfloat16, enabled=dtype is not None
        )
        with mode(), autocast:
            classify(features)

    return job


def make_jobs(classifier, features, compiled=False):
    """What is compared, by name."""
    half = torch.bfloat16
    jobs = {
        FROZEN: frozen_job(classifier, features),
        "frozen, inference_mode": frozen_job(
            classifier, features, torch.inference_mode
        ),
        "frozen, bf16": frozen_job(classifier, features, dtype=half),
        MASKED: masked_job(classifier, features),
        "masked, concatenated": masked_job(classifier, features, True),
        "masked, bf16": masked_job(classifier, features, dtype=half),
    }
    if isinstance(classifier, Cnn14Classifier):
        plain = Cnn14Classifier(
            classifier.embedding_model, classifier.classifier, fast=False
        ).freeze()
        jobs["masked, stock layouts"] = masked_job(plain, features)
    if compiled:
        jobs["masked, torch.compile"] = masked_job(
            torch.compile(classifier), features
        )
    return jobs


def main(argv: list[str] | None = None) -> int:
    """Command line; there is no bar."""
    parser = rounds.options(__doc__)
    parser.add_argument("--model", choices=["slim", "cnn14"], default="slim")
    parser.add_argument("--batch", type=int, default=4, help="clips of 5 s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="try it, too")
    args = parser.parse_args(argv)
    frames, number = (64, 1) if args.quick else (431, args.rounds)
    rounds.prepare()
    print(rounds.machine())
    classifier = SlimCnn(n_classes=10).freeze()
    if args.model == "cnn14":
        classifier = steps.build_classifier(64 if args.quick else 1)
    features = torch.rand(args.batch, frames, 80)
    jobs = make_jobs(classifier, features, args.compile)
    times = rounds.take_turns(jobs, number)
    for unit in (FROZEN, MASKED):
        of_it = {n: t for n, t in times.items() if unit.split()[0] in n}
        rounds.table(of_it, unit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
