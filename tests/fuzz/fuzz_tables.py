"""Metadata and caption tables: damaged bytes, odd cells, missing columns."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
from fuzz_damage import damage, require

from speechbrain_lmac.data import prepare_labelled
from speechbrain_lmac.data.audio import AudioCache, write_wav
from speechbrain_lmac.data.captions.prepare import prepare_captions
from speechbrain_lmac.data.pipelines import make_dataset, make_label_encoder

RATE = 16000
ODD_CELLS = ("", " ", "nan", "NA", "None", "-1", "0", "1.0", "1.5", "1e30")
ODD_CELLS += ("inf", "0x1", "9" * 400, "x" * 5000, "\0", "\ufeff", "é", "a,b")
ODD_CELLS += ('"', '""', "'", "a\nb", "a\r\nb", "\ud7ff", "{x}", "{data_root}")
ODD_CELLS += ("../../etc/passwd", "/dev/zero", "C:\\a.wav", "..", ".", "a/b")
ODD_CELLS += ("=1+1", "%s", "True", "1;2", "\t", "\u2028", "\x85", "１")
# Layout -> its table, and the columns of files and classes.
FOLDED = {
    "esc50": ("meta/esc50.csv", "filename", "category"),
    "urbansound8k": ("metadata/UrbanSound8K.csv", "slice_file_name", "class"),
}
CAPTIONS = {
    "csv": ("captions.csv",),
    "clotho": (
        "clotho_captions_development.csv",
        "clotho_captions_validation.csv",
    ),
    "audiocaps": ("train.csv", "val.csv"),
    "macs": ("MACS.yaml",),
    "fsd50k": ("FSD50K.ground_truth/dev.csv", "FSD50K.ground_truth/eval.csv"),
}


def write_table(path, rows):
    """Write rows as a CSV file in a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def write_clip(path):
    """Write a short noise, another for each name."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.name.encode()))
    noise = rng.uniform(-0.5, 0.5, 400 + 10 * len(path.name))
    write_wav(path, torch.from_numpy(noise).float(), RATE)


def setup(folder):
    """A small data set of each layout."""
    esc, urban = folder / "esc50", folder / "urbansound8k"
    header = ["filename", "fold", "target", "category", "esc10"]
    rows = [header]
    slices = [["slice_file_name", "fsID", "start", "fold", "classID", "class"]]
    for fold in range(1, 6):
        for target, name in enumerate(("dog", "rain, heavy", 'a "x" {y}')):
            clip = f"{fold}-{target}.wav"
            rows.append([clip, fold, target, name, target < 2])
            write_clip(esc / "audio" / clip)
            slices.append([clip, 7, 0.5, fold, target, name])
            write_clip(urban / f"audio/fold{fold}" / clip)
    for root, table in ((esc, rows), (urban, slices)):
        write_table(root / FOLDED[root.name][0], table)
    _captioned(folder)
    return folder


def _captioned(folder):
    names = [f"scene-city-{k}-0-a.wav" for k in range(8)]
    texts = ["a dog barks, twice", 'he says "no"', "rain {heavy}", "wind; rain"]
    pairs = [(name, texts[k % 4]) for k, name in enumerate(names)]
    splits = ["train"] * 4 + ["valid"] * 2 + ["test"] * 2
    root = folder / "csv"
    rows = [(*p, s) for p, s in zip(pairs, splits, strict=True)]
    write_table(root / "captions.csv", [("file", "caption", "split"), *rows])
    header = ["file_name", *(f"caption_{k}" for k in range(1, 6))]
    for part, chosen in (("development", pairs[:5]), ("validation", pairs[5:])):
        table = [[n, *(f"{t} {k}" for k in range(5))] for n, t in chosen]
        path = folder / f"clotho/clotho_captions_{part}.csv"
        write_table(path, [header, *table])
        for name, _ in chosen:
            write_clip(folder / "clotho" / part / name)
    header = ["audiocap_id", "youtube_id", "start_time", "caption"]
    for part, chosen in (("train", pairs[:5]), ("val", pairs[5:])):
        table = [[k, n[:-6], 30, t] for k, (n, t) in enumerate(chosen)]
        write_table(folder / f"audiocaps/{part}.csv", [header, *table])
        for name, _ in chosen:
            write_clip(folder / f"audiocaps/{part}/{name[:-6]}_30.wav")
    table = [
        [k, "Dog,Bark_loud", "val" if k > 2 else "train"] for k in range(4)
    ]
    table = [["fname", "labels", "split"], *table]
    for part, width in (("dev", 3), ("eval", 2)):
        path = folder / f"fsd50k/FSD50K.ground_truth/{part}.csv"
        write_table(path, [row[:width] for row in table])
        for k in range(4):
            write_clip(folder / f"fsd50k/FSD50K.{part}_audio/{k}.wav")
    entries = [
        {"filename": n, "annotations": [{"sentence": t, "tags": ["a"]}]}
        for n, t in pairs
    ]
    (folder / "macs").mkdir()
    (folder / "macs/MACS.yaml").write_text(json.dumps({"files": entries}))
    for name in names:
        write_clip(folder / "csv" / name)
        write_clip(folder / "macs/audio" / name)


def damaged_copy(rng, folder, source, tables):
    """A data set whose tables are damaged; its audio is linked."""
    root = folder / "data"
    shutil.copytree(source, root, copy_function=_link)
    name = str(rng.choice(tables))
    path = root / name
    data = path.read_bytes()
    path.unlink()
    chance = rng.random()
    if chance < 0.3:
        way, data = damage(rng, data, header=80)
    elif chance < 0.6 or name.endswith(".yaml"):
        way, data = "typing", typing_errors(rng, data.decode()).encode()
    else:
        way, data = odd_table(rng, data)
    path.write_bytes(data)
    return root, path, way


def _link(source, target):
    Path(target).symlink_to(source)


def typing_errors(rng, text):
    """Exchange, insert or remove a few characters."""
    letters = list(text)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(letters)))
        odd = str(rng.choice(list(",;\"'\n\t \\-{}[]:#0519ax\u00e9")))
        letters[place] = [odd, odd + letters[place], ""][rng.integers(3)]
    return "".join(letters)


def odd_table(rng, data):
    """Change cells, rows, columns, separators or the encoding of a table."""
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    way = str(rng.choice(["cell", "cell", "column", "row", "shape", "text"]))
    i, j = rng.integers(len(rows)), rng.integers(len(rows[0]))
    if way == "cell":
        for _ in range(rng.integers(1, 4)):
            i, j = rng.integers(len(rows)), rng.integers(len(rows[0]))
            rows[i][j] = str(rng.choice(ODD_CELLS))
    elif way == "column":
        change = rng.integers(4)
        for row in rows:  # removed, twice at the end, first, of odd cells
            cell, odd = row.pop(j), str(rng.choice(ODD_CELLS))
            place = [0, len(row), 0, j][change]
            row[place:place] = [[], [cell, cell], [cell], [odd]][change]
    elif way == "row":
        other = int(rng.integers(len(rows)))
        rows = [
            rows[:i],
            rows[:i] + rows[i + 1 :],
            rows + [rows[other]] * 2,
            rows[::-1],
            rows + [[""] * len(rows[0])],
        ][rng.integers(5)]
    elif way == "shape":
        grow = rng.integers(4)
        if grow == 0:  # a field more in each row but the header
            rows = rows[:1] + [[*row, "x"] for row in rows[1:]]
        else:
            rows[i] = [[*rows[i], "x"], rows[i][:-1], []][grow - 1]
    separator = ","
    if way == "text" and rng.random() < 0.3:
        separator = str(rng.choice([";", "\t", "|", " "]))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    text = text.getvalue()
    if way != "text":
        return way, text.encode("utf-8", "surrogatepass")
    code = str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp037"]))
    lines = str(rng.choice(["\n", "\r\n", "\r", "\n\n"]))
    text = text.upper() if rng.random() < 0.2 else text
    return f"{way} {code}", text.replace("\n", lines).encode(code)


def plain_text(path):
    """The text of a table in whatever encoding."""
    data = path.read_bytes()
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-16" if marked else "latin-1", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")


def plain_rows(path):
    """Rows of a table, by names in lower case, without blanks around."""
    text = plain_text(path)
    for delimiter in ",;\t|":
        lines = io.StringIO(text, newline="")
        table = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        header, *rows = ([cell.strip() for cell in row] for row in table)
        if len(header) > 2:
            break
    names = [name.lower() for name in header]
    return [dict(zip(names, row, strict=False)) for row in rows if any(row)]


def entries_of(manifests, root, audio):
    """All entries of the written manifests, checked against the audio."""
    seen, entries = set(), []
    for split in ("train", "valid", "test"):
        path = getattr(manifests, split)
        if path is None:
            continue
        loaded = json.loads(Path(path).read_text())
        require(len(loaded) > 0, f"{split} is empty")
        for entry in loaded.values():
            wav = entry["wav"].replace("{{", "{").replace("}}", "}")
            wav = wav.replace("{data_root}/", "", 1)
            require(wav not in seen, f"{wav} is in two splits")
            seen.add(wav)
            length = len(audio(root / wav))
            require(entry["num_samples"] == length, "another length")
            require(entry["duration"] == length / RATE, "another duration")
            entries.append({**entry, "wav": wav, "split": split})
    return entries


def labelled(rng, folder, source):
    """A damaged table of folds and classes; compared with the plain table."""
    layout = str(rng.choice(["esc50", "esc50", "urbansound8k"]))
    name, file, kind = FOLDED[layout]
    root, path, way = damaged_copy(rng, folder, source / layout, [name])
    splits = [{}, {"train_fold_nums": [1], "valid_fold_nums": None}]
    chosen = {"valid_fold_nums": [4], "test_fold_nums": 5}
    chosen |= {"train_fold_nums": [1, 2, 3], **splits[rng.integers(2)]}
    audio = AudioCache(sample_rate=RATE)
    manifests = prepare_labelled(
        root, folder / "save", layout, audio=audio, **chosen
    )
    wanted = {}
    for key, folds in chosen.items():
        folds = [folds] if isinstance(folds, int) else folds or []
        wanted |= dict.fromkeys(folds, key.removesuffix("_fold_nums"))
    rows = [
        (row[file], int(float(row["fold"])), row[kind])
        for row in plain_rows(path)
    ]
    expected = sorted(
        (*row, wanted[row[1]]) for row in rows if row[1] in wanted
    )
    found = sorted(
        (
            Path(entry["wav"]).name,
            entry["fold"],
            entry["class_string"].replace("{{", "{").replace("}}", "}"),
            entry["split"],
        )
        for entry in entries_of(manifests, root, audio)
    )
    require(found == expected, f"{found} is not {expected}")
    # What training gets of the written manifest.
    encoder = make_label_encoder(manifests.class_names)
    data = make_dataset(manifests.train, root, audio, encoder)
    entry = next(iter(json.loads(manifests.train.read_text()).values()))
    require(len(data[0]["sig"]) == entry["num_samples"], "another clip")
    return way


def captions(rng, folder, source):
    """A damaged table of captions, of any layout."""
    layout = str(rng.choice(list(CAPTIONS)))
    tables = CAPTIONS[layout]
    root, path, way = damaged_copy(rng, folder, source / layout, tables)
    audio = AudioCache(sample_rate=RATE)
    manifests = prepare_captions(
        root,
        folder / "save",
        layout=str(rng.choice(["auto", layout])),
        audio=audio,
    )
    text = "".join(plain_text(root / t) for t in tables)
    known = _bare(text)
    for entry in entries_of(manifests, root, audio):
        require(len(entry["captions"]) > 0, "no captions")
        for caption in entry["captions"]:
            require(caption.strip() != "", "an empty caption")
            caption = caption.replace("{{", "{").replace("}}", "}")
            found = _bare(caption) in known
            require(found or layout in ("fsd50k", "macs"), f"{caption!r}?")
    return f"{layout}: {way}"


def _bare(text):
    """A text without what quoting adds to it or takes from it."""
    return "".join(text.replace('"', "").split())


def label_encoder(rng, folder, source):
    """A damaged label encoder."""
    path, names = folder / "label_encoder.txt", ("dog", "it's rain", "x")
    make_label_encoder(names, path)
    way, data = damage(rng, path.read_bytes())
    path.write_bytes(data)
    encoder = make_label_encoder(names, path)
    found = [encoder.encode_label(name) for name in names]
    require(found == [0, 1, 2], f"indices {found}")
    return way


CASES = {
    "tables: folds and classes": (labelled, 18),
    "tables: captions": (captions, 14),
    "tables: label encoder": (label_encoder, 4),
}
