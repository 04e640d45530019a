"""How the subcommands speak, and how quiet the libraries below them are.

Results go to standard output, all else to standard error.

Authors
 * The speechbrain_lmac authors 2026
"""

import argparse
import contextlib
import json
import logging
import math
import os
import sys
import warnings

from speechbrain_lmac.cli.wording import in_shell_words, printable

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

PACKAGE = "speechbrain_lmac"

#: Environment variables that quiet libraries which ask for them on import.
QUIET_VARIABLES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


class Subcommands:
    """Adds subcommands that share ``--debug`` and the layout of their help.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        The command that they belong to.
    """

    def __init__(self, parser):
        self.parsers = parser.add_subparsers(
            title="commands", metavar="COMMAND", required=True
        )
        self.common = argparse.ArgumentParser(add_help=False)
        # What the outer command was told holds, unless it is said again.
        self.common.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show tracebacks and what libraries log",
        )

    def add(self, name, summary, examples, run=None):
        """Add one.

        Arguments
        ---------
        name : str
            What is typed.
        summary : str
            One line.
        examples : str
            Ends its help.
        run : callable or None
            ``run(args) -> exit code``; None for one with subcommands.

        Returns
        -------
        argparse.ArgumentParser
        """
        parser = self.parsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog="examples:\n" + examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[self.common],
        )
        parser.set_defaults(run=run, parser=parser)
        return parser


def add_json(parser):
    """Add ``--json``."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON on standard output, in place of lines for people",
    )


def whole_number(text):
    """A positive whole number; for argparse.

    Example
    -------
    >>> whole_number("3")
    3
    """
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 1 on, found {text!r}"
        )
    return number


def comma_list(text):
    """Names with commas between them; quotes keep a comma in a name.

    Example
    -------
    >>> comma_list('dog, "speech, male",rain')
    ['dog', 'speech, male', 'rain']
    """
    import csv

    rows = list(csv.reader([text], skipinitialspace=True))
    names = [name.strip() for name in (rows[0] if rows else [])]
    if not names or not all(names):
        raise argparse.ArgumentTypeError(
            f"expected names with commas between them, found {text!r}"
        )
    return names


def tell(args, text, **facts):
    """Print a result: a line for people or, with ``--json``, an object.

    Arguments
    ---------
    args : argparse.Namespace
        With ``json``.
    text : str
        The line.
    **facts
        The object; what JSON does not know becomes a text.

    Example
    -------
    >>> tell(argparse.Namespace(json=True), "made a.html", page="a.html")
    {"page": "a.html"}
    """
    text = to_json(facts) if args.json else printable(text)
    print(text, flush=True)


def to_json(value):
    """A line of JSON: NaN becomes null, and paths become texts.

    Example
    -------
    >>> from pathlib import Path
    >>> to_json({"p": float("nan"), "q": (0.5, "ü"), "out": Path("a")})
    '{"p": null, "q": [0.5, "ü"], "out": "a"}'
    """
    line = json.dumps(_plain(value), ensure_ascii=False, default=str)
    # JSON escapes some of what steers a terminal, not all.
    return "".join(
        c if printable(c) == c else json.dumps(c)[1:-1] for c in line
    )


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    value = value.item() if hasattr(value, "item") else value  # NumPy's
    undefined = isinstance(value, float) and not math.isfinite(value)
    return None if undefined else value


def warn(text):
    """Print a line on standard error that says who speaks."""
    print(f"lmac: {printable(text)}", file=sys.stderr, flush=True)


def error_text(error, args=None):
    """What to print of an exception: a user's mistake explains itself.

    Arguments
    ---------
    error : Exception
        The exception.
    args : argparse.Namespace or None
        As for :func:`in_shell_words`.

    Returns
    -------
    str

    Example
    -------
    >>> error_text(KeyError("x"))
    "unexpected KeyError: 'x' (run with --debug to see more)"
    """
    # Without this module nothing could have raised its error.
    checks = sys.modules.get(f"{PACKAGE}.utils.checks")
    if checks and isinstance(error, checks.UserError):
        return in_shell_words(str(error), args)
    name, text = type(error).__name__, " ".join(str(error).split())
    return f"unexpected {name}: {text} (run with --debug to see more)"


class _Formatter(logging.Formatter):
    """Of messages that may tell of labels."""

    def format(self, record):
        """A record as text that can be printed."""
        return printable(super().format(record))


@contextlib.contextmanager
def quiet_libraries(debug=False):
    """Keep off the screen what libraries warn of; errors and ours stay.

    Arguments
    ---------
    debug : bool
        Change nothing.
    """
    if debug:
        yield
        return
    for name, value in QUIET_VARIABLES.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # SpeechBrain gives every logger a level of its own: handlers must choose.
    levels = {"": logging.ERROR, PACKAGE: logging.WARNING}
    handlers = {name: logging.StreamHandler() for name in levels}
    for name, handler in handlers.items():
        handler.setFormatter(_Formatter("lmac: %(message)s"))
        handler.setLevel(levels[name])
        logging.getLogger(name).addHandler(handler)
    ours = logging.getLogger(PACKAGE)
    before, ours.propagate = ours.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.propagate = before
        for name, handler in handlers.items():
            logging.getLogger(name).removeHandler(handler)


def show_steps():
    """Let the package tell what it does, for the jobs that take long."""
    for handler in logging.getLogger(PACKAGE).handlers:
        handler.setLevel(logging.INFO)


def bar_wanted(quiet=False):
    """Whether somebody sees a progress bar."""
    return not quiet and sys.stderr.isatty()
