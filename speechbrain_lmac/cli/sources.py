"""What explains: a trained interpreter, or a model that people have.

An interpreter comes from a run, a package or a hub repository; a model from
whatever :func:`speechbrain_lmac.load_model` takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from speechbrain_lmac.cli.console import (
    comma_list,
    flag,
    given,
    option,
    path,
    whole_number,
)

if TYPE_CHECKING:
    from speechbrain_lmac.inference import AudioInterpreter
    from speechbrain_lmac.interpreters.loading import Interpreter

HELP = (
    "a package, the output folder of a training, or the name of a repository "
    "on the hub (owner/name)"
)
MODEL = (
    "a classifier that is explained without training: a folder or repository "
    "of transformers or SpeechBrain, panns:FILE, module:function, a "
    "TorchScript file, or the output folder of train_classifier.py"
)
DEVICE = "such as cuda:0 (default: cpu)"
#: Options that say something of a model.
OF_MODELS = ("weights", "sample_rate", "layers", "labels", "threshold")


def add_source(parser: argparse.ArgumentParser, interpreter: str) -> None:
    """Add what names an interpreter, in these words, or a model."""
    what = parser.add_mutually_exclusive_group(required=True)
    option(what, "--interpreter", str, interpreter, dest="source")
    option(what, "--model", str, MODEL, metavar="MODEL")
    for name, kind, metavar, text in (
        ("weights", path, "FILE", "state dict for module:function"),
        ("sample-rate", whole_number, "HZ", "at which it hears, if it does "
         "not say it"),
        ("layers", comma_list, "A,B", "whose outputs are the hidden maps, "
         "deepest first, in place of the family's choice"),
        ("labels", comma_list, "A,B", "classes by index, if it has no names"),
        ("threshold", float, "P", "of a network of one's own: the probability "
         "above which each of several labels is decided for"),
    ):  # fmt: skip
        text = f"of a model: {text}"
        option(parser, f"--{name}", kind, text, metavar=metavar)
    what_runs = "run code that comes with it; only if you trust its author"
    flag(parser, "--trust", what_runs)


class Source(NamedTuple):
    """A ``package``, a ``run``, of the ``hub``, or a ``model``; and where."""

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


def load_audio_interpreter(args: argparse.Namespace) -> AudioInterpreter:
    """Load what explains files: an interpreter, or a model, by a method."""
    check_source(args)
    from speechbrain_lmac.attribution import check_method

    if args.method is not None:
        check_method(args.method)
    source = None if args.source is None else find_source(args.source)
    from speechbrain_lmac.inference import AudioInterpreter

    options: dict[str, Any] = {"run_opts": {"device": args.device}}
    if source is None:
        model = load_any(args, args.method or "mask")
        return AudioInterpreter(model, **options)
    if source.kind == "run":
        found = AudioInterpreter.from_run(source.place, **options)
    else:
        options["trust_source"] = args.trust
        found = AudioInterpreter.from_hparams(source.place, **options)
    if args.method is None:
        return found
    other = found.interpreter.by_method(args.method)
    return AudioInterpreter(other, options["run_opts"])


def check_source(args: argparse.Namespace) -> None:
    """Refuse options of models where an interpreter is given."""
    from speechbrain_lmac.utils.checks import UserError

    for name in OF_MODELS if args.model is None else ():
        if getattr(args, name) is not None:
            raise UserError(
                f"`{name}`: it is for a `model`; an interpreter knows its own "
                "classifier. Leave it out."
            )


def load_any(args: argparse.Namespace, method: str) -> Interpreter:
    """Load the model of a command line, to be explained by a method."""
    from speechbrain_lmac.interpreters.models import load_model

    options = given(args, *OF_MODELS)
    return load_model(args.model, method, trust=args.trust, **options)


def load_parts(source: Source, trust: bool = False) -> Interpreter:
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
        return load_package(source.place, trust)
    return Interpreter.load(source.place)
