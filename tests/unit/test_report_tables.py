"""The result tables: content, the best in bold, undefined values, files."""

import math

import pandas as pd
import pytest
from report_toys import NAN, golden_rows, make_row, make_test

from speechbrain_lmac.metrics.stats import Summary
from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.report.columns import (
    cell,
    result_tables,
)
from speechbrain_lmac.report.tables import (
    format_screen,
    row_from_summaries,
    write_csv,
    write_markdown,
)


def test_row_holds_every_column_as_plain_values():
    row = make_row("lmac", AI=50, SPS=0.5)
    assert (row["AI"], row["AI_low"], row["AI_high"]) == (50.0, 49.0, 51.0)
    assert row["AI_undefined"] == 0
    assert row["SI-SDR_gain"] is None and row["SI-SDR_gain_undefined"] is None
    assert len(row) == 6 + 4 * len(METRICS)
    # Those that are not known are kept.
    row = row_from_summaries(row, {"DEAD": Summary(0.25, 0.1, 0.4, 8, 1)})
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
        # Yardsticks never win.
        ("AD", {"all_ones": 0.0, "b": 3.0, "c": 2.0}, {2}),
        ("FF", {"all_ones": 0.9, "ideal": 0.9, "b": 0.1, "c": 0.2}, {3}),
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
    [table] = result_tables(rows)
    cells = [cell for _, [cell] in table.lines]
    assert {k for k, cell in enumerate(cells) if cell.best} == best


def test_cell_tells_blank_from_undefined():
    row = make_row("lmac", SPS=0.5)
    row |= {"COMP": NAN, "COMP_undefined": 8, "SPS_undefined": 2}
    assert cell(row, METRICS["COMP"])[:3] == ("undefined", "", "8 clips")
    assert cell(row, METRICS["SPS"]).undefined == "2 undefined"
    assert cell(row, METRICS["SI-SDR_gain"])[:3] == ("", "", "")


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
    text = path.read_text(encoding="utf-8")
    # All digits, and whole numbers without a point.
    assert f",clean,stft,lmac,8,0.75,{100 / 3!r}," in text
    assert text.splitlines()[1].endswith(",3")
    assert list(frame["method"]) == ["lmac", "a,b"]
    assert math.isnan(frame.loc[1, "AI"]) and math.isnan(frame.loc[0, "AD"])
    assert "nan" not in text.lower()


GOLDEN = """\
# Run \\*1\\*

## ESC-10, clean, stft mask

8 clips; classifier accuracy 0.750

### On the masked spectrogram

| method | AD ↓ | SPS ↑ | MM |
|---|---:|---:|---:|
| L-MAC | **2.0** [1.0, 3.0] | 0.50 [-0.50, 1.50] (2 undefined) | 0.25 [-0.75, 1.25] |
| a\\|b | 4.0 [3.0, 5.0] | undefined (8 clips) |  |
| All ones | 0.0 [-1.0, 1.0] |  |  |

## ESC-10, noise, stft mask

8 clips; classifier accuracy 0.750

### On the sound that people hear

| method | FF ↑ |
|---|---:|
| L-MAC | 0.10 [-0.90, 1.10] |

## Legend
"""  # noqa: E501


def test_markdown_golden(tmp_path):
    write_markdown(golden_rows(), tmp_path / "t.md", "Run *1*")
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert text.startswith(GOLDEN)
    legend = text[len(GOLDEN) :].strip().splitlines()
    assert [line.split(":")[0] for line in legend] == [
        *("- Cells", "- Names in the CSV files"),
        *("- AD ↓", "- SPS ↑", "- MM", "- FF ↑"),
    ]
    assert legend[1].endswith(": L-MAC is lmac, All ones is all_ones.")
    assert legend[-1].endswith("(FF_wav in the CSV files).")


def marked_rows():
    """Rows of methods; two of their tests are significant."""
    rows = [
        make_row(method, AI=mean, AD=10 - mean, FF=mean / 10)
        for method, mean in {"lmac": 5, "ig": 3, "shap": 8}.items()
    ]
    tests = [
        make_test("ig", "AI", 2.0, 0.049),
        make_test("ig", "AD", 2.0, 0.05),
        make_test("ig", "FF", 0.2, NAN),
        make_test("shap", "AI", -3.0, 0.001),
        make_test("shap", "AD", -3.0, 0.2),
        # A tie, and an undefined difference.
        make_test("lmac", "AI", 0.0, 0.001),
        make_test("lmac", "AD", "", 0.001),
        # Other conditions, domains, protocols and data sets: not these rows.
        make_test("shap", "FF", 0.1, 0.001, condition="noise"),
        make_test("shap", "FF", 0.1, 0.001, mask_domain="mel"),
        make_test("shap", "FF", 0.1, 0.001, protocol="loudness"),
        make_test("shap", "FF", 0.1, 0.001, dataset="ESC-50"),
    ]
    return rows, tests


@pytest.mark.parametrize("form", [dict, lambda t: {k: str(t[k]) for k in t}])
def test_marks_need_a_corrected_p_below_a_twentieth(form):
    """As made, and as read back from CSV."""
    rows, tests = marked_rows()
    loud = rows[2] | {"protocol": "loudness"}
    published, other = result_tables([*rows, loud], map(form, tests))
    marks = {
        (method, metric.name): cell.mark
        for method, cells in published.lines
        for metric, cell in zip(published.metrics, cells, strict=True)
        if cell.mark
    }
    label = "Integrated Gradients"
    assert marks == {(label, "AI"): "*", ("GradientSHAP", "AI"): "+"}
    assert [cell.mark for cell in other.lines[0][1]] == ["", "", "*"]


def test_markdown_marks(tmp_path):
    rows, tests = marked_rows()
    write_markdown(rows, tmp_path / "t.md", comparisons=tests)
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "| L-MAC | 5.0 [4.0, 6.0] |" in text
    assert "| Integrated Gradients | 3.0\\* [2.0, 4.0] | 7.0 [" in text
    assert "| GradientSHAP | **8.0**+ [7.0, 9.0] | **2.0** [" in text
    assert "\\* L-MAC is significantly better" in text.split("## Legend")[1]
    write_markdown(rows, tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "\\*" not in text and "+" not in text


def test_screen_golden():
    assert format_screen(golden_rows()).splitlines() == [
        "ESC-10, clean, stft mask",
        "8 clips; classifier accuracy 0.750",
        "on spectra    AD    SPS    MM",
        "lmac        2.0*  0.50u  0.25",
        "a|b          4.0  undef",
        "all_ones     0.0",
        "",
        "ESC-10, noise, stft mask",
        "8 clips; classifier accuracy 0.750",
        "as heard    FF",
        "lmac      0.10",
        "",
        "higher is better, lower for AD, neither for MM",
        "* best of its column (all_ones and ideal are not ranked)",
        "u some clips have no value (counts in the CSV)",
    ]


def test_screen_fits_the_terminal():
    # The widest cells: 9999, 100 %, -1.00 or -99.99 dB, 100.000 %, best and
    # undefined.
    widest = {0: 9999.0, 1: 100.0, 2: -1.0, 3: 100.0}
    values = {m.name: widest[m.digits] for m in METRICS.values()}
    values["SI-SDR_gain"] = -99.99
    ends = {f"{name}{end}": 0.0 for name in values for end in ("_low", "_high")}
    counts = {f"{name}_undefined": 1 for name in values}
    rows = [
        make_row("m" * 60 + str(i), "c" * 200) | values | ends | counts
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
