"""Checkpoints are there whole or not at all; damage is seen and passed over."""

import logging
import random
import resource
import shutil

import numpy as np
import pytest
import torch
import yaml
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_lmac.training.resume import History, RandomStates
from speechbrain_lmac.utils.checkpoints import (
    UNFINISHED,
    AtomicCheckpointer,
    find_damage,
)
from speechbrain_lmac.utils.checks import UserError


class Layer(torch.nn.Linear):
    """One weight that says which save it comes from."""

    def __init__(self, value=0.0):
        super().__init__(1, 1, bias=False)
        self.set(value)

    def set(self, value):
        with torch.no_grad():
            self.weight.fill_(value)

    @property
    def value(self):
        return self.weight.item()


@pytest.fixture
def layer():
    return Layer()


@pytest.fixture
def checkpointer(tmp_path, layer):
    return AtomicCheckpointer(tmp_path / "save", {"decoder": layer})


def save(checkpointer, layer, value, **meta):
    layer.set(value)
    return checkpointer.save_checkpoint({"epoch": int(value), **meta})


def flip_a_byte(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def recovered(folder, **kwargs):
    """What a new process finds: value of the weight, and checkpoint."""
    layer = Layer(-1.0)
    found = AtomicCheckpointer(folder, {"decoder": layer}).recover_if_possible(
        **kwargs
    )
    return layer.value, found


# --- written whole or not at all ---


def test_the_newest_is_recovered(checkpointer, layer, tmp_path):
    for value in (1, 2, 3):
        save(checkpointer, layer, value)
    value, found = recovered(tmp_path / "save")
    assert value == 3 and found.meta["epoch"] == 3


def test_speechbrains_own_checkpointer_reads_them(
    checkpointer, layer, tmp_path
):
    saved = save(checkpointer, layer, 2, AI=70.0)
    other = Layer()
    found = Checkpointer(
        tmp_path / "save", {"decoder": other}
    ).recover_if_possible(max_key="AI")
    assert other.value == 2 and found.path == saved.path
    assert found.meta["AI"] == 70.0 and found.meta["end-of-epoch"] is True


def test_files_can_be_checked_with_sha256sum(checkpointer, layer):
    folder = save(checkpointer, layer, 1).path
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert [line[64:66] for line in lines] == ["  ", "  "]
    assert {line[66:] for line in lines} == {"CKPT.yaml", "decoder.ckpt"}
    assert find_damage(folder) is None


class Dies:
    """A recoverable in whose save the process is killed."""


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_kill_while_saving_leaves_no_candidate(tmp_path, layer, order):
    save(AtomicCheckpointer(tmp_path, {"decoder": layer}), layer, 1)
    parts = [("decoder", layer), ("dies", Dies())]
    killed = AtomicCheckpointer(
        tmp_path, dict(parts if order == "last" else parts[::-1])
    )

    def kill(*_):
        raise KeyboardInterrupt

    killed.custom_save_hooks["dies"] = kill
    with pytest.raises(KeyboardInterrupt):
        save(killed, layer, 2)
    assert [p.name for p in tmp_path.glob(f"{UNFINISHED}*")]
    value, found = recovered(tmp_path)
    assert value == 1 and found.meta["epoch"] == 1
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))


def test_a_kill_while_deleting_leaves_no_candidate(
    checkpointer, layer, tmp_path, monkeypatch
):
    for value in (1, 2):
        save(checkpointer, layer, value)

    def kill(folder):
        (folder / "CKPT.yaml").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(
            "speechbrain_lmac.utils.checkpoints.shutil.rmtree", kill
        )
        with pytest.raises(KeyboardInterrupt):
            checkpointer.delete_checkpoints()
    value, _ = recovered(tmp_path / "save")
    assert value == 2
    assert len(list((tmp_path / "save").iterdir())) == 1


def test_no_room_is_told_and_costs_nothing(checkpointer, layer, tmp_path):
    save(checkpointer, layer, 1)
    big = torch.nn.Linear(400, 400)
    checkpointer.add_recoverable("big", big, optional_load=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match="save_folder.*make room"):
            save(checkpointer, layer, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "save").glob(f"{UNFINISHED}*"))
    assert recovered(tmp_path / "save")[0] == 1


def test_a_folder_that_is_gone_is_told(checkpointer, layer, tmp_path):
    (tmp_path / "save").rmdir()
    (tmp_path / "save").write_text("a file stands here")
    with pytest.raises(UserError, match="cannot write a checkpoint"):
        save(checkpointer, layer, 1)


# --- what is kept ---


def test_the_best_and_the_newest_are_kept(checkpointer, layer, tmp_path):
    for value, quality in ((1, 0.2), (2, 0.9), (3, 0.5), (4, None)):
        layer.set(value)
        meta = {"epoch": value} | ({"AI": quality} if quality else {})
        checkpointer.save_and_keep_only(meta=meta, max_keys=["AI"])
    folder = tmp_path / "save"
    epochs = [
        yaml.safe_load(file.read_text())["epoch"]
        for file in folder.glob("*/CKPT.yaml")
    ]
    assert sorted(epochs) == [2, 4]
    assert recovered(folder)[0] == 4
    assert recovered(folder, max_key="AI")[0] == 2


def test_a_named_checkpoint_is_replaced(checkpointer, layer, tmp_path):
    for value in (1, 2):
        layer.set(value)
        checkpointer.save_checkpoint({"epoch": value}, name="last")
    assert [p.name for p in (tmp_path / "save").iterdir()] == ["CKPT+last"]
    assert recovered(tmp_path / "save")[0] == 2


# --- damage ---


@pytest.mark.parametrize("file", ["decoder.ckpt", "CKPT.yaml", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_recovery_falls_back_to_the_sound_one(
    checkpointer, layer, tmp_path, caplog, file, how
):
    save(checkpointer, layer, 1)
    damaged = save(checkpointer, layer, 2).path / file
    if how == "gone":
        damaged.unlink()
    elif how == "cut":
        damaged.write_bytes(damaged.read_bytes()[:20])
    else:
        flip_a_byte(damaged, 5)
    with caplog.at_level(logging.WARNING):
        value, found = recovered(tmp_path / "save")
    if (file, how) == ("SHA256SUMS", "gone"):
        # As SpeechBrain's own: nothing says that it is not sound.
        assert value == 2
        return
    assert value == 1 and found.meta["epoch"] == 1
    assert damaged.parent.name in caplog.text


def test_nothing_is_recovered_where_all_is_damaged(
    checkpointer, layer, tmp_path
):
    for value in (1, 2):
        flip_a_byte(save(checkpointer, layer, value).path / "decoder.ckpt")
    assert recovered(tmp_path / "save") == (-1.0, None)


# --- what goes into them ---


def test_random_states_of_all_generators(tmp_path):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    np.random.randn()  # half of a pair of Gaussian values is left over
    states = RandomStates()
    states.save(tmp_path / "random.ckpt")
    expected = [draw() for _ in range(3)]
    draw()
    states.load(tmp_path / "random.ckpt")
    assert [draw() for _ in range(3)] == expected


def test_sums_of_an_epoch_are_for_that_epoch_alone(tmp_path):
    history = History()
    history.validations.append({"epoch": 1, "AI": 50.0})
    history.stage = {"l_in": [0.5, 0.25]}
    history.save(tmp_path / "history.ckpt")
    within, after = History(), History()
    within.load(tmp_path / "history.ckpt", end_of_epoch=False)
    after.load(tmp_path / "history.ckpt", end_of_epoch=True)
    assert within.stage == {"l_in": [0.5, 0.25]} and after.stage == {}
    assert within.validations == after.validations == [{"epoch": 1, "AI": 50.0}]


# --- what is not finite, and what does not fit ---


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_that_is_nan_displaces_nothing(
    checkpointer, layer, tmp_path, mode
):
    values = [0.5, 0.6, float("nan"), 0.55]
    for number, metric in enumerate(values):
        layer.set(number)
        checkpointer.save_and_keep_only(
            {"quality": metric}, **{f"{mode}_keys": ["quality"]}
        )
    value, found = recovered(tmp_path / "save", **{f"{mode}_key": "quality"})
    best = {"min": 0, "max": 1}[mode]
    assert value == best and found.meta["quality"] == values[best]


def test_weights_that_are_nan_are_not_saved(checkpointer, layer, tmp_path):
    save(checkpointer, layer, 1)
    layer.set(float("nan"))
    with pytest.raises(UserError, match="`decoder` holds values that are NaN"):
        checkpointer.save_checkpoint({"epoch": 2})
    assert recovered(tmp_path / "save")[0] == 1


def test_damage_without_sums_is_passed_over(checkpointer, layer, tmp_path):
    """SpeechBrain's own checkpoints, killed in the middle, look like this."""
    save(checkpointer, layer, 1)
    newest = save(checkpointer, layer, 2).path
    (newest / "SHA256SUMS").unlink()
    content = (newest / "decoder.ckpt").read_bytes()
    (newest / "decoder.ckpt").write_bytes(content[:100])
    assert recovered(tmp_path / "save")[0] == 1


def test_no_readable_checkpoint_at_all_is_told(checkpointer, layer, tmp_path):
    newest = save(checkpointer, layer, 2).path
    (newest / "SHA256SUMS").unlink()
    (newest / "decoder.ckpt").write_bytes(b"no zip")
    with pytest.raises(UserError, match="can be read to its end"):
        recovered(tmp_path / "save")


def test_a_checkpoint_of_other_settings_is_named(checkpointer, layer, tmp_path):
    save(checkpointer, layer, 2)
    other = AtomicCheckpointer(
        tmp_path / "save", {"decoder": torch.nn.Linear(3, 3)}
    )
    with pytest.raises(UserError, match="Give another `output_folder`"):
        other.recover_if_possible()


def test_many_saves_cost_no_more_than_one(checkpointer, layer, monkeypatch):
    rankings = []
    find = AtomicCheckpointer.find_checkpoints

    def count(self, *args, **kwargs):
        rankings[-1] += 1
        return find(self, *args, **kwargs)

    monkeypatch.setattr(AtomicCheckpointer, "find_checkpoints", count)
    for number in range(4):
        rankings.append(0)
        layer.set(number)
        checkpointer.save_and_keep_only({"epoch": number})
    assert len(set(rankings)) == 1


def test_a_full_disk_is_called_so(checkpointer, layer, monkeypatch):
    full = shutil._ntuple_diskusage(100, 100, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)

    def fail(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:672] .")

    checkpointer.custom_save_hooks["decoder"] = fail
    with pytest.raises(UserError, match="No space left on device"):
        save(checkpointer, layer, 1)
