"""Kills trainings at random times; the weights at the end must not care.

    python tests/kills/run.py --kills 30 [--seed 0] [--term 0.2]

Trains L-MAC on a few built-in sounds once undisturbed, then as often as the
kills need, each time killed (SIGKILL, some times SIGTERM) and started again
with the same command until it ends. Every decoder and optimiser must equal
the undisturbed one's bit by bit.

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
RECIPE = ROOT / "recipes" / "ESC50"
EPOCHS = 6
#: Exit code of a training that SIGTERM ended, after it saved.
TERMINATED = 143


def command(script, hparams, data, output, *more):
    """A training of a few epochs that saves every other step."""
    return [
        sys.executable,
        str(RECIPE / script),
        str(RECIPE / "hparams" / hparams),
        f"--data_folder={data}",
        f"--output_folder={output}",
        f"--cache_folder={data.parent / 'cache'}",
        "--signal_length_s=1",
        "--noprogressbar",
        *more,
    ]


def prepare(folder):
    """The built-in sounds, and a classifier that has seen them once."""
    data = folder / "data"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "speechbrain_lmac.data.synthetic.sets",
            str(data),
        ]
        + ["--clips_per_class_and_fold=2", "--duration=2.5"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    more = ("--number_of_epochs=1", "--crop_s=1")
    arguments = command(
        "train_classifier.py",
        "classifier_small.yaml",
        data,
        folder / "cls",
        *more,
    )
    run_to_end(arguments)
    return data


def lmac(folder, output):
    """The command that is killed."""
    return command(
        "train_lmac.py",
        "lmac_small.yaml",
        folder / "data",
        output,
        f"--classifier_source={folder / 'cls' / 'classifier'}",
        f"--number_of_epochs={EPOCHS}",
        "--valid_interval=2",
        "--batch_size=8",
        "--save_interpretations=0",
        "--ckpt_interval_steps=2",
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
    """Hashes of the newest checkpoint's weights, optimiser and history."""
    newest = max((output / "save").glob("CKPT+*"), key=saved_at)
    names = ("decoder", "optimizer", "sparsity", "counter")
    return {
        name: hashlib.sha256(tensor_bytes(newest / f"{name}.ckpt")).hexdigest()
        for name in names
        if (newest / f"{name}.ckpt").is_file()
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
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--term", type=float, default=0.2, help="share of SIGTERM"
    )
    options = parser.parse_args(argv)
    draws = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        duration = run_to_end(lmac(folder, folder / "whole"))
        expected = digest(folder / "whole")
        print(f"undisturbed: {duration:.1f} s", flush=True)
        return kill_and_compare(folder, expected, duration, options, draws)


def kill_and_compare(folder, expected, duration, options, draws):
    """Train again and again until all kills are spent."""
    kills, failed, trainings = 0, 0, 0
    while kills < options.kills:
        output, trainings = folder / f"killed_{trainings}", trainings + 1
        while True:
            left = kills < options.kills
            term = left and draws.random() < options.term
            after = draws.uniform(0, duration) if left else 600
            which = signal.SIGTERM if term else signal.SIGKILL
            code, text = run_killed(lmac(folder, output), after, which)
            if code == 0:
                break
            if code not in (-which, TERMINATED):
                print(f"training {trainings} broke:\n{text[-3000:]}")
                return 1
            kills += 1
            print(f"kill {kills} ({which.name}) after {after:.1f} s")
        found = digest(output)
        same = found == expected
        failed += not same
        told = "the same weights" if same else f"DIFFERENT: {found}"
        print(f"training {trainings}: {told}", flush=True)
        shutil.rmtree(output)
    print(f"{kills} kills in {trainings} trainings, {failed} differ")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
