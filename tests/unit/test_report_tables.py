"""The result tables: content, the best in bold, undefined values, files."""

import math

import pandas as pd
import pytest

from speechbrain_lmac.metrics.stats import Summary
from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.report.columns import (
    METHOD_LABELS,
    best_rows,
    cell,
    method_label,
)
from speechbrain_lmac.report.significance import mark_of, significance_marks
from speechbrain_lmac.report.tables import (
    format_screen,
    row_from_summaries,
    write_csv,
    write_markdown,
)

NAN = float("nan")


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
    assert len(row) == 6 + 4 * 21
    wanted = "AI AD AD_speechbrain AG FF Fid-In SPS COMP MM "
    wanted += "AI_wav AD_wav AG_wav FF_wav Fid-In_wav agreement_wav "
    wanted += "target_kept interferer_kept "
    wanted += "SI-SDR_gain mask_auc insertion_auc deletion_auc"
    assert list(METRICS) == wanted.split()


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
    assert best_rows(rows, METRICS[name]) == best


def test_cell_tells_blank_from_undefined():
    row = make_row("lmac", SPS=0.5)
    row |= {"COMP": NAN, "COMP_undefined": 8, "SPS_undefined": 2}
    assert cell(row, METRICS["COMP"]) == ("undefined", "", "8 clips")
    assert cell(row, METRICS["SPS"])[2] == "2 undefined"
    assert cell(row, METRICS["SI-SDR_gain"]) == ("", "", "")


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
        *("- Cells", "- Names in the CSV files"),
        *("- AD ↓", "- SPS ↑", "- MM", "- FF ↑"),
    ]
    names = "L-MAC is lmac, All ones is all_ones."
    assert legend[1] == f"- Names in the CSV files: {names}"


def make_test(method, metric, difference, p_holm, **changes):
    """Make a row of a paired comparison that belongs to `make_row`."""
    return {
        "dataset": "ESC-10",
        "condition": "clean",
        "mask_domain": "stft",
        "protocol": "published",
        "method": method,
        "metric": metric,
        "difference": difference,
        "p": p_holm / 5,
        "p_holm": p_holm,
    } | changes


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
        # Other conditions, domains, protocols and data sets: not these rows.
        make_test("shap", "FF", 0.1, 0.001, condition="noise"),
        make_test("shap", "FF", 0.1, 0.001, mask_domain="mel"),
        make_test("shap", "FF", 0.1, 0.001, protocol="loudness"),
        make_test("shap", "FF", 0.1, 0.001, dataset="ESC-50"),
    ]
    return rows, tests


def test_marks_need_a_corrected_p_below_a_twentieth():
    rows, tests = marked_rows()
    marks = significance_marks(tests)
    found = {
        (row["method"], name): mark_of(row, METRICS[name], marks)
        for row in rows
        for name in ("AI", "AD", "FF")
    }
    expected = {("ig", "AI"): "*", ("shap", "AI"): "+"}
    assert {key: mark for key, mark in found.items() if mark} == expected
    # Rows of another protocol than the published name it.
    loud = rows[2] | {"protocol": "loudness"}
    assert mark_of(loud, METRICS["FF"], marks) == "*"
    assert mark_of(loud, METRICS["AI"], marks) == ""


def test_marks_are_the_same_from_csv():
    _, tests = marked_rows()
    texts = [{k: str(v) for k, v in test.items()} for test in tests]
    assert significance_marks(texts) == significance_marks(tests) != {}
    tie = make_test("ig", "AI", 0.0, 0.001)
    blank = make_test("ig", "AD", "", 0.001)
    assert significance_marks([tie, blank]) == {}


def test_markdown_marks(tmp_path):
    rows, tests = marked_rows()
    write_markdown(rows, tmp_path / "t.md", comparisons=tests)
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "| L-MAC | 5.0 [4.0, 6.0] |" in text
    assert "| Integrated Gradients | 3.0\\* [2.0, 4.0] | 7.0 [" in text
    assert "| GradientSHAP | **8.0**+ [7.0, 9.0] | **2.0** [" in text
    table, legend = text.split("## Legend")
    assert table.count("\\*") == 1 and table.count("+") == 1
    assert "\\* L-MAC is significantly better" in legend
    assert "Wilcoxon" in legend and "Holm" in legend
    write_markdown(rows, tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "\\*" not in text and "+" not in text and "Wilcoxon" not in text


def test_methods_have_labels_of_their_own():
    labels = list(METHOD_LABELS.values())
    assert len(set(labels)) == len(labels)
    assert method_label("lmac_ft") == "L-MAC fine-tuned"
    assert method_label("my_method") == "my_method"


def test_curves_have_a_table_of_their_own(tmp_path):
    rows = [make_row("lmac", insertion_auc=0.7, deletion_auc=0.2)]
    rows += [make_row("ig", insertion_auc=0.5, deletion_auc=0.3)]
    write_markdown(rows, tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "### Insertion and deletion curves" in text
    assert "| method | insertion ↑ | deletion ↓ |" in text
    assert "| L-MAC | **0.70** [-0.30, 1.70] | **0.20** [-0.80, 1.20] |" in text
    lines = format_screen(rows).splitlines()
    assert lines[2:4] == [
        "  curves  insertion  deletion",
        "  lmac        0.70*     0.20*",
    ]
    assert "except AD, COMP, deletion, interf" in lines[-2]


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
        "higher is better, except AD, COMP, interferer kept (lower) "
        "and MM (neither)",
        "* best of its column (all_ones and ideal are not ranked)",
        "u some clips have no value (counts in the CSV)",
    ]


def test_screen_fits_the_terminal():
    # The widest possible cells: 100 %, -1.00 or -99.99 dB, best and undefined.
    widest = {1: 100.0, 2: -1.0}
    values = {m.name: widest[m.digits] for m in METRICS.values()}
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
