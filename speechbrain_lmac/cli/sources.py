"""Where an interpreter comes from: a run, a package, or a hub repository.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path
from typing import NamedTuple

HELP = (
    "a package, the output folder of a training, or the name of a repository "
    "on the hub (owner/name)"
)


class Source(NamedTuple):
    """An interpreter that has been found.

    Attributes
    ----------
    kind : str
        ``package``, ``run`` or ``hub``.
    place : str
        Folder, or name of the repository.
    """

    kind: str
    place: str


def find_source(text, prefer="package"):
    """What ``--interpreter`` names; nothing is loaded.

    Arguments
    ---------
    text : str
        A folder, or a repository's name.
    prefer : str
        ``package`` or ``run``: what to take of a run that holds its package.

    Returns
    -------
    Source

    Raises
    ------
    UserError
        If a folder holds no interpreter, or a file is named.

    Example
    -------
    >>> find_source("somebody/lmac-esc50")
    Source(kind='hub', place='somebody/lmac-esc50')
    """
    from speechbrain_lmac.inference.package.files import CONFIG_FILE
    from speechbrain_lmac.interpreters.loading import INFO_FILE
    from speechbrain_lmac.utils.checks import UserError

    folder = Path(text).expanduser()
    if not folder.is_dir():
        _check_repository(text, folder)
        return Source("hub", text)
    found = {}
    for kind, place, mark in (
        ("package", folder / "package", CONFIG_FILE),
        ("run", folder, INFO_FILE),
        ("package", folder, CONFIG_FILE),
    ):
        if (place / mark).is_file():
            found.setdefault(kind, Source(kind, str(place)))
    if not found:
        raise UserError(
            f"--interpreter {text}: the folder holds no interpreter (neither "
            f"{CONFIG_FILE} of a package nor {INFO_FILE} of a training). "
            f"Expected {HELP}."
        )
    return found.get(prefer) or next(iter(found.values()))


def _check_repository(text, folder):
    """Refuse a mistyped path before the hub is asked for it."""
    from speechbrain_lmac.utils.checks import UserError

    path = Path(text)
    # A name in a folder that exists is meant to be there, too.
    local = text[:1] in ("", ".", "~", "/") or path.parent.is_dir()
    if local or len(path.parts) != 2 or text.endswith("/") or "\\" in text:
        found = "it is a file" if folder.exists() else "no such folder"
        raise UserError(f"--interpreter {text}: {found}. Expected {HELP}.")


def load_audio_interpreter(text, device="cpu"):
    """Load what explains files.

    Arguments
    ---------
    text : str
        As for :func:`find_source`.
    device : str
        Where to compute.

    Returns
    -------
    speechbrain_lmac.inference.AudioInterpreter
    """
    source = find_source(text)
    from speechbrain_lmac.inference import AudioInterpreter

    options = {"run_opts": {"device": device}}
    if source.kind == "run":
        return AudioInterpreter.from_run(source.place, **options)
    return AudioInterpreter.from_hparams(source.place, **options)


def load_parts(source):
    """Load the parts of an interpreter, to evaluate it.

    Arguments
    ---------
    source : Source
        A run or a package.

    Returns
    -------
    speechbrain_lmac.interpreters.loading.Interpreter
        The prompts of a zero-shot one are to be set.

    Raises
    ------
    UserError
        If it is a repository on the hub.
    """
    from speechbrain_lmac.interpreters.loading import Interpreter
    from speechbrain_lmac.utils.checks import UserError

    if source.kind == "hub":
        raise UserError(
            f"--interpreter {source.place}: there is no such folder. To "
            "evaluate an interpreter of the hub, download it and give its "
            f"folder: hf download {source.place} --local-dir DIR"
        )
    if source.kind == "package":
        return _load_package(source.place)
    return Interpreter.load(source.place)


def _load_package(folder):
    """A package's parts, with what is known of the training data."""
    from speechbrain_lmac.inference.package import load_package
    from speechbrain_lmac.inference.package.files import read_config

    interpreter = load_package(folder)
    # What the training left open is not listed.
    data = dict.fromkeys(("layout", "classes", "test_fold_nums"))
    data |= read_config(folder).get("data") or {}
    return interpreter._replace(hparams={**data, **interpreter.hparams})


def check_device(device):
    """Refuse a device that torch does not have, before anything is loaded.

    Arguments
    ---------
    device : str
        Such as ``cpu`` or ``cuda:0``.

    Raises
    ------
    UserError
        If there is none.

    Example
    -------
    >>> check_device("cpu")
    """
    import torch

    from speechbrain_lmac.utils.checks import UserError

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as err:
        reason = str(err).splitlines()[0]
        raise UserError(
            f"--device {device}: it cannot be used ({reason}). Expected one "
            "such as cpu or cuda:0."
        ) from err
