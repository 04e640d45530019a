"""Where an interpreter comes from: a run, a package, or a hub repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from speechbrain_lmac.inference import AudioInterpreter
    from speechbrain_lmac.interpreters.loading import Interpreter

HELP = (
    "a package, the output folder of a training, or the name of a repository "
    "on the hub (owner/name)"
)
DEVICE = "such as cuda:0 (default: cpu)"


class Source(NamedTuple):
    """An interpreter: a ``package``, a ``run`` or of the ``hub``, and where."""

    kind: str
    place: str


def find_source(text: str, prefer: str = "package") -> Source:
    """What ``--interpreter`` names; nothing is loaded.

    ``prefer`` says what to take of a run that holds its package, ``package``
    or ``run``. UserError if a folder holds no interpreter, or a file is named.

    >>> find_source("somebody/lmac-esc50")
    Source(kind='hub', place='somebody/lmac-esc50')
    """
    from speechbrain_lmac.inference.package.loading import CONFIG_FILE
    from speechbrain_lmac.interpreters.loading import INFO_FILE
    from speechbrain_lmac.utils.checks import UserError

    folder = Path(text).expanduser()
    if not folder.is_dir():
        _check_repository(text, folder)
        return Source("hub", text)
    found: dict[str, Source] = {}
    for kind, place, mark in (
        ("package", folder / "package", CONFIG_FILE),
        ("run", folder, INFO_FILE),
        ("package", folder, CONFIG_FILE),
    ):
        if (place / mark).is_file():
            found.setdefault(kind, Source(kind, str(place)))
    if not found:
        raise UserError(
            f"`source`: {text}: the folder holds no interpreter (neither "
            f"{CONFIG_FILE} of a package nor {INFO_FILE} of a training). "
            f"Expected {HELP}."
        )
    return found.get(prefer) or next(iter(found.values()))


def _check_repository(text: str, folder: Path) -> None:
    """Refuse a mistyped path before the hub is asked for it."""
    from speechbrain_lmac.utils.checks import UserError

    path = Path(text)
    # A name in a folder that exists is meant to be there, too.
    local = text[:1] in ("", ".", "~", "/") or path.parent.is_dir()
    if local or len(path.parts) != 2 or text.endswith("/") or "\\" in text:
        found = "it is a file" if folder.exists() else "no such folder"
        raise UserError(f"`source`: {text}: {found}. Expected {HELP}.")


def load_audio_interpreter(text: str, device: str = "cpu") -> AudioInterpreter:
    """Load what explains files, from what :func:`find_source` takes."""
    source = find_source(text)
    from speechbrain_lmac.inference import AudioInterpreter

    options = {"run_opts": {"device": device}}
    if source.kind == "run":
        return AudioInterpreter.from_run(source.place, **options)
    return AudioInterpreter.from_hparams(source.place, **options)


def load_parts(source: Source) -> Interpreter:
    """Load a run or a package to evaluate it; a zero-shot one lacks prompts."""
    from speechbrain_lmac.inference import load_package
    from speechbrain_lmac.interpreters.loading import Interpreter
    from speechbrain_lmac.utils.checks import UserError

    if source.kind == "hub":
        raise UserError(
            f"`source`: {source.place}: there is no such folder. To "
            "evaluate an interpreter of the hub, download it and give its "
            f"folder: hf download {source.place} --local-dir DIR"
        )
    if source.kind == "package":
        return load_package(source.place)
    return Interpreter.load(source.place)
