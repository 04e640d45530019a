"""The result tables: content, the best in bold, undefined values, files."""

import math

import pandas as pd
import pytest

from speechbrain_lmac.metrics.stats import DIRECTIONS, Summary
from speechbrain_lmac.report import METRICS, best_rows, cell
from speechbrain_lmac.report.tables import (
    format_screen,
    row_from_summaries,
    write_csv,
    write_markdown,
)

NAN = float("nan")
BY_NAME = {metric.name: metric for metric in METRICS}


def make_row(method, condition="clean", n_clips=8, **means):
    """Make a row with intervals of the mean - 1 and + 1; "_" stands for "-"."""
    meta = {
        "dataset": "ESC-10",
        "condition": condition,
        "mask_domain": "stft",
        "method": method,
        "n_clips": n_clips,
        "accuracy": 0.75,
    }
    summaries = {
        {"Fid_In": "Fid-In", "SI_SDR_gain": "SI-SDR_gain"}.get(name, name): (
            Summary(mean, mean - 1, mean + 1, n_clips, 0)
        )
        for name, mean in means.items()
    }
    return row_from_summaries(meta, summaries)


def test_row_holds_every_column_as_plain_values():
    row = make_row("lmac", AI=50, SPS=0.5)
    assert (row["AI"], row["AI_low"], row["AI_high"]) == (50.0, 49.0, 51.0)
    assert row["AI_undefined"] == 0
    assert row["SI-SDR_gain"] is None and row["SI-SDR_gain_undefined"] is None
    assert len(row) == 6 + 4 * 17
    wanted = "AI AD AG FF Fid-In SPS COMP MM AI_wav AD_wav AG_wav FF_wav "
    wanted += "Fid-In_wav agreement_wav target_kept interferer_kept SI-SDR_gain"
    assert [metric.name for metric in METRICS] == wanted.split()


def test_row_needs_its_meta():
    with pytest.raises(ValueError, match="none for mask_domain, accuracy"):
        row_from_summaries(
            {"dataset": "d", "condition": "c", "method": "m", "n_clips": 1}, {}
        )


def test_row_keeps_unknown_metrics():
    row = row_from_summaries(
        make_row("lmac"), {"DEAD": Summary(0.25, 0.1, 0.4, 8, 1)}
    )
    assert row["DEAD"] == 0.25 and row["DEAD_undefined"] == 1


@pytest.mark.parametrize(
    "metric, values, best",
    [
        ("AI", {"a": 1.0, "b": 3.0, "c": 2.0}, {1}),
        ("AD", {"a": 1.0, "b": 3.0, "c": 2.0}, {0}),
        ("interferer_kept", {"a": 0.5, "b": 0.3}, {1}),
        ("MM", {"a": 1.0, "b": 3.0}, set()),
        # Equal as printed: one decimal for AI.
        ("AI", {"a": 2.96, "b": 3.04, "c": 2.0}, {0, 1}),
        # Yardsticks never win, whatever the spelling.
        ("AD", {"all_ones": 0.0, "b": 3.0, "c": 2.0}, {2}),
        ("FF", {"All-ones": 0.9, "ideal": 0.9, "b": 0.1, "c": 0.2}, {3}),
        # Undefined and infinite values never win.
        ("SPS", {"a": NAN, "b": 0.1, "c": 0.2}, {2}),
        ("SI_SDR_gain", {"a": math.inf, "b": 0.1, "c": 0.2}, {2}),
        # One ranked method is not compared with anything.
        ("AI", {"a": 1.0, "all_ones": 0.0, "ideal": 5.0}, set()),
        ("AI", {"a": 1.0, "b": NAN}, set()),
    ],
)
def test_best(metric, values, best):
    rows = [make_row(method, **{metric: v}) for method, v in values.items()]
    name = "SI-SDR_gain" if metric == "SI_SDR_gain" else metric
    assert best_rows(rows, BY_NAME[name]) == best


def test_cell_tells_blank_from_undefined():
    row = make_row("lmac", SPS=0.5)
    row |= {"COMP": NAN, "COMP_undefined": 8, "SPS_undefined": 2}
    assert cell(row, BY_NAME["COMP"]) == ("undefined", "", "8 clips")
    assert cell(row, BY_NAME["SPS"])[2] == "2 undefined"
    assert cell(row, BY_NAME["SI-SDR_gain"]) == ("", "", "")


def test_csv_round_trip(tmp_path):
    rows = [make_row("lmac", AI=100 / 3, MM=0.1), make_row("a,b", AI=NAN)]
    rows[0]["seed"] = 3
    path = tmp_path / "new" / "metrics.csv"
    write_csv(rows, path)
    frame = pd.read_csv(path)
    assert list(frame.columns[:10]) == [
        *("dataset", "condition", "mask_domain", "method", "n_clips"),
        *("accuracy", "AI", "AI_low", "AI_high", "AI_undefined"),
    ]
    assert frame.columns[-1] == "seed"
    assert frame.loc[0, "AI"] == pytest.approx(100 / 3, rel=1e-12)
    # All digits are kept, whatever the parser rounds.
    assert repr(100 / 3) in path.read_text(encoding="utf-8")
    assert list(frame["method"]) == ["lmac", "a,b"]
    assert math.isnan(frame.loc[1, "AI"]) and math.isnan(frame.loc[0, "AD"])
    assert "nan" not in path.read_text(encoding="utf-8").lower()
    assert [file.name for file in path.parent.iterdir()] == ["metrics.csv"]


def test_csv_columns_do_not_depend_on_the_rows(tmp_path):
    write_csv([make_row("a")], tmp_path / "a.csv")
    write_csv([make_row("a", SI_SDR_gain=1.0)], tmp_path / "b.csv")
    heads = [
        (tmp_path / name).read_text(encoding="utf-8").splitlines()[0]
        for name in ("a.csv", "b.csv")
    ]
    assert heads[0] == heads[1]


GOLDEN = """\
# Run \\*1\\*

- AD: correct

## ESC-10, clean, stft mask

8 clips; classifier accuracy 0.750

### On the masked spectrogram

| method | AD ↓ | SPS ↑ | MM |
|---|---:|---:|---:|
| lmac | **2.0** [1.0, 3.0] | 0.50 [-0.50, 1.50] (2 undefined) | 0.25 [-0.75, 1.25] |
| a\\|b | 4.0 [3.0, 5.0] | undefined (8 clips) |  |
| all_ones | 0.0 [-1.0, 1.0] |  |  |

## ESC-10, noise, stft mask

8 clips; classifier accuracy 0.750

### On the sound that people hear

| method | FF_wav ↑ |
|---|---:|
| lmac | 0.10 [-0.90, 1.10] |

## Legend
"""  # noqa: E501


def golden_rows():
    """Four rows with a bold, an undefined and a blank cell."""
    rows = [
        make_row("lmac", AD=2, SPS=0.5, MM=0.25),
        make_row("a|b", AD=4, SPS=NAN),
        make_row("all_ones", AD=0),
        make_row("lmac", "noise", FF_wav=0.1),
    ]
    rows[0]["SPS_undefined"], rows[1]["SPS_undefined"] = 2, 8
    return rows


def test_markdown_golden(tmp_path):
    write_markdown(golden_rows(), tmp_path / "t.md", "Run *1*", "AD: correct")
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert text.startswith(GOLDEN)
    legend = text[len(GOLDEN) :].strip().splitlines()
    assert [line.split(":")[0] for line in legend] == [
        *("- Cells", "- AD ↓", "- SPS ↑", "- MM", "- FF_wav ↑"),
    ]


def test_screen_golden():
    assert format_screen(golden_rows()).splitlines() == [
        "ESC-10, clean, stft mask",
        "8 clips; classifier accuracy 0.750",
        "  on spectra    AD    SPS    MM",
        "  lmac        2.0*  0.50u  0.25",
        "  a|b          4.0  undef      ",
        "  all_ones     0.0             ",
        "",
        "ESC-10, noise, stft mask",
        "8 clips; classifier accuracy 0.750",
        "  as heard    FF",
        "  lmac      0.10",
        "",
        "higher is better, except AD, COMP, interf (lower) and MM (neither)",
        "* best of its column (all_ones and ideal are not ranked)",
        "u some clips have no value (counts in the CSV)",
    ]


def test_screen_fits_the_terminal():
    # The widest possible cells: 100 %, -1.00 or -99.99 dB, best and undefined.
    widest = {1: 100.0, 2: -1.0}
    values = {m.name: widest[m.digits] for m in METRICS}
    values["SI-SDR_gain"] = -99.99
    counts = {f"{name}_undefined": 1 for name in values}
    rows = [
        make_row("m" * 60 + str(i), "c" * 200) | values | counts
        for i in range(2)
    ]
    text = format_screen(rows)
    assert "100.0*u" in text and "-99.99*u" in text
    assert max(map(len, text.splitlines())) <= 100
    assert text.isascii()


def test_facts_name_methods_that_saw_other_clips():
    text = format_screen([make_row("a", AI=1), make_row("b", n_clips=7, AI=2)])
    assert "8 (a), 7 (b) clips; classifier accuracy 0.750" in text


def test_no_rows(tmp_path):
    write_csv([], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text("utf-8").startswith("dataset,")
    write_markdown([], tmp_path / "t.md")
    assert "## Legend" in (tmp_path / "t.md").read_text("utf-8")


def test_directions_agree_with_the_statistics():
    signs = {"higher": 1, "lower": -1, "report": 0}
    shared = [name for name in DIRECTIONS if name in BY_NAME]
    assert {"AI", "AD", "COMP", "MM"} <= set(shared)
    for name in shared:
        assert BY_NAME[name].direction == signs[DIRECTIONS[name]], name
