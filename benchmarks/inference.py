#!/usr/bin/env python3
"""What explanations cost in use: single clips, batches, loading, memory.

Networks have random weights, whose values do not matter here, and clips are
noise made by code; give ``--interpreter`` to time a trained one. Wall and CPU
times take turns within one run: on a machine that others use, read the CPU
times and the ratios.

> python benchmarks/inference.py
> python benchmarks/inference.py --folder-clips 1000 --minutes 10

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features.stft import FrontEnd
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import Interpreter

SECONDS = 5.0
CPU = {"run_opts": {"device": "cpu"}}
LOADING = """
import time
from speechbrain_lmac.inference import AudioInterpreter
start = time.perf_counter()
AudioInterpreter.{how}({source!r}, run_opts={{"device": "cpu"}})
print(time.perf_counter() - start)
"""


def build(source):
    """The interpreter to time: a trained one, or the slim model."""
    if source:
        return getattr(AudioInterpreter, loader(source))(source, **CPU)
    torch.manual_seed(1234)
    frontend, classifier = FrontEnd(), SlimCnn(n_classes=10).freeze()
    decoder = build_decoder(
        classifier, frontend, channels=[96, 64, 48, 32, 16]
    ).eval()
    parts = Interpreter(frontend, classifier, decoder)
    names = [f"class {k}" for k in range(10)]
    return AudioInterpreter.from_parts(parts, names, **CPU)


def loader(source):
    """Name of the method that loads a folder: a package's or a run's."""
    package = (Path(source) / "config.json").is_file()
    return "from_hparams" if package else "from_run"


def measure(timed, rounds):
    """Median (wall, CPU) seconds of each job; the jobs take turns."""
    times = {name: [] for name in timed}
    for turn in range(rounds + 1):
        for name, job in timed.items():
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            if turn:  # the first turn warms up
                times[name].append(
                    (time.perf_counter() - wall, time.process_time() - cpu)
                )
    return {
        name: tuple(map(statistics.median, zip(*values, strict=True)))
        for name, values in times.items()
    }


def time_clips(interpreter, batch_size, rounds):
    """A file, single clips and a batch of them."""
    rate = interpreter.sample_rate
    wavs = torch.rand(batch_size, round(SECONDS * rate)) - 0.5
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.wav"
        sf.write(file, wavs[0].numpy(), rate)
        found = measure(
            {
                "one file": lambda: interpreter.interpret_file(file),
                "one waveform": lambda: interpreter.interpret_batch(wavs[:1]),
                f"{batch_size} waveforms, one by one": lambda: [
                    interpreter.interpret_batch(wav) for wav in wavs
                ],
                f"{batch_size} waveforms as a batch": lambda: (
                    interpreter.interpret_batch(wavs)
                ),
            },
            rounds,
        )
    print(f"{'':32}{'ms':>9}{'CPU ms':>9}{'x real time':>13}")
    counts = (1, 1, batch_size, batch_size)
    for (name, (wall, cpu)), n in zip(found.items(), counts, strict=True):
        speed = n * SECONDS / wall
        print(f"{name:32}{1000 * wall:9.1f}{1000 * cpu:9.1f}{speed:13.0f}")
    single, batch = list(found.values())[2:]
    print(
        f"throughput of the batch: {single[0] / batch[0]:.2f} of single "
        f"clips (CPU time {single[1] / batch[1]:.2f})"
    )


def time_loading(source):
    """Seconds of loading in a fresh process, imports not counted."""
    if not source:
        print("loading: give --interpreter to time it")
        return
    code = LOADING.format(how=loader(source), source=str(source))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    print(f"loading after the imports: {float(done.stdout.split()[-1]):.2f} s")


def resident():
    """Memory of this process now, in MB."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def time_folder(interpreter, n_clips):
    """Memory over a folder of short clips, of which every tenth differs."""
    generator = np.random.default_rng(1234)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for k in range(n_clips):
            files.append(Path(folder) / f"{k}.wav")
            length = 8000 + 100 * (k % 10 == 0) * (k % 37)
            noise = generator.standard_normal(length).astype("float32")
            sf.write(files[-1], 0.1 * noise, 16000)
        memory = {}
        start = time.process_time()
        results = interpreter.interpret_files(files)
        for k, result in enumerate(results, 1):
            if result.error is not None:
                raise result.error
            if k in (1, 10, 100) or k % 100 == 0:
                memory[k] = resident()
        cpu = time.process_time() - start
    told = ", ".join(f"{k}: {mb:.0f}" for k, mb in memory.items())
    print(f"folder of {n_clips} clips, {1000 * cpu / n_clips:.1f} CPU ms each")
    print(f"  memory in MB after clip {told}")
    if n_clips > 100:
        most = max(mb for k, mb in memory.items() if k >= 100)
        print(f"  largest from clip 100 on: {most / memory[100]:.3f} of it")


def peak_of_recording(source, minutes):
    """Largest memory of a process that explains a recording, in MB."""
    code = f"""
import resource, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from inference import build, made_recording
interpreter = build({source!r})
interpreter.interpret_file(made_recording(0.4))
file = made_recording({minutes})
start = time.process_time()
found = interpreter.interpret_file(file)
cpu = time.process_time() - start
returned = 3 * found.waveform.numel() * 4 / 1e6
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3
print(peak, returned, cpu)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return map(float, done.stdout.split()[-3:])


def made_recording(minutes):
    """A stereo recording at 44.1 kHz, made by code, in a temporary file."""
    generator = np.random.default_rng(1234)
    with tempfile.NamedTemporaryFile(suffix=".flac", delete=False) as file:
        path = file.name
    with sf.SoundFile(path, "w", 44100, 2) as file:
        for _ in range(round(6 * minutes)):
            block = generator.standard_normal((441000, 2))
            file.write(0.1 * block * generator.uniform(0.1, 1))
    return path


def time_long(source, minutes):
    """Memory of a long recording, and of one of a fifth of its length."""
    for length in (minutes / 5, minutes):
        peak, returned, cpu = peak_of_recording(source, length)
        print(
            f"recording of {length:g} min: {cpu:.1f} CPU s, peak "
            f"{peak:.0f} MB, of it {returned:.0f} MB are returned: "
            f"{peak - returned:.0f} MB besides"
        )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interpreter", help="run's folder or package")
    parser.add_argument("--batch", type=int, default=16, help="clips of 5 s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder-clips", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, load {os.getloadavg()[0]:.1f}")
    interpreter = build(options.interpreter)
    time_clips(interpreter, options.batch, options.rounds)
    time_loading(options.interpreter)
    if options.folder_clips:
        time_folder(interpreter, options.folder_clips)
    if options.minutes:
        time_long(options.interpreter, options.minutes)


if __name__ == "__main__":
    main()
