"""``lmac report``: one page from what an evaluation left on disk.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    add_json,
    comma_list,
    tell,
)

EXAMPLES = """\
  lmac report results/lmac_small/1234/evaluation
  lmac report results/lmac_small/1234/evaluation --out page.html --open
  lmac report out --title "What was heard"

The page is a single file that needs no network: tables, figures and sounds.
Besides that of an evaluation, the --out of `lmac explain` will do.
"""


def add_parser(commands):
    """Add the subcommand to those of ``lmac``."""
    parser = commands.add(
        "report", "make one page of an evaluation", EXAMPLES, run
    )
    parser.add_argument(
        "results",
        metavar="RESULTS_FOLDER",
        help="output folder of an evaluation, or of explanations",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where the page goes (default: report.html in the folder, where "
        "an earlier page is replaced)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace --out if it exists"
    )
    parser.add_argument(
        "--open", action="store_true", help="show the page in a browser"
    )
    # None leaves a setting at the default of the function.
    parser.add_argument(
        "--max-examples",
        type=int,
        metavar="N",
        help="clips with sounds, at most; -1 for all",
    )
    parser.add_argument(
        "--methods",
        type=comma_list,
        metavar="A,B",
        help="whose sounds are on the page (default: all)",
    )
    parser.add_argument("--title", help="heading of the page")
    add_json(parser)


def run(args):
    """Make the page."""
    from speechbrain_lmac.utils.checks import UserError

    out = Path(args.out).expanduser() if args.out else None
    if out and out.is_dir():
        raise UserError(
            f"--out {out}: it is a folder; expected a file such as "
            f"{out / 'report.html'}."
        )
    if out and out.exists() and not args.overwrite:
        raise UserError(
            f"--out {out}: the file is there already. Give another one, or "
            "--overwrite to replace it."
        )
    from speechbrain_lmac.report.page.page import build_report

    results = Path(args.results).expanduser()
    replaced = (out or results / "report.html").exists()
    settings = {
        name: getattr(args, name)
        for name in ("max_examples", "methods", "title")
        if getattr(args, name) is not None
    }
    page = Path(build_report(results, out, **settings))
    text = f"{page} ({page.stat().st_size / 2**20:.1f} MB)"
    if replaced:
        text += ", the earlier one is replaced"
    tell(args, text, report=page, replaced=replaced)
    if args.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return EXIT_DONE
