#!/usr/bin/env python3
"""What explanations cost in use: single clips, batches, folders, recordings.

Networks have random weights, whose values do not matter here, and clips are
noise made by code; give ``--interpreter`` to time a trained one. Seconds are
those of the clock: leave the machine alone.

> python benchmarks/inference.py
> python benchmarks/inference.py --folder-clips 1000 --minutes 10

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rounds
import soundfile as sf
import torch

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import Interpreter

SECONDS = 5.0
CPU = {"run_opts": {"device": "cpu"}}


def build(source: str | None) -> AudioInterpreter:
    """The interpreter to time: a package, or the slim model."""
    if source:
        start = time.perf_counter()
        interpreter = AudioInterpreter.from_hparams(source, **CPU)
        print(f"loaded in {time.perf_counter() - start:.2f} s")
        return interpreter
    frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    decoder = build_decoder(
        classifier, frontend, channels=[96, 64, 48, 32, 16]
    ).eval()
    names = [f"class {k}" for k in range(10)]
    parts = Interpreter(frontend, classifier, decoder, names)
    return AudioInterpreter(parts, **CPU)


def time_clips(
    interpreter: AudioInterpreter, batch_size: int, number: int
) -> None:
    """A file, single clips and a batch of them."""
    rate = interpreter.sample_rate
    wavs = torch.rand(batch_size, round(SECONDS * rate)) - 0.5
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.wav"
        sf.write(file, wavs[0].numpy(), rate)
        jobs = {
            "one file": lambda: interpreter.interpret_file(file),
            "one waveform": lambda: interpreter.interpret_batch(wavs[:1]),
            f"{batch_size} one by one": lambda: [
                interpreter.interpret_batch(wav) for wav in wavs
            ],
            f"{batch_size} as a batch": lambda: interpreter.interpret_batch(
                wavs
            ),
        }
        times = rounds.take_turns(jobs, number, time.perf_counter)
    for name, seconds in rounds.medians(times).items():
        clips = batch_size if name[0].isdigit() else 1
        print(
            f"{name:24}{1000 * seconds:9.1f} ms"
            f"{clips * SECONDS / seconds:9.0f} times real time"
        )
    single, batch = list(times)[2:]
    print(f"batch / single clips: {rounds.ratio(times, single, batch):.2f}")


def time_folder(interpreter: AudioInterpreter, n_clips: int) -> None:
    """Memory over a folder of short clips, of which every tenth differs."""
    generator = np.random.default_rng(1234)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for k in range(n_clips):
            files.append(Path(folder) / f"{k}.wav")
            length = 8000 + 100 * (k % 10 == 0) * (k % 37)
            noise = generator.standard_normal(length).astype("float32")
            sf.write(files[-1], 0.1 * noise, 16000)
        start = time.perf_counter()
        for k, result in enumerate(interpreter.interpret_files(files), 1):
            if result.error is not None:
                raise result.error
            if k in (1, 10, 100) or k == n_clips:
                print(f"after clip {k}: {rounds.memory() / 1e6:.0f} MB")
        each = (time.perf_counter() - start) / n_clips
    print(f"folder of {n_clips} clips: {1000 * each:.1f} ms each")


def time_long(interpreter: AudioInterpreter, minutes: float) -> None:
    """Memory of long recordings: stereo noise at 44.1 kHz."""
    generator = np.random.default_rng(1234)
    for length in (0.4, minutes / 5, minutes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recording.flac"
            with sf.SoundFile(path, "w", 44100, 2) as file:
                for _ in range(round(6 * length)):
                    block = generator.standard_normal((441000, 2))
                    file.write(0.1 * block)
            before, start = rounds.reset_peak(), time.perf_counter()
            explanation = interpreter.interpret_file(path)
            seconds = time.perf_counter() - start
        peak = rounds.peak_memory() - before
        returned = 3 * explanation.waveform.numel() * 4
        print(
            f"recording of {length:g} min: {seconds:.1f} s, "
            f"{(peak - returned) / 1e6:.0f} MB besides what is returned"
        )


def main(argv: list[str] | None = None) -> int:
    """Command line; there is no bar."""
    parser = rounds.options(__doc__)
    parser.add_argument("--interpreter", help="a package")
    parser.add_argument("--batch", type=int, default=16, help="clips of 5 s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder-clips", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    args = parser.parse_args(argv)
    if args.quick:
        args.batch, args.rounds, args.folder_clips = 2, 1, 2
    rounds.prepare()
    torch.set_num_threads(args.threads)
    print(f"{args.threads} threads, load {os.getloadavg()[0]:.1f}")
    interpreter = build(args.interpreter)
    time_clips(interpreter, args.batch, args.rounds)
    if args.folder_clips:
        time_folder(interpreter, args.folder_clips)
    if args.minutes:
        time_long(interpreter, args.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
