"""Hyperparameter files and the options of a command line."""

import math
import os
from pathlib import Path

import torch
from fuzz_damage import damage, require
from hyperpyyaml import resolve_references
from ruamel.yaml import YAML

from speechbrain_lmac.utils import parse_arguments
from speechbrain_lmac.utils.hparams import load_hparams, read_tree

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FILES = (
    "ESC50/hparams/lmac_small.yaml",
    "ESC50/hparams/sanity_checks.yaml",
    "ESC50/hparams/classifier_small.yaml",
    "ESC50/hparams/l2i_small.yaml",
    "ESC50/hparams/evaluate.yaml",
    "CLAP_ZS/hparams/clap_small.yaml",
)
NUMBERS = ("0", "-1", "1", "2.5", "-0.0", ".nan", "nan", ".inf", "-.inf")
NUMBERS += ("1e400", "-1e-3", "1e30", "9" * 400, "0x10", "0b1", "1_000", "7")
NUMBERS += ("1" + "0" * 9, "65537", "0.5", "1e-30", "010", "+3", "1:30")
WORDS = ("", "null", "~", "True", "no", "'5'", "five", "a b", "[", "]", "{")
WORDS += ("[]", "[1, 2", "[1, 2]", "[[[[1]]]]", "[nan]", "[1, two]", "{}", "-")
WORDS += ("{a: 1}", "{a: b: c}", "a: b", "- a", "*x", "&x 1", "#", "'", '"')
WORDS += ("!ref <lr>", "!ref <nope>", "!ref <lr> * <seed>", "!new:nope.Nope")
WORDS += ("!name:math.sqrt", "!apply:math.sqrt [-1]", "!tuple [1]")
WORDS += ("!copy <lr>",)
WORDS += ("!PLACEHOLDER", "!!int x", "!!float x", "!!timestamp 2", "@x", "`x`")
WORDS += ("!!python/object:os.x", "2026-13-45", "2026-01-01", "%a", "?", ":")
WORDS += ("<<", "\u00e9", "\U0001f600", "x" * 5000, "[" * 300, "a=b", "--lr=1")
WORDS += ("esc10", "/dev/null/x", "../up", "stft", "mel", "\t", "\\", "a\nb")


def setup(folder):
    """Names of the keys of each file."""
    return {name: list(read_tree(RECIPES / name)) for name in FILES}


def option(rng, keys):
    """A key and a value, mostly those that belong together."""
    key = str(rng.choice(keys))
    if rng.random() < 0.05:
        key = str(rng.choice(["", "nope", key[:-1], key + "x", key.upper()]))
    pool = NUMBERS if rng.random() < 0.5 else WORDS
    return key, str(rng.choice(pool))


def overrides(rng, folder, files):
    """A command line with one to three odd options."""
    name = str(rng.choice(FILES))
    options = [option(rng, files[name]) for _ in range(rng.integers(1, 4))]
    argv = [str(RECIPES / name), "--data_folder=/data", "--device=cpu"]
    argv += ["--interpreter=/i"] if "interpreter" in files[name] else []
    for key, value in options:
        joined = rng.random() < 0.8
        argv += [f"--{key}={value}"] if joined else [f"--{key}", value]
    try:
        hparams_file, _, changes = parse_arguments(argv)
    except SystemExit as err:  # argparse has told what is wrong, as it does
        require(err.code == 2, f"exit code {err.code}")
        return "refused by argparse"
    check(hparams_file, load_hparams(hparams_file, changes), changes)
    return " ".join(argv[3:])[:200]


def by_key(rng, folder, files):
    """The same by a caller in Python."""
    name = str(rng.choice(FILES))
    values = [None, True, -1, 2.5, math.nan, math.inf, [], {}, "", "x", (1,)]
    values += [[math.nan], ["a"], 10**30, -(10**30), 1 << 62, {"a": 1}, 0]
    changes = {"data_folder": "/data"}
    changes |= {"interpreter": "/i"} if "interpreter" in files[name] else {}
    for _ in range(rng.integers(1, 3)):
        value = values[rng.integers(len(values))]
        changes[str(rng.choice(files[name]))] = value
    check(RECIPES / name, load_hparams(RECIPES / name, changes), changes)
    return str(changes)[:200]


def check(hparams_file, hparams, changes):
    """Values are those that were given; what was built works."""
    require(isinstance(hparams, dict), type(hparams))
    with open(hparams_file, encoding="utf-8") as file:
        plain = YAML().load(resolve_references(file, changes))
    for key, value in hparams.items():
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, float):
                require(math.isfinite(number), f"{key} is {value}")
        given = plain.get(key)
        if type(value) in (int, float, bool, str, type(None)):
            tagged = getattr(getattr(given, "tag", None), "value", None)
            same = value == given or str(value) == str(given)
            require(tagged or same, f"{key} is {value}, not {given}")
    frontend = hparams.get("frontend")
    if isinstance(frontend, torch.nn.Module):
        seconds = 1 if hparams["sample_rate"] <= 10**5 else 0.1
        noise = torch.rand(1, int(hparams["sample_rate"] * seconds))
        spectrum = frontend(noise)
        features = frontend.features(noise)
        require(bool(features.isfinite().all()), "features are not finite")
        if hasattr(frontend, "listen"):
            ones = torch.ones_like(spectrum.view)
            back = frontend.listen(ones, spectrum, noise.shape[1])
            require(bool(back.isfinite().all()), "sound is not finite")


def damaged_file(rng, folder, files):
    """A damaged hyperparameter file, its lines kept apart or not."""
    name = str(rng.choice(FILES))
    data = (RECIPES / name).read_bytes()
    way = "line"
    if rng.random() < 0.5:
        way, data = damage(rng, data, len(data))
    else:
        lines = data.decode().splitlines()
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(len(lines)))
            key, _, _ = lines[place].partition(":")
            _, value = option(rng, [key or "x"])
            made = [f"{key}: {value}", "", f" {lines[place]}"]
            lines[place] = made[rng.integers(3)]
        data = "\n".join(lines).encode()
    path = Path(folder) / "damaged.yaml"
    path.write_bytes(data)
    changes = {"data_folder": "/data"}
    changes |= {"interpreter": "/i"} if "interpreter" in files[name] else {}
    hparams = load_hparams(path, changes)
    require(isinstance(hparams, dict), type(hparams))
    require(os.getcwd() == str(folder), "another folder")
    return way


CASES = {
    "YAML: command line": (overrides, 30),
    "YAML: overrides by key": (by_key, 8),
    "YAML: damaged file": (damaged_file, 10),
}
