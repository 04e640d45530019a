"""An exported recipe passes SpeechBrain's rules, and trains in its checkout."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import export_recipe as tool
import pytest
import speechbrain
from export_recipe import read_rows
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.utils.checks import UserError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "ESC50"
PACKAGE = "git+https://github.com/OWNER/speechbrain_lmac"
RECIPES = ("ESC50", "UrbanSound8k", "CLAP_ZS")
PLACE = "recipes/ESC50/interpret/LMAC"
HEADER = (
    "Task,Dataset,Script_file,Hparam_file,Data_prep_file,Readme_file,"
    "Result_url,HF_repo,test_debug_flags,test_debug_checks\n"
)
# As some of SpeechBrain's tables are written: blanks, and quotes for nothing.
OTHERS = 'A, ESC50,recipes/ESC50/t.py,recipes/ESC50/h.yaml,,"r.md",,,--debug,\n'


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
def checkout(tmp_path_factory):
    """A checkout with all recipes exported to it."""
    folder = make_checkout(tmp_path_factory.mktemp("speechbrain"))
    for name in RECIPES:
        tool.export_recipe(ROOT / "recipes" / name, folder, PACKAGE)
    return folder


def table(checkout, name="ESC50"):
    return read_rows(checkout / "tests" / "recipes" / f"{name}.csv")


def ours(checkout, names=RECIPES):
    return [
        row
        for name in names
        for row in table(checkout, name)
        if f"recipes/{name}/interpret/LMAC/" in row["Script_file"]
    ]


def our_row(checkout, dataset, name):
    rows = ours(checkout, [dataset])
    return next(r for r in rows if Path(r["Hparam_file"]).stem == name)


# --- where things go ---


def test_every_file_of_the_recipe_is_there(checkout):
    place = checkout / PLACE
    for pattern in ("*.py", "README.md", "hparams/*.yaml"):
        for path in RECIPE.glob(pattern):
            assert (place / path.relative_to(RECIPE)).is_file()
    requirements = (place / "extra_requirements.txt").read_text()
    assert f"{PACKAGE}\n" in requirements
    assert not list(place.rglob("*.npy"))


def test_scripts_change_in_the_order_of_imports_alone(checkout):
    for path in (checkout / PLACE).glob("*.py"):
        before = (RECIPE / path.name).read_text()
        lines = set(path.read_text().splitlines())
        assert set(before.splitlines()) <= lines


def test_scripts_of_other_recipes_are_found(checkout):
    script = checkout / PLACE.replace("ESC50", "UrbanSound8k")
    text = (script / "cross_validation.py").read_text(encoding="utf-8")
    assert 'parents[3] / "ESC50" / "interpret" / "LMAC"' in text
    assert (script.parents[2] / "ESC50/interpret/LMAC/train_lmac.py").is_file()


def test_rows_are_merged_in_the_checkout_s_columns(checkout):
    rows = table(checkout)
    assert list(rows[0]) == HEADER.strip().split(",")
    path = checkout / "tests" / "recipes" / "ESC50.csv"
    assert path.read_text(encoding="utf-8").startswith(HEADER + OTHERS)
    theirs = read_rows(ROOT / "tests" / "recipes" / "ESC50.csv")
    files = [Path(r["Hparam_file"]).name for r in theirs]
    expected = [f"{PLACE}/hparams/{name}" for name in files]
    assert [r["Hparam_file"] for r in rows[1:]] == expected


def test_lines_end_as_in_the_checkout_s_table():
    row = {"Hparam_file": "a", "test_debug_flags": "b"}
    table = "Hparam_file,test_debug_flags\r\nc,d"
    assert tool.append_rows(table, [row]) == table + "\r\na,b\r\n"


def keys(flags):
    return [flag.partition("=")[0] for flag in flags]


@pytest.mark.parametrize("name", RECIPES)
def test_no_debug_flag_is_lost(checkout, name):
    theirs = read_rows(ROOT / "tests" / "recipes" / f"{name}.csv")
    for row, own in zip(ours(checkout, [name]), theirs, strict=True):
        flags = shlex.split(row["test_debug_flags"])  # as a shell does
        given = own["test_debug_flags"].split()
        given.remove("--output_folder={output_folder}")
        assert keys(flags) == keys(given), row["Hparam_file"]
        for flag, source in zip(flags, given, strict=True):
            if "{{" in source:  # values in braces of their own
                assert flag == source.format(), row["Hparam_file"]


def test_a_flag_that_nothing_makes_is_refused():
    row = read_rows(ROOT / "tests" / "recipes" / "ESC50.csv")[0]
    row["test_debug_flags"] += " --pretrained={published}"
    with pytest.raises(UserError, match="--pretrained=.* needs published"):
        tool.adapt_row(row, "ESC50", Path(PLACE))


def test_files_that_rows_name_exist(checkout):
    for row in ours(checkout):
        for column in ("Script_file", "Hparam_file", "Readme_file"):
            assert (checkout / row[column]).is_file()
        assert row["Data_prep_file"] == ""
        assert not re.search(r"\{\w+\}", row["test_debug_flags"])
        assert "--output_folder" not in row["test_debug_flags"]
        assert row["test_debug_checks"].startswith("file_exists=[")


@pytest.mark.parametrize("name", RECIPES)
def test_readme_says_what_to_install_and_links_only_inside(checkout, name):
    place = checkout / PLACE.replace("ESC50", name)
    text = (place / "README.md").read_text(encoding="utf-8")
    assert len(re.findall("^## install", text, re.M | re.I)) == 1
    assert "pip install -r extra_requirements.txt" in text
    assert not re.findall(r"\]\(\.\./", text)


def unused_keys(hparams, script):
    """Keys that SpeechBrain's check of YAML against script would miss.

    A twin of ``tests/utils/check_yaml.py``: a key that no later line of the
    YAML file refers to stands in the script, or is a run option. Lines with
    braces in brackets are taken for patterns of keys, whatever they are.
    """
    keys = []
    for line in hparams.splitlines():
        if line[:1] == "#" or "parameter_transfer.Pretrainer" in line:
            continue
        key = re.match(r"[^\s:]+(?=.*:)", line)
        if key and "!!" not in line and "!apply" not in line:
            keys.append(line[: line.find(":")])
        if "!ref" in line:
            used = re.findall(r"<([^>\[]*)", line)
            keys = [key for key in keys if key not in used]
    named = set()
    for line in script.splitlines():
        pattern = re.search(r"\[.(.*){}(.*).\]", line)
        for key in keys:
            forms = (f'["{key}"]', f"hparams.{key}", f"modules.{key}")
            forms += (f'attr(self.hparams, "{key}', f'hparams.get("{key}')
            if any(form in line for form in forms):
                named.add(key)
            if pattern is not None:
                match = re.search(f"{pattern[1]}.*{pattern[2]}", key)
                named.update({key} if match and match[0] == key else ())
    return set(keys) - named - set(RunOptions.__dataclass_fields__)


def test_every_key_is_named_in_its_script(checkout):
    for row in ours(checkout):
        script = (checkout / row["Script_file"]).read_text(encoding="utf-8")
        hparams = (checkout / row["Hparam_file"]).read_text(encoding="utf-8")
        assert not unused_keys(hparams, script), row["Hparam_file"]


def test_the_rules_of_the_check():
    hparams = "rate: 2\nlate: !ref <rate>\nf: !apply:x\nm0_a: 3\n"
    assert unused_keys(hparams, "") == {"late", "m0_a"}
    assert unused_keys(hparams, "self.hparams.late") == {"m0_a"}
    assert unused_keys(hparams, "x['m{}_a']") == {"late"}
    # Such a line in a script ends the whole check.
    with pytest.raises(re.error):
        unused_keys(hparams, 'f(["a sound"], ["{}"])')


# --- a second time, and mistakes ---


def test_nothing_is_replaced_unless_forced(checkout, capsys):
    readme = checkout / PLACE / "README.md"
    before, rows = readme.read_text(), table(checkout)
    readme.write_text("edited")
    argv = [str(RECIPE), "--to", str(checkout), "--package", PACKAGE]
    assert tool.main(argv) == 2
    assert "--force" in capsys.readouterr().err
    assert readme.read_text() == "edited"
    assert tool.main([*argv, "--force"]) == 0
    assert f"replaced {PLACE}/README.md" in capsys.readouterr().out
    assert readme.read_text() == before
    assert table(checkout) == rows


def test_a_recipe_without_a_table_there_gets_one(checkout):
    rows = table(checkout, "CLAP_ZS")
    assert len(rows) == len(ours(checkout, ["CLAP_ZS"]))


@pytest.mark.parametrize(
    "recipe, made", [("recipes", True), ("recipes/ESC50", False)]
)
def test_mistakes(tmp_path, recipe, made):
    checkout = make_checkout(tmp_path) if made else tmp_path
    with pytest.raises(UserError):
        tool.export_recipe(ROOT / recipe, checkout, PACKAGE)
    assert not (checkout / PLACE).exists()


# --- it runs there ---


@pytest.fixture(scope="module")
def run_in(checkout):
    """Runs a line in a shell, with the checkout's toolkit and our package."""

    def run(line):
        done = subprocess.run(
            line,
            shell=True,  # as SpeechBrain's own test of a row
            cwd=checkout,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join([str(checkout), str(ROOT)]),
            },
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "dataset, name",
    [
        ("ESC50", "classifier_focalnet"),
        ("UrbanSound8k", "cross_validation"),
        ("CLAP_ZS", "lmac_zs_clap"),
    ],
)
def test_what_rows_need_is_made_and_a_row_runs(checkout, run_in, dataset, name):
    run_in(f"bash tests/recipes/setup/{dataset}_LMAC.sh")
    row = our_row(checkout, dataset, name)
    flags, output = row["test_debug_flags"], f"tests/tmp/{dataset}_{name}"
    run_in(
        f"python {row['Script_file']} {row['Hparam_file']} "
        f"--output_folder={output} {flags} --device=cpu"
    )
    files = re.search(r"file_exists=\[(.*?)\]", row["test_debug_checks"])[1]
    for file in files.split(","):
        assert (checkout / output / file).exists(), file


def test_the_setup_scripts_make_what_flags_name(checkout):
    for name in RECIPES:
        script = checkout / "tests" / "recipes" / "setup" / f"{name}_LMAC.sh"
        lines = script.read_text(encoding="utf-8").splitlines()
        made = {line.split()[2] for line in lines if line[:4] == "[ -e"}
        rows = ours(checkout, [name])
        flags = " ".join(row["test_debug_flags"] for row in rows)
        named = set(re.findall(rf"=(tests/tmp/LMAC/{name}/\S+)", flags))
        assert {path.partition("/audio/")[0] for path in named} <= made
