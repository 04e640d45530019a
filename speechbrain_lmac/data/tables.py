"""Reading a metadata table, and checking the choice of classes and folds.

A reader (ESC-50, UrbanSound8k, ...) makes a table with one row a clip:

============  =======================================================
column        meaning
============  =======================================================
clip_id       unique name of the clip, the key of the manifests
wav           path of the file relative to the data folder
class_string  name of the class
fold          number of the fold, int
============  =======================================================
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from speechbrain_lmac.utils.checks import UserError


def read_metadata(path, columns):
    r"""Read a metadata CSV file and check that it has the needed columns.

    Arguments
    ---------
    path : str | pathlib.Path
        The CSV file.
    columns : sequence of str
        The columns that must be there. Others are kept.

    Returns
    -------
    pandas.DataFrame
        All values as str; nothing is taken for a missing value.

    Raises
    ------
    UserError
        If the file cannot be parsed, has no row, or lacks a column or a
        value in one of `columns`.

    Example
    -------
    >>> path = getfixture("tmpdir") / "meta.csv"
    >>> path.write("filename,fold\na.wav,1\n")
    >>> read_metadata(path, ["filename"]).fold.tolist()
    ['1']
    """
    try:
        with warnings.catch_warnings():
            # Rows of more fields than the header would lose the last ones.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path, dtype=str, keep_default_na=False, index_col=False
            ).fillna("")  # rows of fewer fields
    # Pandas' own errors are ValueErrors.
    except (ValueError, OSError, pd.errors.ParserWarning) as err:
        raise UserError(
            f"{path}: expected a comma-separated table, but it cannot be "
            f"read ({err}). Get the file again."
        ) from err
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(
            f"{path}: expected the columns {', '.join(columns)}; missing: "
            f"{', '.join(missing)}; found: {', '.join(table.columns)}."
        )
    if table.empty:
        raise UserError(f"{path}: expected one row a clip, found no row.")
    blank = table[list(columns)].apply(lambda column: column.str.strip() == "")
    if blank.to_numpy().any():
        row = int(blank.any(axis=1).to_numpy().argmax())
        raise UserError(
            f"{path}: expected a value in the column "
            f"{blank.columns[blank.iloc[row]][0]} of data row {row + 1}, "
            "found none."
        )
    return table


def select_classes(table, classes):
    """Keep the rows of the chosen classes.

    Arguments
    ---------
    table : pandas.DataFrame
        Rows with a column class_string.
    classes : sequence of str, optional
        The chosen classes; None keeps all.

    Returns
    -------
    table : pandas.DataFrame
        The chosen rows.
    class_names : tuple of str
        In the order of their first appearance in the rows, whatever the
        order of `classes`: the index of a class never depends on how the
        choice was written down.

    Raises
    ------
    UserError
        If a class is unknown or none is chosen.

    Example
    -------
    >>> table = pd.DataFrame({"class_string": ["dog", "cat", "rain"]})
    >>> select_classes(table, ["rain", "dog"])[1]
    ('dog', 'rain')
    """
    known = tuple(table.class_string.unique())
    if classes is None:
        return table, known
    if not isinstance(classes, (list, tuple, set)) or not all(
        isinstance(name, str) for name in classes
    ):
        raise UserError(
            f"`classes`: expected a list of class names, got {classes!r}."
        )
    unknown = [name for name in classes if name not in known]
    if unknown or not len(classes):
        found = f"unknown: {', '.join(unknown)}" if unknown else "got none"
        raise UserError(
            f"`classes`: expected names of classes of the metadata; {found}. "
            f"Known classes: {', '.join(known)}."
        )
    kept = table[table.class_string.isin(list(classes))]
    return kept, tuple(kept.class_string.unique())


def check_layout(root: Path, parts: Sequence[str], what: str) -> None:
    """Refuse a data folder that lacks a part of its layout."""
    for part in parts:
        if not (root / part).exists():
            raise UserError(
                f"{root}: expected the layout of {what}, but {part} is "
                "missing; give the folder that holds it with `--data_folder`."
            )
