"""``lmac data``: data sets that need no download.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    Subcommands,
    add_json,
    tell,
    whole_number,
)

EXAMPLES = """\
  lmac data synthetic sounds
  lmac data synthetic sounds --clips-per-class-and-fold 2 --duration 2.5
"""


def add_parser(commands):
    """Add the subcommand to those of ``lmac``."""
    parser = commands.add("data", "make data to try things on", EXAMPLES)
    parser = Subcommands(parser).add(
        "synthetic",
        "make the built-in data set: ten classes of sounds made by code, in "
        "the layout of ESC-50",
        EXAMPLES,
        run_synthetic,
    )
    parser.add_argument("folder", metavar="OUT", help="where it goes")
    # None leaves a setting at the default of the function.
    parser.add_argument("--seed", type=int, help="same seed, same sounds")
    parser.add_argument(
        "--clips-per-class-and-fold",
        type=whole_number,
        metavar="N",
        help="how many clips",
    )
    parser.add_argument(
        "--n-folds", type=whole_number, metavar="N", help="how many folds"
    )
    parser.add_argument(
        "--duration", type=float, metavar="SECONDS", help="of every clip"
    )
    parser.add_argument(
        "--sample-rate", type=whole_number, metavar="HZ", help="of the files"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a synthetic set of other settings; nothing else ever is",
    )
    add_json(parser)


def run_synthetic(args):
    """Make the data set, or find it complete."""
    from speechbrain_lmac.data.synthetic.sets import make_synthetic_dataset

    names = ("seed", "clips_per_class_and_fold", "n_folds", "duration")
    settings = {
        name: getattr(args, name)
        for name in (*names, "sample_rate")
        if getattr(args, name) is not None
    }
    mark = Path(args.folder).expanduser() / "meta" / "synthetic.json"
    before = _stamp(mark)
    folder = make_synthetic_dataset(
        args.folder, overwrite=args.overwrite, **settings
    )
    how = "made"
    if before is not None:
        how = "replaced" if _stamp(mark) != before else "already complete"
    tell(args, f"{folder} ({how})", folder=folder, state=how)
    return EXIT_DONE


def _stamp(path):
    return path.stat().st_mtime_ns if path.is_file() else None
