"""Put a recipe of this project into a checkout of SpeechBrain.

    python tools/export_recipe.py recipes/ESC50 --to ~/speechbrain \
        --package git+https://github.com/OWNER/speechbrain_lmac

Scripts, hyperparameters and README go to ``recipes/<Dataset>/interpret/LMAC``
(SpeechBrain's order: data set, task, method), the rows of the recipe's table
into ``tests/recipes/<Dataset>.csv``, and what those rows need, trained things
and sounds, is made by ``tests/recipes/setup/<Dataset>_LMAC.sh``.

Imports are sorted anew, as in the checkout its own package comes last, and
nothing else changes: the library stays a package of its own, which the recipe
requires (``extra_requirements.txt``), as SpeechBrain's recipes do with what
is not part of the toolkit.

Authors
 * The speechbrain_lmac authors 2026
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

from recipe_setup import places_of, setup_script

from speechbrain_lmac.utils.checks import UserError

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path("interpret") / "LMAC"
INSTALL = """## Installing Extra Dependencies

The library of this recipe is a package of its own:

```
pip install -r extra_requirements.txt
```

"""
Row = dict[str, str]


def export_recipe(
    recipe: str | Path,
    checkout: str | Path,
    package: str,
    force: bool = False,
) -> list[str]:
    """Put a recipe into a checkout of SpeechBrain.

    Arguments
    ---------
    recipe : str or pathlib.Path
        Such as ``recipes/ESC50``.
    checkout : str or pathlib.Path
        The folder that holds ``speechbrain/``, ``recipes/`` and ``tests/``.
    package : str
        What pip installs the library from: a requirement, such as
        ``git+https://github.com/OWNER/speechbrain_lmac``.
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
    table = ROOT / "tests" / "recipes" / f"{recipe.name}.csv"
    if not (recipe / "hparams").is_dir() or not table.is_file():
        raise UserError(f"{recipe}: expected a recipe, such as recipes/ESC50.")
    if not (checkout / "speechbrain" / "core.py").is_file():
        raise UserError(f"{checkout}: expected a checkout of SpeechBrain.")
    rows = read_rows(table)
    place = Path("recipes") / recipe.name / PLACE
    files = {
        **recipe_files(recipe, place, package),
        **table_files(recipe.name, rows, place, checkout),
    }
    shared = Path("tests") / "recipes" / table.name
    there = [path for path in files if (checkout / path).exists()]
    taken = [path for path in there if path != shared]
    if taken and not force:
        raise UserError(
            f"{checkout} has {len(taken)} of the files already, such as "
            f"{taken[0]}; add --force to replace them."
        )
    for path, text in files.items():
        target = checkout / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")
    scripts = [str(path) for path in files if path.suffix == ".py"]
    sort = [sys.executable, "-m", "ruff", "check", "-q", "--fix", "--select=I"]
    subprocess.run([*sort, *scripts], cwd=checkout, check=True)
    return [
        f"{'replaced' if path in there else 'wrote'} {path}" for path in files
    ]


def read_rows(path: Path) -> list[Row]:
    """Rows of a table of recipes."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


def recipe_files(recipe: Path, place: Path, package: str) -> dict[Path, str]:
    """Texts of a recipe's own files by their paths in the checkout."""
    sources = [*recipe.glob("*.py"), *recipe.glob("hparams/*.yaml")]
    files = {
        place / path.relative_to(recipe): path.read_text(encoding="utf-8")
        for path in sorted(sources)
    }
    for path, text in files.items():
        # Another recipe's scripts lie two folders deeper there.
        other = r'parents[3] / "\1" / "interpret" / "LMAC"'
        files[path] = re.sub(r'parents\[1\] / "(\w+)"', other, text)
    readme = (recipe / "README.md").read_text(encoding="utf-8")
    files[place / "README.md"] = adapt_readme(readme)
    extra = recipe / "extra_requirements.txt"
    lines = extra.read_text(encoding="utf-8").splitlines()
    needed = {package, *(line for line in lines if line[:1] not in ("", "#"))}
    text = "\n".join(sorted(needed, key=str.lower)) + "\n"
    return {**files, place / extra.name: text}


def adapt_readme(text: str) -> str:
    r"""Tell what to install; links out of the recipe become plain text.

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


def table_files(
    dataset: str, rows: list[Row], place: Path, checkout: Path
) -> dict[Path, str]:
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


def append_rows(text: str, rows: list[Row]) -> str:
    r"""Add rows to a table, whose own lines stay as they are.

    Rows of an earlier export, of the same hyperparameters, are left out, and
    so are values for which the table has no column.

    >>> append_rows("Hparam_file, b\na, 1\nc, 2\n", [{"Hparam_file": "a"}])
    'Hparam_file, b\nc, 2\na,\n'
    """
    ours = {row["Hparam_file"] for row in rows}
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.DictReader(lines, skipinitialspace=True)
    columns, start = reader.fieldnames or (), reader.line_num
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


def adapt_row(row: Row, dataset: str, place: Path) -> Row:
    """A row of ours with the paths, flags and checks of a checkout.

    The data preparation, part of the package, is left empty, and
    ``--output_folder`` is left out of the flags: SpeechBrain's test of the
    rows gives it. The others are quoted for a shell, as that test passes them
    to one. UserError if a flag names what the setup script does not make.
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
                "which nothing makes; add how it is made to MADE_BY in "
                "tools/recipe_setup.py."
            )
        flags.append(shlex.quote(flag.format(**places)))
    row["test_debug_flags"] = " ".join(flags)
    files = re.search(r"file_exists=\[.*?\]", row["test_debug_checks"])
    row["test_debug_checks"] = files[0] if files else ""
    return row


def main(arguments: list[str] | None = None) -> int:
    """Export, print what was done, and return 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="such as recipes/ESC50")
    parser.add_argument("--to", required=True, help="checkout of SpeechBrain")
    parser.add_argument(
        "--package",
        required=True,
        metavar="REQUIREMENT",
        help="what pip installs the library from, such as "
        "git+https://github.com/OWNER/speechbrain_lmac",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace files of an export"
    )
    options = parser.parse_args(arguments)
    try:
        done = export_recipe(
            options.recipe, options.to, options.package, options.force
        )
    except UserError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    dataset = Path(options.recipe).resolve().name
    print("\n".join(done))
    print(
        f"Now, in {options.to}:\n"
        f"  pip install -r recipes/{dataset}/{PLACE}/extra_requirements.txt\n"
        f"  bash tests/recipes/setup/{dataset}_LMAC.sh\n"
        "  pytest tests/consistency"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
