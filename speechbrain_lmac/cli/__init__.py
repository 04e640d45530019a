"""The command ``lmac``: explanations of sounds from the shell.

Each subcommand is a module with ``add_parser`` and a function that does the
work. Whatever is slow to import is imported there, so that ``lmac --help``
answers at once. An option's ``dest`` is the name of the argument that it
becomes, so that messages of functions are printed with options.

Exit codes: 0 all done, 1 a mistake of the user or inputs that failed, 2 wrong
usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback

from speechbrain_lmac import __version__
from speechbrain_lmac.cli import (
    app,
    data,
    evaluate,
    explain,
    listening,
    package,
    report,
)
from speechbrain_lmac.cli.console import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    add_commands,
    error_text,
    quiet_libraries,
    warn,
)

DEBUG_VARIABLE = "LMAC_DEBUG"

EPILOG = """\
examples:
  lmac explain dog.wav --model MIT/ast-finetuned-audioset-10-10-0.4593 --out out
  lmac explain dog_in_rain.flac --interpreter results/lmac_small/1234 --out out
  lmac explain recordings/ --interpreter results/lmac_small/1234 --out out
  lmac report results/lmac_small/1234/evaluation
  lmac COMMAND --help

exit codes: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line.

    >>> build_parser().parse_args(["report", "results/x"]).results_folder.name
    'x'
    """
    parser = argparse.ArgumentParser(
        prog="lmac",
        description="Listenable explanations of sound classifiers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        default=bool(os.environ.get(DEBUG_VARIABLE)),
        help="show tracebacks and what libraries log (also "
        f"{DEBUG_VARIABLE}=1)",
    )
    commands = add_commands(parser)
    for module in (explain, app, report, package, listening, evaluate, data):
        module.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code.

    >>> main(["--no-such-option"])  # the usage goes to standard error
    2
    """
    try:
        args = build_parser().parse_args(argv)
        with quiet_libraries(args):
            return _run(args)
    except SystemExit as stop:  # argparse: after --help, or wrong usage
        return int(stop.code or 0)


def _run(args: argparse.Namespace) -> int:
    """Call a subcommand; whatever it raises becomes one line and a code."""
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        warn("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # as in `lmac explain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        warn(f"error: {error_text(error, args.parser)}")
        return EXIT_FAILED
