"""Put a recipe of this project into a checkout of SpeechBrain.

    python tools/export_recipe.py recipes/ESC50 --to ~/speechbrain

Scripts, hyperparameters and README go to ``recipes/<Dataset>/interpret/LMAC``
(SpeechBrain's order: data set, task, method), the rows of the recipe's table
into ``tests/recipes/<Dataset>.csv``, and what those rows need, trained things
and sounds, is made by ``tests/recipes/setup/<Dataset>_LMAC.sh``.

No import changes: the library stays a package of its own, which the recipe
requires (``extra_requirements.txt``), as SpeechBrain's recipes do with what
is not part of the toolkit. Copying the modules that a recipe uses into
``speechbrain/`` would copy most of the package.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import csv
import io
import re
import shlex
import sys
from pathlib import Path

from recipe_setup import places_of, setup_script

import speechbrain_lmac
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import read_tree

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path("interpret") / "LMAC"
LEAD = "# Read by speechbrain_lmac, not by this script:"
REQUIREMENT = f"speechbrain_lmac>={speechbrain_lmac.__version__}"
INSTALL = """## Installing Extra Dependencies

The library of this recipe is a package of its own:

```
pip install -r extra_requirements.txt
```

"""


def export_recipe(recipe, checkout, force=False):
    """Put a recipe into a checkout of SpeechBrain.

    Arguments
    ---------
    recipe : str or pathlib.Path
        Such as ``recipes/ESC50``.
    checkout : str or pathlib.Path
        The folder that holds ``speechbrain/``, ``recipes/`` and ``tests/``.
    force : bool
        Whether files of an earlier export may be replaced.

    Returns
    -------
    list of str
        What was done, a line each.

    Raises
    ------
    UserError
        If there is no such recipe or checkout, a row's flags name what cannot
        be made there, or a file is there already.
    """
    recipe, checkout = Path(recipe).resolve(), Path(checkout).resolve()
    rows = own_rows(recipe)
    check_checkout(checkout)
    place = Path("recipes") / recipe.name / PLACE
    files = {
        **recipe_files(recipe, place, rows),
        **table_files(recipe.name, rows, place, checkout),
    }
    table = Path("tests") / "recipes" / f"{recipe.name}.csv"
    found = [path for path in files if (checkout / path).exists()]
    taken = [path for path in found if path != table]
    if taken and not force:
        raise UserError(
            f"{checkout} has {len(taken)} of the files already, such as "
            f"{taken[0]}; add --force to replace them."
        )
    done = []
    for path, text in files.items():
        target = checkout / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")
        done.append(f"{'replaced' if path in found else 'wrote'} {path}")
    return done


def own_rows(recipe):
    """Rows of the recipe's own table."""
    table = recipe.parents[1] / "tests" / "recipes" / f"{recipe.name}.csv"
    if not (recipe / "hparams").is_dir() or not table.is_file():
        raise UserError(
            f"{recipe}: expected a recipe, a folder with hparams/ and a table "
            f"{table}; name one such as recipes/ESC50."
        )
    return read_rows(table)


def check_checkout(checkout):
    """Refuse a folder that is no checkout of SpeechBrain."""
    needed = ("speechbrain/core.py", "recipes", "tests")
    missing = [name for name in needed if not (checkout / name).exists()]
    if missing:
        raise UserError(
            f"{checkout}: expected a checkout of SpeechBrain, found no "
            f"{missing[0]} in it. Get one by "
            "git clone https://github.com/speechbrain/speechbrain."
        )


def read_rows(path):
    """Rows of a table of recipes."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


def recipe_files(recipe, place, rows):
    """Scripts, hyperparameters, README and requirements.

    Arguments
    ---------
    recipe : pathlib.Path
        The recipe's folder.
    place : pathlib.Path
        Where it goes, relative to the checkout.
    rows : list of dict
        Which script reads which hyperparameters.

    Returns
    -------
    dict of pathlib.Path to str
        Texts by their paths in the checkout.
    """
    files = {}
    for script in sorted(recipe.glob("*.py")):
        mine = (r for r in rows if Path(r["Script_file"]).name == script.name)
        names = [Path(row["Hparam_file"]).name for row in mine]
        keys = (open_keys(recipe / "hparams" / name) for name in names)
        text = script.read_text(encoding="utf-8")
        files[place / script.name] = name_keys(text, set().union(*keys))
    for path in sorted(recipe.glob("hparams/*.yaml")):
        text = path.read_text(encoding="utf-8")
        files[place / "hparams" / path.name] = text
    readme = (recipe / "README.md").read_text(encoding="utf-8")
    files[place / "README.md"] = adapt_readme(readme)
    extra = recipe / "extra_requirements.txt"
    own = extra.read_text(encoding="utf-8") if extra.is_file() else ""
    needed = [line for line in own.splitlines() if line[:1] not in ("", "#")]
    needed = sorted({*needed, REQUIREMENT}, key=str.lower)
    files[place / extra.name] = "\n".join(needed) + "\n"
    return files


def open_keys(path):
    """Keys of a YAML file that no other value of it refers to."""
    text = path.read_text(encoding="utf-8")
    used = set(re.findall(r"<(\w+)", " ".join(re.findall(r"!ref.*", text))))
    return {k for k in read_tree(path) if k not in used and k[:2] != "__"}


def name_keys(script, keys):
    r"""Say in a script which hyperparameters its library reads.

    SpeechBrain's consistency check looks for each key of a YAML file in the
    text of its script.

    Arguments
    ---------
    script : str
        The script's text.
    keys : set of str
        Of its YAML files.

    Returns
    -------
    str
        The text, with a comment of the keys that it does not name itself.

    Example
    -------
    >>> print(name_keys("import sys\nhparams['x'], hparams.seed\n",
    ...     {"lr", "seed"}))
    import sys
    hparams['x'], hparams.seed
    <BLANKLINE>
    # Read by speechbrain_lmac, not by this script:
    # hparams.lr
    <BLANKLINE>
    """
    left = [
        f"# hparams.{key}"
        for key in sorted(keys)
        if f'["{key}"]' not in script and f"hparams.{key}" not in script
    ]
    if not left:
        return script
    return "\n".join([script, LEAD, *left]) + "\n"


def adapt_readme(text):
    r"""Tell what to install; links out of the recipe become plain text.

    Arguments
    ---------
    text : str
        The recipe's README.

    Returns
    -------
    str

    Example
    -------
    >>> text = "# A\n\n## Installing extra dependencies\n\nNone\n\n## Citing\n"
    >>> re.findall("## .*|None", adapt_readme(text))
    ['## Installing Extra Dependencies', '## Citing']
    """
    text = re.sub(r"\[([^]]+)\]\(\.\./[^)]*\)", r"\1", text)
    own = r"^## Installing extra dependencies\n.*?(?=^## |\Z)"
    text = re.sub(own, "", text, flags=re.M | re.S | re.I)
    heading = re.search(r"^## ", text, re.M)
    start = heading.start() if heading else len(text)
    return text[:start] + INSTALL + text[start:]


def table_files(dataset, rows, place, checkout):
    """The table with our rows, and the scripts that make what these need."""
    table = Path("tests") / "recipes" / f"{dataset}.csv"
    text = ",".join(rows[0]) + "\n"
    if (checkout / table).is_file():
        with open(checkout / table, encoding="utf-8", newline="") as file:
            text = file.read()
    adapted = [adapt_row(row, dataset, place) for row in rows]
    setup = Path("tests") / "recipes" / "setup" / f"{dataset}_LMAC.sh"
    models = setup.with_suffix(".py")
    flags = " ".join(row["test_debug_flags"] for row in rows)
    script = setup_script(flags, dataset, place, models)
    files = {table: append_rows(text, adapted), setup: script}
    if models.as_posix() in script:
        source = Path(__file__).with_name("recipe_models.py")
        files[models] = source.read_text(encoding="utf-8")
    return files


def append_rows(text, rows):
    r"""Add rows to a table, whose own lines stay as they are.

    Arguments
    ---------
    text : str
        The table. Rows of an earlier export, of the same hyperparameters,
        are left out.
    rows : list of dict
        In its columns; values of others are left out.

    Returns
    -------
    str

    Example
    -------
    >>> append_rows("Hparam_file, b\na, 1\nc, 2\n", [{"Hparam_file": "a"}])
    'Hparam_file, b\nc, 2\na,\n'
    """
    ours = {row["Hparam_file"] for row in rows}
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.DictReader(lines, skipinitialspace=True)
    columns, start = reader.fieldnames, reader.line_num
    kept = lines[:start]
    for row in reader:
        if row["Hparam_file"] not in ours:
            kept += lines[start : reader.line_num]
        start = reader.line_num
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    if not kept[-1].endswith(("\n", "\r")):
        kept.append(end)
    added = io.StringIO(newline="")
    writer = csv.DictWriter(
        added, columns, extrasaction="ignore", lineterminator=end
    )
    writer.writerows(rows)
    return "".join(kept) + added.getvalue()


def adapt_row(row, dataset, place):
    """A row of ours with the paths, flags and checks of a checkout.

    Arguments
    ---------
    row : dict
        Of our table.
    dataset : str
        The recipe's name.
    place : pathlib.Path
        Of the recipe, relative to the checkout.

    Returns
    -------
    dict
        The data preparation, part of the package, is left empty.
        ``--output_folder`` is left out of the flags: SpeechBrain's test of
        the rows gives it. The others are quoted for a shell, as that test
        passes them to one.

    Raises
    ------
    UserError
        If a flag names what the setup script does not make.
    """
    row = {**row, "Data_prep_file": ""}
    for column in ("Script_file", "Hparam_file", "Readme_file"):
        inside = Path(row[column]).relative_to(f"recipes/{dataset}")
        row[column] = (place / inside).as_posix()
    flags, places = [], places_of(dataset)
    for flag in row["test_debug_flags"].split():
        named = set(re.findall(r"\{(\w+)\}", flag))
        if named == {"output_folder"}:
            continue
        if not named <= places.keys():
            missing = ", ".join(sorted(named - places.keys()))
            raise UserError(
                f"{row['Hparam_file']}: the debug flag {flag} needs {missing}, "
                f"which nothing makes; expected one of {', '.join(places)}. "
                "Add how it is made to MADE_BY in tools/recipe_setup.py."
            )
        flags.append(shlex.quote(flag.format(**places)))
    row["test_debug_flags"] = " ".join(flags)
    files = re.search(r"file_exists=\[.*?\]", row["test_debug_checks"])
    row["test_debug_checks"] = files[0] if files else ""
    return row


def main(arguments=None):
    """Command line: export, and print what was done.

    Arguments
    ---------
    arguments : list of str or None
        The command line without the program's name; None takes the process's.

    Returns
    -------
    int
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="such as recipes/ESC50")
    parser.add_argument("--to", required=True, help="checkout of SpeechBrain")
    parser.add_argument(
        "--force", action="store_true", help="replace files of an export"
    )
    options = parser.parse_args(arguments)
    try:
        done = export_recipe(options.recipe, options.to, options.force)
    except UserError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    dataset = Path(options.recipe).resolve().name
    print("\n".join(done))
    print(
        f"Now, in {options.to}:\n"
        f"  pip install -r recipes/{dataset}/{PLACE}/extra_requirements.txt\n"
        f"  bash tests/recipes/setup/{dataset}_LMAC.sh\n"
        "  pytest tests/consistency\n"
        "(speechbrain_lmac is installed from this folder until an index has "
        f"it: pip install {ROOT})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
