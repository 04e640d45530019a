"""Manifests and CSV readers: whatever the names, every clip comes through."""

import json
import string

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from speechbrain_lmac.data import prepare_labelled
from speechbrain_lmac.data.audio import AudioCache, write_wav
from speechbrain_lmac.data.captions.layouts import clean_caption
from speechbrain_lmac.data.captions.prepare import prepare_captions
from speechbrain_lmac.data.folds import FOLD_KEYS, check_folds, parse_folds
from speechbrain_lmac.data.pipelines import (
    SameLengthBatchSampler,
    crop_or_pad,
    crop_start,
    make_dataset,
    make_label_encoder,
)
from speechbrain_lmac.data.tables import read_table
from speechbrain_lmac.utils.checks import UserError

# Letters of many scripts, quotes, separators and braces; no control
# characters, which no table of sounds has.
CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip() == text and text)
# A semicolon parts the labels of a clip that has several.
CLASSES = CELLS.filter(lambda text: ";" not in text)
NAMES = st.text(
    string.ascii_letters + string.digits + " {}'\",;#%&éß漢_-",
    min_size=1,
    max_size=10,
).filter(lambda name: name.strip() == name)


def quoted(rows, separator=","):
    """A CSV text, every cell in double quotes."""
    lines = (
        separator.join('"' + str(cell).replace('"', '""') + '"' for cell in row)
        for row in rows
    )
    return "\n".join(lines) + "\n"


def fresh(tmp_path):
    """A new folder for every example."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    return folder


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    separator=st.sampled_from([",", ";", "\t"]),
    mark=st.sampled_from(["", "\ufeff"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_caption_table_round_trip(tmp_path, rows, separator, mark, end):
    path = tmp_path / "captions.csv"
    text = mark + quoted([("File", "Caption"), *rows], separator)
    path.write_bytes(text.replace("\n", end).encode())
    read = read_table(path, ("file", "caption"))
    assert list(zip(read.file, read.caption, strict=True)) == rows


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5),
    change=st.sampled_from(["short", "long", "blank"]),
    place=st.integers(0, 4),
)
def test_rows_of_another_shape_are_named(tmp_path, rows, change, place):
    lines, place = [list(row) for row in rows], place % len(rows)
    row = lines[place]
    changed = {"short": row[:1], "long": [*row, "x"], "blank": ["", "x"]}
    lines[place] = changed[change]
    path = tmp_path / "t.csv"
    path.write_text(quoted([("file", "caption"), *lines]), encoding="utf-8")
    with pytest.raises(UserError, match=f"t.csv, data row {place + 1}:"):
        read_table(path, ["file", "caption"])


@given(st.text(max_size=60))
def test_captions_are_cleaned_once(text):
    once = clean_caption(text)
    assert clean_caption(once) == once and "  " not in once
    assert once.split() == text.split()


@given(st.lists(st.integers(-(2**31), 2**31), min_size=1), st.booleans())
def test_folds_are_whole_numbers(folds, decimal):
    import pandas as pd

    text = [f"{fold}.0" if decimal else str(fold) for fold in folds]
    assert parse_folds(pd.Series(text), "m").tolist() == folds
    with pytest.raises(UserError, match="data row 1"):
        parse_folds(pd.Series(["0.5", *text]), "m")


@given(
    st.lists(st.sets(st.integers(1, 12), min_size=1), min_size=2, max_size=3)
)
def test_folds_never_overlap(sets):
    keys = [f"{name}_fold_nums" for name in ("train", "valid", "test")]
    chosen = dict(zip(keys, map(list, sets), strict=False))
    if len(set.union(*sets)) == sum(map(len, sets)):
        checked = check_folds(range(1, 13), **chosen)
        assert checked == {k: tuple(sorted(v)) for k, v in chosen.items()}
    else:
        with pytest.raises(UserError, match="must not be in two splits"):
            check_folds(range(1, 13), **chosen)


@given(
    names=st.lists(NAMES, min_size=3, max_size=9, unique_by=str.lower),
    classes=st.lists(CLASSES, min_size=1, max_size=3, unique=True),
)
def test_manifests_hold_every_clip_once(tmp_path, names, classes):
    root = fresh(tmp_path)
    (root / "d/audio").mkdir(parents=True)
    (root / "d/meta").mkdir()
    rows = []
    for k, name in enumerate(names):
        write_wav(root / f"d/audio/{name}.wav", torch.ones(10 + k), 16000)
        rows.append(
            (f"{name}.wav", k % 3 + 1, 0, classes[k // 3 % len(classes)])
        )
    header = ("filename", "fold", "target", "category")
    meta = root / "d/meta/esc50.csv"
    meta.write_text(quoted([header, *rows]), encoding="utf-8")
    audio = AudioCache(root / "cache")
    folds = dict(zip(FOLD_KEYS, (1, 2, 3), strict=True))
    manifests = prepare_labelled(root / "d", root / "s", audio=audio, **folds)
    encoder = make_label_encoder(manifests.class_names, root / "labels.txt")
    encoder = make_label_encoder(manifests.class_names, root / "labels.txt")
    found = []
    for fold, path in enumerate(manifests[:3], 1):
        data = make_dataset(path, root / "d", audio, encoder)
        for k in range(len(data)):
            item = data[k]
            label = encoder.decode_ndim(item["label"])[0]
            found.append((f"{item['id']}.wav", fold, len(item["sig"]), label))
    expected = [(n, f, 10 + k, c) for k, (n, f, _, c) in enumerate(rows)]
    assert sorted(found) == sorted(expected)


@given(
    names=st.lists(NAMES, min_size=2, max_size=6, unique_by=str.lower),
    captions=st.lists(CELLS, min_size=6, max_size=6),
)
def test_captions_come_through(tmp_path, names, captions):
    root = fresh(tmp_path)
    (root / "d").mkdir()
    for name in names:
        write_wav(root / f"d/{name}.wav", torch.ones(20), 16000)
    rows = [(f"{n}.wav", c) for n, c in zip(names, captions, strict=False)]
    table = root / "d/captions.csv"
    table.write_text(quoted([("file", "caption"), *rows]), encoding="utf-8")
    mute = [n for n, c in rows if not any(map(str.isalnum, clean_caption(c)))]
    if mute:  # "!!!" has no word: refused, and its row named
        with pytest.raises(UserError) as refused:
            prepare_captions(root / "d", root / "s")
        message = str(refused.value)
        assert message.startswith(f"{len(mute)} captions have no word")
        assert f"{mute[0]}: " in message
        return
    manifests = prepare_captions(root / "d", root / "s")
    found = {}
    for path in filter(None, manifests[:3]):
        for entry in json.loads(path.read_text()).values():
            wav = entry["wav"].replace("{data_root}/", "", 1)
            plain = wav.replace("{{", "{").replace("}}", "}")
            found[plain] = entry["captions"]
    escaped = {
        name: [clean_caption(c).replace("{", "{{").replace("}", "}}")]
        for name, c in rows
    }
    assert found == escaped


@given(st.lists(st.integers(1, 6), max_size=40), st.integers(1, 7))
def test_batches_of_equal_length_hold_every_clip_once(lengths, size):
    sampler = SameLengthBatchSampler(lengths, size)
    batches = list(sampler)
    assert batches == list(sampler) and len(batches) == len(sampler)
    # No more than are needed.
    assert len(batches) == sum(-(-lengths.count(n) // size) for n in {*lengths})
    assert sorted(sum(batches, [])) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len({lengths[k] for k in batch}) == 1


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from(["random", "energy", "center"]),
    st.integers(0, 2**31),
)
@example(9, 10, "random", 0)
@example(10, 10, "energy", 0)
def test_crops_are_parts_of_the_clip(samples, length, crop, seed):
    torch.manual_seed(seed)
    waveform = torch.arange(1.0, samples + 1)
    cut = crop_or_pad(waveform, length, crop)
    assert cut.shape == (length,)
    kept = min(samples, length)
    assert (cut[:kept].diff() == 1).all() and (cut[kept:] == 0).all()
    if samples >= length:
        assert 0 <= crop_start(waveform, length, crop) <= samples - length
