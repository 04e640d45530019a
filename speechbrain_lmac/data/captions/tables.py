"""Strict reading of tables of captions; every mistake is named with its line.

Captions are free text with commas and quotes, in which a table that is
slightly wrong still parses to something: a caption with an unquoted comma
becomes two columns. So each row must have exactly as many fields as the
header.
"""

import csv
import io
from pathlib import Path

from speechbrain_lmac.utils.checks import UserError

DELIMITERS = (",", ";", "\t")


def clean_caption(text):
    r"""Write a caption on one line, with single blanks.

    Arguments
    ---------
    text : str
        As it was written; the case and the punctuation are kept.

    Returns
    -------
    str

    Example
    -------
    >>> clean_caption(" A dog\n barks. ")
    'A dog barks.'
    """
    return " ".join(text.split())


def read_rows(path, columns, optional=()):
    r"""Read a CSV file: UTF-8 with or without a byte order mark.

    Commas, semicolons or tabs between the fields; fields that hold them, or
    line ends, in double quotes. Blanks around a field do not count. Empty rows
    are skipped.

    Arguments
    ---------
    path : str | pathlib.Path
        The file.
    columns : sequence of str
        Names of columns that must be there, in lower case. The header may
        have any case.
    optional : sequence of str
        Names of columns that are also read if they are there.

    Returns
    -------
    list of tuple
        (file and line for messages, dict of the columns) for each row.

    Raises
    ------
    UserError
        If the file cannot be read, is not UTF-8 or not CSV, or lacks a
        column, a value or all rows. The message names the file and the line.

    Example
    -------
    >>> path = getfixture("tmpdir") / "captions.csv"
    >>> path.write('File;Caption\na.wav;"rain; and wind"\n')
    >>> [row for where, row in read_rows(path, ("file", "caption"))]
    [{'file': 'a.wav', 'caption': 'rain; and wind'}]
    """
    text = _read_text(path)
    header, delimiter = _read_header(path, text, columns)
    wanted = [*columns, *(name for name in optional if name in header)]
    rows = []
    for line, fields in _split(path, text, delimiter)[1:]:
        where = f"{path}, line {line}"
        if len(fields) != len(header):
            raise UserError(
                f"{where}: expected {len(header)} fields as in the header, "
                f"found {len(fields)}. Put a text that holds "
                f"{delimiter!r} in double quotes."
            )
        row = dict(zip(header, fields, strict=True))
        empty = [name for name in wanted if not row[name]]
        if empty:
            raise UserError(
                f"{where}: the column {empty[0]} is empty; expected a text. "
                "Fill it or remove the row."
            )
        rows.append((where, {name: row[name] for name in wanted}))
    if not rows:
        raise UserError(f"{path}: expected rows below the header, found none.")
    return rows


def _read_text(path):
    try:
        data = Path(path).read_bytes()
    except OSError as err:
        raise UserError(
            f"{path}: expected a table of captions, but it cannot be read "
            f"({err}). Check the path."
        ) from err
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: expected text in UTF-8, found the byte "
            f"0x{err.object[err.start]:02x}. Save the file again as UTF-8."
        ) from err


def _split(path, text, delimiter, strict=True):
    """(number of the first line, fields) of each row that is not empty."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=strict,
        skipinitialspace=True,
    )
    rows, line = [], 1
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            if any(fields):
                rows.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as err:
        raise UserError(
            f"{path}, line {line}: expected a row of a CSV file, but it "
            f"cannot be parsed ({err}). Check the double quotes: one within "
            "a quoted text is written twice."
        ) from err
    return rows


def _read_header(path, text, columns):
    """Lower-case names of all columns, and what separates them."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    found = None
    for delimiter in DELIMITERS:
        parsed = _split(path, first, delimiter, strict=False)
        header = [name.lower() for name in parsed[0][1]] if parsed else []
        if set(columns) <= set(header):
            return header, delimiter
        if found is None or len(header) > len(found):
            found = header
    missing = [name for name in columns if name not in found]
    raise UserError(
        f"{path}, line 1: expected the columns {', '.join(columns)}; missing: "
        f"{', '.join(missing)}; found: {', '.join(found) or 'none'}."
    )


def read_macs_yaml(path):
    """Read MACS.yaml, the annotations of MACS.

    Arguments
    ---------
    path : str | pathlib.Path
        The file: ``files``, a list of ``filename`` and ``annotations``, which
        is a list of ``sentence``, ``annotator_id`` and ``tags``. Only the
        sentences are read.

    Returns
    -------
    list of tuple
        (name of the audio file, tuple of captions, file and entry for
        messages) for each file.

    Raises
    ------
    UserError
        If the file is not YAML in UTF-8, or an entry has no name or no
        sentence. The message names the file and the entry.

    Example
    -------
    >>> path = getfixture("tmpdir") / "MACS.yaml"
    >>> path.write('''
    ... files:
    ... - filename: park-oslo-1-2-a.wav
    ...   annotations:
    ...   - {annotator_id: 7, sentence: birds sing, tags: [birds_singing]}
    ... ''')
    >>> read_macs_yaml(path)[0][:2]
    ('park-oslo-1-2-a.wav', ('birds sing',))
    """
    import ruamel.yaml
    from ruamel.yaml.error import YAMLError

    try:
        tree = ruamel.yaml.YAML(typ="safe").load(_read_text(path))
    except YAMLError as err:
        raise UserError(
            f"{path}: expected a YAML file, but it cannot be parsed ({err}). "
            "Get the file again."
        ) from err
    entries = tree.get("files") if isinstance(tree, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"{path}: expected the annotated recordings below the key files, "
            "found none. Get the file again."
        )
    return [_macs_entry(path, i, entry) for i, entry in enumerate(entries, 1)]


def _macs_entry(path, number, entry):
    entry = entry if isinstance(entry, dict) else {}
    name, where = entry.get("filename"), f"{path}, file number {number}"
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{where}: expected a filename, found {name!r}.")
    where = f"{where} ({name})"
    annotations = entry.get("annotations") or [None]
    captions = {}
    for index, annotation in enumerate(annotations, 1):
        sentence = isinstance(annotation, dict) and annotation.get("sentence")
        if not isinstance(sentence, str) or not sentence.strip():
            raise UserError(
                f"{where}, annotation {index}: expected a sentence, found "
                f"{sentence!r}. Fill it or remove the annotation."
            )
        captions[clean_caption(sentence)] = None
    return name, tuple(captions), where
