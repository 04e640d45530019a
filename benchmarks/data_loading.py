#!/usr/bin/env python3
"""How long training waits for its data, with and without the cache.

> python benchmarks/data_loading.py [--clips 64] [--format ogg] [--workers 2]

Epochs of the slim L-MAC (lmac_small_published.yaml: batches of 16 crops of 2.5
s of clips of 5 s) on clips of noise at 44.1 kHz, in one process and one thread.
"Data" is the time from the end of a step to the next batch, "step" that of
``Brain.fit_batch``. CPU times of the process, so that other jobs do not count;
with workers, which are other processes, seconds of the clock instead.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import reference_step as steps
import rounds
import soundfile as sf
from speechbrain.dataio.dataloader import make_dataloader

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.pipelines import make_dataset, make_label_encoder

RATE, SECONDS, CROP = 44100, 5, 2.5
FORMATS = {"ogg": "VORBIS", "wav": "PCM_16", "flac": "PCM_16"}
#: Data over step in the second epoch with the cache.
BAR = 0.05


class Epoch(NamedTuple):
    """Seconds of an epoch."""

    data: float
    step: float


def make_clips(folder, number, suffix):
    """Clips of noise and their manifest."""
    entries, rng = {}, np.random.default_rng(0)
    for k in range(number):
        noise = rng.uniform(-0.5, 0.5, RATE * SECONDS)
        name = f"{k}.{suffix}"
        sf.write(folder / name, noise, RATE, subtype=FORMATS[suffix])
        wav = f"{{data_root}}/{name}"
        entries[str(k)] = {"wav": wav, "class_string": "noise"}
    (folder / "train.json").write_text(json.dumps(entries))


def make_loader(folder, audio, batch_size, workers=0):
    """The loader of a training, as the recipes make it."""
    data = make_dataset(
        folder / "train.json",
        folder,
        audio,
        make_label_encoder(["noise"]),
        length=round(CROP * 16000),
        crop="energy",
    )
    return make_dataloader(
        data,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
    )


def run_epoch(loader, step, clock=time.process_time):
    """Train for an epoch; where its time goes."""
    data = stepping = 0.0
    batches, start = iter(loader), clock()
    while True:
        batch = next(batches, None)
        middle = clock()
        data += middle - start
        if batch is None:
            return Epoch(data, stepping)
        step(batch)
        start = clock()
        stepping += start - middle


def measure(folder, batch_size, workers):
    """Epochs by name; the last two by the clock."""
    brain = steps.package_brain(
        "lmac_small_published.yaml", SlimCnn(n_classes=10).freeze(), batch_size
    )
    brain.steps_per_epoch = 100  # Brain.fit counts them; the schedule asks
    plain, cache = AudioCache(), AudioCache(folder / "cache")

    def epoch(audio, number=0, clock=time.process_time):
        loader = make_loader(folder, audio, batch_size, number)
        return run_epoch(loader, brain.fit_batch, clock)

    run_epoch([steps.make_batch(batch_size, 40000)], brain.fit_batch)
    return {
        "without cache": epoch(plain),
        "cache, first epoch": epoch(cache),
        "cache, second epoch": epoch(cache),
        "second, in a new process": epoch(AudioCache(folder / "cache")),
        "second, clock, 0 workers": epoch(cache, 0, time.perf_counter),
        f"second, clock, {workers} workers": epoch(
            cache, workers, time.perf_counter
        ),
    }


def report(epochs, clips):
    """Print; tell whether the bar is met."""
    print(f"{'':28}{'data ms/clip':>14}{'step ms/clip':>14}{'data/step':>11}")
    for name, epoch in epochs.items():
        data, step = (1000 * seconds / clips for seconds in epoch)
        ratio = epoch.data / epoch.step
        print(f"{name:28}{data:14.2f}{step:14.2f}{ratio:11.3f}")
    second = epochs["cache, second epoch"]
    what = "second epoch, data / step"
    return rounds.judge(what, second.data / second.step, BAR)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if the bar is met."""
    parser = rounds.options(__doc__)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--format", choices=FORMATS, default="ogg")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    if args.quick:
        args.clips, args.batch, args.workers = 2, 2, 1
    rounds.prepare()
    print(rounds.machine())
    with tempfile.TemporaryDirectory() as folder:
        make_clips(Path(folder), args.clips, args.format)
        epochs = measure(Path(folder), args.batch, args.workers)
    used = args.clips // args.batch * args.batch
    return 0 if report(epochs, used) or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
