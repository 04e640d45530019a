"""Jobs that take turns, timed by the CPU time of this process.

Other jobs on the machine do not count, and what drifts (clock, caches) meets
all jobs alike.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import speechbrain
import torch

SEED = 1234
Times = dict[str, list[float]]


def options(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a benchmark with this docstring, which has ``--quick``."""
    title = (doc or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="a try, no bar")
    return parser


def prepare() -> None:
    """One thread, one seed, and no numbers too small for the processor.

    Gradients of a network that is sure beyond 1e-38 are denormal: each costs
    a hundred times as much, on both sides, and says nothing of the code.
    """
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.set_flush_denormal(True)


def take_turns(
    jobs: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> Times:
    """Seconds of each job in each round; a first round is not counted."""
    times: Times = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            start = clock()
            job()
            if turn:  # the first turn warms up
                times[name].append(clock() - start)
    return times


def medians(times: Times) -> dict[str, float]:
    """Median of each job's seconds."""
    return {name: statistics.median(values) for name, values in times.items()}


def ratio(times: Times, job: str, unit: str) -> float:
    """Median over the rounds of what a job took of what another one did."""
    pairs = zip(times[job], times[unit], strict=True)
    return statistics.median(a / b for a, b in pairs)


def table(times: Times, unit: str, per: int = 1) -> None:
    """Print the median of each job, over ``per`` clips, and its ratio."""
    print(f"{'':36}{'CPU ms':>9}{'of ' + unit:>24}")
    for name, seconds in medians(times).items():
        relative = ratio(times, name, unit)
        print(f"{name:36}{1000 * seconds / per:9.1f}{relative:24.3f}")


def judge(what: str, value: float, bar: float) -> bool:
    """Print a figure beside its bar; tell whether it is met."""
    verdict = "met" if value <= bar else "MISSED"
    print(f"{what}: {value:.3f}; bar {bar:g} {verdict}")
    return value <= bar


def memory(key: str = "VmRSS", path: str = "/proc/self/status") -> int:
    """Bytes of memory: in use, or ``VmHWM``, the most that ever was."""
    lines = Path(path).read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def reset_peak(device: str = "cpu") -> int:
    """Forget the peak of the memory; returns the bytes in use."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with contextlib.suppress(OSError, AttributeError):
        # Memory that the last step freed is handed back first.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return memory()


def peak_memory(device: str = "cpu") -> int:
    """Bytes in use at the peak since :func:`reset_peak`."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return memory("VmHWM")


def machine(device: str = "cpu") -> str:
    """One line on what this runs on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x for x in lines if x.startswith("model name"))
        model = model.split(":")[1].strip()
    if device != "cpu":
        model = torch.cuda.get_device_name()
    return (
        f"{time.strftime('%Y-%m-%d')}, {model}, 1 thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, SpeechBrain "
        f"{speechbrain.__version__}, seed {SEED}"
    )
