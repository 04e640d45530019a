"""``lmac package``: a training's result as a folder for others to use.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.cli.console import EXIT_DONE, add_json, tell

EXAMPLES = """\
  lmac package results/lmac_small/1234
  lmac package results/lmac_small/1234 --out my_package --overwrite

The package holds weights (safetensors), settings, labels and a model card;
`lmac explain --interpreter my_package` uses it, and it can be uploaded to the
hub as it is.
"""


def add_parser(commands):
    """Add the subcommand to those of ``lmac``."""
    parser = commands.add(
        "package", "pack a trained interpreter for others", EXAMPLES, run
    )
    parser.add_argument(
        "run_folder", metavar="RUN_FOLDER", help="output folder of a training"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the package goes (default: package in the run's folder)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a package that is there",
    )
    add_json(parser)


def run(args):
    """Write the package."""
    from speechbrain_lmac.inference.package import write_package

    source = Path(args.run_folder).expanduser()
    out = Path(args.out).expanduser() if args.out else None
    replaced = _occupied(out or source / "package")
    folder = write_package(source, out, overwrite=args.overwrite)
    text = f"package in {folder}"
    if replaced:
        text += ", the earlier one is replaced"
    tell(args, text, package=folder, replaced=replaced)
    return EXIT_DONE


def _occupied(folder):
    return folder.is_dir() and any(folder.iterdir())
