"""Benchmarks run, and their two sides do the same: objective and gradient."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from speechbrain_lmac.training import losses

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


@pytest.fixture(autouse=True, scope="module")
def search_path():
    """Benchmarks import one another by name, as when a command runs."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def load(name):
    """A benchmark's module."""
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

    results = {timing.RECIPE: costs(10.0), timing.OURS: costs(1.2)}
    assert timing.report(results, "cpu")
    results[timing.HEAVY] = costs(9.7)
    assert not timing.report(results, "cpu")
    assert "0.970; bar 0.95 MISSED" in capsys.readouterr().out


@pytest.fixture
def denormals():
    """The benchmarks flush them for the whole thread."""
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    ("name", "arguments", "printed"),
    [
        ("training_step", [], "ours, CNN14PSI_stft / SpeechBrain's: "),
        ("step_floor", [], "step / floor: "),
        ("latency", [], "explanation / classification: "),
        ("evaluation", [], "L-MAC, masked-in and -out"),
        ("zero_shot_step", ["--chunks", "0", "3"], "pairs_per_chunk"),
        ("alternatives", ["--model", "cnn14"], "stock layouts"),
        ("memory", ["--steps", "1"], "peak in GiB"),
        ("inference", [], "folder of 2 clips"),
        ("several_labels", [], "present classes that their masks lose: "),
        ("contrast", [], "mixtures not told apart: "),
        ("data_loading", [], "second epoch, data / step: "),
    ],
)
def test_every_command_runs(name, arguments, printed, capsys, denormals):
    assert load(name).main(["--quick", *arguments]) == 0
    assert printed in capsys.readouterr().out


def test_evaluation_finds_what_the_recipe_finds(capsys, denormals):
    pytest.importorskip("quantus", exc_type=ImportError)
    assert load("evaluation").main(["--quick", "--recipe"]) == 0
    assert "ours / SpeechBrain's: " in capsys.readouterr().out


def test_recipe_s_test_step_has_our_metrics(steps):
    pytest.importorskip("quantus", exc_type=ImportError)
    reference = load("reference_evaluation")
    classifier = steps.build_classifier(SHRINK)
    batch = steps.make_batch(3, steps.clip_samples(2))
    theirs = reference.recipe_evaluation(classifier)
    decoder = steps.ReferenceDecoder(classifier.hidden_channels[0])
    decoder.psi = theirs.modules.psi
    ours = steps.package_brain(steps.LIGHT, classifier, 3, decoder=decoder)
    ours.modules.eval()
    for brain in (theirs, ours):
        reference.test_job(brain, batch)()
    for name, stats in theirs.values.items():
        found = torch.tensor(ours.stats.values(name), dtype=torch.float32)
        expected = torch.stack(list(map(torch.as_tensor, stats.scores)))
        # Quantus adds 1e-7 to every value of a mask.
        torch.testing.assert_close(
            expected.float(), found, atol=1e-3, rtol=1e-4, msg=name
        )


def test_rounds_compares_jobs_of_one_round():
    rounds, calls = load("rounds"), []
    jobs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = rounds.take_turns(jobs, 2)
    assert calls == ["a", "b"] * 3  # the first round warms up
    assert [len(values) for values in times.values()] == [2, 2]
    times = {"a": [1.0, 4.0, 9.0], "b": [2.0, 2.0, 3.0]}
    assert rounds.ratio(times, "a", "b") == 2.0
    assert rounds.medians(times) == {"a": 4.0, "b": 2.0}


def test_rounds_judges(capsys):
    rounds = load("rounds")
    assert rounds.judge("x", 0.1, 0.1) and not rounds.judge("x", 0.2, 0.1)
    assert capsys.readouterr().out.splitlines() == [
        "x: 0.100; bar 0.1 met",
        "x: 0.200; bar 0.1 MISSED",
    ]


def test_an_epoch_is_data_and_steps():
    now = [0.0]

    class Loader:
        def __iter__(self):
            for batch in range(3):
                now[0] += 1.0
                yield batch

    def step(batch):
        now[0] += 10.0 * batch

    epoch = load("data_loading").run_epoch(Loader(), step, lambda: now[0])
    assert epoch == (3.0, 30.0)


def test_data_loading_judges_the_second_epoch():
    loading = load("data_loading")
    epochs = {"cache, second epoch": loading.Epoch(0.04, 1.0)}
    assert loading.report(epochs, 4)
    epochs["cache, second epoch"] = loading.Epoch(0.06, 1.0)
    assert not loading.report(epochs, 4)
