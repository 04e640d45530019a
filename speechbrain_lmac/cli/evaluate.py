"""``lmac evaluate``: methods under conditions, measured on labelled sounds."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    add_command,
    answer,
    comma_list,
    flag,
    given,
    option,
    path,
    warn,
    whole_number,
)
from speechbrain_lmac.cli.sources import (
    DEVICE,
    Source,
    add_source,
    check_source,
    find_source,
    load_any,
    load_parts,
)

if TYPE_CHECKING:
    from speechbrain_lmac.evaluation import LabelledClips
    from speechbrain_lmac.interpreters.loading import Interpreter

EXAMPLES = """\
  lmac evaluate --interpreter results/lmac_small/1234 --data-folder ESC-50
  lmac evaluate --interpreter my_package --data-folder my_sounds \\
      --dataset folders --out evaluation --methods lmac,gradcam,random
  lmac evaluate --model ./my-wav2vec2 --methods mask,ig,gradcam,random \\
      --data-folder my_sounds --dataset folders --out evaluation
  lmac evaluate --interpreter my_package --data-folder sounds/labels.csv \\
      --dataset csv --out evaluation --conditions clean,white_noise

  lmac evaluate --interpreter results/lmac_small/1234 --data-folder ESC-50 \\
      --judge results/another_classifier/1234 --out judged

Tables, values of each clip and sounds go to --out; `lmac report` makes a page
of them. An interrupted evaluation goes on where it was stopped. A --model is
evaluated by the first of --methods that explains (default: mask): random and
the protocol equal_mean match the means of its masks.

layouts of --dataset:
  esc50         audio/ and meta/esc50.csv
  urbansound8k  audio/fold1 ... and metadata/UrbanSound8K.csv
  folders       a folder of audio files for each class
  csv           --data-folder is a CSV file with the columns file and label,
                or a folder with such a labels.csv
"""

METHODS = (
    "lmac, lmac_td (lmac_zs for zero-shot), lmac_ft, l2i, mask, saliency, "
    "smoothgrad, ig, gradcam, gradcampp, guided_gradcam, guided_backprop, "
    "shap, rise, occlusion, linear, kernel_shap, forest, wam, all_ones, "
    "random, ideal"
)
CONDITIONS = "clean, mixtures, white_noise, speech, wham, pairs, named, placed"
PROTOCOLS = "published, equal_mean, equal_area, loudness"
#: What an evaluation that was refused may leave in its folder.
MANIFESTS = "manifests"


def add_parser(commands: Any) -> None:
    """Add the subcommand to those of ``lmac``."""
    parser = add_command(
        commands,
        "evaluate",
        "measure explanations on a labelled set of sounds",
        EXAMPLES,
        run,
    )
    parser.set_defaults(show_steps=True)
    add_source(parser, "a package, or the output folder of a training")
    option(parser, "--data-folder", path, "labelled sounds", required=True)
    parser.add_argument(
        "--dataset",
        dest="layout",
        choices=("esc50", "urbansound8k", "folders", "csv"),
        help="its layout, see below (default: that of the training)",
    )
    for name, kind, what in (
        ("out", path, "where the results go (default: evaluation in the "
         "output folder of the training)"),
        ("methods", comma_list, f"some of {METHODS} (default: the "
         "interpreter's own and the last three)"),
        ("conditions", comma_list, f"some of {CONDITIONS} (default: the first "
         "three)"),
        ("protocols", comma_list, f"some of {PROTOCOLS} (default: the first)"),
        ("classes", comma_list, "only clips of these classes (default: those "
         "that the interpreter was trained with)"),
        ("seed", int, "of contaminations and random masks"),
        ("batch-size", whole_number, "clips explained together"),
        ("speech-folder", path, "sounds for the condition speech"),
        ("wham-folder", path, "sounds for the condition wham"),
        ("cache-folder", path, "of decoded clips (default: none)"),
        ("lmac-folder", path, "the training of the method lmac, beside "
         "lmac_td"),
        ("lmac-ft-folder", path, "the training of the method lmac_ft"),
        ("l2i-folder", path, "the training of the method l2i"),
        ("judge", str, "another classifier of the same classes, which hears "
         "the explanations, too: whatever --model takes"),
    ):  # fmt: skip
        option(parser, f"--{name}", kind, what)
    option(
        parser,
        "--test-folds",
        fold_numbers,
        "folds to test on (default: of the data of the training what it held "
        "out, of others all)",
        dest="test_fold_nums",
        metavar="1,2",
    )
    skip = "go on without sounds that cannot be read"
    flag(parser, "--skip-broken-audio", skip)
    parser.add_argument(
        "--templates",
        nargs="+",
        metavar="TEXT",
        help='zero-shot: what class names are put into, such as "this is a '
        'sound of {}" (the default)',
    )
    many = "clips per condition with sounds; -1 for all (default: 8)"
    option(parser, "--examples", int, many, dest="n_examples", default=8)
    option(parser, "--device", str, DEVICE, default="cpu")


def run(args: argparse.Namespace) -> int:
    """Check everything, then measure."""
    from speechbrain_lmac.evaluation import (
        EvaluationSettings,
        evaluate,
        load_judge,
    )
    from speechbrain_lmac.interpreters.loading import (
        TRAINED_METHODS,
        load_others,
    )
    from speechbrain_lmac.utils.checks import UserError, check_device

    check_device(args.device, "`device`:")
    if not args.data_folder.exists():
        raise UserError(f"`data_folder`: there is no {args.data_folder}.")
    names = ("methods", "conditions", "protocols", "n_examples", "batch_size")
    settings = EvaluationSettings(
        **given(args, *names, "seed", "speech_folder", "wham_folder")
    )
    check_source(args)
    source = Source("model", str(args.model))
    if args.source is not None:
        source = find_source(args.source, prefer="run")
    if args.out is None and source.kind != "run":
        args.parser.error(f"a {source.kind} needs --out: where the results go")
    interpreter = _load(source, args, settings.methods or ())
    others = load_others(
        interpreter,
        source.place,
        settings.methods or (),
        {name: vars(args)[f"{name}_folder"] for name in TRAINED_METHODS},
    )
    judge = load_judge(
        args.judge and {"source": args.judge, "trust": args.trust}
    )
    out = _output_folder(args, source)
    clips = _labelled_clips(interpreter, out, args)
    # The table on the screen is for people.
    screen = sys.stderr if args.json else sys.stdout
    with contextlib.redirect_stdout(screen):
        rows = evaluate(
            interpreter,
            clips,
            settings,
            out,
            others=others,
            judge=judge,
            device=args.device,
            progressbar=sys.stderr.isatty(),
        )
    text = f"results in {out}"
    if source.kind != "model":
        text += f"\n{card_advice(source, out)}"
    answer(args, text, results=out, rows=rows)
    return EXIT_DONE


def _load(
    source: Source, args: argparse.Namespace, methods: Sequence[str]
) -> Interpreter:
    """The interpreter that is evaluated; of a model by the first method."""
    from speechbrain_lmac.attribution import ATTRIBUTIONS

    if source.kind != "model":
        return load_parts(source, args.trust)
    first = (name for name in methods if name in ATTRIBUTIONS)
    return load_any(args, next(first, "mask"))


def _labelled_clips(
    interpreter: Interpreter, out: Path, args: argparse.Namespace
) -> LabelledClips:
    """The labelled clips to evaluate on; warns where they may be known."""
    from speechbrain_lmac.evaluation import test_clips

    data = {"data_folder": args.data_folder}
    if args.layout == "csv" and not args.data_folder.is_dir():
        data = {
            "data_folder": data["data_folder"].parent,
            "labels_file": args.data_folder,
        }
    names = ("layout", "test_fold_nums", "classes", "templates")
    clips = test_clips(
        interpreter,
        out / MANIFESTS,
        **data,
        **given(args, *names, "cache_folder", "skip_broken_audio"),
    )
    if args.model is not None:
        warn(
            "nobody tells which sounds the model was trained on: the figures "
            f"are of all {len(clips.clips)} clips"
        )
    elif clips.n_trained is None:
        warn(
            "a package does not tell which sounds it was trained on; give "
            "the folder of the training to have them left out"
        )
    elif clips.n_trained:
        warn(
            f"the interpreter was trained or validated on {clips.n_trained} "
            f"of the {len(clips.clips)} clips"
        )
    return clips


def fold_numbers(text: str) -> list[int]:
    """Folds with commas between them, as numbers.

    >>> fold_numbers("1,4")
    [1, 4]
    """
    return [whole_number(fold) for fold in comma_list(text)]


def card_advice(source: Source, out: Path) -> str:
    """How the figures get on the model card that others read.

    >>> card_advice(Source("run", "my_run"), Path("my_run/evaluation"))
    'to put them on the model card: lmac package my_run --overwrite'
    """
    place = Path(source.place)
    if source.kind == "run" and out == place / "evaluation":
        how = f"lmac package {shlex.quote(str(place))} --overwrite"
    else:
        how = f"add what you need of {out / 'results.md'} to its README.md"
    return f"to put them on the model card: {how}"


def _output_folder(args: argparse.Namespace, source: Source) -> Path:
    """Where the results go; an evaluation that is there goes on."""
    from speechbrain_lmac.evaluation.journal import SETTINGS_FILE
    from speechbrain_lmac.utils.checks import UserError, check_writable

    out = args.out or Path(source.place) / "evaluation"
    if out.is_dir() and {item.name for item in out.iterdir()} - {MANIFESTS}:
        if not (out / SETTINGS_FILE).is_file():
            raise UserError(
                f"`out`: {out} is not empty, and holds no evaluation (no "
                f"{SETTINGS_FILE}). Give another folder."
            )
        warn(
            f"{out} holds an evaluation: what was measured under the same "
            "settings is kept, the rest is replaced"
        )
    check_writable(out, "out")
    return out
