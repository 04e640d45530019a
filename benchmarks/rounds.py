"""Jobs that take turns, timed by the CPU time of this process.

Other jobs on the machine do not count, and what drifts (clock, caches) meets
all jobs alike.

Authors
 * The speechbrain_lmac authors 2026
"""

import contextlib
import platform
import statistics
import time
from pathlib import Path

import speechbrain
import torch

SEED = 1234


def prepare():
    """One thread, one seed, and no numbers too small for the processor.

    Gradients of a network that is sure beyond 1e-38 are denormal: each costs
    a hundred times as much, on both sides, and says nothing of the code.
    """
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.set_flush_denormal(True)


def take_turns(jobs, rounds):
    """CPU seconds of each job.

    Arguments
    ---------
    jobs : dict of str to callable
        Functions without arguments.
    rounds : int
        Times that each is called, after a first time that is not counted.

    Returns
    -------
    dict of str to list of float
        By job, in the order of the rounds.
    """
    times = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            if turn:  # the first turn warms up
                times[name].append(time.process_time() - start)
    return times


def medians(times):
    """Median of each job's seconds."""
    return {name: statistics.median(values) for name, values in times.items()}


def ratio(times, job, unit):
    """Median over the rounds of what a job took of what another one did."""
    pairs = zip(times[job], times[unit], strict=True)
    return statistics.median(a / b for a, b in pairs)


def judge(what, value, bar):
    """Print a figure beside its bar; tell whether it is met."""
    verdict = "met" if value <= bar else "MISSED"
    print(f"{what}: {value:.3f}; bar {bar:g} {verdict}")
    return value <= bar


def machine(device="cpu"):
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
