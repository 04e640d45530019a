"""What the evaluation recipes of labelled data sets share.

Authors
 * The speechbrain_lmac authors 2026
"""

from speechbrain.utils.distributed import ddp_init_group

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.labelled import own_name, prepare_labelled
from speechbrain_lmac.evaluation.conditions import check_conditions
from speechbrain_lmac.evaluation.methods import (
    check_methods,
    check_protocols,
    trained_methods,
)
from speechbrain_lmac.evaluation.run import evaluate_interpreter, manifest_clips
from speechbrain_lmac.evaluation.seeds import evaluate_seeds
from speechbrain_lmac.interpreters.loading import Interpreter, load_others
from speechbrain_lmac.training.setup import data_options
from speechbrain_lmac.utils.experiment import (
    load_hparams,
    on_every_rank,
    parse,
    start_run,
)
from speechbrain_lmac.utils.hparams import read_overrides

#: Hyperparameters of an evaluation that :func:`evaluate_interpreter` takes.
PASSED_ON = (
    *("conditions", "methods", "protocols", "attribution", "ad_variant"),
    *("heard", "curve_steps", "dataset", "n_examples", "batch_size", "seed"),
    *("n_mixtures", "speech_folder", "wham_folder"),
)


def evaluate_recipe(argv):
    """Evaluate one interpreter, or those of several seeds.

    Arguments
    ---------
    argv : list of str
        As for :func:`speechbrain_lmac.utils.experiment.parse`.

    Returns
    -------
    list of dict
        The rows of the table.

    Raises
    ------
    UserError
        If an option, the interpreter or the data cannot be used.
    """
    hparams_file, run_opts, overrides = parse(argv)
    ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    check_choices(hparams)
    return evaluate_seeds(
        lambda changes: evaluate_labelled(hparams_file, run_opts, changes),
        hparams,
        overrides,
    )


def check_choices(hparams):
    """Refuse unknown methods, protocols and conditions, and missing folders.

    Arguments
    ---------
    hparams : dict
        Of an evaluation.

    Raises
    ------
    UserError
        That names what is known.
    """
    check_methods(hparams["methods"])
    check_protocols(hparams["protocols"])
    check_conditions(
        hparams["conditions"], hparams["speech_folder"], hparams["wham_folder"]
    )


def evaluate_labelled(hparams_file, run_opts, overrides):
    """Load everything, then explain and score the test clips.

    Arguments
    ---------
    hparams_file : str
        Such as evaluate.yaml.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's own options.
    overrides : str or dict
        Of the file's values.

    Returns
    -------
    list of dict
        The rows of the table.
    """
    hparams = load_hparams(hparams_file, overrides)
    interpreter = Interpreter.load(hparams["interpreter"], zero_shot=False)
    if "dataset" not in read_overrides(overrides):
        trained = interpreter.hparams.get("layout") or "esc50"
        layout = hparams["layout"] or trained
        name = own_name(layout, hparams["data_folder"])
        hparams["dataset"] = name or hparams["dataset"]
    others = load_others(
        interpreter,
        hparams["interpreter"],
        trained_methods(hparams["methods"]),
        {"lmac_ft": hparams["lmac_ft_folder"], "l2i": hparams["l2i_folder"]},
    )
    start_run(hparams, hparams_file, overrides)
    manifests, audio = trained_manifests(hparams, interpreter.hparams)
    return evaluate_interpreter(
        interpreter,
        manifest_clips(manifests.test, hparams["data_folder"]),
        hparams["output_folder"],
        audio=audio,
        others=others,
        device=run_opts.device,
        progressbar=not run_opts.noprogressbar,
        **{name: hparams[name] for name in PASSED_ON},
    )


def trained_manifests(hparams, trained, train_fold_nums=None):
    """Manifests of the data that an interpreter was trained with.

    Arguments
    ---------
    hparams : dict
        Of the evaluation: ``data_folder``, ``output_folder`` (receives
        ``manifests/``), ``cache_folder``, ``dataset``, ``skip_broken_audio``
        and, null for those of the training, ``test_fold_nums`` and, optional,
        ``layout`` and ``labels_file``.
    trained : dict
        Hyperparameters of the interpreter: the classes, and how its data were
        split.
    train_fold_nums : sequence of int or None
        None for test clips alone.

    Returns
    -------
    manifests : Manifests
        Without validation clips.
    audio : AudioCache
        Loads the clips.
    """
    audio = AudioCache(hparams["cache_folder"], trained["sample_rate"])
    given = {
        name: hparams[name]
        for name in ("test_fold_nums", "layout", "labels_file")
        if hparams.get(name) is not None
    }
    if "layout" in given:  # other data than those of the training
        given.setdefault("labels_file", None)
    own = ("data_folder", "dataset", "skip_broken_audio")
    manifests = on_every_rank(
        prepare_labelled,
        save_folder=f"{hparams['output_folder']}/manifests",
        **data_options(
            trained,
            **{name: hparams[name] for name in own},
            **given,
            audio=audio,
            train_fold_nums=train_fold_nums,
            valid_fold_nums=None,
        ),
    )
    return manifests, audio
