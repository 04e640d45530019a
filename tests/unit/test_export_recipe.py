"""An exported recipe passes SpeechBrain's rules, and trains in its checkout."""

import csv
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import speechbrain
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac import __version__
from speechbrain_lmac.checks import UserError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "ESC50"
PLACE = "recipes/ESC50/interpret/LMAC"
HEADER = (
    "Task,Dataset,Script_file,Hparam_file,Data_prep_file,Readme_file,"
    "Result_url,HF_repo,test_debug_flags,test_debug_checks\n"
)
OTHERS = "A,ESC50,recipes/ESC50/t.py,recipes/ESC50/h.yaml,,r.md,,,--debug,\n"


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "export_recipe.py"
    spec = importlib.util.spec_from_file_location("export_recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_checkout(folder):
    """The layout of SpeechBrain's repository, of the installed package."""
    (folder / "tests" / "recipes").mkdir(parents=True)
    (folder / "recipes" / "ESC50").mkdir(parents=True)
    package = Path(speechbrain.__file__).parent
    (folder / "speechbrain").symlink_to(package, target_is_directory=True)
    table = folder / "tests" / "recipes" / "ESC50.csv"
    table.write_text(HEADER + OTHERS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def checkout(tool, tmp_path_factory):
    """A checkout with the recipe ESC50 exported to it."""
    folder = make_checkout(tmp_path_factory.mktemp("speechbrain"))
    tool.export_recipe(RECIPE, folder)
    return folder


def read_table(path):
    with open(path, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def table(checkout, name="ESC50"):
    return read_table(checkout / "tests" / "recipes" / f"{name}.csv")


def ours(checkout):
    return [r for r in table(checkout) if r["Script_file"].startswith(PLACE)]


# --- where things go ---


def test_every_file_of_the_recipe_is_there(checkout):
    place = checkout / PLACE
    for pattern in ("*.py", "README.md", "hparams/*.yaml"):
        for path in RECIPE.glob(pattern):
            assert (place / path.relative_to(RECIPE)).is_file()
    requirements = (place / "extra_requirements.txt").read_text()
    assert f"speechbrain_lmac>={__version__}\n" in requirements
    assert not list(place.rglob("*.npy"))


def test_no_import_changes(checkout):
    for path in (checkout / PLACE).glob("*.py"):
        assert path.read_text().startswith((RECIPE / path.name).read_text())


def test_rows_are_merged_in_the_checkout_s_columns(checkout):
    rows = table(checkout)
    assert list(rows[0]) == HEADER.strip().split(",")
    assert rows[0]["Script_file"] == "recipes/ESC50/t.py"
    theirs = read_table(ROOT / "tests" / "recipes" / "ESC50.csv")
    files = [Path(r["Hparam_file"]).name for r in theirs]
    expected = [f"{PLACE}/hparams/{name}" for name in files]
    assert [r["Hparam_file"] for r in rows[1:]] == expected


def test_files_that_rows_name_exist(checkout):
    for row in ours(checkout):
        for column in ("Script_file", "Hparam_file", "Readme_file"):
            assert (checkout / row[column]).is_file()
        assert row["Data_prep_file"] == ""
        assert "{" not in row["test_debug_flags"]
        assert "--output_folder" not in row["test_debug_flags"]
        assert row["test_debug_checks"].startswith("file_exists=[")


def test_readme_says_what_to_install_and_links_only_inside(checkout):
    text = (checkout / PLACE / "README.md").read_text(encoding="utf-8")
    assert "pip install -r extra_requirements.txt" in text
    assert not re.findall(r"\]\(\.\./", text)


def test_every_key_is_named_in_its_script(checkout):
    # SpeechBrain's rule: a key that no later line of the file refers to
    # stands in the text of the script, or is one of its run options.
    options = set(RunOptions.__dataclass_fields__)
    for row in ours(checkout):
        script = (checkout / row["Script_file"]).read_text(encoding="utf-8")
        keys = []
        for line in (checkout / row["Hparam_file"]).read_text().splitlines():
            found = re.match(r"(\w+):", line)
            if found and "!apply" not in line:
                keys.append(found[1])
            if "!ref" in line:
                used = re.findall(r"<(\w+)", line)
                keys = [key for key in keys if key not in used]
        left = {
            key
            for key in set(keys) - options
            if f'["{key}"]' not in script and f"hparams.{key}" not in script
        }
        assert not left, row["Hparam_file"]


# --- a second time, and mistakes ---


def test_nothing_is_replaced_unless_forced(tool, checkout, capsys):
    readme = checkout / PLACE / "README.md"
    before, rows = readme.read_text(), table(checkout)
    readme.write_text("edited")
    assert tool.main([str(RECIPE), "--to", str(checkout)]) == 2
    assert "--force" in capsys.readouterr().err
    assert readme.read_text() == "edited"
    assert tool.main([str(RECIPE), "--to", str(checkout), "--force"]) == 0
    said = capsys.readouterr().out
    assert f"replaced {PLACE}/README.md" in said and "pip install" in said
    assert readme.read_text() == before
    assert table(checkout) == rows


def test_other_recipes_make_a_table_of_their_own(tool, tmp_path):
    checkout = make_checkout(tmp_path)
    tool.export_recipe(ROOT / "recipes" / "CLAP_ZS", checkout)
    flags = [row["test_debug_flags"] for row in table(checkout, "CLAP_ZS")]
    assert flags and not any("{" in text for text in flags)
    script = checkout / "tests" / "recipes" / "setup" / "CLAP_ZS_LMAC.sh"
    assert "train_clap_small.py" in script.read_text()


@pytest.mark.parametrize(
    "recipe, made, expected",
    [
        ("recipes", True, "expected a recipe"),
        ("recipes/ABSENT", True, "expected a recipe"),
        ("recipes/ESC50", False, "found no speechbrain/core.py"),
    ],
)
def test_mistakes(tool, tmp_path, recipe, made, expected):
    checkout = make_checkout(tmp_path) if made else tmp_path
    with pytest.raises(UserError, match=expected):
        tool.export_recipe(ROOT / recipe, checkout)
    assert not (checkout / PLACE).exists()


# --- it runs there ---


def run_in(checkout, *command):
    """Run with the checkout's toolkit and the package that it requires."""
    done = subprocess.run(
        command,
        cwd=checkout,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join([str(checkout), str(ROOT)]),
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def debug_run(checkout, name, **changes):
    """As SpeechBrain's own test of a row starts it and looks at it."""
    row = next(r for r in ours(checkout) if Path(r["Hparam_file"]).stem == name)
    output, flags = f"tests/tmp/{name}", row["test_debug_flags"]
    for key, value in changes.items():
        flags = re.sub(rf"--{key}=\S+", f"--{key}={value}", flags)
        assert f"--{key}={value}" in flags
    run_in(
        checkout,
        sys.executable,
        row["Script_file"],
        row["Hparam_file"],
        f"--output_folder={output}",
        *flags.split(),
        "--device=cpu",
    )
    files = re.search(r"file_exists=\[(.*?)\]", row["test_debug_checks"])[1]
    for file in files.split(","):
        assert (checkout / output / file).exists(), file
    return output


def setup_lines(checkout):
    script = checkout / "tests" / "recipes" / "setup" / "ESC50_LMAC.sh"
    return script.read_text(encoding="utf-8").splitlines()


def test_the_exported_recipe_trains(checkout):
    found = next(x for x in setup_lines(checkout) if "data.synthetic" in x)
    made = shlex.split(found.partition("|| python ")[2])
    run_in(checkout, sys.executable, *made)
    classifier = debug_run(checkout, "classifier_small")
    source = f"{classifier}/classifier"
    output = debug_run(checkout, "lmac_small", classifier_source=source)
    assert "train l_in" in (checkout / output / "log.txt").read_text()


def test_the_setup_script_makes_what_flags_name(checkout):
    run_in(checkout, "bash", "-n", "tests/recipes/setup/ESC50_LMAC.sh")
    made = {x.split()[2] for x in setup_lines(checkout) if x[:4] == "[ -e"}
    flags = " ".join(r["test_debug_flags"] for r in ours(checkout))
    assert set(re.findall(r"=(tests/tmp/LMAC/\S+)", flags)) <= made
