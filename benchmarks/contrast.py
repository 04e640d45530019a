#!/usr/bin/env python3
"""Why one class and not another: whether the explanation tells the two apart.

> python benchmarks/contrast.py --run=results/lmac_small/1234
> python benchmarks/contrast.py --run=results/lmac_small/1234 --method mask

The run is one of recipes/ESC50/train_lmac.py with lmac_small.yaml. Each of
its test clips is mixed with one of another class at 0 dB, and its class is
explained, alone and against the other's. Of each mixture: whether the log-odds
``log p(one) - log p(other)`` are higher on the explanation than on the mixture,
and lower on the rest; and the same of the clips themselves, of the decision
and the second most probable class.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import pandas as pd
import rounds
import torch

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.data import AudioCache
from speechbrain_lmac.data.manifests import manifest_clips
from speechbrain_lmac.data.mixtures import mix_clips
from speechbrain_lmac.data.pipelines import crop_or_pad
from speechbrain_lmac.features import GainFrontEnd
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.interpreters import Interpreter, build_class_decoder
from speechbrain_lmac.utils.hparams import read_tree

SECONDS = 5.0
#: Share of the explanations against another class that raise the log-odds.
BAR = 0.95


def labelled_sounds(run, rate, split):
    """Sounds of a run's split, each with its class."""
    tree = read_tree(Path(run, "hyperparams.yaml"))
    manifest = Path(run, f"save/{split}.json")
    audio, length = AudioCache(sample_rate=rate), round(SECONDS * rate)
    for clip in manifest_clips(manifest, tree["data_folder"]):
        yield crop_or_pad(audio(clip["wav"]), length), clip["class_string"]


def questions(interpreter, sounds):
    """Sounds, and which class is asked for against which."""
    draw = random.Random(rounds.SEED)
    for wav, label in sounds:
        other, second = draw.choice([s for s in sounds if s[1] != label])
        mixed = mix_clips(wav, other, 0.5, 0.5).mixture
        yield "mixture", torch.as_tensor(mixed), label, second
        top = interpreter.interpret_batch(wav)[0].top
        yield "clip", torch.as_tensor(wav), top[0][0], top[1][0]


def measure(interpreter, sounds):
    """A row for each question, answered without and with the other class."""
    for kind, wav, one, other in questions(interpreter, sounds):
        for asked, more in (("one", {}), ("against", {"against": other})):
            found = interpreter.interpret_batch(wav, classes=one, **more)[0]
            probs = answers(interpreter, found, one, other)
            odds = [math.log(max(p, 1e-12) / max(q, 1e-12)) for p, q in probs]
            yield {
                "sound": kind,
                "asked": asked,
                "raised": odds[1] > odds[0],
                "by": odds[1] - odds[0],
                "lowered": odds[2] < odds[0],
                "p one": probs[1][0],
                "p other": probs[1][1],
                "mask mean": found.mask_mean,
            }


@torch.no_grad()
def answers(interpreter, found, one, other):
    """Probabilities of two classes on the input, under the mask, on the rest.

    An explanation knows those of its own class alone.
    """
    parts = interpreter.interpreter
    spectrum = parts.frontend(found.original[None])
    masked = parts.frontend.masked(found.mask[None], spectrum)
    whole = parts.frontend.classifier_input(spectrum.view, spectrum)
    places = [parts.names.index(name) for name in (one, other)]
    classify = parts.classifier
    return [
        classify.probabilities(classify(x))[0, places].tolist()
        for x in (whole, *masked)
    ]


def toy():
    """A tiny interpreter and noise, for a try."""
    frontend = GainFrontEnd()
    classifier = SlimCnn(3, channels=(4,) * 5).freeze()
    decoder = build_class_decoder(classifier, frontend, (8, 4), 6).eval()
    parts = Interpreter(frontend, classifier, decoder, list("abc"))
    return parts, [(torch.randn(16000), name) for name in "abc"]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if the bar is met."""
    parser = rounds.options(__doc__)
    parser.add_argument("--run", default="results/lmac_small/1234")
    parser.add_argument("--method", help="in place of the trained decoder")
    parser.add_argument("--split", default="test", choices=("valid", "test"))
    args = parser.parse_args(argv)
    rounds.prepare()
    if args.quick:
        parts, sounds = toy()
    else:
        parts = Interpreter.load(args.run, "run")
        rate = parts.frontend.sample_rate
        sounds = list(labelled_sounds(args.run, rate, args.split))
    if args.method:
        parts = parts.by_method(args.method)
    rows = pd.DataFrame(measure(AudioInterpreter(parts), sounds))
    groups = rows.groupby(["sound", "asked"])
    table = groups.mean().round(3)
    table["by"] = groups["by"].median().round(2)
    table.insert(0, "n", groups.size())
    print(table.to_string())
    of_mixtures = rows[(rows.sound == "mixture") & (rows.asked == "against")]
    missed = 1 - of_mixtures["raised"].mean()
    met = rounds.judge("mixtures not told apart", missed, 1 - BAR)
    return 0 if met or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
