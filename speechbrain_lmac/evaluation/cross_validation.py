"""Cross-validation: a recipe's trainings and evaluation, fold after fold.

Each step is the recipe's own command in a process of its own. A step that is
finished is not done again, one that was interrupted goes on where it was.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.folds import FOLD_KEYS, MIN_FOLDS
from speechbrain_lmac.data.labelled import check_several, prepare_labelled
from speechbrain_lmac.evaluation.run_options import (
    OF_EVALUATION,
    OUTSIDE_RESULTS,
)
from speechbrain_lmac.evaluation.seeds_report import write_seeds
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import parse
from speechbrain_lmac.utils.files import write_atomically
from speechbrain_lmac.utils.hparams import (
    check_overrides,
    load_hparams,
    read_tree,
)

logger = get_logger(__name__)

#: Step -> script of the recipe, and hyperparameters that name its YAML file
#: and its further options.
STEPS = {
    "classifier": (
        "train_classifier.py",
        *("classifier_hparams", "classifier_options"),
    ),
    "lmac": ("train_lmac.py", "lmac_hparams", "lmac_options"),
    "evaluation": ("evaluate.py", "evaluate_hparams", "evaluate_options"),
}
#: What all steps share, and what the evaluation takes from the training.
SHARED = ("seed", "data_folder", "dataset", "skip_broken_audio", "cache_folder")
OF_TRAINING = ("layout", "labels_file", "split", "classes")
#: What joins the steps: no option of one may change it.
JOINTS = ("output_folder", "classifier_source", "interpreter", *FOLD_KEYS)
OF_SPLITS = "`train_fold_nums`, .* and `test_fold_nums`|`test_fold_nums`"


def splits_of(folds, test_folds=None):
    """Folds to train on, to validate on and to test on, for each test fold.

    Arguments
    ---------
    folds : sequence of int
        All; the one before the test fold, in a circle, is validated on.
    test_folds : sequence of int or None
        Those to test on; None for all.

    Returns
    -------
    dict of int to dict
        Test fold -> ``train_fold_nums``, ``valid_fold_nums`` and
        ``test_fold_nums``.

    Raises
    ------
    UserError
        If there are too few folds, one stands twice, or a test fold is none.

    Example
    -------
    >>> splits_of([1, 2, 3, 4], [1])[1]["train_fold_nums"]
    [2, 3]
    >>> splits_of([1, 2, 3, 4])[3]["valid_fold_nums"]
    [2]
    """
    folds = _whole_numbers("folds", folds)
    if len(folds) < MIN_FOLDS:
        raise UserError(
            f"`folds`: expected {MIN_FOLDS} or more, to train, validate and "
            f"test on; found {folds}."
        )
    tested = folds if test_folds is None else test_folds
    tested = _whole_numbers("test_folds", tested)
    unknown = [fold for fold in tested if fold not in folds]
    if unknown or not tested:
        found = f"fold {unknown[0]} is none of them" if unknown else "got none"
        raise UserError(
            f"`test_folds`: expected some of `folds`, {folds}; {found}."
        )
    splits = {}
    for fold in tested:
        before = folds[folds.index(fold) - 1]
        splits[fold] = {
            "train_fold_nums": [k for k in folds if k not in (fold, before)],
            "valid_fold_nums": [before],
            "test_fold_nums": [fold],
        }
    return splits


def _whole_numbers(key, values):
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    if not all(type(value) is int for value in map(_plain_number, values)):
        raise UserError(f"`{key}`: expected whole numbers, found {values}.")
    values = [int(value) for value in values]
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise UserError(
            f"`{key}`: fold {twice[0]} stands there more than once; a clip "
            "must not be in two splits."
        )
    return values


def _plain_number(value):
    """An int of a YAML reader as a plain one; anything else as it is."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return int(value) if whole else value


def cross_validate(hparams, scripts, run_options=None):
    """Train and evaluate on every fold; write mean and deviation.

    Arguments
    ---------
    hparams : dict
        As in cross_validation.yaml.
    scripts : str or pathlib.Path
        Folder of the recipe's scripts.
    run_options : dict of str to list of str or None
        SpeechBrain's own, for the steps that read them; see
        :func:`speechbrain_lmac.evaluation.run_options.given_options`.

    Returns
    -------
    list of dict
        Of ``write_seeds``, which are in
        ``folds.csv`` and ``folds.md`` of the output folder.

    Raises
    ------
    UserError
        If an option of any step, the data or the folds cannot be used, or the
        output folder holds folds of other settings; before anything is
        trained. If a step fails.
    """
    run_options = run_options or {}
    scripts, output = Path(scripts), Path(hparams["output_folder"])
    splits = splits_of(hparams["folds"], hparams["test_folds"])
    plans = {
        fold: plan(
            hparams, scripts, output / f"fold_{fold}", folds, run_options
        )
        for fold, folds in splits.items()
    }
    check_steps(next(iter(plans.values())))
    check_plans(plans, output)
    check_data(hparams, scripts, output)
    for count, (fold, steps) in enumerate(plans.items(), 1):
        for step, command in steps.items():
            told = f"fold {fold} ({count} of {len(plans)}), {step}"
            note = output / f"fold_{fold}" / f"{step}.json"
            if _read_note(note).get("finished"):
                logger.info("%s: finished before, kept", told)
                continue
            logger.info("%s", told)
            _write_note(note, command, finished=False)
            _run([*command, *_words(run_options, OUTSIDE_RESULTS)], told)
            _write_note(note, command, finished=True)
    found = {
        fold: read_results(output / f"fold_{fold}" / "evaluation")
        for fold in plans
    }
    rows = write_seeds(found, output, "fold")
    print((output / "folds.md").read_text(encoding="utf-8"))
    logger.info("Mean and deviation over folds in %s", output)
    return rows


def _words(run_options, names):
    """Of the command line: those of some run options."""
    chosen = (run_options[name] for name in run_options if name in names)
    return [word for words in chosen for word in words]


def plan(hparams, scripts, folder, folds, run_options=None):
    """The commands of a fold, by step.

    Arguments
    ---------
    hparams : dict
        As in cross_validation.yaml.
    scripts : pathlib.Path
        Folder of the recipe's scripts.
    folder : pathlib.Path
        Where the fold's results go.
    folds : dict
        One of :func:`splits_of`.
    run_options : dict of str to list of str or None
        As for :func:`cross_validate`; those that change results are part of
        the command.

    Returns
    -------
    dict of str to list of str

    Raises
    ------
    UserError
        If an option of a step would part it from the others.
    """
    run_options = run_options or {}
    shared = {name: hparams[name] for name in SHARED}
    training = {**shared, **{name: hparams[name] for name in OF_TRAINING}}
    options = {
        "classifier": {**training, **folds},
        "lmac": {
            **training,
            **folds,
            "classifier_source": str(folder / "classifier" / "classifier"),
        },
        "evaluation": {**shared, "interpreter": str(folder / "lmac")},
    }
    told = [name for name in run_options if name not in OUTSIDE_RESULTS]
    commands = {}
    for step, (script, hparams_key, options_key) in STEPS.items():
        given = hparams[options_key] or {}
        taken = [name for name in JOINTS if name in given]
        if taken:
            raise UserError(
                f"`{options_key}`: `{taken[0]}` follows from the fold, found "
                f"{given[taken[0]]!r}; leave it out, and use `folds`, "
                "`test_folds` and `output_folder` of the cross-validation."
            )
        chosen = {
            **options[step],
            "output_folder": str(folder / step),
            **given,
        }
        read = OF_EVALUATION if step == "evaluation" else told
        commands[step] = [
            str(scripts / script),
            str(scripts / hparams[hparams_key]),
            *(f"--{name}={_yaml(value)}" for name, value in chosen.items()),
            *_words(run_options, [name for name in read if name in told]),
        ]
    return commands


def _yaml(value):
    """A value as it stands on a command line; JSON is YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def check_steps(commands):
    """Refuse what a step would refuse when its turn comes, hours later.

    Arguments
    ---------
    commands : dict of str to list of str
        Of a fold, by step; those of other folds differ in paths and folds.

    Raises
    ------
    UserError
        If a script or a YAML file is missing, or an option is unknown, of
        another kind or out of range; it names the step's keys.
    """
    for step, (script, *argv) in commands.items():
        _, *keys = STEPS[step]
        try:
            if not Path(script).is_file():
                raise UserError(f"there is no script {script}.")
            hparams_file, _, overrides = parse(argv)
            check_overrides(hparams_file, overrides)
            if step == "evaluation":  # its settings check themselves
                load_hparams(hparams_file, overrides)
        except UserError as err:
            raise UserError(
                f"Step {step} (`{keys[0]}`, `{keys[1]}`): {err}"
            ) from err


def check_plans(plans, output):
    """Refuse to mix the results of two settings.

    Arguments
    ---------
    plans : dict of int to dict
        The commands by fold and step.
    output : pathlib.Path
        Where earlier results may lie.

    Raises
    ------
    UserError
        If a step was begun there with another command.
    """
    for fold, steps in plans.items():
        for step, command in steps.items():
            note = output / f"fold_{fold}" / f"{step}.json"
            before = _read_note(note).get("command", command)
            if before != command:
                changed = sorted(set(before) ^ set(command))
                raise UserError(
                    f"`output_folder`: {note} tells of other settings than "
                    f"these ({', '.join(changed[:6])}). Give another "
                    "--output_folder, or the settings of before."
                )


def check_data(hparams, scripts, output):
    """Decode every clip of all folds once, before anything is trained."""
    tree = read_tree(scripts / hparams["classifier_hparams"])
    rate = (hparams["classifier_options"] or {}).get("sample_rate")
    audio = AudioCache(
        hparams["cache_folder"], int(rate or tree["sample_rate"])
    )
    try:
        manifests = prepare_labelled(
            **{name: hparams[name] for name in OF_TRAINING},
            data_folder=hparams["data_folder"],
            save_folder=output / "manifests",
            train_fold_nums=None,
            valid_fold_nums=None,
            test_fold_nums=list(hparams["folds"]),
            audio=audio,
            skip_broken_audio=hparams["skip_broken_audio"],
        )
    except UserError as err:
        # The user gave folds, not those of a split.
        raise UserError(re.sub(OF_SPLITS, "`folds`", str(err))) from err
    check_several(manifests.class_names)


def _read_note(path):
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(path, command, finished):
    note = {"command": command, "finished": finished}
    text = json.dumps(note, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def _run(command, told):
    done = subprocess.run([sys.executable, *command])
    if done.returncode:
        raise UserError(
            f"{told} ended with exit code {done.returncode}; its own message "
            "stands above. The same command goes on from here once its cause "
            "is mended."
        )


def read_results(folder):
    """The rows of an evaluation's ``results.csv``; blank cells are None.

    Arguments
    ---------
    folder : str or pathlib.Path
        The evaluation's output folder.

    Returns
    -------
    list of dict
    """
    frame = pandas.read_csv(Path(folder) / "results.csv")
    frame = frame.astype(object).where(frame.notna(), None)
    return frame.to_dict("records")
