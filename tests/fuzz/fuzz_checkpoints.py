"""Folders of classifiers and interpreters: damaged, missing and mixed files."""

import copy
import json
import shutil
from pathlib import Path

import torch
from fuzz_damage import damage, equal, require
from hyperpyyaml import resolve_references

from speechbrain_lmac.classifiers.loading import (
    load_classifier,
    save_classifier,
)
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.pipelines import make_label_encoder
from speechbrain_lmac.interpreters.loading import Interpreter, write_info
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.hparams import load_hparams

HPARAMS = Path(__file__).resolve().parents[2] / "recipes/ESC50/hparams"
LABELS = ("dog", "rain", "wind")
# Another of them would be a valid description of another run.
TEXTS = ("hyperparams.yaml",)


def setup(folder):
    """The folder of a run whose networks have random weights."""
    run = folder / "run"
    run.mkdir()
    settings = {"data_folder": "/data", "out_n_neurons": 3}
    settings |= {"output_folder": str(run), "n_fft": 512, "batch_size": 2}
    with open(HPARAMS / "lmac_small.yaml", encoding="utf-8") as file:
        text = resolve_references(file, settings).read()
    (run / "hyperparams.yaml").write_text(text, encoding="utf-8")
    hparams = load_hparams(run / "hyperparams.yaml")
    encoder = make_label_encoder(LABELS)
    save_classifier(run / "classifier", hparams["classifier"], encoder, seed=1)
    write_info(run, hparams)
    checkpointer = hparams["checkpointer"]
    older = copy.deepcopy(hparams["decoder"].state_dict())
    checkpointer.save_checkpoint(meta={"quality": 0.25}, name="a")
    for parameter in hparams["decoder"].parameters():
        parameter.data.add_(0.01)
    checkpointer.save_checkpoint(meta={"quality": 0.5}, name="b")
    expected = states(Interpreter.load(run))
    older = {f"decoder.{key}": value for key, value in older.items()}
    return run, expected, {**expected, **older}


def states(interpreter):
    """Copies of all weights."""
    return {
        f"{name}.{key}": value.clone()
        for name in ("classifier", "decoder")
        for key, value in getattr(interpreter, name).state_dict().items()
    }


def spoil(rng, folder, files):
    """Damage, remove, empty or exchange one of the files."""
    path = folder / str(rng.choice(files))
    way = str(rng.choice(["damaged", "damaged", "missing", "folder", "other"]))
    if way == "damaged":
        way, data = damage(rng, path.read_bytes(), 400)
        path.write_bytes(data)
    elif way == "other":
        other = folder / str(rng.choice(files))
        path.write_bytes(other.read_bytes())
    else:
        path.unlink()
        if way == "folder":
            path.mkdir()
    return f"{path.relative_to(folder)} {way}"


def _files(folder):
    files = filter(Path.is_file, folder.rglob("*"))
    return sorted(str(path.relative_to(folder)) for path in files)


def classifier(rng, folder, fixtures):
    """The folder of a classifier."""
    run, expected, older = fixtures
    shutil.copytree(run / "classifier", folder / "classifier")
    files = _files(folder / "classifier")
    way = spoil(rng, folder / "classifier", files)
    model = SlimCnn(n_classes=3)
    load_classifier(folder / "classifier", model)
    for key, value in model.state_dict().items():
        require(equal(value, expected[f"classifier.{key}"]), f"{key} differs")
    require(model.labels in (None, list(LABELS)), "other labels")
    return way


def other_weights(rng, folder, fixtures):
    """Files that torch reads and that are no weights of the model."""
    model = SlimCnn(n_classes=3)
    state = dict(model.state_dict())
    key = str(rng.choice(list(state)))
    value, one = state[key], torch.ones(1)
    values = [value.double()[..., None], value * float("nan"), "text", None]
    values += [value.to(torch.complex64)]
    values += [value.to_sparse() if value.ndim else 0]
    objects = [[], {}, 5, None, "x", {key: 1}, torch.ones(3), {1: one}, model]
    objects += [{**state, key: other} for other in values]
    objects += [{**state, "more": one}, {**state, 7: one}]
    objects += [{k: v for k, v in state.items() if k != key}]
    chosen = int(rng.integers(len(objects)))
    new = {"_use_new_zipfile_serialization": bool(rng.integers(2))}
    torch.save(objects[chosen], folder / "classifier.ckpt", **new)
    load_classifier(folder, model)
    for name, value in model.state_dict().items():
        require(bool(value.isfinite().all()), f"{name} is not finite")
    return f"object {chosen}"


def interpreter(rng, folder, fixtures):
    """The folder of an interpreter."""
    run, expected, older = fixtures
    shutil.copytree(run, folder / "run")
    way = spoil(rng, folder / "run", _files(run))
    found = Interpreter.load(folder / "run")
    # Another checkpoint stands in for one that is not whole.
    allowed = [expected] + [older] * ("CKPT+b" in way)
    loaded = states(found)
    require(
        way.split()[0] in TEXTS
        or any(
            all(equal(loaded[key], value) for key, value in weights.items())
            for weights in allowed
        ),
        "other weights",
    )
    require_a_mask(found)
    return way


def require_a_mask(found):
    """An interpreter works."""
    parts = (found.frontend, found.classifier, found.decoder)
    mask = explain(torch.rand(1, 8000), *parts).mask
    require(bool(mask.isfinite().all()), "the mask is not finite")
    require(0 <= mask.min() and mask.max() <= 1, "no mask")


def info(rng, folder, fixtures):
    """Entries of the two JSON files, of other kinds or missing."""
    run, expected, older = fixtures
    shutil.copytree(run, folder / "run")
    name = str(rng.choice(["interpreter.json", "classifier/classifier.json"]))
    path = folder / "run" / name
    content = json.loads(path.read_text())
    values = [None, 5, "x", [], {}, [1], {"classifier": 3}, float("nan")]
    value = values[rng.integers(len(values))]
    if rng.random() < 0.2:
        content = value
    else:
        key = str(rng.choice(list(content)))
        content[key] = value
        if rng.random() < 0.3:
            del content[key]
    path.write_text(json.dumps(content))
    found = Interpreter.load(folder / "run")
    for key, weights in states(found).items():
        require(equal(weights, expected[key]), f"{key} differs")
    return name


CASES = {
    "checkpoints: classifier": (classifier, 14),
    "checkpoints: other objects": (other_weights, 6),
    "checkpoints: interpreter": (interpreter, 14),
    "checkpoints: JSON entries": (info, 5),
}
