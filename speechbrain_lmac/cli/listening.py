"""``lmac listening-test``: a study with listeners, and what they found.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    EXIT_FAILED,
    Subcommands,
    add_json,
    comma_list,
    tell,
    warn,
    whole_number,
)

EXAMPLES = """\
  lmac listening-test build --results results/lmac_small/1234/evaluation \\
      --methods lmac,l2i,gradcam --out study
  lmac listening-test analyse study/ratings/*.csv --out study/analysis
  lmac listening-test webmushra --results results/lmac_small/1234/evaluation \\
      --methods lmac,l2i,gradcam --out webmushra

The sounds are those of `lmac evaluate`, whose --methods must hold the methods
that are compared, random (the hidden low anchor) and, for mixtures, ideal (the
high one), such as lmac,l2i,gradcam,random,ideal; the more --examples it kept,
the more clips there are to choose from.
"""


def add_parser(commands):
    """Add the subcommand to those of ``lmac``."""
    parser = commands.add(
        "listening-test", "compare methods by ear, with listeners", EXAMPLES
    )
    inner = Subcommands(parser)
    for name, summary, run in (
        ("build", "make the page of a listening test", run_build),
        (
            "webmushra",
            "make the same test for webMUSHRA: a configuration and sounds",
            run_webmushra,
        ),
    ):
        add_study(inner.add(name, summary, EXAMPLES, run))
    analyse = inner.add(
        "analyse",
        "turn the files that listeners sent back into tables: mean opinion "
        "scores, listeners who missed the anchors, paired tests",
        EXAMPLES,
        run_analyse,
    )
    analyse.add_argument("files", nargs="+", metavar="FILE", help="CSV files")
    analyse.add_argument(
        "--out",
        metavar="DIR",
        default="analysis",
        help="where the tables go (default: analysis)",
    )
    add_overwrite(analyse)
    add_json(analyse)


def add_study(parser):
    """Add the options that choose what listeners hear."""
    parser.add_argument(
        "--results",
        required=True,
        metavar="DIR",
        help="output folder of an evaluation, with examples/",
    )
    parser.add_argument(
        "--methods",
        required=True,
        type=comma_list,
        metavar="A,B",
        help="whose explanations are compared",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="where the test goes"
    )
    parser.add_argument(
        "--items",
        type=whole_number,
        default=10,
        metavar="N",
        help="how many clips (default: 10, or as many as there are)",
    )
    parser.add_argument(
        "--conditions",
        type=comma_list,
        metavar="A,B",
        help="of the evaluation (default: all)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="chooses the clips (default: 0)"
    )
    parser.add_argument(
        "--high-anchor",
        choices=("auto", "ideal", "target"),
        default="auto",
        help="the ideal mask, or the clean source (default: auto)",
    )
    parser.add_argument("--title", help="heading of the test")
    parser.add_argument(
        "--equal-energy",
        action="store_true",
        help="bring every explanation to the energy of the input",
    )
    parser.add_argument(
        "--wrong-too",
        action="store_true",
        help="take clips that the classifier gets wrong, too",
    )
    add_overwrite(parser)
    add_json(parser)


def add_overwrite(parser):
    """Add ``--overwrite``."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is in --out"
    )


def choices(args):
    """The options of :func:`add_study` as the functions take them."""
    selection = {
        "conditions": args.conditions,
        "seed": args.seed,
        "high_anchor": args.high_anchor,
        "correct_only": not args.wrong_too,
    }
    chosen = {
        **selection,
        "n_items": items_there(args, selection),
        "overwrite": args.overwrite,
        "equal_energy": args.equal_energy,
    }
    if args.title is not None:
        chosen["title"] = args.title
    return chosen


def items_there(args, selection):
    """How many clips the test gets: what is asked for, if there are as many."""
    from speechbrain_lmac.evaluation.listening_test.study import select_items

    there = len(select_items(args.results, args.methods, None, **selection))
    if there >= args.items:
        return args.items
    right, more = "", ""
    if not args.wrong_too:
        right = " that the classifier gets right"
        more = ", or --wrong-too here"
    warn(
        f"{there} clips{right} have all sounds, so the test has {there} in "
        f"place of {args.items}; for more, evaluate with more --examples{more}"
    )
    return there


def run_build(args):
    """Make the page."""
    from speechbrain_lmac.evaluation.listening_test import build

    page = build(args.results, args.out, args.methods, **choices(args))
    tell(args, f"open {page} or serve its folder", page=page)
    return EXIT_DONE


def run_webmushra(args):
    """Write the configuration and the sounds."""
    from speechbrain_lmac.evaluation.listening_test import export_webmushra

    made = export_webmushra(
        args.results, args.out, args.methods, **choices(args)
    )
    tell(args, f"webMUSHRA test in {made}", made=made)
    return EXIT_DONE


def run_analyse(args):
    """Turn ratings into tables; files that cannot be used are listed."""
    from speechbrain_lmac.evaluation.listening_test import analyse
    from speechbrain_lmac.utils.checks import UserError

    out = Path(args.out).expanduser()
    if (out / "scores.csv").exists() and not args.overwrite:
        raise UserError(
            f"{out}: there is an analysis already. Give another --out, or "
            "--overwrite to replace it."
        )
    found = analyse([Path(file) for file in args.files], out)
    scores = found.scores.to_dict("records")
    shown = [
        score_line(row)
        for row in scores
        if (row["screening"], row["condition"]) == ("passed", "all")
    ]
    tell(
        args,
        "\n".join([*shown, f"tables in {out}"]),
        tables=out,
        scores=scores,
        problems=found.problems,
    )
    for problem in found.problems:
        warn(f"error: {problem}")
    return EXIT_FAILED if found.problems else EXIT_DONE


def score_line(row):
    """A mean opinion score for people."""
    from speechbrain_lmac.evaluation.listening_test.summary import label_of

    return (
        f"{row['question']}: {label_of(row['method'])}  {row['mean']:.1f} "
        f"[{row['low']:.1f}, {row['high']:.1f}]  "
        f"({row['n_participants']} listeners)"
    )
