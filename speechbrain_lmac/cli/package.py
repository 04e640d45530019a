"""``lmac package``: a training's result as a folder for others to use."""

from __future__ import annotations

import argparse
from typing import Any

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    add_command,
    answer,
    flag,
    option,
    path,
)

EXAMPLES = """\
  lmac package results/lmac_small/1234
  lmac package results/lmac_small/1234 --out my_package --overwrite

The package holds weights (safetensors), settings, labels and a model card;
`lmac explain --interpreter my_package` uses it, and it can be uploaded to the
hub as it is.
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of ``lmac``."""
    parser = add_command(
        commands,
        "package",
        "pack a trained interpreter for others",
        EXAMPLES,
        run,
    )
    parser.add_argument(
        "run_folder",
        metavar="RUN_FOLDER",
        type=path,
        help="output folder of a training",
    )
    where = "where the package goes (default: package in the run's folder)"
    option(parser, "--out", path, where, dest="out_folder")
    flag(parser, "--overwrite", "replace a package that is there")


def run(args: argparse.Namespace) -> int:
    """Write the package."""
    from speechbrain_lmac.inference import write_package

    folder = write_package(
        args.run_folder, args.out_folder, overwrite=args.overwrite
    )
    answer(args, f"package in {folder}", package=folder)
    return EXIT_DONE
