"""The LaTeX tables: structure, layout, marks, escapes; compiled if possible."""

import re
import shutil
import subprocess

import pytest
from test_report_tables import make_row, make_test

from speechbrain_lmac.report.columns import METHOD_LABELS
from speechbrain_lmac.report.latex import MAX_LINES, escape, write_latex

NAN = float("nan")
METHODS = list(METHOD_LABELS)
CONDITIONS = ("clean", "mixtures", "white_noise", "speech", "wham")
SPECTRA = ("AI", "AD", "AG", "FF", "Fid_In", "SPS", "COMP", "MM")


def many_rows(methods=METHODS, conditions=CONDITIONS, metrics=SPECTRA):
    """A row for all methods and conditions; no ideal mask on clean clips."""
    return [
        make_row(method, condition, **{name: i + 0.25 for name in metrics})
        for condition in conditions
        for i, method in enumerate(methods)
        if (method, condition) != ("ideal", "clean")
    ]


def write(tmp_path, rows, *args, **kwargs):
    """Write and read back; check the structure of what is written."""
    path = tmp_path / "new" / "results.tex"
    write_latex(rows, path, *args, **kwargs)
    text = path.read_text(encoding="utf-8")
    check_structure(text)
    return text


def code_of(text):
    """The lines without comments; a backslash keeps its percent sign."""
    return re.sub(r"(?<!\\)%.*", "", text)


def tables_of(text):
    return re.findall(
        r"\\begin\{table\*\}(.*?)\\end\{table\*\}", code_of(text), re.S
    )


def lines_of(table):
    """Each line of a table as its cells."""
    body = re.search(
        r"\\begin\{tabular\}\{l(r+)\}(.*?)\\end\{tabular\}", table, re.S
    )
    ruled = re.sub(r"\\(top|mid|bottom)rule|\\cmidrule\S*", "", body[2])
    lines = [line.strip() for line in ruled.split(r"\\")]
    assert lines.pop() == ""
    return len(body[1]), [re.split(r"(?<!\\)&", line) for line in lines]


def check_structure(text):
    """Balanced braces and environments; as many cells as columns."""
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{(.*?)\}", code_of(text)):
        if kind == "begin":
            open_environments += [name]
        else:
            assert open_environments.pop() == name
    assert open_environments == []
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", code_of(text)):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    for table in tables_of(text):
        columns, lines = lines_of(table)
        for cells in lines:
            spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", c) for c in cells]
            widths = [int(span[1]) if span else 1 for span in spans]
            assert sum(widths) == 1 + columns, cells


def cells_by_method(table):
    _, lines = lines_of(table)
    return {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for cells in lines
    }


def test_layout_of_the_published_table(tmp_path):
    rows = many_rows(["lmac", "mine", "saliency", "ig"], ["clean", "mixtures"])
    text = write(tmp_path, rows, "Run 1")
    [table] = tables_of(text)
    columns, lines = lines_of(table)
    assert columns == 2 * len(SPECTRA)
    heads = [cell.strip() for cell in lines[1]]
    up, down = r" $\uparrow$", r" $\downarrow$"
    side = ["AI" + up, "AD" + down, "AG" + up, "FF" + up, "Fid-In" + up]
    side += ["SPS" + up, "COMP" + down, "MM"]
    assert heads == ["Method", *side, *side]
    assert lines[0][1].strip() == (
        r"\multicolumn{8}{c}{Clean (8 clips, accuracy 0.750)}"
    )
    assert "{Mixtures (8 clips" in lines[0][2]
    assert r"\cmidrule(lr){2-9}\cmidrule(lr){10-17}" in table
    # Baselines first, unknown ones last of them, then L-MAC.
    names = [cells[0].strip() for cells in lines[2:]]
    assert names == ["Saliency", "Integrated Gradients", "mine", "L-MAC"]
    assert re.search(r"mine[^\n]*\n\\midrule\nL-MAC", table)
    assert r"\caption{Run 1. On the masked spectrogram, ESC-10" in table
    assert r"\label{tab:on-the-masked-spectrogram-esc-10-stft-publ" in table


def test_best_is_bold_and_yardsticks_never(tmp_path):
    means = {"lmac": 5.0, "ig": 6.0, "all_ones": 9.0, "ideal": 9.0}
    rows = [make_row(m, AI=v, AD=v, MM=v) for m, v in means.items()]
    [table] = tables_of(write(tmp_path, rows))
    assert {
        name: [r"\textbf" in cell for cell in cells]
        for name, cells in cells_by_method(table).items()
        if name in METHOD_LABELS.values()
    } == {
        "Integrated Gradients": [True, False, False],
        "L-MAC": [False, True, False],
        "All ones": [False, False, False],
        "Ideal ratio mask": [False, False, False],
    }


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
    cells = cells_by_method(tables_of(text)[0])
    assert cells["L-MAC"] == [r"\textbf{50.0}", "3.0"]
    assert cells["Integrated Gradients"] == [
        r"40.0\rlap{$^{*}$}",
        r"\textbf{2.0}\rlap{$^{+}$}",
    ]
    assert cells["GradientSHAP"] == ["30.0", "5.0"]
    assert "$^{*}$ L-MAC is significantly better than this method;" in text
    assert "$^{+}$ L-MAC is significantly worse" in text
    # A legend explains only what is there.
    text = write(tmp_path, rows, comparisons=tests[2:])
    assert "significantly" not in text and "^{" not in text


def test_undefined_and_blank_cells(tmp_path):
    rows = [make_row("lmac", SPS=0.5, FF=-0.25), make_row("ig", SPS=NAN)]
    rows[0]["SPS_undefined"], rows[1]["SPS_undefined"] = 2, 8
    text = write(tmp_path, rows)
    cells = cells_by_method(tables_of(text)[0])
    assert cells["L-MAC"] == ["$-$0.25", r"0.50\rlap{$^{\mathrm{u}}$}"]
    assert cells["Integrated Gradients"] == ["", "--"]
    assert "some clips have no value" in text
    assert "--: no clip has a value" in text
    assert "nan" not in text.lower().replace("explanation", "")


def test_intervals_on_demand(tmp_path):
    rows = many_rows(["lmac", "ig"], ["clean", "mixtures"], ["AI", "FF"])
    rows[0]["AI_low"] = -2.0
    text = write(tmp_path, rows, intervals=True)
    cells = cells_by_method(tables_of(text)[0])
    assert cells["L-MAC"][0] == (r"0.2 {\scriptsize {[}$-$2.0, 1.2{]}}")
    assert "intervals" in text
    assert "scriptsize" not in write(tmp_path, rows)


def test_a_table_for_each_protocol_and_kind(tmp_path):
    rows = [
        make_row(method, AI=1, AI_wav=2) | {"protocol": protocol}
        for protocol in ("published", "loudness")
        for method in ("lmac", "ig")
    ]
    text = write(tmp_path, rows)
    captions = re.findall(r"\\caption\{(.*)\}", text)
    assert [caption.split(". ")[1].split(",")[0] for caption in captions] == [
        *("On the masked spectrogram", "On the sound that people hear"),
        *("On the masked spectrogram", "On the sound that people hear"),
    ]
    assert "as each method makes them" in captions[0]
    assert "the clip's energy" in captions[2]
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(set(labels)) == len(labels) == 4
    # The suffix of the heard metrics stands in the caption.
    assert cells_by_method(tables_of(text)[1])["Method"] == [r"AI $\uparrow$"]


def test_many_conditions_go_on_below_and_on_the_next_page(tmp_path):
    text = write(tmp_path, many_rows())
    tables = tables_of(text)
    # Two conditions side by side, the fifth alone, 15 methods.
    assert all(table.count(r"\\") <= MAX_LINES for table in tables)
    heads = [len(re.findall(r"clips, accuracy", table)) for table in tables]
    assert sum(heads) == 5 and len(tables) == 2
    assert "(continued)" in tables[1] and "(continued)" not in tables[0]
    # All methods of all conditions are there: one mean each and the blank.
    found = re.findall(r"Ideal ratio mask &([^\\]*)\\\\", text)
    assert [line.count("14.25") for line in found] == [5, 10, 5]


def test_small_tables_are_as_narrow_as_they_are(tmp_path):
    [table] = tables_of(write(tmp_path, many_rows(["lmac"], ["clean"])))
    assert lines_of(table)[0] == 8
    assert r"\ifdim\width>\textwidth" in table


def test_a_repeated_method_keeps_its_lines(tmp_path):
    rows = [make_row("lmac", AI=1), make_row("lmac", AI=2)]
    [table] = tables_of(write(tmp_path, rows))
    assert re.findall(r"L-MAC & (\S+)", table) == ["1.0", r"\textbf{2.0}"]


def test_texts_are_escaped(tmp_path):
    bad = r"50% of_a & {b} \input{x} #1 $y$ ~^ [z]* <|>" + "\nnext"
    rows = [
        row | {"method": bad, "condition": bad, "dataset": bad}
        for row in many_rows(["x"], ["clean"])
    ]
    text = write(tmp_path, rows, bad, notes=[bad])
    code = code_of(text)
    assert r"\input" not in code and "$y$" not in code
    # Title, data set, condition, method and note.
    assert code.count(escape(bad)) == 5
    # At the start of a line they would belong to the end of the last one.
    assert not re.search(r"\\\\\s*[\[*]", code)


def test_no_rows(tmp_path):
    assert tables_of(write(tmp_path, [])) == []


def test_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    tests = [make_test("ig", "AI", 1.0, 0.01), make_test("l2i", "AI", -1, 0.01)]
    rows = many_rows() + many_rows([r"a_%\b", "[c]"], ["x & y"], ["AI_wav"])
    write(tmp_path, rows, "50 % & more", tests, ["a_b", "#1"], intervals=True)
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}"
        r"\begin{document}\input{new/results}\end{document}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=batchmode", "paper"]
    result = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert result.returncode == 0, log[-2000:]
    assert "Overfull" not in log
