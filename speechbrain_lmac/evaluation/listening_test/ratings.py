"""The files that listeners send back: reading, checking, putting together."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from speechbrain_lmac.evaluation.listening_test.blinding import reveal
from speechbrain_lmac.evaluation.listening_test.study import QUESTIONS, RATINGS
from speechbrain_lmac.utils.checks import UserError

COLUMNS = (
    "study",
    "seed",
    "participant",
    "item",
    "clip",
    "condition",
    "label",
    "item_position",
    "stimulus",
    "method",
    "question",
    "rating",
    "position",
    "plays",
    "input_plays",
    "seconds",
)
#: Column of whole numbers -> its range.
WHOLE = {
    "rating": RATINGS,
    "item_position": (1, 10**6),
    "position": (1, 10**6),
    "plays": (0, 10**9),
    "input_plays": (0, 10**9),
}
NAMES = ("study", "participant", "item", "stimulus", "method")
#: What one answer is an answer to.
KEY = ["participant", "item", "stimulus", "question"]


class Ratings(NamedTuple):
    """All answers to one study.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per answer with the columns of the files and ``file``; the
        methods are in the clear.
    problems : list of str
        Files that were left out, and why.
    duplicates : dict
        Participant -> (answers that were there twice, those of them that
        differ).
    """

    table: pd.DataFrame
    problems: list
    duplicates: dict


def read_ratings(csv_files):
    """Read the files of all participants of a study.

    A file with a mistake is left out as a whole and listed; the others count.
    Several files of one participant (a copy made halfway, the same file sent
    twice) are put together; where they differ, the fullest file counts, among
    equals the last.

    Arguments
    ---------
    csv_files : sequence of str or pathlib.Path
        Files that the page saved.

    Returns
    -------
    ratings : Ratings

    Raises
    ------
    UserError
        If no file is left, or files are of several studies in equal parts.
    """
    if isinstance(csv_files, str | Path):
        csv_files = [csv_files]
    tables, problems = [], []
    for path in map(Path, csv_files):
        try:
            tables += [read_file(path)]
        except UserError as error:
            problems += [str(error)]
    if not tables:
        raise UserError(
            "No file with ratings is left. Expected the CSV files that the "
            f"page of the listening test saves. {' '.join(problems)}".rstrip()
        )
    tables, strangers = _one_study(tables)
    table, duplicates = _merged(tables)
    return Ratings(table, problems + strangers, duplicates)


def read_file(path):
    """Read and check one file.

    Arguments
    ---------
    path : str or pathlib.Path
        A CSV file that the page saved.

    Returns
    -------
    table : pandas.DataFrame
        One row per answer.

    Raises
    ------
    UserError
        Names the file and the row (the header is row 1).
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a CSV file in UTF-8.") from None
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: expected a CSV file: {error}.") from None
    header = lines[0] if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError(
            f"{path}, row 1: expected the columns of a listening test, found "
            f"no {', '.join(missing)}; use the file as the page saved it."
        )
    rows = [
        _checked(line, header, f"{path}, row {number}")
        for number, line in enumerate(lines[1:], start=2)
        if line
    ]
    if not rows:
        raise UserError(f"{path}: holds no ratings.")
    table = pd.DataFrame(rows)
    table["file"] = str(path)
    _check_repeated(table, path)
    return table


def _checked(line, header, where):
    """One line as a dict of checked values."""
    if len(line) != len(header):
        raise UserError(
            f"{where}: expected {len(header)} fields, found {len(line)}; is "
            "the file cut off?"
        )
    row = dict(zip(header, (field.strip() for field in line), strict=True))
    for name in NAMES:
        if not row[name]:
            raise UserError(f"{where}: expected a value of `{name}`.")
    if row["question"] not in QUESTIONS:
        raise UserError(
            f"{where}: expected the question {' or '.join(QUESTIONS)}, found "
            f"{row['question']!r}."
        )
    values = {name: row[name] for name in COLUMNS}
    for name, (low, high) in WHOLE.items():
        values[name] = _whole(row[name], low, high, f"{where}: `{name}`")
    values["seconds"] = _seconds(row["seconds"], where)
    try:
        values["method"] = reveal(row["method"], row["study"], row["stimulus"])
    except ValueError:
        raise UserError(
            f"{where}: the `method` {row['method']!r} does not belong to this "
            "`study` and `stimulus`; was the file edited?"
        ) from None
    return values


def _whole(text, low, high, where):
    if text.isdecimal() and low <= int(text) <= high:
        return int(text)
    raise UserError(
        f"{where} must be a whole number from {low} to {high}, found {text!r}."
    )


def _seconds(text, where):
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < float("inf"):
        return seconds
    raise UserError(
        f"{where}: `seconds` must be a number from 0, found {text!r}."
    )


def _check_repeated(table, path):
    repeated = table.duplicated(KEY)
    if repeated.any():
        k = int(repeated.to_numpy().argmax())
        row = table.iloc[k]
        raise UserError(
            f"{path}, row {k + 2}: answers a second time for stimulus "
            f"{row.stimulus} ({row.question}) of {row.participant}; was the "
            "file edited?"
        )


def _one_study(tables):
    """Keep the study with the most participants; name the other files."""
    participants = {}
    for table in tables:
        for study, group in table.groupby("study"):
            participants.setdefault(study, set()).update(group.participant)
    ranked = sorted(participants, key=lambda s: len(participants[s]))
    main = ranked[-1]
    if len(ranked) > 1:
        second = ranked[-2]
        if len(participants[second]) == len(participants[main]):
            raise UserError(
                "Expected the files of one study, found equally many "
                f"participants of {second} and {main}; analyse them apart."
            )
    kept = [t for t in tables if set(t.study) == {main}]
    strangers = [
        f"{t.file.iloc[0]}: is of {', '.join(sorted(set(t.study)))}, not of "
        f"{main} as most files; analyse it apart."
        for t in tables
        if set(t.study) != {main}
    ]
    return kept, strangers


def _merged(tables):
    """One table without duplicates, and how many each participant had."""
    # Stable: among files of equal length the last comes first.
    table = pd.concat(sorted(reversed(tables), key=len, reverse=True))
    groups = table.groupby(KEY, sort=False).rating
    twice = pd.DataFrame({"n": groups.size(), "kinds": groups.nunique()})
    twice = twice[twice.n > 1].reset_index()
    duplicates = {
        participant: (int((group.n - 1).sum()), int((group.kinds > 1).sum()))
        for participant, group in twice.groupby("participant")
    }
    table = table.drop_duplicates(KEY).reset_index(drop=True)
    order = ["participant", "item_position", "position", "question"]
    return table.sort_values(order, ignore_index=True), duplicates
