#!/usr/bin/env python3
"""Fuzz what reads a user's files: each ends in a UserError or a right result.

    python tests/fuzz/run.py --cases 2000 --seed 0 [--out failures]
    python tests/fuzz/run.py --seed 0 --only 1234 --keep folder

The first command prints counts by kind and exits with 1 if a case failed: by
another exception, a hang, a crash of the process or a wrong result. A case is
made of the seed and its number, so the second command repeats it.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import collections
import json
import logging
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import fuzz_audio
import fuzz_checkpoints
import fuzz_hparams
import fuzz_packages
import fuzz_tables
import numpy as np
import torch
from fuzz_damage import WrongResult

from speechbrain_lmac.utils.checks import UserError

MODULES = (
    fuzz_audio,
    fuzz_tables,
    fuzz_hparams,
    fuzz_checkpoints,
    fuzz_packages,
)
CASES = {
    kind: (module, function, weight)
    for module in MODULES
    for kind, (function, weight) in module.CASES.items()
}
TIMEOUT = 20  # seconds for a case that takes less than one
MEMORY = 8 * 2**30  # bytes of addresses, beyond what is in use at the start
PASSED = ("correct", "refused")


def kind_of(seed, number):
    """The kind of a case: drawn by weight, so that each run has all kinds."""
    rng = np.random.default_rng([seed, number, 0])
    weights = np.array([weight for _, _, weight in CASES.values()], float)
    return str(rng.choice(list(CASES), p=weights / weights.sum()))


def run_case(seed, number, fixtures, folder):
    """Run one case in an empty folder.

    Arguments
    ---------
    seed, number : int
        Which case.
    fixtures : dict
        What the `setup` of each module gave, by module.
    folder : pathlib.Path
        Empty.

    Returns
    -------
    tuple of (str, str)
        "correct", "refused", "wrong" or "raised"; what happened.
    """
    module, function, _ = CASES[kind_of(seed, number)]
    rng = np.random.default_rng([seed, number, 1])
    torch.manual_seed(number)
    os.chdir(folder)
    try:
        return "correct", str(function(rng, folder, fixtures[module]))
    except UserError as err:
        if not str(err).strip() or "Traceback" in str(err):
            return "wrong", f"an error without a message: {err}"
        return "refused", str(err)
    except WrongResult as err:
        return "wrong", str(err)
    except BaseException:  # also SystemExit: nothing may end the process
        return "raised", traceback.format_exc()


def serve(pipe, seed, fixtures, root):
    """Run the cases whose numbers come through a pipe, in a process."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.set_num_threads(1)  # a fork has to make torch's pool anew
    silence = os.open(os.devnull, os.O_WRONLY)  # libraries in C complain, too
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    while True:
        number = pipe.recv()
        if number is None:
            return
        folder = root / f"case{number}"
        folder.mkdir()
        pipe.send(run_case(seed, number, fixtures, folder))
        os.chdir(root)
        shutil.rmtree(folder, ignore_errors=True)


class Worker:
    """A process that runs cases, and is started anew when it is gone."""

    def __init__(self, seed, fixtures, root):
        self.given = (seed, fixtures, root)
        self.process = None

    def run(self, number):
        """What became of a case; hangs and crashes included."""
        if self.process is None:
            fork = multiprocessing.get_context("fork")
            self.pipe, theirs = fork.Pipe()
            self.process = fork.Process(
                target=serve, args=(theirs, *self.given), daemon=True
            )
            self.process.start()
            theirs.close()
        self.pipe.send(number)
        try:
            if self.pipe.poll(TIMEOUT):
                return self.pipe.recv()
            ended = "hung", f"no end after {TIMEOUT} s"
        except (EOFError, OSError):
            self.process.join(5)
            ended = "crashed", f"exit code {self.process.exitcode}"
        self.process.kill()
        self.process.join()
        self.process = None
        return ended

    def stop(self):
        """End the process."""
        if self.process is not None:
            self.pipe.send(None)
            self.process.join()


def make_fixtures(root):
    """The whole files that the cases damage, by module."""
    fixtures = {}
    for module in MODULES:
        folder = root / module.__name__
        folder.mkdir()
        fixtures[module] = module.setup(folder)
    return fixtures


def run_all(numbers, seed, root):
    """Run cases; yield (number, kind, outcome, what happened)."""
    worker = Worker(seed, make_fixtures(root), root)
    try:
        for number in numbers:
            yield number, kind_of(seed, number), *worker.run(number)
    finally:
        worker.stop()


def report(results, seconds):
    """Print the counts; return the failures."""
    counts = collections.defaultdict(collections.Counter)
    for _, kind, outcome, _ in results:
        counts[kind][outcome] += 1
    columns = (*PASSED, "wrong", "raised", "hung", "crashed")
    print(f"{'':28}" + "".join(f"{name:>9}" for name in columns))
    for kind in CASES:
        cells = "".join(f"{counts[kind][name]:9}" for name in columns)
        print(f"{kind:28}{cells}")
    failures = [r for r in results if r[2] not in PASSED]
    print(
        f"{len(results) - len(failures)} of {len(results)} cases passed in "
        f"{seconds:.0f} s"
    )
    return failures


def quiet():
    """Silence what the package tells its users."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)


def main(argv=None):
    """Command line; returns 0 if every case passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="first number")
    parser.add_argument("--out", help="folder for the failures, as JSON")
    parser.add_argument("--only", type=int, help="repeat this case, in full")
    parser.add_argument("--keep", help="folder for the files of --only")
    args = parser.parse_args(argv)
    quiet()
    out = Path(args.out).absolute() if args.out else None
    keep = Path(args.keep).absolute() if args.keep else None
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        root = Path(root).resolve()
        if args.only is not None:
            folder = keep or root / "case"
            folder.mkdir(parents=True)
            print(kind_of(args.seed, args.only))
            fixtures = make_fixtures(root)
            outcome = run_case(args.seed, args.only, fixtures, folder)
            print(*outcome, sep=": ")
            os.chdir("/")
            return outcome[0] not in PASSED
        numbers = range(args.first, args.first + args.cases)
        start = time.monotonic()
        results = list(run_all(numbers, args.seed, root))
        failures = report(results, time.monotonic() - start)
    for number, kind, outcome, what in failures:
        last = what.strip().splitlines()[-1][:150]
        print(f"case {number} ({kind}) {outcome}: {last}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps([r for r in failures], indent=1)
        (out / f"failures-{args.seed}.json").write_text(text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
