"""What is kept of an evaluation, and when it is forgotten."""

import pytest

from speechbrain_lmac.evaluation.journal import Journal
from speechbrain_lmac.metrics.stats import ClipStats


def stats_of(*ids):
    stats = ClipStats()
    stats.append(ids, {"FF": [k / 7 for k in range(len(ids))]})
    return stats


ROWS = ("lmac", "gradcam", "guided_gradcam", "gradcam@equal_mean")
METHODS = {"lmac": None, "gradcam": {"layer": 0}, "guided_gradcam": None}


@pytest.fixture
def kept(tmp_path):
    journal = Journal(tmp_path, {"seed": 1}, METHODS)
    for condition in ("clean", "white_noise"):
        rows = {key: stats_of("a", "b") for key in ROWS}
        journal.save(condition, rows, now=True)
    return tmp_path


def test_the_same_settings_find_every_row(kept):
    journal = Journal(kept, {"seed": 1}, METHODS)
    for condition in ("clean", "white_noise"):
        rows = journal.load(condition)
        assert set(rows) == set(ROWS)
        assert rows["lmac"].rows() == stats_of("a", "b").rows()
    assert journal.load("mixtures") == {}


def test_other_common_settings_forget_all(kept):
    journal = Journal(kept, {"seed": 2}, METHODS)
    assert journal.load("clean") == journal.load("white_noise") == {}
    assert not list(kept.glob("per_clip_*"))


def test_a_methods_own_settings_forget_it_alone(kept):
    journal = Journal(kept, {"seed": 1}, {"gradcam": {"layer": 1}})
    for condition in ("clean", "white_noise"):
        assert set(journal.load(condition)) == {"lmac", "guided_gradcam"}
    # What was not asked for this time is still known.
    again = Journal(kept, {"seed": 1}, METHODS)
    assert set(again.load("clean")) == {"lmac", "guided_gradcam"}


def test_files_without_settings_are_not_trusted(kept):
    (kept / "evaluation.json").unlink()
    assert Journal(kept, {"seed": 1}, METHODS).load("clean") == {}


def test_a_damaged_file_is_measured_anew(kept):
    (kept / "per_clip_clean_lmac.csv").write_text("nonsense\n1\n")
    journal = Journal(kept, {"seed": 1}, METHODS)
    assert "lmac" not in journal.load("clean")
    assert "lmac" in journal.load("white_noise")


def test_within_the_interval_nothing_is_written(tmp_path):
    journal = Journal(tmp_path, {}, {"lmac": None})
    journal.save("clean", {"lmac": stats_of("a")})
    assert journal.load("clean") == {}
    journal.save("clean", {"lmac": stats_of("a")}, now=True)
    assert len(journal.load("clean")["lmac"]) == 1
