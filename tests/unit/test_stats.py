"""Tests of the statistics over clips: means, intervals, tables."""

import math

import numpy as np
import pytest
import torch

from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.metrics.stats import (
    ClipStats,
    Summary,
    mean_by_clip,
    summarize,
)
from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.utils.checks import UserError

NAN, INF = float("nan"), float("inf")


def filled():
    """Three clips in two batches, one value undefined."""
    stats = ClipStats()
    stats.append(
        ["a", "b"],
        {"AI": torch.tensor([0.0, 100.0]), "SPS": torch.tensor([0.5, NAN])},
    )
    stats.append(["c"], {"AI": [100.0], "SPS": [0.25]})
    return stats


# --- summarize ------------------------------------------------------------


def test_mean_and_counts():
    """NaN is left out and counted."""
    summary = summarize([1.0, NAN, 2.0, 6.0, NAN])
    assert summary.mean == 3 and summary.n == 3 and summary.n_undefined == 2
    assert 1 <= summary.low < 3 < summary.high <= 6


def test_few_values():
    """None: NaN. One: the interval is the value."""
    for values, undefined in (([], 0), ([NAN, NAN], 2)):
        summary = summarize(values)
        assert all(math.isnan(x) for x in summary[:3])
        assert summary[3:] == (0, undefined)
    assert summarize([7.0, NAN]) == Summary(7.0, 7.0, 7.0, 1, 1)
    assert summarize([4.0, 4.0, 4.0]) == Summary(4.0, 4.0, 4.0, 3, 0)


@pytest.mark.filterwarnings("error")
def test_infinite_values_are_kept():
    """They make the mean infinite and the interval undefined."""
    summary = summarize([1.0, INF, 2.0])
    assert summary.mean == INF and math.isnan(summary.low)
    assert math.isnan(summarize([INF, -INF, 0.0]).mean)


def test_the_seed_decides():
    """The same seed the same interval, another seed another."""
    values = np.random.default_rng(0).normal(size=50)
    assert summarize(values, seed=3) == summarize(values, seed=3)
    assert summarize(values, seed=3) != summarize(values, seed=4)


@pytest.mark.parametrize("distribution", ["normal", "percent"])
def test_the_interval_covers_the_true_mean(distribution):
    """95 % intervals of 80 clips hold the true mean about 95 times in 100."""
    generator = np.random.default_rng(0)
    hits, trials = 0, 400
    for trial in range(trials):
        if distribution == "normal":
            values, mean = generator.normal(3, 2, size=80), 3
        else:  # as AI: 0 or 100
            values, mean = 100 * (generator.random(80) < 0.4), 40
        summary = summarize(values, n_boot=500, seed=trial)
        hits += summary.low <= mean <= summary.high
    # The standard error of the rate is sqrt(0.95 * 0.05 / 400) = 1.1 %, and
    # percentile intervals of 80 clips fall about 1 % short of their level.
    assert 0.91 <= hits / trials <= 0.975


def test_summarize_takes_a_list_of_values():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        summarize(np.ones((2, 2)))


# --- rows of one clip depend on each other ---


def test_rows_of_a_clip_are_drawn_together():
    """Two rows of one value each: the interval is that of the clips alone."""
    values = np.random.default_rng(0).normal(size=40)
    names = [f"c{k}" for k in range(40)]
    alone = summarize(values, names)
    assert alone == summarize(values)
    twice = summarize(np.repeat(values, 2), np.repeat(names, 2))
    assert twice[:3] == pytest.approx(alone[:3]) and twice.n == 80
    # A clip that has lost a value weighs less, as in the mean.
    lost = summarize([1.0, 3.0, 8.0, NAN], ["a", "a", "b", "b"])
    assert lost == Summary(4.0, 2.0, 8.0, 3, 1)
    one = summarize([1.0, 3.0], ["a", "a"])
    assert one == Summary(2.0, 2.0, 2.0, 2, 0)


def test_intervals_of_mixtures_hold_the_true_mean():
    """Clips of deviation 1, two mixtures each, which hardly differ."""
    generator = np.random.default_rng(0)
    names = np.repeat(np.arange(80), 2)
    hits = {"clips": 0, "rows": 0}
    trials = 300
    for trial in range(trials):
        values = np.repeat(generator.standard_normal(80), 2)
        values += 0.5 * generator.standard_normal(160)
        for kind, clips in (("clips", names), ("rows", None)):
            summary = summarize(values, clips, n_boot=400, seed=trial)
            hits[kind] += summary.low <= 0 <= summary.high
    # Standard error of the rate 1.3 %; by rows the interval is too narrow.
    assert 0.91 <= hits["clips"] / trials <= 0.985
    assert hits["rows"] / trials < 0.88


def test_means_by_clip():
    values = [1.0, 5.0, NAN, 3.0, NAN]
    found = mean_by_clip(values, ["b", "a", "b", "b", "c"])
    np.testing.assert_array_equal(found, [2.0, 5.0, NAN])


# --- ClipStats ------------------------------------------------------------


def test_appended_values_come_back():
    """In order, as double precision, whatever way they came."""
    stats = filled()
    assert stats.names == ["AI", "SPS"]
    assert stats.ids == ["a", "b", "c"] and len(stats) == 3
    assert stats.values("AI").tolist() == [0, 100, 100]
    assert stats.values("AI").dtype == np.float64
    np.testing.assert_array_equal(stats.values("SPS"), [0.5, NAN, 0.25])


def test_means_are_plain_floats():
    """Checkpoint metadata take no tensors and no NumPy scalars."""
    means = filled().means()
    assert means == {"AI": pytest.approx(200 / 3), "SPS": 0.375}
    assert all(type(value) is float for value in means.values())


def test_rows():
    """One dict per clip."""
    rows = filled().rows()
    assert rows[0] == {"id": "a", "clip": "a", "AI": 0.0, "SPS": 0.5}
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert math.isnan(rows[1]["SPS"])


def test_tensors_with_gradients_and_of_half_precision():
    """Whatever a model returns."""
    stats = ClipStats()
    grad = torch.tensor([1.0], requires_grad=True)
    half = torch.tensor([0.5], dtype=torch.bfloat16)
    integers = torch.tensor([3])
    stats.append(["a"], {"grad": grad, "half": half, "integers": integers})
    assert stats.means() == {"grad": 1, "half": 0.5, "integers": 3}


def test_batching_changes_nothing():
    """Two batches equal one."""
    parts, whole = ClipStats(), ClipStats()
    values = torch.arange(5.0)
    whole.append(list("abcde"), {"x": values})
    parts.append(list("ab"), {"x": values[:2]})
    parts.append(list("cde"), {"x": values[2:]})
    assert parts.rows() == whole.rows()
    assert parts.summaries() == whole.summaries()


def test_the_table_knows_every_metric():
    """What is computed has a line in the table of metrics."""
    p = torch.tensor([[0.5, 0.5]])
    values = explanation_metrics(
        p, p, p, torch.ones(1, 2, 2), torch.tensor([0])
    )
    assert set(values) <= set(METRICS)
    lower = [m.name for m in METRICS.values() if m.direction == -1]
    assert lower == [
        *("AD", "AD_speechbrain", "COMP", "AD_wav", "invented"),
        *("interferer_kept", "deletion_auc"),
    ]
    stats = ClipStats()
    stats.append(["a"], values)
    assert stats.names == list(values)


def test_a_clip_counts_once():
    """In one batch or in two; nothing is kept of the refused batch."""
    stats = filled()
    with pytest.raises(ValueError, match="once but got 'b' twice"):
        stats.append(["d", "b"], {"AI": [1.0, 2.0], "SPS": [1.0, 2.0]})
    with pytest.raises(ValueError, match="once but got 'e' twice"):
        stats.append(["d", "e", "e"], {"AI": [1.0] * 3, "SPS": [1.0] * 3})
    assert stats.ids == ["a", "b", "c"] and len(stats.values("AI")) == 3


@pytest.mark.parametrize(
    "ids, values, match",
    [
        (["d"], {"AI": [1.0]}, "metrics AI, SPS but got AI"),
        (["d"], {"AI": [1.0], "X": [1.0]}, "metrics AI, SPS but got AI, X"),
        (["d"], {"AI": [1.0], "SPS": [1.0, 2.0]}, "1 values of `SPS`.*got 2"),
        (["d"], {"AI": [1.0], "SPS": 2.0}, r"`SPS` of shape \(clips,\)"),
    ],
)
def test_append_errors(ids, values, match):
    """A refused batch leaves no trace."""
    stats = filled()
    with pytest.raises(ValueError, match=match):
        stats.append(ids, values)
    assert len(stats) == 3
    assert [len(stats.values(name)) for name in stats.names] == [3, 3]


def test_names_of_metrics():
    """At least one, and none that the table needs."""
    for values in ({}, {"id": [1.0]}, {"clip": [1.0]}):
        with pytest.raises(ValueError, match="at least one metric"):
            ClipStats().append(["a"], values)


# --- tables ---------------------------------------------------------------


def test_csv_round_trip(tmp_path):
    """Every bit, NaN, infinities, and ids that look like something else."""
    stats = ClipStats()
    ids = ["001", "nan", "NA", "1-100032-A-0", 'a,"b"', "null", "1e5"]
    values = [0.1 + 0.2, NAN, INF, -INF, 1e-300, math.pi, 1 / 3]
    stats.append(ids, {"Fid-In": values, "AI": [0.0] * 7})
    path = tmp_path / "new" / "clips.csv"
    stats.to_csv(path)
    back = ClipStats.from_csv(str(path))
    assert back.ids == ids and back.names == ["Fid-In", "AI"]
    np.testing.assert_array_equal(back.values("Fid-In"), values)
    assert back.summary("AI") == stats.summary("AI")
    assert [file.name for file in path.parent.iterdir()] == ["clips.csv"]


def test_csv_is_plain(tmp_path):
    """NaN is an empty field, as spreadsheets expect."""
    path = tmp_path / "clips.csv"
    filled().to_csv(path)
    lines = path.read_text().splitlines()
    assert lines == ["id,AI,SPS", "a,0.0,0.5", "b,100.0,", "c,100.0,0.25"]


def test_csv_of_mixtures(tmp_path):
    """It says whose they are; so do the rows that processes exchange."""
    stats = ClipStats()
    stats.append(["a+b", "a+c"], {"AI": [0.0, 1.0]}, ["a", "a"])
    stats.append(["b+a"], {"AI": [1.0]}, ["b"])
    path = tmp_path / "clips.csv"
    stats.to_csv(path)
    assert path.read_text().splitlines()[:2] == ["id,clip,AI", "a+b,a,0.0"]
    for back in (ClipStats.from_csv(path), ClipStats.from_rows(stats.rows())):
        assert back.rows() == stats.rows() and back.n_clips == 2
        assert back.by_clip("AI").tolist() == [0.5, 1.0]
        assert back.summary("AI") == stats.summary("AI")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "clip,AI\na,1\n",
        "id,AI\na,much\n",
        "id,AI\na,1\na,2\n",
        "id,AI\na,1\nb,1,2,3\n",
        "id\na\n",
        None,
    ],
)
def test_damaged_tables(tmp_path, text):
    """The message names the file."""
    path = tmp_path / "clips.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"clips\.csv"):
        ClipStats.from_csv(path)
