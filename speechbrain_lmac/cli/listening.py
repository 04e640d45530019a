"""``lmac listening-test``: a study with listeners, and what they found."""

from __future__ import annotations

import argparse
from typing import Any

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    EXIT_FAILED,
    add_command,
    add_commands,
    answer,
    comma_list,
    flag,
    given,
    option,
    path,
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


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of ``lmac``."""
    parser = add_command(
        commands,
        "listening-test",
        "compare methods by ear, with listeners",
        EXAMPLES,
    )
    inner = add_commands(parser)
    for name, summary, run in (
        ("build", "make the page of a listening test", run_build),
        (
            "webmushra",
            "make the same test for webMUSHRA: a configuration and sounds",
            run_webmushra,
        ),
    ):
        _add_study(add_command(inner, name, summary, EXAMPLES, run))
    analyse = add_command(
        inner,
        "analyse",
        "turn the files that listeners sent back into tables: mean opinion "
        "scores, listeners who missed the anchors, paired tests",
        EXAMPLES,
        run_analyse,
    )
    analyse.add_argument(
        "files", nargs="+", type=path, metavar="FILE", help="CSV files"
    )
    where = "where the tables go (default: analysis)"
    option(analyse, "--out", path, where, default="analysis")
    flag(analyse, "--overwrite", "replace what is in --out")


def _add_study(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose what listeners hear."""
    option(
        parser,
        "--results",
        path,
        "output folder of an evaluation, with examples/",
        dest="results_folder",
        required=True,
    )
    whose = "whose explanations are compared"
    option(parser, "--methods", comma_list, whose, required=True)
    where = "where the test goes"
    option(parser, "--out", path, where, dest="out_folder", required=True)
    many = "how many clips (default: 10, or as many as there are)"
    option(parser, "--items", whole_number, many, dest="n_items")
    conditions = "of the evaluation (default: all)"
    option(parser, "--conditions", comma_list, conditions)
    option(parser, "--seed", int, "chooses the clips")
    anchors = "auto", "ideal", "target"
    anchor = "the ideal mask, or the clean source (default: auto)"
    option(parser, "--high-anchor", str, anchor, choices=anchors)
    option(parser, "--title", str, "heading of the test")
    equal = "bring every explanation to the energy of the input"
    flag(parser, "--equal-energy", equal)
    wrong = "take clips that the classifier gets wrong, too"
    flag(
        parser, "--wrong-too", wrong, dest="correct_only", action="store_false"
    )
    flag(parser, "--overwrite", "replace what is in --out")


def run_build(args: argparse.Namespace) -> int:
    """Make the page."""
    from speechbrain_lmac.evaluation.listening_test import build

    page = build(**given(args))
    answer(args, f"open {page} or serve its folder", page=page)
    return EXIT_DONE


def run_webmushra(args: argparse.Namespace) -> int:
    """Write the configuration and the sounds."""
    from speechbrain_lmac.evaluation.listening_test import export_webmushra

    page = export_webmushra(**given(args))
    answer(args, f"webMUSHRA test in {page}", page=page)
    return EXIT_DONE


def run_analyse(args: argparse.Namespace) -> int:
    """Turn ratings into tables; files that cannot be used are listed."""
    from speechbrain_lmac.evaluation.listening_test import analyse
    from speechbrain_lmac.utils.checks import UserError

    if (args.out / "scores.csv").exists() and not args.overwrite:
        raise UserError(
            f"{args.out}: there is an analysis already. Give another `out`, "
            "or `overwrite` to replace it."
        )
    analysis = analyse(args.files, args.out)
    scores = analysis.scores.to_dict("records")
    shown = [
        _score_line(row)
        for row in scores
        if (row["screening"], row["condition"]) == ("passed", "all")
    ]
    answer(
        args,
        "\n".join([*shown, f"tables in {args.out}"]),
        tables=args.out,
        scores=scores,
        problems=analysis.problems,
    )
    for problem in analysis.problems:
        warn(f"error: {problem}")
    return EXIT_FAILED if analysis.problems else EXIT_DONE


def _score_line(row: dict[Any, Any]) -> str:
    """A mean opinion score for people."""
    from speechbrain_lmac.evaluation.listening_test.summary import label_of

    return (
        f"{row['question']}: {label_of(row['method'])}  {row['mean']:.1f} "
        f"[{row['low']:.1f}, {row['high']:.1f}]  "
        f"({row['n_participants']} listeners)"
    )
