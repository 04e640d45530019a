"""``lmac evaluate``: methods under conditions, measured on labelled sounds.

Authors
 * The speechbrain_lmac authors 2026
"""

import contextlib
import shlex
import sys
from pathlib import Path

from speechbrain_lmac.cli.console import (
    EXIT_DONE,
    add_command,
    answer,
    comma_list,
    path,
    warn,
    whole_number,
)
from speechbrain_lmac.cli.sources import (
    check_device,
    find_source,
    load_parts,
)

EXAMPLES = """\
  lmac evaluate --interpreter results/lmac_small/1234 --data-folder ESC-50
  lmac evaluate --interpreter my_package --data-folder my_sounds \\
      --dataset folders --out evaluation --methods lmac,gradcam,random
  lmac evaluate --interpreter my_package --data-folder sounds/labels.csv \\
      --dataset csv --out evaluation --conditions clean,white_noise

Tables, values of each clip and sounds go to --out; `lmac report` makes a page
of them. An interrupted evaluation goes on where it was stopped.

layouts of --dataset:
  esc50         audio/ and meta/esc50.csv
  urbansound8k  audio/fold1 ... and metadata/UrbanSound8K.csv
  folders       a folder of audio files for each class
  csv           --data-folder is a CSV file with the columns file and label
"""

METHODS = (
    "lmac (lmac_zs for zero-shot), lmac_ft, l2i, saliency, smoothgrad, ig, "
    "gradcam, gradcampp, guided_gradcam, guided_backprop, shap, all_ones, "
    "random, ideal"
)
CONDITIONS = "clean, mixtures, white_noise, speech, wham"
PROTOCOLS = "published, equal_mean, loudness"
#: What an evaluation that was refused may leave in its folder.
MANIFESTS = "manifests"
#: Layouts, and what tables call the data; None: as their folder or file.
DATASETS = {
    "esc50": "ESC-50",
    "urbansound8k": "UrbanSound8K",
    "csv": None,
    "folders": None,
}


def add_parser(commands):
    """Add the subcommand to those of ``lmac``."""
    parser = add_command(
        commands,
        "evaluate",
        "measure explanations on a labelled set of sounds",
        EXAMPLES,
        run,
    )
    parser.add_argument(
        "--interpreter",
        required=True,
        metavar="DIR",
        help="a package, or the output folder of a training",
    )
    parser.add_argument(
        "--data-folder",
        required=True,
        type=path,
        metavar="DIR",
        help="labelled sounds",
    )
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        default="esc50",
        help="its layout, see below (default: esc50)",
    )
    parser.add_argument(
        "--out",
        type=path,
        metavar="DIR",
        help="where the results go (default: evaluation in the output folder "
        "of the training)",
    )
    add_lists(parser)
    parser.add_argument(
        "--seed",
        type=int,
        default=1234,
        help="of contaminations and random masks (default: 1234)",
    )
    parser.add_argument(
        "--examples",
        dest="n_examples",
        type=int,
        default=8,
        metavar="N",
        help="clips per condition with sounds; -1 for all (default: 8)",
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number,
        default=16,
        metavar="N",
        help="clips explained together (default: 16)",
    )
    parser.add_argument(
        "--device", default="cpu", help="such as cuda:0 (default: cpu)"
    )
    for name, what in (
        ("speech", "speech, for the condition of this name"),
        ("wham", "noise, for the condition of this name"),
        ("cache", "decoded clips, made if missing (default: none)"),
        ("lmac-ft", "the training of the method lmac_ft"),
        ("l2i", "the training of the method l2i"),
    ):
        parser.add_argument(
            f"--{name}-folder",
            type=path,
            metavar="DIR",
            help=f"folder of {what}",
        )
    parser.set_defaults(show_steps=True)


def add_lists(parser):
    """Add the options that take names with commas between them."""
    for name, names, default in (
        ("methods", METHODS, ["lmac", "all_ones", "random", "ideal"]),
        ("conditions", CONDITIONS, ["clean", "mixtures", "white_noise"]),
        ("protocols", PROTOCOLS, ["published"]),
    ):
        parser.add_argument(
            f"--{name}",
            type=comma_list,
            # For a zero-shot classifier the first of the methods is lmac_zs.
            default=None if name == "methods" else default,
            metavar="A,B",
            help=f"some of {names} (default: {','.join(default)})",
        )
    parser.add_argument(
        "--classes",
        type=comma_list,
        metavar="A,B",
        help="only clips of these classes (default: those that the "
        "interpreter was trained with)",
    )
    parser.add_argument(
        "--test-folds",
        dest="test_fold_nums",
        type=fold_numbers,
        metavar="1,2",
        help="folds to test on (default: of the data of the training what "
        "it held out, of others all)",
    )
    parser.add_argument(
        "--templates",
        nargs="+",
        metavar="TEXT",
        help='zero-shot: what class names are put into, such as "this is a '
        'sound of {}" (the default)',
    )


def run(args):
    """Check everything, then measure."""
    from speechbrain_lmac.evaluation import EvaluationSettings, evaluate
    from speechbrain_lmac.evaluation.methods import trained_methods
    from speechbrain_lmac.interpreters.loading import load_others
    from speechbrain_lmac.utils.checks import UserError

    check_device(args.device)
    data = args.data_folder
    if not data.exists():
        raise UserError(f"--data-folder {data}: it does not exist.")
    settings = EvaluationSettings(
        methods=args.methods,
        conditions=args.conditions,
        protocols=args.protocols,
        dataset=DATASETS[args.dataset] or data.resolve().stem,
        n_examples=args.n_examples,
        batch_size=args.batch_size,
        seed=args.seed,
        speech_folder=args.speech_folder,
        wham_folder=args.wham_folder,
    )
    source = find_source(args.interpreter, prefer="run")
    if args.out is None and source.kind != "run":
        args.parser.error("a package needs --out: where the results go")
    interpreter = load_parts(source)
    others = load_others(
        interpreter,
        source.place,
        trained_methods(settings.methods or ()),
        {"lmac_ft": args.lmac_ft_folder, "l2i": args.l2i_folder},
    )
    out = output_folder(args, source)
    clips = labelled_clips(interpreter, data, out, args)
    # The table on the screen is for people.
    screen = sys.stderr if args.json else sys.stdout
    with contextlib.redirect_stdout(screen):
        rows = evaluate(
            interpreter,
            clips,
            settings,
            out,
            others=others,
            device=args.device,
            progressbar=sys.stderr.isatty(),
        )
    text = f"results in {out}\n{card_advice(source, out)}"
    answer(args, text, results=out, rows=rows)
    return EXIT_DONE


def labelled_clips(interpreter, data, out, args):
    """The labelled clips to evaluate on; warns where they may be known."""
    from speechbrain_lmac.evaluation import test_clips

    table = data if args.dataset == "csv" else None
    clips = test_clips(
        interpreter,
        out / MANIFESTS,
        data_folder=data.parent if table else data,
        layout=args.dataset,
        labels_file=table,
        test_fold_nums=args.test_fold_nums,
        classes=args.classes,
        templates=args.templates,
        cache_folder=args.cache_folder,
    )
    if clips.n_trained is None:
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


def fold_numbers(text):
    """Folds with commas between them, as numbers.

    >>> fold_numbers("1,4")
    [1, 4]
    """
    return [whole_number(fold) for fold in comma_list(text)]


def card_advice(source, out):
    """How the figures get on the model card that others read.

    Example
    -------
    >>> from speechbrain_lmac.cli.sources import Source
    >>> card_advice(Source("run", "my_run"), Path("my_run/evaluation"))
    'to put them on the model card: lmac package my_run --overwrite'
    """
    place = Path(source.place)
    if source.kind == "run" and out == place / "evaluation":
        how = f"lmac package {shlex.quote(str(place))} --overwrite"
    else:
        how = f"add what you need of {out / 'results.md'} to its README.md"
    return f"to put them on the model card: {how}"


def output_folder(args, source):
    """Where the results go; what is there already is spoken of.

    Raises
    ------
    UserError
        If there is something else than an evaluation.
    """
    from speechbrain_lmac.evaluation.journal import SETTINGS_FILE
    from speechbrain_lmac.utils.checks import UserError
    from speechbrain_lmac.utils.experiment import check_writable

    out = args.out or Path(source.place) / "evaluation"
    if out.is_dir() and {item.name for item in out.iterdir()} - {MANIFESTS}:
        if not (out / SETTINGS_FILE).is_file():
            raise UserError(
                f"{out}: the folder is not empty, and holds no evaluation "
                f"({SETTINGS_FILE}). Give another one as --out."
            )
        warn(
            f"{out} holds an evaluation: what was measured under the same "
            "settings is kept, the rest is replaced"
        )
    check_writable(out, "out")
    return out
