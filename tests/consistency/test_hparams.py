"""Every hyperparameter has a reader, and every reader a hyperparameter.

SpeechBrain's rule for a YAML file and its script; here what the package reads
for the script counts, too, and the reverse holds.
"""

import functools
import re

import pytest
from conftest import ROOT
from hparam_keys import Module, Reads, load
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.utils.hparams import read_tree

RUN_OPTIONS = set(RunOptions.__dataclass_fields__)
# What SpeechBrain's Brain takes from the hyperparameters by itself.
OF_THE_BRAIN = {"modules", "opt_class", "checkpointer"}


def keys_of(path):
    return {key for key in read_tree(path) if not key.startswith("__")}


def references(path):
    """Keys that other values of the file refer to."""
    text = path.read_text(encoding="utf-8")
    return {
        name
        for line in re.findall(r"!(?:ref|copy) (.+)", text)
        for name in re.findall(r"<(\w+)", line)
    }


@functools.cache
def reads_of(script):
    return Reads(script)


def scripts_of(row):
    """The row's script, and those whose usage names the same file."""
    script, hparams = ROOT / row["Script_file"], ROOT / row["Hparam_file"]
    others = (
        other
        for other in script.parent.glob("*.py")
        if f"hparams/{hparams.name}" in other.read_text(encoding="utf-8")
    )
    return {script, *others}


def test_every_key_has_a_reader(row):
    path = ROOT / row["Hparam_file"]
    reads = set().union(*(reads_of(script).all for script in scripts_of(row)))
    unread = keys_of(path) - references(path) - reads
    unread -= RUN_OPTIONS | OF_THE_BRAIN
    assert not unread, f"{row['Hparam_file']}: nothing reads {sorted(unread)}"


def test_every_reader_finds_its_key(row):
    path = ROOT / row["Hparam_file"]
    for script in scripts_of(row):
        reads = reads_of(script)
        missing = reads.required - reads.written - keys_of(path)
        assert not missing, f"{script.name} reads {sorted(missing)}"


def test_every_reference_is_to_a_key(row):
    path = ROOT / row["Hparam_file"]
    assert not references(path) - keys_of(path)


# --- the walk itself ---

SCRIPT = """
from functools import partial
from speechbrain_lmac.utils.experiment import add_tensorboard, on_every_rank
from speechbrain_lmac.training import setup as training
from speechbrain_lmac.training.classifier import ClassifierBrain
from speechbrain_lmac.training.lmac import LMACBrain

def helper(settings, more):
    return settings["inner"], more["not ours"]

def late(hparams):
    return hparams["late"]

TABLE = {"a": late}

def main(argv):
    hparams = load(argv)
    same = hparams
    hparams["made"] = same["direct"], hparams.get("maybe"), "asked" in hparams
    helper(hparams, more=argv)
    add_tensorboard(hparams)
    helper({**hparams, "beside": 1}, None)
    chosen = ("looped",)
    [(hparams[name], hparams[f"{name}_s"]) for name in chosen]
    partial(training.classifier_recipe, brain_class=ClassifierBrain)
    if argv:
        brain = LMACBrain(hparams=hparams)
    other = interpreter.hparams["of a trained run"]
    partial(late, hparams), TABLE["a"](hparams)
"""


@pytest.fixture
def reads(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return Reads(path)


def test_keys_are_followed_into_what_is_called(reads):
    found = {"direct", "inner", "late", "use_tensorboard", "l_in_w", "lr"}
    assert reads.required >= found | {"epoch_counter"}
    assert reads.optional >= {"maybe", "asked", "lr_schedule", "looped"}
    assert "looped_s" in reads.optional
    assert reads.required >= {"ema_decay", "skip_broken_audio"}
    assert reads.written >= {"made", "tensorboard_train_logger", "beside"}


def test_what_is_not_a_hyperparameter_is_left_out(reads):
    assert not reads.all & {"not ours", "of a trained run", "get"}


def test_a_name_is_found_through_what_imports_it_again():
    module = Module(ROOT / "speechbrain_lmac" / "utils" / "experiment.py")
    owner, node = module.resolve("load_hparams")
    assert owner is load("speechbrain_lmac.utils.hparams")
    assert node.name == "load_hparams"
