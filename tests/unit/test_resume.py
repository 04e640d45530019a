"""Interrupted anywhere, a training ends with the same weights to the bit."""

import math
import os
import signal
from functools import partial

import pytest
import torch
from brain_toys import CPU
from speechbrain import Stage
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.train_logger import FileTrainLogger

from speechbrain_lmac.data.pipelines import load_clip
from speechbrain_lmac.training.brain import RecipeBrain, cosine_warmup
from speechbrain_lmac.utils.checkpoints import AtomicCheckpointer
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.seeding import EpochDraws

CLIPS, BATCH, EPOCHS = 20, 4, 3
STEPS = EPOCHS * CLIPS // BATCH


class ToyBrain(RecipeBrain):
    """A layer that draws noise in every step, and can be interrupted."""

    interrupt_at = None
    signal_at = None
    nan_at = ()
    nan_gradient_at = ()
    nan_parts_at = ()

    def compute_forward(self, batch, stage):
        wavs = batch.sig.data
        if stage == Stage.VALID and self.signal_at == "valid":
            os.kill(os.getpid(), signal.SIGTERM)
        if stage == Stage.TRAIN:
            wavs = wavs + 0.1 * torch.randn_like(wavs)
            draws = self.step_generator(stage, batch.id)
            wavs = wavs + 0.1 * torch.randn(wavs.shape, generator=draws)
        return self.modules.layer(wavs)

    def compute_objectives(self, predictions, batch, stage):
        loss = predictions.square().mean()
        if stage == Stage.TRAIN:
            self.add_terms(power=loss)
            if self.optimizer_step + 1 in self.nan_at:
                loss = loss * torch.nan
            if self.optimizer_step + 1 in self.nan_gradient_at:
                # Finite itself; the derivative of the root at 0 is not.
                zero = 0 * self.modules.layer.weight.sum()
                loss = loss + (zero * zero).sqrt()
            if self.step in self.nan_parts_at:
                loss = loss * torch.nan
        else:
            self.stats.append(batch.id, {"error": predictions.detach()[:, 0]})
        return loss

    def on_fit_batch_start(self, batch, should_step):
        if self.interrupt_at == self.optimizer_step:
            raise KeyboardInterrupt
        if self.signal_at == self.optimizer_step:
            os.kill(os.getpid(), signal.SIGTERM)
        super().on_fit_batch_start(batch, should_step)


def audio(path):
    """Clips of noise; each the same whenever it is loaded."""
    draws = torch.Generator().manual_seed(int(path))
    return torch.randn(200, generator=draws)


def clips(count, length):
    draws = EpochDraws(seed=5)
    options = {"audio": audio, "crop": "random", "draws": draws}
    load = partial(load_clip, length=length, **options)
    dataset = DynamicItemDataset(
        {f"clip {k}": {"wav": str(k)} for k in range(count)},
        [{"func": load, "takes": ["wav", "id"], "provides": "sig"}],
        ["id", "sig"],
    )
    dataset.draws = draws
    return dataset


@pytest.fixture
def train(tmp_path):
    """Starts, or goes on with, the training of a folder; returns the Brain."""

    def run(name, workers=0, **interruption):
        torch.manual_seed(0)
        layer, counter = torch.nn.Linear(50, 3), EpochCounter(EPOCHS)
        brain = ToyBrain(
            {"layer": layer},
            partial(torch.optim.Adam, lr=0.01),
            {
                **{"seed": 7, "lr": 0.01, "lr_schedule": cosine_warmup},
                **{"number_of_epochs": EPOCHS, "valid_interval": 2},
                **{"ckpt_metric": "loss", "ckpt_mode": "min"},
                "epoch_counter": counter,
                "train_logger": FileTrainLogger(str(tmp_path / f"{name}.txt")),
            },
            {**CPU, "ckpt_interval_steps": 2, "nonfinite_patience": 1},
            AtomicCheckpointer(
                tmp_path / name, {"layer": layer, "counter": counter}
            ),
        )
        for key, value in interruption.items():
            setattr(brain, key, value)
        loader = {"batch_size": BATCH, "num_workers": workers}
        brain.fit(
            counter,
            clips(CLIPS, 50),
            clips(6, 50),
            train_loader_kwargs={**loader, "shuffle": True},
            valid_loader_kwargs={"batch_size": BATCH},
        )
        return brain

    return run


def weights(brain):
    return brain.modules.layer.weight.detach().clone()


EXPECTED = []


@pytest.fixture
def expected(train):
    """The weights of a training that nothing disturbed."""
    if not EXPECTED:
        EXPECTED.append(weights(train("undisturbed")))
    return EXPECTED[0]


@pytest.mark.parametrize(
    "at, workers", [(0, 0), (3, 0), (5, 0), (8, 0), (14, 0), (6, 2)]
)
def test_interrupted_anywhere(train, expected, at, workers):
    with pytest.raises(KeyboardInterrupt):
        train("again", workers, interrupt_at=at)
    assert torch.equal(weights(train("again", workers)), expected)


def test_interrupted_again_and_again(train, expected):
    for at in (1, 4, 5, 5, 9, 12, 14):
        with pytest.raises(KeyboardInterrupt):
            train("again", interrupt_at=at)
    assert torch.equal(weights(train("again")), expected)


def test_an_ended_training_is_left_alone(train, expected, caplog):
    train("ended")
    with caplog.at_level("INFO"):
        assert torch.equal(weights(train("ended", interrupt_at=0)), expected)
    assert "nothing is left to train" in caplog.text


# --- SIGTERM ---


@pytest.mark.parametrize("at", [3, 6, "valid"])
def test_sigterm_saves_first(train, expected, at, tmp_path):
    with pytest.raises(SystemExit) as ended:
        train("again", signal_at=at)
    assert ended.value.code == 143
    if at != "valid":
        newest = AtomicCheckpointer(tmp_path / "again", {}).find_checkpoint()
        assert INTRA_EPOCH_CKPT_FLAG in newest.meta
    # Not a step is done twice.
    done = []

    def note(self, *arguments):
        done.append(self.optimizer_step)
        RecipeBrain.on_fit_batch_start(self, *arguments)

    ToyBrain.on_fit_batch_start, kept = note, ToyBrain.on_fit_batch_start
    try:
        brain = train("again")
    finally:
        ToyBrain.on_fit_batch_start = kept
    first = 2 * CLIPS // BATCH if at == "valid" else at + 1
    assert done == list(range(first, STEPS))
    assert torch.equal(weights(brain), expected)


def test_the_handler_is_put_back(train):
    before = signal.getsignal(signal.SIGTERM)
    train("undisturbed")
    assert signal.getsignal(signal.SIGTERM) is before


# --- what a run was trained on ---


@pytest.mark.parametrize("change", ["another class", "another clip"])
def test_other_clips_are_refused(train, change, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train("again", interrupt_at=8)
    other = clips(CLIPS, 50)
    if change == "another class":
        other.data["clip 0"]["class_string"] = "dog"
    else:
        other.data["new"] = other.data.pop("clip 0")
    monkeypatch.setitem(globals(), "clips", lambda *arguments: other)
    with pytest.raises(UserError, match="`data_folder`"):
        train("again")


# --- losses that are not finite ---


def test_a_nan_step_changes_no_weight(train, expected):
    brain = train("nan", nan_at=(4,), nonfinite_patience=30)
    assert torch.isfinite(weights(brain)).all()


@pytest.mark.parametrize(
    "kind, told",
    [
        ("nan_at", "loss .* step 4 of epoch 2, the 2th"),
        ("nan_gradient_at", "gradient .* in step 4"),
    ],
)
def test_many_nan_steps_end_the_training(train, tmp_path, kind, told):
    with pytest.raises(UserError, match=told):
        train("nan", **{kind: (8, 9, 10)})
    saved = AtomicCheckpointer(tmp_path / "nan", {}).find_checkpoint()
    state = torch.load(saved.paramfiles["layer"], weights_only=True)
    assert torch.isfinite(state["weight"]).all()


@pytest.mark.parametrize("part", [1, 2])
def test_a_nan_part_of_an_accumulated_batch_changes_no_weight(train, part):
    options = {"grad_accumulation_factor": 2, "nonfinite_patience": 9}
    brain = train("parts", nan_parts_at=(part,), **options)
    assert weights(brain).isfinite().all() and brain.optimizer_step > 0


def test_a_validation_that_is_not_finite_has_no_loss(train):
    brain = train("whole")
    brain.modules.eval()
    brain.step = 2
    nan = torch.tensor(torch.nan)
    assert math.isnan(brain.update_average(nan, 1.0))
    brain.modules.train()
    assert brain.update_average(nan, 1.0) == 1.0
