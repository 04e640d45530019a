"""Audio files of a folder, whatever lies beside them."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PureWindowsPath

from speechbrain_lmac.utils.checks import UserError

# Formats of libsndfile that say nothing of themselves, or seldom hold sound.
NOT_AUDIO = ("RAW", "MAT4", "MAT5", "XI")
# Suffixes of its formats that are not the format's name.
OTHER_SUFFIXES = (".aif", ".aifc", ".oga", ".opus", ".snd", ".wave")
# Folders of systems and tools, whose files are copies, thumbnails or waste;
# so are all whose names begin with a dot.
IGNORED = (
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin"),
    *("lost+found", "system volume information"),
)
PROBE = 4096  # bytes of two files that are compared before all of them


@cache
def audio_suffixes() -> frozenset[str]:
    """Suffixes of the audio files that are looked for in folders.

    >>> {".wav", ".flac", ".mp3", ".aif", ".ogg"} <= audio_suffixes()
    True
    """
    import soundfile

    formats = set(soundfile.available_formats()) - set(NOT_AUDIO)
    return frozenset({f".{n.lower()}" for n in formats} | set(OTHER_SUFFIXES))


def is_audio(name: str) -> bool:
    """Whether a file's name is that of a sound.

    >>> is_audio("a/b.WAV"), is_audio("a/._b.wav"), is_audio("a/b.txt")
    (True, False, False)
    """
    path = Path(name)
    return path.name[:1] != "." and path.suffix.lower() in audio_suffixes()


def labels_of(class_string: str) -> list[str]:
    """The labels of a clip, which semicolons part.

    >>> labels_of("dog"), labels_of("dog; rain")
    (['dog'], ['dog', 'rain'])
    """
    names = [name.strip() for name in class_string.split(";")]
    return list(dict.fromkeys(filter(None, names))) or [class_string]


def is_ignored(folder: str) -> bool:
    """Whether a folder's name is that of a hidden one."""
    return folder.startswith(".") or folder.casefold() in IGNORED


def files_below(root: Path, folder: str = "") -> Iterator[str]:
    """Files of a folder at any depth, in order, relative to the root.

    Links are followed, but not in circles; hidden folders are left out.
    """
    walked = set()
    for parent, folders, names in os.walk(root / folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = sorted(f for f in folders if not is_ignored(f))
        if real in walked:
            folders.clear()
            continue
        walked.add(real)
        for name in sorted(names):
            yield Path(parent, name).relative_to(root).as_posix()


def audio_below(root: Path, folder: str = "") -> list[str]:
    """Those of :func:`files_below` that are sounds, sorted by path."""
    return sorted(filter(is_audio, files_below(root, folder)))


def plain_path(name: str, where: str) -> str:
    r"""A path of a table in its plain form; none may leave the data folder.

    >>> plain_path(".\\rain//a.wav ", "captions.csv, data row 1")
    'rain/a.wav'
    """
    path = PureWindowsPath(name.strip())  # knows both kinds of slashes
    if path.anchor or ".." in path.parts:
        raise UserError(
            f"{where}: expected a file name relative to the data folder, "
            f"found {name!r}; absolute paths and '..' are refused."
        )
    return path.as_posix()


def paths_below(names: Iterable[str], root: Path, table: str | Path) -> list:
    """Paths of a table's files as they are on disk, relative to the root.

    Unicode has two forms of many letters: a Mac's table may have the other.
    """
    found: dict[str, str] = {}
    paths = []
    for row, name in enumerate(names, 1):
        path = plain_path(name, f"{table}, data row {row}")
        if not (root / path).exists():
            if (root / name.strip()).is_file():  # a backslash in its name
                path = name.strip()
            else:
                found = found or {nfc(p): p for p in files_below(root)}
                path = found.get(nfc(path), path)
        paths.append(path)
    return paths


def nfc(text: str) -> str:
    """A text in the composed form of Unicode."""
    return unicodedata.normalize("NFC", text)


def twins(root: Path, wavs: Iterable[str]) -> dict[str, str]:
    """Files that hold the same bytes as one before them: wav -> that one."""
    first: dict[tuple, list[str]] = {}
    same = {}
    for wav in wavs:
        try:
            with open(root / wav, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(size // 2)
                key = (size, file.read(PROBE))
        except OSError:  # told of when the clips are checked
            continue
        if not size:
            continue
        others = first.setdefault(key, [])
        alike = (w for w in others if _digest(root / w) == _digest(root / wav))
        twin = next(alike, None)
        if twin is None:
            others.append(wav)
        else:
            same[wav] = twin
    return same


def _digest(path):
    return hashlib.sha256(path.read_bytes()).digest()
