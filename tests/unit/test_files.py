"""Names of files: safe, unique among siblings, short in bytes."""

import pytest

from speechbrain_lmac.utils.files import (
    safe_name,
    unique_names,
    write_atomically,
)

MEADOW = "field recording of the northern meadow behind the old mill, " * 3


@pytest.mark.parametrize(
    "text, name",
    [
        ("1-4211-A-12", "1-4211-A-12"),
        ("dog barks (2).ogg", "dog barks (2).ogg"),
        ("a/b\\c:d", "a_b_c_d"),
        ("..", "clip"),
        ("", "clip"),
        ("../../x", "_.._x"),
        ("line\nbreak\x00", "line_break_"),
        ("CON", "_CON"),
        ("nul.wav", "_nul.wav"),
        ("console", "console"),
        ("trailing. ", "trailing"),
        ("e\u0301", "\u00e9"),
        ("\udcff", "_"),  # a byte of a file name that is no UTF-8
    ],
)
def test_safe_name(text, name):
    assert safe_name(text) == name


@pytest.mark.parametrize("text", [MEADOW, "犬" * 48, "🐕" * 40, "e\u0301" * 90])
def test_long_names_are_short_in_bytes_and_differ(tmp_path, text):
    names = {safe_name(f"{text}{take}") for take in range(20)}
    assert len(names) == 20
    assert all(len(name.encode()) <= 120 for name in names)
    for name in names:
        assert name[:20] == safe_name(text)[:20]
        (tmp_path / f"{name}.wav").touch()


@pytest.mark.parametrize(
    "texts",
    [
        ["a:b", "a?b", "a_b"],
        ["Dog", "dog", "DOG", "cat"],
        ["e\u0301", "\u00e9"],
        [f"{MEADOW}{take}" for take in range(5)],
        ["CON", "_CON", "con"],
        ["", "..", "clip"],
    ],
)
def test_names_are_unique_whatever_their_order(texts):
    names = unique_names(texts)
    folded = {name.casefold() for name in names.values()}
    assert list(names) == texts and len(folded) == len(texts)
    assert unique_names(reversed(texts)) == names


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.txt"
    write_atomically(path, "old")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
