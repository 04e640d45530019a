"""Checkpoints are there whole or not at all, and NaN does not get in."""

import shutil
import time

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_lmac.utils.checkpoints import AtomicCheckpointer
from speechbrain_lmac.utils.checks import UserError


@pytest.fixture
def layer():
    """One weight that says which save it comes from."""
    return torch.nn.Linear(1, 1, bias=False)


@pytest.fixture
def checkpointer(tmp_path, layer):
    return AtomicCheckpointer(tmp_path / "save", {"decoder": layer})


def save(checkpointer, layer, value, name=None, **meta):
    torch.nn.init.constant_(layer.weight, value)
    return checkpointer.save_checkpoint(
        {"epoch": int(value), **meta}, name=name
    )


def recovered(folder, checkpointer_class=AtomicCheckpointer, **kwargs):
    """What a new process finds: value of the weight, and checkpoint."""
    layer = torch.nn.Linear(1, 1, bias=False)
    found = checkpointer_class(folder, {"decoder": layer})
    return layer, found.recover_if_possible(**kwargs)


def test_the_newest_of_a_second_is_recovered(checkpointer, layer, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "2026-01-01+00-00-00")
    first, *_ = [save(checkpointer, layer, value) for value in (1, 2, 3)]
    assert recovered(checkpointer.checkpoints_dir)[0].weight == 3
    # Its name is free again: the first by name, the newest by time.
    shutil.rmtree(first.path)
    assert save(checkpointer, layer, 4).path == first.path
    found, checkpoint = recovered(checkpointer.checkpoints_dir)
    assert found.weight == 4 and checkpoint.meta["epoch"] == 4
    assert len(checkpointer.list_checkpoints()) == 3


def test_a_given_name_is_replaced(checkpointer, layer):
    for value in (1, 2):
        saved = save(checkpointer, layer, value, name="best")
    assert checkpointer.list_checkpoints() == [saved]
    assert recovered(checkpointer.checkpoints_dir)[0].weight == 2


def test_speechbrains_own_checkpointer_reads_them(checkpointer, layer):
    saved = save(checkpointer, layer, 2, AI=70.0)
    found, checkpoint = recovered(
        checkpointer.checkpoints_dir, Checkpointer, max_key="AI"
    )
    assert found.weight == 2 and checkpoint.path == saved.path
    assert checkpoint.meta["AI"] == 70.0 and checkpoint.meta["end-of-epoch"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_kill_while_saving_leaves_no_candidate(tmp_path, layer, order):
    save(AtomicCheckpointer(tmp_path, {"decoder": layer}), layer, 1)
    parts = [("decoder", layer), ("dies", object())]
    killed = AtomicCheckpointer(tmp_path, dict(parts[::order]))

    def kill(*_):
        raise KeyboardInterrupt

    killed.custom_save_hooks["dies"] = kill
    with pytest.raises(KeyboardInterrupt):
        save(killed, layer, 2)
    found, checkpoint = recovered(tmp_path)
    assert found.weight == 1 and checkpoint.meta["epoch"] == 1
    # The next save takes away what the kill left.
    checkpointer = AtomicCheckpointer(tmp_path, {"decoder": layer})
    save(checkpointer, layer, 3)
    assert not list(tmp_path.rglob("dies.ckpt"))
    assert recovered(tmp_path)[0].weight == 3


def test_only_the_best_and_the_newest_are_kept(checkpointer, layer):
    for value, score in ((1, 0.5), (2, 0.9), (3, 0.1), (4, float("nan"))):
        torch.nn.init.constant_(layer.weight, value)
        checkpointer.save_and_keep_only({"score": score}, max_keys=["score"])
    folder = checkpointer.checkpoints_dir
    assert len(checkpointer.list_checkpoints()) == 2
    assert recovered(folder)[0].weight == 4
    # NaN has no rank.
    assert recovered(folder, max_key="score")[0].weight == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(checkpointer, layer, value):
    save(checkpointer, layer, 1)
    torch.nn.init.constant_(layer.weight, value)
    with pytest.raises(UserError, match="`decoder`"):
        checkpointer.save_checkpoint()
    assert recovered(checkpointer.checkpoints_dir)[0].weight == 1
