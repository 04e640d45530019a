"""``lmac report``: one page from what an evaluation left on disk."""

from __future__ import annotations

import argparse
from typing import Any

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    add_command,
    answer,
    comma_list,
    flag,
    given,
    option,
    path,
)

EXAMPLES = """\
  lmac report results/lmac_small/1234/evaluation
  lmac report results/lmac_small/1234/evaluation --out page.html --open
  lmac report out --title "What was heard"

The page is a single file that needs no network: tables, figures and sounds.
Besides that of an evaluation, the --out of `lmac explain` will do.
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of ``lmac``."""
    parser = add_command(
        commands, "report", "make one page of an evaluation", EXAMPLES, run
    )
    parser.add_argument(
        "results_folder",
        metavar="RESULTS_FOLDER",
        type=path,
        help="output folder of an evaluation, or of explanations",
    )
    option(
        parser,
        "--out",
        path,
        "where the page goes (default: report.html in the folder, where an "
        "earlier page is replaced)",
        metavar="FILE",
    )
    flag(parser, "--overwrite", "replace --out if it exists")
    flag(parser, "--open", "show the page in a browser")
    most = "clips with sounds, at most; -1 for all"
    option(parser, "--max-examples", int, most)
    whose = "whose sounds are on the page (default: all)"
    option(parser, "--methods", comma_list, whose)
    option(parser, "--title", str, "heading of the page")


def run(args: argparse.Namespace) -> int:
    """Make the page."""
    from speechbrain_lmac.report.page.page import build_report
    from speechbrain_lmac.utils.checks import UserError

    out = args.out
    if out and (out.is_dir() or (out.exists() and not args.overwrite)):
        raise UserError(
            f"`out`: {out} is there already; give a file that is not, or "
            "`overwrite` to replace one."
        )
    settings = given(args, "out", "max_examples", "methods", "title")
    page = build_report(args.results_folder, **settings)
    answer(args, f"{page} ({page.stat().st_size / 2**20:.1f} MB)", report=page)
    if args.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return EXIT_DONE
