"""What is installed: names, versions, bounds and declared imports."""

import ast
import importlib.metadata
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import speechbrain_lmac

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "speechbrain_lmac"
# Names of distributions that differ from what is imported.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "laion_clap": "laion-clap",
    "ruamel": "ruamel.yaml",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
}


@pytest.fixture(scope="module")
def metadata():
    """Arguments of ``setup`` in setup.py."""
    caught = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            setuptools, "setup", lambda **kwargs: caught.update(kwargs)
        )
        patch.chdir(ROOT)
        runpy.run_path(str(ROOT / "setup.py"))
    return caught


def requirements(lines):
    parsed = map(Requirement, lines)
    return {requirement.name: requirement for requirement in parsed}


def test_name_and_version_agree_everywhere(metadata):
    version = speechbrain_lmac.__version__
    assert metadata["name"] == "speechbrain_lmac"
    assert metadata["version"] == version
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[(.+?)\]", changelog, re.M).group(1) == version


def test_license_is_apache(metadata):
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert metadata["license"] == "Apache-2.0"


def test_python_versions(metadata):
    allowed = SpecifierSet(metadata["python_requires"])
    assert [f"3.{minor}" in allowed for minor in range(9, 15)] == [
        *[False] + [True] * 4 + [False]
    ]


def test_torch_and_torchaudio_are_pairs_that_work(metadata):
    needed = requirements(metadata["install_requires"])
    torch, audio = needed["torch"].specifier, needed["torchaudio"].specifier
    # A local build such as 2.11.0+cpu counts as 2.11.0.
    for version in ("2.8.0", "2.11.0", "2.11.0+cpu", "2.13.0", "2.15.0"):
        assert torch.contains(version), version
    assert not torch.contains("2.12.1")
    assert audio.contains("2.11.0") and audio.contains("2.11.1")


@pytest.mark.parametrize(
    "torch, audio, works",
    [
        ("2.8.0", "2.8.0", True),
        ("2.11.0+cu130", "2.11.0+cu130", True),
        ("2.11.0", "2.11.1", False),
        ("2.12.1+cpu", "2.11.1+cu132", False),
        ("2.13.0+cpu", "2.11.1", True),
        ("2.15.0", "2.11.1", True),
    ],
)
def test_a_pair_that_does_not_load_is_named(monkeypatch, torch, audio, works):
    versions = {"torch": torch, "torchaudio": audio}
    monkeypatch.setattr(importlib.metadata, "version", versions.get)
    if works:
        speechbrain_lmac._check_torchaudio()
        return
    with pytest.raises(ImportError, match="pip install torchaudio==2.11.0"):
        speechbrain_lmac._check_torchaudio()


def test_every_folder_with_code_is_installed(metadata):
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    names = {".".join(path.relative_to(ROOT).parts) for path in folders}
    assert set(metadata["packages"]) == names


def imported_names():
    """Top-level names that the package imports, with one file of each."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            found.update((name.split(".")[0], path.name) for name in names)
    return found


def test_every_import_is_declared(metadata):
    extras = metadata["extras_require"]
    optional = [
        line for name in extras if name != "dev" for line in extras[name]
    ]
    declared = {*requirements(metadata["install_requires"] + optional)}
    known = {*sys.stdlib_module_names, "speechbrain_lmac"}
    missing = {
        name: file
        for name, file in imported_names().items()
        if name not in known and DISTRIBUTIONS.get(name, name) not in declared
    }
    assert missing == {}


def test_every_requirement_is_imported(metadata):
    """A requirement that nothing imports is a needless installation."""
    used = {DISTRIBUTIONS.get(name, name) for name in imported_names()}
    assert {*requirements(metadata["install_requires"])} - used == set()


def test_import_is_quiet_and_light():
    code = (
        "import sys, speechbrain_lmac; "
        "sys.exit(bool({'torch', 'speechbrain'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
