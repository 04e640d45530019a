"""SpeechBrain's rules for ``tests/recipes/*.csv`` and what the rows name."""

import collections
import re

import pytest
from conftest import ROOT

FILES = ("Script_file", "Hparam_file", "Data_prep_file", "Readme_file")
MANDATORY = ("Task", "Dataset", "Script_file", "Hparam_file", "Readme_file")
LINKS = ("Result_url", "HF_repo")
# Of SpeechBrain's READMEs; what lies between is each recipe's own.
HEADINGS = (
    "Installing extra dependencies",
    "How to run",
    "About SpeechBrain",
    "Citing",
)
RECIPES = sorted(path for path in (ROOT / "recipes").iterdir() if path.is_dir())


def test_every_recipe_has_a_table(rows):
    assert {path.name for path in RECIPES} == {row["Dataset"] for row in rows}


def test_every_file_of_hyperparameters_has_one_row(rows):
    listed = collections.Counter(row["Hparam_file"] for row in rows)
    found = ROOT.glob("recipes/*/hparams/*.yaml")
    assert listed == {str(path.relative_to(ROOT)): 1 for path in found}


def test_a_row_is_filled(row):
    empty = [column for column in MANDATORY if not row[column].strip()]
    assert not empty
    # Without flags SpeechBrain's own test of the recipes leaves it out.
    assert row["test_debug_flags"].strip()
    assert row["test_debug_checks"].strip()


def test_files_of_a_row_exist_in_its_recipe(row):
    for column in FILES:
        for name in row[column].split():
            assert (ROOT / name).is_file(), f"{column}: {name}"
    for column in ("Script_file", "Hparam_file", "Readme_file"):
        assert row[column].startswith(f"recipes/{row['Dataset']}/"), column


def test_the_readme_names_what_the_row_does(row):
    readme = (ROOT / row["Readme_file"]).read_text(encoding="utf-8")
    links = [link for column in LINKS for link in row[column].split()]
    for named in (*links, row["Hparam_file"].rpartition("/")[2]):
        assert named in readme, f"{row['Readme_file']} does not name {named}"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_script_says_how_it_is_run(recipe):
    for script in recipe.glob("*.py"):
        text = script.read_text(encoding="utf-8")
        assert f"> python {script.name} hparams/" in text, script.name
        assert "\nAuthors\n * " in text, script.name


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_has_requirements_and_speechbrain_s_readme(recipe):
    assert (recipe / "extra_requirements.txt").is_file()
    text = (recipe / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert [name for name in headings if name in HEADINGS] == [*HEADINGS]
