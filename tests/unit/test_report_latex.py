"""The LaTeX tables: structure, marks, escapes; compiled if possible."""

import re
import shutil
import subprocess
from itertools import accumulate

import pytest
from report_toys import NAN, make_row, make_test

from speechbrain_lmac.report.columns import METHODS
from speechbrain_lmac.report.render import plain_latex
from speechbrain_lmac.report.tables import write_latex

SPECTRA = ("AI", "AD", "AG", "FF", "Fid_In", "SPS", "COMP", "MM")


def many_rows(methods=METHODS, conditions=("clean", "wham"), metrics=SPECTRA):
    return [
        make_row(method, condition, **{name: i + 0.25 for name in metrics})
        for condition in conditions
        for i, method in enumerate(methods)
    ]


def write(tmp_path, rows, *args, **kwargs):
    """Write and read back; check the structure of what is written."""
    path = tmp_path / "new" / "results.tex"
    write_latex(rows, path, *args, **kwargs)
    text = path.read_text(encoding="utf-8")
    code = re.sub(r"(?<!\\)%.*", "", text)
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(.*?)\}", code):
        if kind == "begin":
            opened += [name]
        else:
            assert opened.pop() == name
    braces = re.findall(r"(?<!\\)[{}]", code)
    depths = list(accumulate(1 if brace == "{" else -1 for brace in braces))
    assert opened == [] and min(depths) == depths[-1] == 0
    return text


def lines_of(text):
    """Each line of each table as its cells; as many as there are columns."""
    tables = []
    for columns, body in re.findall(
        r"\\begin\{tabular\}\{l(r+)\}(.*?)\\end\{tabular\}", text, re.S
    ):
        ruled = re.sub(r"\\(top|mid|bottom)rule", "", body)
        lines = [line.strip() for line in ruled.split(r"\\")][:-1]
        cells = [re.split(r"(?<!\\) & ?", line) for line in lines]
        assert {len(line) for line in cells} == {1 + len(columns)}
        tables += [cells]
    return tables


def by_method(table):
    return {line[0]: line[1:] for line in table}


def test_layout_of_the_published_table(tmp_path):
    rows = many_rows(["lmac", "mine", "random", "saliency", "ig"], ["clean"])
    text = write(tmp_path, rows, "Run 1")
    [[heads, *lines]] = lines_of(text)
    up, down = r" $\uparrow$", r" $\downarrow$"
    assert heads == [
        *("Method", "AI" + up, "AD" + down, "AG" + up, "FF" + up),
        *("Fid-In" + up, "SPS" + up, "COMP" + down, "MM"),
    ]
    # Baselines first, unknown ones last of them, then L-MAC, the yardsticks.
    assert [line[0] for line in lines] == [
        *("Saliency", "Integrated Gradients", "mine", "L-MAC", "Random"),
    ]
    assert re.search(r"mine[^\n]*\n\\midrule\nL-MAC", text)
    assert re.search(r"L-MAC[^\n]*\n\\midrule\nRandom", text)
    assert r"\caption{Run 1. On the masked spectrogram: ESC-10, clean" in text
    assert r"\label{tab:on-the-masked-spectrogram-esc-10-clean-stft-" in text


def test_a_table_for_each_condition_protocol_and_kind(tmp_path):
    rows = [
        make_row(method, condition, AI=1, AI_wav=2) | {"protocol": protocol}
        for protocol in ("published", "loudness")
        for condition in ("clean", "wham")
        for method in ("lmac", "ig")
    ]
    text = write(tmp_path, rows)
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(set(labels)) == len(labels) == 8
    captions = re.findall(r"\\caption\{(.*)\}", text)
    assert "mask (8 clips; classifier accuracy 0.750)" in captions[0]
    assert "wham, stft mask, loudness (8 clips" in captions[-1]


def test_best_is_bold_and_yardsticks_never(tmp_path):
    means = {"lmac": 5.0, "ig": 6.0, "all_ones": 9.0, "ideal": 9.0}
    rows = [make_row(m, AI=v, AD=v, MM=v) for m, v in means.items()]
    [table] = lines_of(write(tmp_path, rows))
    bold = {
        m: [r"\textbf" in c for c in x] for m, x in by_method(table).items()
    }
    assert bold.pop("Integrated Gradients") == [True, False, False]
    assert bold.pop("L-MAC") == [False, True, False]
    assert not any(map(any, bold.values()))


def test_marks_only_where_tests_are_significant(tmp_path):
    rows = [make_row("lmac", AI=50, AD=3), make_row("ig", AI=40, AD=2)]
    rows += [make_row("shap", AI=30, AD=5)]
    tests = [
        make_test("ig", "AI", 10.0, 0.01),
        make_test("ig", "AD", -1.0, 0.01),
        make_test("shap", "AI", 20.0, 0.06),
        make_test("shap", "AD", 2.0, 0.01, condition="noise"),
    ]
    text = write(tmp_path, rows, comparisons=tests)
    cells = by_method(lines_of(text)[0])
    assert cells["L-MAC"] == [r"\textbf{50.0}", "3.0"]
    assert cells["Integrated Gradients"] == [
        r"40.0\rlap{$^{*}$}",
        r"\textbf{2.0}\rlap{$^{+}$}",
    ]
    assert cells["GradientSHAP"] == ["30.0", "5.0"]
    assert "$^{*}$ L-MAC is significantly better than this method (p" in text
    # A legend explains only what is there.
    text = write(tmp_path, rows, comparisons=tests[2:])
    assert "significantly" not in text and "^{" not in text


def test_undefined_and_blank_cells(tmp_path):
    rows = [make_row("lmac", SPS=0.5, FF=-0.25), make_row("ig", SPS=NAN)]
    rows[0]["SPS_undefined"], rows[1]["SPS_undefined"] = 2, 8
    text = write(tmp_path, rows)
    cells = by_method(lines_of(text)[0])
    assert cells["L-MAC"] == ["$-$0.25", r"0.50\rlap{$^{\mathrm{u}}$}"]
    assert cells["Integrated Gradients"] == ["", "--"]
    assert "some clips have no value" in text


def test_texts_are_escaped(tmp_path):
    bad = r"50% of_a & {b} \input{x} #1 $y$ ~^ [z]* <|>" + "\nnext"
    rows = [
        row | {"method": bad, "condition": bad, "dataset": bad}
        for row in many_rows(["x"], ["clean"])
    ]
    code = write(tmp_path, rows, bad)
    assert r"\input" not in code and "$y$" not in code
    # Title, data set, condition and method.
    assert code.count(plain_latex(bad)) == 4
    # At the start of a line they would belong to the end of the last one.
    assert not re.search(r"\\\\\s*[\[*]", code)


def test_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    tests = [make_test("ig", "AI", 1.0, 0.01), make_test("l2i", "AI", -1, 0.01)]
    rows = many_rows() + many_rows([r"a_%\b", "[c]"], ["x & y"], ["AI_wav"])
    write(tmp_path, rows, "50 % & more", tests)
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}"
        r"\begin{document}\input{new/results}\end{document}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=batchmode", "paper"]
    result = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert result.returncode == 0, log[-2000:]
    assert "Overfull" not in log
