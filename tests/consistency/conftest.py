"""The files that the rules are held against, and the table of recipes."""

import subprocess
import sys
from pathlib import Path

import pytest
from export_recipe import read_rows

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))


def table_rows(root=ROOT):
    """Rows of ``tests/recipes/*.csv``."""
    files = sorted((root / "tests" / "recipes").glob("*.csv"))
    return [row for file in files for row in read_rows(file)]


def pytest_generate_tests(metafunc):
    """One test per row where a test asks for ``row``."""
    if "row" in metafunc.fixturenames:
        rows = table_rows()
        ids = [f"{r['Dataset']}-{Path(r['Hparam_file']).stem}" for r in rows]
        metafunc.parametrize("row", rows, ids=ids)


@pytest.fixture(scope="session")
def rows():
    return table_rows()


@pytest.fixture(scope="session")
def project_files():
    """What a commit would hold: tracked files, and new ones not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("needs git and its checkout to tell what is ours")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return sorted(path for path in paths if path.is_file())
