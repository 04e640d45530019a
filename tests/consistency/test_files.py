"""What a commit may hold: text, clean and small; and who checks the style."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

MEGABYTE = 2**20
TEXT = {".py", ".yaml", ".yml", ".md", ".rst", ".toml", ".txt", ".csv", ".cff"}
TEXT |= {".mplstyle", ".ipynb", ".j2", ".json", ".js", ".css", ".html", ".svg"}
TEXT |= {".tex"}
# Pictures that pages show; none of these is a result of a run.
PICTURES = {".png", ".jpg", ".webp"}
NO_SUFFIX = {"LICENSE", "Makefile", "run", ".gitignore"}
GENERATED = {"__pycache__", "results", "build", "dist", "_build", ".ruff_cache"}
CHECKED = ("recipes", "speechbrain_lmac", "tools", "tests", "benchmarks")


def relative(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def is_text(path):
    return path.suffix in TEXT or path.name in NO_SUFFIX


def test_every_file_is_of_a_known_kind(project_files):
    others = (path for path in project_files if not is_text(path))
    strange = [path for path in others if path.suffix not in PICTURES]
    assert not strange, relative(strange)


def test_no_file_is_generated(project_files):
    found = [
        path
        for path in project_files
        if GENERATED & set(path.relative_to(ROOT).parts)
        or path.name.endswith((".pyc", ".orig", ".rej", ".swp", "~"))
        or path.name == ".DS_Store"
    ]
    assert not found, relative(found)


def test_every_file_is_under_a_megabyte(project_files):
    large = [p for p in project_files if p.stat().st_size >= MEGABYTE]
    assert not large, relative(large)


def problems(text):
    """What SpeechBrain's hooks for text files would mend.

    >>> problems("a \\nb")
    ['trailing white space in line 1', 'no line break at the end']
    """
    found = []
    if "\r" in text:
        found.append("line ends other than \\n")
    trailing = re.search(r"[ \t]+$", text, re.M)
    if trailing:
        line = text.count("\n", 0, trailing.start()) + 1
        found.append(f"trailing white space in line {line}")
    if text and not text.endswith("\n"):
        found.append("no line break at the end")
    if text.endswith("\n\n"):
        found.append("empty lines at the end")
    return found


def test_text_is_clean(project_files):
    bad = {}
    for path in filter(is_text, project_files):
        found = problems(path.read_bytes().decode("utf-8"))
        if found:
            bad[str(path.relative_to(ROOT))] = found
    assert not bad


def test_what_is_clean():
    found = {"a\n": 0, "": 0, "a\r\n": 1, "a\t\n": 1, "a": 1, "a\n\n": 1}
    for text, expected in {**found, "a \nb": 2}.items():
        assert len(problems(text)) == expected, text


# --- make lint runs the tools; here is what they are told ---


def test_lint_runs_every_tool_on_everything():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M)[1]
    for command in (
        r"/ruff check \.$",
        r"/ruff format --check \.$",
        r"/codespell",
        r"/yamllint --strict .*recipes",
    ):
        assert re.search(command, lint, re.M), command
    assert re.search(r"^test:.*\blint\b", makefile, re.M)


def test_ruff_has_speechbrain_s_settings():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tool = tomllib.loads(text)["tool"]
    assert tool["ruff"]["line-length"] == 80
    chosen = set(tool["ruff"]["lint"]["select"])
    assert chosen >= {"E", "W", "F", "I", "D"}
    assert tool["ruff"]["lint"]["pydocstyle"]["convention"] == "numpy"
    excluded = tool["ruff"].get("exclude", [])
    excluded += tool["ruff"].get("extend-exclude", [])
    assert not set(excluded) & set(CHECKED)


def test_yamllint_has_speechbrain_s_settings():
    rules = yaml.safe_load(Path(ROOT / ".yamllint.yaml").read_text())["rules"]
    assert rules["line-length"]["max"] == 80
    assert rules["indentation"]["spaces"] == 4
