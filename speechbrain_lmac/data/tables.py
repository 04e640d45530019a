"""Reading the tables of data sets, as people save them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

DELIMITERS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*\n', re.I)  # as Excel writes it
SPARE = ["spare 1", "spare 2"]  # columns that a table may have by mistake
ADVICE = "save it as CSV in UTF-8, texts with separators in double quotes"


def read_table(
    path: str | Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    r"""Read a table of a data set: all values as str, names in lower case.

    Commas, semicolons, tabs or bars between the fields; UTF-8, UTF-16 or, with
    a warning, Latin-1. Blanks around fields and empty rows do not count. Each
    row needs a value in each of ``columns``, and in those of ``optional``
    that the table has.

    >>> path = getfixture("tmpdir") / "meta.csv"
    >>> path.write('File;Caption\na.wav;"rain; and wind"\n')
    >>> read_table(path, ["file", "caption"]).caption.tolist()
    ['rain; and wind']
    """
    text = _read_text(path)
    mark = SEPARATOR_LINE.match(text)
    text = text[mark.end() :] if mark else text
    delimiters = (mark[1],) if mark else DELIMITERS
    line, _, body = text.lstrip("\n").partition("\n")
    delimiter, header = _read_header(path, line, delimiters, columns)
    try:
        table = pd.read_csv(
            io.StringIO(body),
            sep=delimiter,
            names=[*header, *SPARE],
            dtype=str,
            keep_default_na=False,
            index_col=False,
            skipinitialspace=True,
        )
    except ValueError as err:  # pandas' own errors are such
        raise UserError(
            f"{path}: expected a table, but it cannot be read ({err}); {ADVICE}"
        ) from err
    table = table.fillna("").map(str.strip)  # rows of fewer fields
    longer = (table[SPARE] != "").any(axis=1)  # a trailing comma is none
    if longer.any():
        raise UserError(
            f"{path}, data row {int(longer.argmax()) + 1}: has more fields "
            f"than the header; {ADVICE}"
        )
    table = table.drop(columns=SPARE)
    table = table[(table != "").any(axis=1)].reset_index(drop=True)
    if table.empty:
        raise UserError(f"{path}: expected rows below the header, found none.")
    needed = [*columns, *(name for name in optional if name in table)]
    blank = table[needed] == ""
    if blank.to_numpy().any():
        row = int(blank.any(axis=1).to_numpy().argmax())
        raise UserError(
            f"{path}, data row {row + 1}: the column "
            f"{blank.columns[blank.iloc[row]][0]} is empty; fill it or remove "
            "the row."
        )
    return table


def _read_text(path):
    try:
        data = Path(path).read_bytes()
    except OSError as err:
        raise UserError(
            f"{path}: expected a table, but it cannot be read "
            f"({err.strerror}); check the path."
        ) from err
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1" if not marked else "utf-16", "replace")
        logger.warning(
            "%s is not in UTF-8 and is read as Latin-1; if letters come out "
            "wrong, save it as UTF-8",
            path,
        )
    if "\0" in text:  # a spreadsheet, or UTF-16 that does not say so
        raise UserError(f"{path}: expected a table as text; {ADVICE}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_header(path, line, delimiters, columns):
    """What separates the columns that are needed, and the names of all."""
    best: list[str] = []
    for delimiter in delimiters:
        names: list[str] = []
        for name in next(csv.reader([line], delimiter=delimiter), []):
            name = name.strip().lower()
            used = not name or name in names
            names.append(f"column {len(names)}" if used else name)
        if set(columns) <= set(names):
            return delimiter, names
        best = max(best, names, key=len)
    missing = [name for name in columns if name not in best]
    raise UserError(
        f"{path}: expected the columns {', '.join(columns)}; missing: "
        f"{', '.join(missing)}; found: {', '.join(best) or 'none'}."
    )


def check_layout(root: Path, parts: Sequence[str], what: str) -> None:
    """Refuse a data folder that lacks a part of its layout."""
    for part in parts:
        if not (root / part).exists():
            raise UserError(
                f"{root}: expected the layout of {what}, but {part} is "
                "missing; give the folder that holds it as `data_folder`."
            )
