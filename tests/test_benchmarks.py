"""The benchmark's two sides do the same work: one objective, one gradient."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from speechbrain_lmac import losses

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SHRINK = 64  # CNN14 with 1 to 32 channels


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in the benchmark; networks this narrow gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def steps():
    return load("reference_step")


@pytest.fixture(scope="module")
def timing(steps):
    return load("training_step")


def load(name):
    """A benchmark's module, found as it is when its command runs."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, FOLDER / f"{name}.py"
        )
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_objective_and_gradient_are_the_reference_s(steps, batch_size):
    # Folded batch norms and X - MX for (1 - M)X leave rounding alone.
    result = steps.compare_objectives(
        steps.clip_samples(3), SHRINK, batch_size, torch.float64
    )
    assert result.frames == (105, 105)
    assert result.loss_error < 1e-10
    assert result.grad_error < 1e-9


def test_objective_is_the_reference_s_in_single_precision(steps):
    result = steps.compare_objectives(steps.clip_samples(3), SHRINK)
    assert result.loss_error < 1e-4
    # Rounding may move a ReLU over its kink.
    assert result.grad_error < 5e-3


def test_comparison_sees_a_wrong_weight(steps, monkeypatch):
    right = losses.sparsity_loss
    monkeypatch.setattr(losses, "sparsity_loss", lambda m: 1.01 * right(m))
    result = steps.compare_objectives(
        steps.clip_samples(2), SHRINK, 2, torch.float64
    )
    assert result.loss_error > 1e-4
    assert result.grad_error > 1e-5


def test_reference_leaves_frames_uncovered_in_other_clips(steps):
    result = steps.compare_objectives(
        steps.clip_samples(3) + 5 * 186, SHRINK, 2, torch.float64
    )
    assert result.frames == (105, 110)
    assert result.loss_error > 1e-10


def test_precision_is_put_back(steps):
    with pytest.raises(RuntimeError), steps.precision(torch.float64):
        assert torch.zeros(1).float().dtype == torch.float64
        raise RuntimeError
    assert torch.zeros(1).dtype == torch.float32
    assert torch.zeros(1).double().float().dtype == torch.float32


def test_a_timed_step_trains_and_accounts_for_its_time(steps, timing):
    brain = steps.recipe_brain(steps.build_classifier(SHRINK))
    batch = steps.make_batch(2, steps.clip_samples(2))
    before = [p.detach().clone() for p in timing.trained(brain)]
    cost = timing.timed_step(brain, batch, "cpu")
    assert any(
        not torch.equal(a, b)
        for a, b in zip(before, timing.trained(brain), strict=True)
    )
    assert sum(cost.parts.values()) == pytest.approx(cost.seconds)
    assert all(cost.parts[part] > 0 for part in timing.PARTS)
    # The stopwatch leaves the Brain as it was.
    assert "optimizers_step" not in vars(brain)
    assert brain.optimizer_step == 1


def test_report_tells_whether_the_bar_is_met(timing, capsys):
    def costs(seconds):
        parts = dict.fromkeys((*timing.PARTS, "the rest"), seconds / 7)
        return [timing.Cost(seconds, parts, 0)], 10

    results = {timing.RECIPE: costs(10.0), timing.OURS: costs(1.6)}
    assert timing.report(results, "cpu")
    assert "0.160; bar 0.17 met, goal 0.13 missed" in capsys.readouterr().out
    results[timing.OURS] = costs(1.8)
    assert not timing.report(results, "cpu")
    assert "MISSED" in capsys.readouterr().out
