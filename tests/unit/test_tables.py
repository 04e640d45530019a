"""Tables of data sets as people save them: read, or told what to save."""

import pytest

from speechbrain_lmac.data.tables import read_table
from speechbrain_lmac.utils.checks import UserError

ROWS = [("a.wav", "Käse, alt"), ("b/c.wav", 'ein "Zug"')]


def text(separator=",", end="\n", trailing=""):
    lines = [f"File{separator} Label{trailing}"]
    for file, label in ROWS:
        quoted = label.replace('"', '""')
        lines.append(f'{file}{separator}"{quoted}"{trailing}')
    return end.join(lines) + end


GOOD = {
    "plain": text().encode(),
    "semicolons": text(";").encode(),
    "tabs": text("\t").encode(),
    "bars": text("|").encode(),
    "byte order mark": text().encode("utf-8-sig"),
    "UTF-16": text(";").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + text().encode("utf-16-be"),
    "Latin-1": text().encode("latin-1"),
    "Windows": text(end="\r\n").encode(),
    "an old Mac": text(end="\r").encode(),
    "sep=": b"sep=;\r\n" + text(";").encode(),
    "sep= in quotes": b'"sep=,"\n' + text().encode(),
    "trailing commas": text(trailing=",").encode(),
    "trailing commas in rows": text(trailing=",")
    .replace(",\n", "\n", 1)
    .encode(),
    "empty rows": text().replace("\nb/", "\n,\n\nb/").encode(),
    "more columns": text().replace("Label", "label,x").encode(),
    "blanks": text().replace("a.wav,", "  a.wav ,  ").encode(),
}


@pytest.mark.parametrize("name", GOOD)
def test_tables_that_are_read(tmp_path, name, caplog):
    (tmp_path / "t.csv").write_bytes(GOOD[name])
    table = read_table(tmp_path / "t.csv", ["file", "label"])
    assert list(zip(table.file, table.label, strict=True)) == ROWS
    assert ("UTF-8" in caplog.text) == (name == "Latin-1")


BAD = {
    b"": "missing: file, label; found: none",
    b"file,label\n": "rows below the header",
    b"file,kind\na.wav,b\n": "missing: label; found: file, kind",
    b"file,label\na.wav,\n": "data row 1: the column label",
    b"file,label\na.wav,x\n,x\n": "data row 2: the column file",
    b"file,label\na.wav,x\nb.wav,rain, wind\n": "row 2: has more.*quotes",
    b'file,label\na.wav,"rain\nb.wav,wind\n': "cannot be read",
    b"PK\x03\x04\x00\x00": "missing|UTF-8",
    "file,label\na,b\n".encode("utf-16-le"): "save it as CSV in UTF-8",
}


@pytest.mark.parametrize("data", BAD)
def test_tables_that_are_not(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(UserError, match=f"(?s)t.csv.*({BAD[data]})"):
        read_table(tmp_path / "t.csv", ["file", "label"])


def test_an_optional_column_is_whole_or_not_there(tmp_path):
    (tmp_path / "t.csv").write_text("file,fold\na,1\nb,\n")
    assert list(read_table(tmp_path / "t.csv", ["file"]).fold) == ["1", ""]
    with pytest.raises(UserError, match="data row 2: the column fold"):
        read_table(tmp_path / "t.csv", ["file"], ["fold"])
    with pytest.raises(UserError, match="absent.csv.*check the path"):
        read_table(tmp_path / "absent.csv", ["file"])
