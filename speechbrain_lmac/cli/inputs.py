"""What is explained, and where to: audio files, and a folder for each.

Authors
 * The speechbrain_lmac authors 2026
"""

import contextlib
import hashlib
import os
import re
from pathlib import Path

#: In the folder of each explanation, and so the mark of one.
MARK = "explanation.json"
#: All files of an explanation: what is deleted to make room for another.
PARTS = (
    MARK,
    "original.wav",
    "explanation.wav",
    "masked_out.wav",
    "explanation.png",
)
#: Folders of the explanations of one file for several classes.
INNER = re.compile(r"\d+_.*", re.DOTALL)


def collect(inputs, recursive=False):
    """List the audio files that inputs stand for.

    Arguments
    ---------
    inputs : sequence of str
        Files, which are taken whatever their names, and folders.
    recursive : bool
        Whether to look into folders of folders.

    Returns
    -------
    files : list of Path
        Each once, those of a folder sorted.
    failed : dict of str to str
        Inputs that are missing or hold no audio, and why.
    """
    files, failed = {}, {}
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            found = _audio_in(path, recursive)
            if not found:
                failed[text] = _nothing_in(path, recursive)
        else:
            found = [path]
            if not path.exists():
                failed[text] = "the file does not exist; check the path"
                found = []
        for file in found:
            files.setdefault(os.path.realpath(file), file)
    return list(files.values()), failed


def _audio_in(folder, recursive):
    """Audio files of a folder by relative path, hidden ones left out."""
    from speechbrain_lmac.data.folders import audio_suffixes

    suffixes, found = audio_suffixes(), []
    for parent, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if recursive and n[0] != "."]
        if MARK in names and Path(parent) != folder:
            continue  # sounds that an earlier run wrote
        found += [
            Path(parent, name)
            for name in names
            if name[0] != "." and Path(name).suffix.lower() in suffixes
        ]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _nothing_in(folder, recursive):
    why = "the folder holds no audio file"
    if not recursive and _audio_in(folder, True):
        return f"{why}, but its folders do; add --recursive"
    return f"{why} (wav, flac, ogg, mp3, ...); check the path"


def output_names(files):
    """A folder name for each file: its stem, and more where stems are equal.

    Which names come out depends on the files alone, not on their order. Equal
    stems (also by case) get their suffix, then the folders above, one by one.

    Arguments
    ---------
    files : list of Path
        All different.

    Returns
    -------
    list of str

    Example
    -------
    >>> output_names([Path("a/x.wav"), Path("b/x.wav"), Path("b/y.ogg")])
    ['a_x_wav', 'b_x_wav', 'y']
    """
    from speechbrain_lmac.utils.files import safe_name

    paths = [Path(os.path.abspath(file)) for file in files]
    levels = [0] * len(paths)
    while True:
        names = [
            safe_name(_name(p, k)) for p, k in zip(paths, levels, strict=True)
        ]
        owners = {}
        for k, name in enumerate(names):
            owners.setdefault(name.casefold(), []).append(k)
        clashing = [k for o in owners.values() if len(o) > 1 for k in o]
        if not clashing:
            return names
        for k in clashing:
            levels[k] += 1


def _name(path, level):
    if level == 0:
        return path.stem
    folders = path.parent.parts[1:]
    name = path.name.replace(".", "_")
    if level <= len(folders) + 1:
        above = folders[len(folders) - level + 1 :]
        return "_".join([*above, name])
    # Names that are cut at the same place, or differ in odd characters only.
    digest = hashlib.sha1(f"{level}{path}".encode()).hexdigest()
    return f"{name[:60]}_{digest[:8]}"


def plan_outputs(files, out, overwrite=False):
    """Where the explanation of each file goes; refuse before any work.

    Arguments
    ---------
    files : list of Path
        The inputs.
    out : str or Path
        The folder for all.
    overwrite : bool
        Whether explanations that are there may be replaced. Anything else
        that is there never is.

    Returns
    -------
    targets : list of Path
        A folder for each file.
    replaced : list of Path
        Those that exist.

    Raises
    ------
    UserError
        If `out` cannot be a folder, or something stands in the way.
    """
    from speechbrain_lmac.utils.checks import UserError

    out = Path(out).expanduser()
    _check_folder(out)
    targets = [out / name for name in output_names(files)]
    there = [target for target in targets if _occupied(target)]
    foreign = [target for target in there if not _is_explanation(target)]
    if foreign:
        raise UserError(
            f"{_some(foreign)}: what is there is no explanation, and is never "
            "overwritten. Give another --out."
        )
    if there and not overwrite:
        raise UserError(
            f"{_some(there)}: there is an explanation already. Give another "
            "--out, or --overwrite to replace it."
        )
    return targets, there


def _check_folder(out):
    """Refuse a folder that cannot be made; nothing is made."""
    from speechbrain_lmac.utils.checks import UserError

    above = out
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"--out {out}: cannot write there ({above} is no folder that you "
            "may write to). Give another one."
        )


def _occupied(target):
    return os.path.lexists(target) and not (
        target.is_dir() and not any(target.iterdir())
    )


def _is_explanation(target):
    """Whether a folder holds an explanation, or those of several classes."""
    return bool(_explanations_in(target))


def _explanations_in(target):
    """The folders of explanations in a folder: inner ones, then itself."""
    if not target.is_dir() or target.is_symlink():
        return []
    inner = [
        path
        for path in sorted(target.iterdir())
        if INNER.fullmatch(path.name) and not path.is_symlink()
    ]
    return [path for path in [*inner, target] if (path / MARK).is_file()]


def remove_explanation(target):
    """Delete an explanation's files, and the folders that are empty then.

    Arguments
    ---------
    target : Path
        Where :func:`move_into` has put it. What else lies there stays.
    """
    found = _explanations_in(target)
    for folder in dict.fromkeys([*found, target]):
        if folder in found:
            for name in PARTS:
                (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds more, or is not there
            folder.rmdir()


def move_into(made, target):
    """Move a folder, to the place of another or into it.

    Arguments
    ---------
    made : Path
        The folder.
    target : Path
        Its new place on the same disk.
    """
    if not target.exists():
        os.replace(made, target)
        return
    for file in sorted(made.rglob("*")):
        place = target / file.relative_to(made)
        if file.is_dir():
            place.mkdir(exist_ok=True)
        else:
            os.replace(file, place)


def _some(paths):
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"
