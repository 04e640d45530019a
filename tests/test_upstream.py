"""The reproductions of docs/upstream.md find what the page says they find.

Those of the recipe need a checkout of SpeechBrain: set SPEECHBRAIN_CHECKOUT.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "upstream.md"
SECTION = re.compile(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```\n\n```text\n(.*?)^```",
    re.M | re.S,
)
FAULTS = SECTION.findall(PAGE.read_text(encoding="utf-8"))


def faults(of_the_recipe):
    """Programs and what they print; the recipe's take a folder."""
    return [
        pytest.param(program, printed, id=name)
        for name, program, printed in FAULTS
        if ("sys.argv" in program) == of_the_recipe
    ]


def test_each_fault_has_its_reproduction():
    assert (len(faults(False)), len(faults(True))) == (3, 2)


@pytest.mark.parametrize(("program", "printed"), faults(False))
def test_the_fault_is_in_the_installed_package(program, printed, capsys):
    exec(compile(program, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(("program", "printed"), faults(True))
def test_the_fault_is_in_the_recipe(program, printed, tmp_path):
    checkout = os.environ.get("SPEECHBRAIN_CHECKOUT")
    if not checkout:
        pytest.skip("needs SPEECHBRAIN_CHECKOUT, a clone of SpeechBrain")
    recipe = Path(checkout).resolve() / "recipes" / "ESC50"
    done = subprocess.run(
        [sys.executable, "-c", program, recipe],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout == printed, done.stderr
