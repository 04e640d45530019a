"""How the subcommands speak, and how quiet the libraries below them are.

Results go to standard output, all else to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import logging
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

PACKAGE = "speechbrain_lmac"

#: Environment variables that quiet libraries which ask for them on import.
QUIET_VARIABLES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


def add_commands(parser: argparse.ArgumentParser) -> Any:
    """Let a parser have subcommands."""
    return parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )


def add_command(
    commands: Any,
    name: str,
    summary: str,
    examples: str,
    run: Callable[[argparse.Namespace], int] | None = None,
) -> argparse.ArgumentParser:
    """Add a subcommand; ``run`` does its work, None for one with its own."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    # What stands before the subcommand holds, too.
    debug = "show tracebacks and what libraries log"
    flag(parser, "--debug", debug, default=argparse.SUPPRESS)
    if run is not None:
        flag(parser, "--json", "print JSON in place of lines for people")
    return parser


def path(text: str) -> Path:
    """A path; for argparse, as a shell leaves the ~ of --out=~/out alone."""
    return Path(text).expanduser()


def whole_number(text: str) -> int:
    """A positive whole number; for argparse.

    >>> whole_number("3")
    3
    """
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 1 on, found {text!r}"
        )
    return number


def comma_list(text: str) -> list[str]:
    """Names with commas between them, for argparse; quotes keep a comma.

    >>> comma_list('dog, "speech, male",rain')
    ['dog', 'speech, male', 'rain']
    """
    rows = list(csv.reader([text], skipinitialspace=True))
    names = [name.strip() for name in (rows[0] if rows else [])]
    if not names or not all(names):
        raise argparse.ArgumentTypeError(
            f"expected names with commas between them, found {text!r}"
        )
    return names


METAVARS = {path: "DIR", comma_list: "A,B", int: "N", whole_number: "N"}


def option(
    parser: Any, name: str, kind: Callable[[str], Any], what: str, **more: Any
) -> None:
    """Add an option with a value; None if it is not given."""
    more = {"metavar": METAVARS.get(kind), **more}
    parser.add_argument(name, type=kind, help=what, **more)


def flag(
    parser: argparse.ArgumentParser, name: str, what: str, **more: Any
) -> None:
    """Add an option without a value."""
    more = {"action": "store_true", **more}
    parser.add_argument(name, help=what, **more)


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options that were given, some or all; functions have defaults.

    >>> given(argparse.Namespace(seed=3, title=None, json=True))
    {'seed': 3}
    """
    own = {"run", "parser", "debug", "json"}
    values = {n: value for n, value in vars(args).items() if value is not None}
    return {n: values[n] for n in names or values if n in values.keys() - own}


def answer(args: argparse.Namespace, text: str, **facts: Any) -> None:
    """Print a result: a text for people or, with ``--json``, the facts."""
    print(to_json(facts) if args.json else printable(text), flush=True)


def to_json(value: Any) -> str:
    r"""A line of JSON: NaN becomes null, and paths become texts.

    >>> to_json({"p": float("nan"), "q": (0.5, "ü"), "out": Path("a")})
    '{"p": null, "q": [0.5, "\\u00fc"], "out": "a"}'
    """
    return json.dumps(_plain(value), default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    value = value.item() if hasattr(value, "item") else value  # NumPy's
    undefined = isinstance(value, float) and not math.isfinite(value)
    return None if undefined else value


def printable(text: str) -> str:
    r"""A text with a mark in place of what would steer a terminal.

    Labels come from packages of anyone, and names of files from anywhere.

    >>> printable("dog\x1b[2J\u202e, Käse")
    'dog�[2J�, Käse'
    """
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def warn(text: str) -> None:
    """Print a line on standard error that says who speaks."""
    print(f"lmac: {printable(text)}", file=sys.stderr, flush=True)


def error_text(error: Exception, parser: argparse.ArgumentParser) -> str:
    """What to print of an exception: a user's mistake explains itself."""
    from speechbrain_lmac.utils.checks import UserError

    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return with_options(text, parser)
    name = type(error).__name__
    return f"unexpected {name}: {text} (run with --debug to see more)"


def with_options(text: str, parser: argparse.ArgumentParser) -> str:
    """A message with the options of a command for arguments in backticks.

    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--items", dest="n_items")
    >>> with_options("`n_items`: expected 1, as in `config`", parser)
    '--items: expected 1, as in `config`'
    """
    names = {}
    for action in parser._actions:
        typed = (*action.option_strings, str(action.metavar or action.dest))[0]
        names[typed.lstrip("-").replace("-", "_")] = typed
        names[action.dest] = typed
    return re.sub(r"`(\w+)`", lambda m: names.get(m[1], m[0]), text)


@contextlib.contextmanager
def quiet_libraries(args: argparse.Namespace) -> Iterator[None]:
    """Keep off the screen what libraries warn of; errors and ours stay."""
    if args.debug:
        yield
        return
    for name, value in QUIET_VARIABLES.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    ours = logging.INFO if getattr(args, "show_steps", False) else None

    def wanted(record: logging.LogRecord) -> bool:
        own = record.name.startswith(PACKAGE)
        least = (ours or logging.WARNING) if own else logging.ERROR
        return record.levelno >= least

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = with_options(super().format(record), args.parser)
            return printable(text)

    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("lmac: %(message)s"))
    handler.addFilter(wanted)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
