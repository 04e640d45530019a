"""Kills trainings at random times; the weights at the end must not care.

    python tests/kills/run.py --kills 30 [--seed 0] [--term 0.2] [--only lmac]

Runs each of the five trainings (a classifier, L-MAC, L2I, a small CLAP and
LMAC-ZS) on a few built-in sounds once undisturbed, then as often as the kills
need, each time killed (SIGKILL, some times SIGTERM) and started again with the
same command until it ends. All weights and optimisers must equal the
undisturbed ones bit by bit.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Exit code of a training that SIGTERM ended, after it saved.
TERMINATED = 143

#: Recipe, script, hyperparameters and own options of each training; a later
#: one explains what an earlier one has trained.
TRAININGS = {
    "classifier": (
        *("ESC50", "train_classifier.py", "classifier_small.yaml"),
        ["--crop_s=1"],
    ),
    "lmac": (
        *("ESC50", "train_lmac.py", "lmac_small.yaml"),
        ["--classifier_source={classifier}/classifier", "--batch_size=8"],
    ),
    "l2i": (
        *("ESC50", "train_l2i.py", "l2i_small.yaml"),
        ["--classifier_source={classifier}/classifier", "--batch_size=8"],
    ),
    "clap": (
        *("CLAP_ZS", "train_clap_small.py", "clap_small.yaml"),
        ["--crop_s=1", "--warmup_steps=20", "--batch_size=8"],
    ),
    "lmac_zs": (
        *("CLAP_ZS", "train_lmac_zs.py", "lmac_zs_small.yaml"),
        ["--clap_source={clap}/clap", "--valid_length_s=1"],
    ),
}
NEEDS = {"lmac": "classifier", "l2i": "classifier", "lmac_zs": "clap"}
#: Options of what comes after a training, where its file has them.
QUICK = {"save_interpretations": 0, "save_package": False}


def command(name, folder, output, epochs=4):
    """A training of a few epochs that saves every other step."""
    recipe, script, hparams, options = TRAININGS[name]
    place = ROOT / "recipes" / recipe
    known = {other: folder / other for other in TRAININGS}
    text = (place / "hparams" / hparams).read_text(encoding="utf-8")
    quick = [k for k in QUICK if f"\n{k}:" in text]
    return [
        sys.executable,
        str(place / script),
        str(place / "hparams" / hparams),
        f"--data_folder={folder / 'data'}",
        f"--output_folder={output}",
        f"--cache_folder={folder / 'cache'}",
        f"--number_of_epochs={epochs}",
        "--signal_length_s=1",
        "--valid_interval=2",
        "--ckpt_interval_steps=2",
        "--noprogressbar",
        "--device=cpu",
        *(option.format(**known) for option in options),
        *(f"--{key}={QUICK[key]}" for key in quick),
    ]


def make_data(folder):
    """The built-in sounds."""
    maker = ["-m", "speechbrain_lmac", "data", "synthetic", folder / "data"]
    subprocess.run(
        [sys.executable, *maker, "--clips-per-class-and-fold=1"]
        + ["--duration=2.5"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )


def start(arguments):
    """A process whose output is kept for errors."""
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def run_to_end(arguments):
    """Run undisturbed; seconds that it took."""
    began = time.monotonic()
    process = start(arguments)
    output, _ = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{output[-3000:]}")
    return time.monotonic() - began


def run_killed(arguments, after, which):
    """Run for some seconds, then send a signal; the exit code, and output."""
    process = start(arguments)
    try:
        output, _ = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(which)
        output, _ = process.communicate(timeout=120)
    return process.returncode, output


def digest(output):
    """Hashes of the newest checkpoint's weights, optimiser and counters."""
    newest = max((output / "save").glob("CKPT+*"), key=saved_at)
    # The Brain's own file holds means of the log, the loader's a position.
    return {
        path.stem: hashlib.sha256(tensor_bytes(path)).hexdigest()
        for path in sorted(newest.glob("*.ckpt"))
        if path.stem != "brain" and not path.stem.startswith("dataloader")
    }


def saved_at(checkpoint):
    """When a checkpoint was written, by its own record."""
    import yaml

    text = (checkpoint / "CKPT.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["unixtime"]


def tensor_bytes(path):
    """The values of a file of tensors, without its container's dates."""
    import torch

    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:
        return path.read_bytes()
    return repr(flat(content, torch)).encode()


def flat(value, torch):
    """Nested containers with each tensor as its bytes."""
    if isinstance(value, torch.Tensor):
        return value.contiguous().numpy().tobytes().hex()
    if isinstance(value, dict):
        return [(str(k), flat(v, torch)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [flat(v, torch) for v in value]
    return value


def main(argv=None):
    """Kill as often as asked; 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--term", type=float, default=0.2, help="share of SIGTERM"
    )
    parser.add_argument("--only", nargs="*", default=list(TRAININGS))
    options = parser.parse_args(argv)
    draws, failed = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder)
        for training in TRAININGS:
            needed = [NEEDS.get(other) for other in options.only]
            if training not in (*options.only, *needed):
                continue
            whole = folder / training
            duration = run_to_end(command(training, folder, whole))
            print(f"{training}: undisturbed {duration:.1f} s", flush=True)
            if training in options.only:
                failed += kill_and_compare(
                    training, folder, duration, options, draws
                )
    return int(failed > 0)


def kill_and_compare(name, folder, duration, options, draws):
    """Train again and again until all kills are spent; how many differ."""
    expected = digest(folder / name)
    kills, failed, trainings = 0, 0, 0
    while kills < options.kills:
        output, trainings = folder / f"{name}_{trainings}", trainings + 1
        while True:
            left = kills < options.kills
            term = left and draws.random() < options.term
            after = draws.uniform(0, duration) if left else 600
            which = signal.SIGTERM if term else signal.SIGKILL
            arguments = command(name, folder, output)
            code, text = run_killed(arguments, after, which)
            if code == 0:
                break
            if code not in (-which, TERMINATED):
                print(f"{name} {trainings} broke:\n{text[-3000:]}")
                return 1
            kills += 1
            print(f"kill {kills} ({which.name}) after {after:.1f} s")
        found = digest(output)
        failed += found != expected
        state = "the same weights" if found == expected else f"DIFFER: {found}"
        print(f"{name} {trainings}: {state}", flush=True)
        shutil.rmtree(output)
    print(f"{name}: {kills} kills in {trainings} trainings, {failed} differ")
    return failed


if __name__ == "__main__":
    sys.exit(main())
