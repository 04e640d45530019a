"""What is explained, and where to: audio files, and a folder for each."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

#: In the folder of each explanation, and so the mark of one.
MARK = "explanation.json"
#: Folders of the explanations of one file for several classes.
INNER = re.compile(r"\d+_.*", re.DOTALL)


def collect(
    inputs: Iterable[Path], recursive: bool = False
) -> tuple[list[Path], dict[str, str]]:
    """Audio files of files and folders, and why inputs hold none.

    Files are taken whatever their names, and each once; hidden ones and
    explanations that an earlier run wrote are no input.
    """
    files: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for given in inputs:
        within = _audio_in(given, recursive) if given.is_dir() else [given]
        if not given.exists():
            failed[str(given)] = "the file does not exist; check the path"
            continue
        if not within:
            why = "the folder holds no audio file (wav, flac, ogg, mp3, ...)"
            deeper = not recursive and _audio_in(given, True)
            failed[str(given)] = why + ("; see --recursive" if deeper else "")
        for file in within:
            files.setdefault(os.path.realpath(file), file)
    return list(files.values()), failed


def _audio_in(folder: Path, recursive: bool) -> list[Path]:
    """Audio files of a folder by relative path."""
    from speechbrain_lmac.data.listing import audio_suffixes

    suffixes, within = audio_suffixes(), []
    for parent, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if recursive and n[0] != "."]
        if MARK in names and Path(parent) != folder:
            continue  # sounds that an earlier run wrote
        within += [
            Path(parent, name)
            for name in names
            if name[0] != "." and Path(name).suffix.lower() in suffixes
        ]
    return sorted(within, key=lambda file: file.relative_to(folder).as_posix())


def output_names(files: Sequence[Path]) -> list[str]:
    """A folder name for each file: its stem; paths where stems are equal.

    >>> output_names([Path("a/x.wav"), Path("b/x.wav"), Path("b/y.ogg")])
    ['a_x.wav', 'b_x.wav', 'y']
    """
    from speechbrain_lmac.utils.files import unique_names

    paths = [Path(os.path.abspath(file)) for file in files]
    top = os.path.commonpath([path.parent for path in paths])
    uses = Counter(
        name.casefold() for path in paths for name in {path.stem, path.name}
    )
    texts = [
        path.stem if uses[path.stem.casefold()] == 1 else path.relative_to(top)
        for path in paths
    ]
    names = unique_names(texts)
    return [names[str(text)] for text in texts]


def plan_outputs(
    files: Sequence[Path], out: Path, overwrite: bool = False
) -> list[Path]:
    """The folder of each file's explanation; refuses what is in the way.

    Earlier explanations may be replaced with `overwrite`, and nothing else.
    """
    from speechbrain_lmac.utils.checks import UserError

    targets = [out / name for name in output_names(files)]
    for target in targets:
        free = target.is_dir() and not any(target.iterdir())
        if free or not os.path.lexists(target):
            continue
        if not _explanations_in(target):
            raise UserError(
                f"`out`: {target} holds something else than an explanation, "
                "and is never overwritten; give another folder."
            )
        if not overwrite:
            raise UserError(
                f"`out`: {target} holds an explanation already; give another "
                "folder, or `overwrite` to replace it."
            )
    return targets


def _explanations_in(target: Path) -> list[Path]:
    """The folders of explanations in a folder: inner ones, then itself."""
    if not target.is_dir() or target.is_symlink():
        return []
    inner = [
        path
        for path in sorted(target.iterdir())
        if INNER.fullmatch(path.name) and not path.is_symlink()
    ]
    return [path for path in [*inner, target] if (path / MARK).is_file()]


def remove_explanations(target: Path) -> None:
    """Delete the explanations in a folder; what else lies there stays."""
    for folder in _explanations_in(target):
        remove_files(folder)
    (target / "explanations.png").unlink(missing_ok=True)


def remove_files(folder: Path) -> None:
    """Delete the files of an explanation, and its folder if that is all."""
    from speechbrain_lmac.inference.explanation import FILES

    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds more
        folder.rmdir()
