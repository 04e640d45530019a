"""``lmac data``: data sets that need no download."""

from __future__ import annotations

import argparse
from typing import Any

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    add_command,
    add_commands,
    answer,
    flag,
    given,
    option,
    path,
    whole_number,
)

EXAMPLES = """\
  lmac data synthetic sounds
  lmac data synthetic sounds --clips-per-class-and-fold 2 --duration 2.5
  lmac data synthetic city --layout urbansound8k
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of ``lmac``."""
    parser = add_command(
        commands, "data", "make data to try things on", EXAMPLES
    )
    parser = add_command(
        add_commands(parser),
        "synthetic",
        "make the built-in data set: ten classes of sounds made by code, in "
        "the layout of ESC-50 or UrbanSound8K",
        EXAMPLES,
        run,
    )
    parser.add_argument(
        "folder", metavar="OUT", type=path, help="where it goes"
    )
    option(parser, "--seed", int, "same seed, same sounds")
    name = "--clips-per-class-and-fold"
    option(parser, name, whole_number, "how many clips")
    option(parser, "--n-folds", whole_number, "how many folds")
    option(parser, "--duration", float, "of every clip", metavar="SECONDS")
    rate = "of the files; those of urbansound8k have many"
    option(parser, "--sample-rate", whole_number, rate, metavar="HZ")
    layouts = ("esc50", "urbansound8k")
    option(parser, "--layout", str, "esc50 if not given", choices=layouts)
    kept = "replace a synthetic set of other settings; nothing else ever is"
    flag(parser, "--overwrite", kept)


def run(args: argparse.Namespace) -> int:
    """Make the data set, or find it complete."""
    from speechbrain_lmac.data.synthetic.sets import make_synthetic_dataset

    folder = make_synthetic_dataset(**given(args))
    answer(args, str(folder), folder=folder)
    return EXIT_DONE
