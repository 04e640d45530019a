#!/usr/bin/env python3
"""Does another classifier hear it? Whether explanations convince a second one.

> python tools/transfer.py INTERPRETER SECOND --data-folder ESC-50

INTERPRETER is the folder of a trained L-MAC, SECOND another classifier of the
same classes (whatever ``lmac explain --model`` takes). Of the held-out clips,
and of their mixtures at 0 dB, those count on which both decide alike:

keeps   share of the explanations on which the classifier decides as on the clip
FF      the second's probability of that class on the clip less on the rest
change  the same, on the explanation less on the clip

as heard. A mask that convinces its own classifier alone is an attack on it.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import torch

from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.evaluation import EvaluationSettings, test_clips
from speechbrain_lmac.evaluation.clips import spread
from speechbrain_lmac.evaluation.conditions import build_condition, build_pairs
from speechbrain_lmac.evaluation.evaluator import Evaluator
from speechbrain_lmac.interpreters import Interpreter


def judge(frontend, classifier, sounds):
    """Probabilities (sounds, classes) of waveforms, four at a time."""
    with torch.no_grad():
        outputs = [
            classifier(frontend.features(part)) for part in sounds.split(4)
        ]
    return torch.cat([classifier.probabilities(o) for o in outputs])


def transfer(both, sounds):
    """Figures of explained clips, of which each sound is (3, samples).

    The three are clip, explanation and rest; ``both`` are the classifiers with
    their front ends.
    """
    parts = torch.stack(sounds, 1)
    (clip, kept, _), (clip2, kept2, rest2) = (
        [judge(*parts_of, part) for part in parts] for parts_of in both
    )
    y = clip2.argmax(1)
    alike = y == clip.argmax(1)
    clip2, kept_p, rest_p = (
        p.gather(1, y[:, None])[alike, 0] for p in (clip2, kept2, rest2)
    )
    return {
        "clips": int(alike.sum()),
        "first keeps": (kept.argmax(1) == y)[alike].float().mean(),
        "second keeps": (kept2.argmax(1) == y)[alike].float().mean(),
        "second's FF": (clip2 - rest_p).mean(),
        "change": (kept_p - clip2).mean(),
    }


def main(argv=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("interpreter")
    parser.add_argument("second")
    parser.add_argument("--data-folder", required=True)
    parser.add_argument("--methods", default="lmac,mask,random")
    parser.add_argument("--max-clips", type=int, help="of all (all)")
    args = parser.parse_args(argv)
    interpreter = Interpreter.load(args.interpreter)
    with tempfile.TemporaryDirectory() as folder:
        found = test_clips(interpreter, folder, data_folder=args.data_folder)
    clips = spread(found.clips, args.max_clips)
    second = load_any_classifier(args.second)
    if second[1].labels != interpreter.names:
        sys.exit(f"{args.second}: its classes are {second[1].labels}.")
    conditions = {
        "clean": build_condition("clean", clips, found.audio, 1234),
        "0 dB": build_pairs(clips, found.audio, 1234),
    }
    labels = {name: k for k, name in enumerate(interpreter.names)}
    for condition, items in conditions.items():
        for method in args.methods.split(","):
            evaluator = Evaluator(
                *interpreter[:3], [method], EvaluationSettings(batch_size=4)
            )
            sounds: list = []
            evaluator.evaluate(
                items,
                labels,
                condition != "clean",
                lambda _, clip, k, made, scored, sounds=sounds: sounds.append(
                    torch.stack(
                        [
                            made.mixture,
                            scored.masked_in_wavs[k],
                            scored.masked_out_wavs[k],
                        ]
                    )
                ),
                progressbar=False,
            )
            length = min(sound.shape[1] for sound in sounds)
            sounds = [sound[:, :length] for sound in sounds]
            figures = transfer((interpreter[:2], second), sounds)
            shown = (
                f"{name} {value:.2f}" if name != "clips" else f"{value} clips"
                for name, value in figures.items()
            )
            print(f"{condition}, {method}:", ", ".join(shown), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
