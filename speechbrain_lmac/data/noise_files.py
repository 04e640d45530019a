"""Folders of noise and speech, in their published layouts or any other."""

from pathlib import Path

from speechbrain_lmac.utils.checks import UserError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
WHAM_SPLITS = {"train": "tr", "valid": "cv", "test": "tt"}


def _list_audio(folder, key, what, pattern="**/*"):
    """Sorted audio files of a folder; a teaching error if there are none."""
    folder = _check_folder(folder, key, what)
    files = [p for p in folder.glob(pattern) if _is_audio(p)]
    if not files:
        raise UserError(
            f"Expected {what} ({', '.join(AUDIO_SUFFIXES)}) in {folder} but "
            f"found no audio file; point `{key}` to the right folder."
        )
    # By the relative path: the order is the same wherever the folder lies.
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _is_audio(path):
    hidden = path.name.startswith(".")  # "._x.wav" of a Mac holds no audio
    return not hidden and path.suffix.lower() in AUDIO_SUFFIXES


def _check_folder(folder, key, what):
    if folder is None or str(folder) == "" or not Path(folder).is_dir():
        found = f"there is no folder {folder}" if folder else "it is not set"
        raise UserError(
            f"Expected `{key}` to be a folder with {what} but {found}; set "
            f"`{key}` to it."
        )
    return Path(folder)


def list_noise_files(folder, split, key="wham_folder"):
    """List the noise files of a split.

    In the layout of WHAM! (Wichern et al., Interspeech 2019: ``tr``, ``cv``,
    ``tt``, also under ``wham_noise``) these are the WAV files of the split's
    own folder. In any other folder they are all its audio files, at any
    depth, for every split.

    Arguments
    ---------
    folder : str or Path
        The noise folder.
    split : str
        "train", "valid" or "test".
    key : str
        Configuration key that errors name.

    Returns
    -------
    list of Path
        The files, sorted by their path in the folder.

    Raises
    ------
    UserError
        If the folder is missing, or has no audio for this split.
    """
    if split not in WHAM_SPLITS:
        raise ValueError(
            f"Expected `split` in {list(WHAM_SPLITS)} but got {split!r}."
        )
    root = _check_folder(folder, key, "noise files")
    for base in (root, root / "wham_noise"):
        if any((base / name).is_dir() for name in WHAM_SPLITS.values()):
            # A missing split is an error: another split's noise would leak.
            base = base / WHAM_SPLITS[split]
            return _list_audio(base, key, f"{split} noise files", "*")
    return _list_audio(root, key, "noise files")


def list_speech_files(folder):
    """``wavs/*.wav`` (LJSpeech), or every audio file of the folder."""
    root = _check_folder(folder, "speech_folder", "speech files")
    base = root / "wavs" if (root / "wavs").is_dir() else root
    return _list_audio(base, "speech_folder", "speech files")
