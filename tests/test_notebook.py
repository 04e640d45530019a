"""The tutorial runs from its first cell to its last, and is stored clean."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
# Each cell as a notebook's kernel runs it; the first error ends it.
RUN_CELLS = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
print("every cell has run")
"""


@pytest.fixture(scope="module")
def notebook():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def run_cells(path, cwd, temporary):
    """Run a notebook's cells in a process of its own."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(temporary / "ipython"),
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
    }
    return subprocess.run(
        [sys.executable, "-c", RUN_CELLS, str(path)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_it_is_a_notebook_of_format_4(notebook):
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds[0] == "markdown" and set(kinds) == {"markdown", "code"}


def test_it_is_stored_without_outputs(notebook):
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}, cell["id"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], cell["id"]
            assert cell["execution_count"] is None, cell["id"]


def test_its_links_exist(notebook):
    for cell in notebook["cells"]:
        for link in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])):
            assert (NOTEBOOK.parent / link).exists(), link


@pytest.mark.slow
def test_every_cell_runs(tmp_path):
    done = run_cells(NOTEBOOK, NOTEBOOK.parent, tmp_path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "every cell has run" in done.stdout
    (work,) = tmp_path.glob("lmac_tutorial_*")
    assert (work / "siren" / "explanation.wav").is_file()
    assert (work / "evaluation" / "results.md").is_file()


def test_an_error_in_a_cell_fails(tmp_path):
    cells = [
        {"cell_type": "code", "source": ["value = 1\n", "1 / 0"]},
        {"cell_type": "code", "source": ["print('went on')"]},
    ]
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    done = run_cells(path, tmp_path, tmp_path)
    assert done.returncode != 0
    assert "went on" not in done.stdout and "ZeroDivision" in done.stderr
