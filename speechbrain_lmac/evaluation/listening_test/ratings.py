"""The files that listeners send back: reading, checking, putting together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from speechbrain_lmac.evaluation.listening_test.blinding import reveal
from speechbrain_lmac.evaluation.listening_test.study import QUESTIONS, RATINGS
from speechbrain_lmac.utils.checks import UserError

TEXTS = (
    *("study", "participant", "item", "stimulus", "method", "question"),
    *("seed", "clip", "condition", "label"),
)
#: Columns of whole numbers and their ranges.
NUMBERS = {
    "rating": RATINGS,
    "item_position": (1, np.inf),
    "position": (1, np.inf),
    "plays": (0, np.inf),
    "input_plays": (0, np.inf),
}
COLUMNS = (*TEXTS, *NUMBERS, "seconds")
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
    problems: list[str]
    duplicates: dict[str, tuple[int, int]]


def read_ratings(csv_files: Sequence[str | Path]) -> Ratings:
    """Read the files of all participants of a study.

    A file with a mistake is left out as a whole and listed; the others count.
    Several files of one participant (a copy made halfway, the same file sent
    twice) are put together; where they differ, the fullest file counts, among
    equals the last. UserError if no file is left, or files are of several
    studies in equal parts.
    """
    tables, problems = [], []
    for path in map(Path, csv_files):
        try:
            tables.append(_read_file(path))
        except UserError as error:
            problems.append(str(error))
    if not tables:
        raise UserError(
            "No file with ratings is left; expected the CSV files that the "
            f"page of the listening test saves. {' '.join(problems)}"
        )
    tables, others = _one_study(tables)
    table, duplicates = _merged(tables)
    return Ratings(table, problems + others, duplicates)


def _read_file(path: Path) -> pd.DataFrame:
    """One file, checked: a row per answer."""
    try:
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as CSV ({why}).") from error
    missing = [name for name in COLUMNS if name not in table]
    if missing or table.empty:
        raise UserError(
            f"{path}: expected the ratings of a listening test, as its page "
            f"saves them; missing: {', '.join(missing) or 'all rows'}."
        )
    table = table[list(COLUMNS)].fillna("").apply(lambda text: text.str.strip())
    texts = table.copy()
    names = [*NUMBERS, "seconds"]
    table[names] = table[names].apply(pd.to_numeric, errors="coerce")
    table["method"] = [
        _revealed(row.method, row.study, row.stimulus)
        for row in texts.itertuples()
    ]
    wrong = {name: texts[name] == "" for name in KEY}
    wrong["question"] = ~texts.question.isin(QUESTIONS)
    wrong["method"] = table.method == ""
    for name, (low, high) in NUMBERS.items():
        whole = table[name] % 1 == 0
        wrong[name] = ~(whole & table[name].between(low, high))
    wrong["seconds"] = ~table.seconds.between(0, np.inf, inclusive="left")
    wrong["an answer"] = table.duplicated(KEY)
    for name, rows in wrong.items():
        if rows.any():
            k = int(rows.to_numpy().argmax())
            value = texts.get(name, texts.stimulus).iloc[k]
            raise UserError(
                f"{path}, row {k + 2}: `{name}` is {value!r}, which cannot be "
                "or is there twice; use the file as the page saved it."
            )
    return table.astype(dict.fromkeys(NUMBERS, int)).assign(file=str(path))


def _revealed(method: str, study: str, stimulus: str) -> str:
    """The method in the clear; empty if the text belongs elsewhere."""
    try:
        return reveal(method, study, stimulus)
    except ValueError:
        return ""


def _one_study(
    tables: list[pd.DataFrame],
) -> tuple[list[pd.DataFrame], list[str]]:
    """Keep the study with the most participants; name the other files."""
    pairs = pd.concat(tables).groupby("study").participant.nunique()
    main = pairs.idxmax()
    if (pairs == pairs.max()).sum() > 1:
        raise UserError(
            "Expected the files of one study, found equally many participants "
            f"of {', '.join(pairs.index)}; analyse them apart."
        )
    kept = [table for table in tables if set(table.study) == {main}]
    others = [
        f"{table.file.iloc[0]}: is of {', '.join(sorted(set(table.study)))}, "
        f"not of {main} as most files; analyse it apart."
        for table in tables
        if set(table.study) != {main}
    ]
    return kept, others


def _merged(
    tables: list[pd.DataFrame],
) -> tuple[pd.DataFrame, dict[str, tuple[int, int]]]:
    """One table without duplicates, and how many each participant had."""
    # Stable: among files of equal length the last comes first.
    by_length = sorted(tables[::-1], key=len, reverse=True)
    table = pd.concat(by_length)
    groups = table.groupby(KEY, sort=False).rating
    twice = pd.DataFrame({"n": groups.size(), "kinds": groups.nunique()})
    twice = twice[twice.n > 1].reset_index()
    duplicates = {
        str(participant): (
            int((group.n - 1).sum()),
            int((group.kinds > 1).sum()),
        )
        for participant, group in twice.groupby("participant")
    }
    table = table.drop_duplicates(KEY)
    order = ["participant", "item_position", "position", "question"]
    return table.sort_values(order, ignore_index=True), duplicates
