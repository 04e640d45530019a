#!/usr/bin/env python3
"""A training step of LMAC-ZS: time and memory over ``pairs_per_chunk``.

> python benchmarks/zero_shot_step.py [--chunks 0 12 6 3] [--rounds 3]

The step of lmac_zs_small.yaml (8 crops of 1.7 s, 3 prompts each: 24 pairs)
for a small CLAP with random weights. A chunk of 0 takes all pairs at once;
smaller ones are computed again in the backward pass. "Peak" is the memory
above what was in use before the step.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile

import reference_step as steps
import rounds
from speechbrain.dataio.batch import PaddedBatch

from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
from speechbrain_lmac.interpreters.text_decoder import build_text_decoder
from speechbrain_lmac.training.clap import TextGroups
from speechbrain_lmac.training.lmac_zs import LMACZSBrain
from speechbrain_lmac.utils.hparams import load_hparams

HPARAMS = steps.HPARAMS.parents[1] / "CLAP_ZS/hparams/lmac_zs_small.yaml"
MADE_HERE = (
    "audio",
    "cache_folder",
    "checkpointer",
    "contamination",
    "decoder",
    "encoder",
    "frontend",
    "train_logger",
)
CAPTIONS = [[f"sound number {k}"] for k in range(16)]
TEMPLATE = "this is a sound of {}"
CROP_SECONDS = 1.7


def load(channels):
    """The recipe's hyperparameters, with parts that need no files."""
    with tempfile.TemporaryDirectory() as folder:
        hparams = load_hparams(
            HPARAMS,
            {
                "data_folder": folder,
                "output_folder": folder,
                **dict.fromkeys(MADE_HERE),
            },
        )
    encoder = SmallClap()
    encoder.learn_words([text for texts in CAPTIONS for text in texts])
    frontend = encoder.freeze().build_frontend()
    decoder = build_text_decoder(encoder, frontend, channels=channels)
    hparams["modules"] = {
        "frontend": frontend,
        "encoder": encoder,
        "decoder": decoder,
    }
    return hparams


def build(channels=(96, 64, 48, 32, 16, 4)):
    """The Brain, ready to fit batches."""
    hparams = load(channels)
    brain = LMACZSBrain(
        TextGroups(CAPTIONS),
        [texts[0] for texts in CAPTIONS],
        (TEMPLATE,),
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": "cpu"},
    )
    return steps.ready(brain)


def make_batch(batch_size, seconds):
    """Noise with captions."""
    noise = steps.make_batch(batch_size, round(seconds * steps.SAMPLE_RATE))
    return PaddedBatch(
        [
            {"id": str(k), "sig": wav, "captions": CAPTIONS[k]}
            for k, wav in enumerate(noise.sig.data)
        ]
    )


def step_job(brain, batch, chunk, peaks):
    """A step with a size of chunks; notes the memory it took."""

    def step():
        brain.hparams.pairs_per_chunk = chunk or None
        gc.collect()
        before = rounds.reset_peak()
        brain.fit_batch(batch)
        peaks.append(rounds.peak_memory() - before)

    return step


def main(argv: list[str] | None = None) -> int:
    """Command line; there is no bar."""
    parser = rounds.options(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="clips a step")
    parser.add_argument("--chunks", type=int, nargs="+", default=[0, 12, 6, 3])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    size, number, seconds = args.batch, args.rounds, CROP_SECONDS
    if args.quick:
        size, number, seconds = 2, 1, 0.5
    rounds.prepare()
    print(rounds.machine())
    brain, batch = build(), make_batch(size, seconds)
    peaks = {chunk: [] for chunk in args.chunks}
    jobs = {
        chunk: step_job(brain, batch, chunk, peaks[chunk])
        for chunk in args.chunks
    }
    times = rounds.take_turns(jobs, number)
    print(f"{'pairs_per_chunk':16}{'CPU ms':>9}{'ratio':>8}{'peak MB':>9}")
    for chunk, value in rounds.medians(times).items():
        peak = statistics.median(peaks[chunk][1:]) / 1e6
        relative = rounds.ratio(times, chunk, args.chunks[0])
        name = chunk or "null"
        print(f"{name!s:16}{1000 * value:9.0f}{relative:8.2f}{peak:9.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
