"""Packages: damaged files, and entries of config.json of any other value."""

import copy
import json
import shutil

import torch
from fuzz_checkpoints import require_a_mask, spoil, states
from fuzz_damage import equal, require

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.inference import load_package, write_package
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import Interpreter

FILES = ("config.json", "classifier.safetensors", "decoder.safetensors")
VALUES = (
    *(None, True, "", "x", "os:system", 0, -1, 3, 0.5, 1e300, 10**12),
    *(float("nan"), float("inf"), [], [1], ["a"], {}, {"class": "os:system"}),
    {"class": "os:system", "arguments": {}},
    {"function": "os:system"},
    [0] * 1000,
    "a" * 10_000,
)


def setup(folder):
    """A package of random weights, and what it holds."""
    torch.manual_seed(0)
    frontend = FrontEnd(8000, n_fft=256, n_mels=16)
    classifier = SlimCnn(3, n_mels=16, channels=(4, 8, 8)).freeze()
    decoder = build_decoder(classifier, frontend, channels=(8, 4)).eval()
    labels = ["dog", "rain", "wind"]
    made = Interpreter(frontend, classifier, decoder, labels)
    return write_package(made, folder / "package"), states(made)


def files(rng, folder, fixtures):
    """One of the files damaged, missing or exchanged."""
    package, expected = fixtures
    shutil.copytree(package, folder / "package")
    way = spoil(rng, folder / "package", FILES)
    _check(folder / "package", expected)
    return way


def entries(rng, folder, fixtures):
    """Entries of config.json changed, moved, added or left out."""
    package, expected = fixtures
    shutil.copytree(package, folder / "package")
    path = folder / "package/config.json"
    config, ways = json.loads(path.read_text()), []
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(config))
        if not places:
            break
        holder, key = places[rng.integers(len(places))]
        way = str(rng.choice(["value", "drop", "add", "swap"]))
        value = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        if way == "swap":
            other, name = places[rng.integers(len(places))]
            value = copy.deepcopy(other[name])
        if way == "drop":
            del holder[key]
        elif way == "add" and isinstance(holder, dict):
            holder[str(value)[:20]] = value
        else:
            holder[key] = value
        ways.append(f"{way} {key}")
    path.write_text(json.dumps(config))
    _check(folder / "package", expected)
    return ", ".join(ways)


def _places(value):
    """Every (mapping or list, key) of nested ones."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _check(package, expected):
    """What loads has the weights that were written, and works."""
    found = load_package(package)
    for key, value in states(found).items():
        require(equal(value, expected[key]), f"{key} differs")
    require(len(set(found.labels)) == 3, "other classes")
    require_a_mask(found)


CASES = {
    "packages: files": (files, 6),
    "packages: entries": (entries, 10),
}
