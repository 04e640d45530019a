"""What the training recipes share, from the command line to what they leave.

A recipe's script calls these in their order and names its Brain:
:func:`start_training`, then :func:`labelled_data` (to train a classifier) or
:func:`explained_data` (to train what explains one), then
:func:`train_classifier` or :func:`train_interpreter`.

Authors
 * The speechbrain_lmac authors 2026
"""

from functools import partial

from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_init_group,
    if_main_process,
)
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.labels import (
    check_names,
    check_number,
    check_several,
    follow_own_data,
)
from speechbrain_lmac.classifiers.loading import (
    copy_classifier,
    load_classifier,
    save_classifier,
)
from speechbrain_lmac.data.datasets import make_datasets
from speechbrain_lmac.data.labelled import prepare_labelled
from speechbrain_lmac.data.splits import FOLD_KEYS
from speechbrain_lmac.evaluation.run import save_examples
from speechbrain_lmac.interpreters.loading import load_decoder, write_info
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import (
    add_tensorboard,
    load_hparams,
    on_every_rank,
    parse,
    start_run,
)

logger = get_logger(__name__)


def start_training(argv):
    """Read the command line and begin a run.

    Arguments
    ---------
    argv : list of str
        As for :func:`speechbrain_lmac.utils.experiment.parse`.

    Returns
    -------
    hparams : dict
        Checked, objects built.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's own options.

    Raises
    ------
    UserError
        If an option is wrong, or the output folder cannot be written to.
    """
    hparams_file, run_opts, overrides = parse(argv)
    ddp_init_group(run_opts)
    overrides = follow_own_data(hparams_file, overrides)
    hparams = load_hparams(hparams_file, overrides)
    start_run(hparams, hparams_file, overrides)
    add_tensorboard(hparams)
    return hparams, run_opts


def data_options(hparams, **changes):
    """What tells a labelled data set, from hyperparameters.

    Arguments
    ---------
    hparams : dict
        ``data_folder``, ``dataset``, ``classes``, ``audio``,
        ``skip_broken_audio``, the folds of each split and, optional,
        ``layout`` (esc50), ``labels_file`` and ``split``.
    **changes
        Values that stand in for those.

    Returns
    -------
    dict
        Arguments of
        :func:`speechbrain_lmac.data.labelled.prepare_labelled`, but for
        ``save_folder``.
    """
    hparams = {**hparams, **changes}
    needed = ("data_folder", "dataset", "classes", "audio", *FOLD_KEYS)
    return {
        "layout": hparams.get("layout") or "esc50",
        "labels_file": hparams.get("labels_file"),
        "split": hparams.get("split"),
        "skip_broken_audio": hparams["skip_broken_audio"],
        **{name: hparams[name] for name in needed},
    }


def labelled_data(hparams, label_file=None, crop="random", check=None):
    """Check the labelled data set of a run, and make its three data sets.

    Arguments
    ---------
    hparams : dict
        As for :func:`data_options`, with ``save_folder`` (for manifests),
        ``out_n_neurons``, ``signal_length_s``, ``sample_rate``,
        ``batch_size``, ``num_workers`` and ``seed``.
    label_file : pathlib.Path or None
        Label encoder to follow; None for one in the save folder.
    crop : str
        How training clips are cropped: ``random`` or ``energy``.
    check : callable or None
        Called with the data's class names.

    Returns
    -------
    Datasets
        With ``manifests``.

    Raises
    ------
    UserError
        If the data cannot be used, or their classes are not the model's.
    """
    manifests = on_every_rank(
        prepare_labelled,
        save_folder=hparams["save_folder"],
        **data_options(hparams),
    )
    check_several(manifests.class_names)
    if check is not None:
        check(manifests.class_names)
    return make_datasets(
        manifests,
        hparams["data_folder"],
        hparams["audio"],
        n_classes=hparams["out_n_neurons"],
        length=round(hparams["signal_length_s"] * hparams["sample_rate"]),
        crop=crop,
        batch_size=hparams["batch_size"],
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
        label_file=label_file or f"{hparams['save_folder']}/label_encoder.txt",
    )


def explained_data(hparams):
    """Load and freeze the classifier to explain, and make its data sets.

    A copy of the classifier is kept in ``classifier/`` of the output folder,
    and ``interpreter.json`` notes which one it is.

    Arguments
    ---------
    hparams : dict
        As for :func:`labelled_data`, with ``classifier`` (filled),
        ``classifier_source``, ``output_folder`` and, optional,
        ``pretrained_interpreter``, from which ``decoder`` is filled.

    Returns
    -------
    Datasets
        Training clips are cropped where their energy is.

    Raises
    ------
    UserError
        If the classifier, the interpreter or the data cannot be used, or do
        not fit together.
    """
    classifier, source = hparams["classifier"], hparams["classifier_source"]
    check_number(source, hparams["out_n_neurons"])
    labels = on_every_rank(
        load_classifier,
        source=source,
        parts=classifier.parts(),
        collect_in=hparams["save_folder"],
    )
    classifier.freeze()
    pretrained = hparams.get("pretrained_interpreter")
    if pretrained is not None:
        load_decoder(hparams["decoder"], pretrained, classifier.parts())
    data = labelled_data(
        hparams, labels, "energy", partial(check_names, source, labels)
    )
    if if_main_process():
        copy_classifier(
            f"{hparams['output_folder']}/classifier",
            classifier.parts(),
            data.label_encoder,
            source,
        )
        write_info(hparams["output_folder"], hparams)
    return data


def classifier_recipe(argv, brain_class):
    """The whole recipe of a classifier, of the data that its YAML names.

    Arguments
    ---------
    argv : list of str
        As for :func:`start_training`.
    brain_class : type
        As for :func:`fit_and_test`.

    Returns
    -------
    dict of str to float
        The metrics of the test.
    """
    hparams, run_opts = start_training(argv)
    data = labelled_data(hparams)
    return train_classifier(brain_class, hparams, run_opts, data)


def interpreter_recipe(argv, brain_class):
    """The whole recipe of what explains a classifier; arguments as above."""
    hparams, run_opts = start_training(argv)
    data = explained_data(hparams)
    return train_interpreter(brain_class, hparams, run_opts, data)


def fit_and_test(brain_class, hparams, run_opts, data, *arguments):
    """Make a Brain, train it, and test its best checkpoint.

    Arguments
    ---------
    brain_class : type
        A :class:`speechbrain_lmac.training.brain.RecipeBrain`.
    hparams : dict
        ``modules``, ``opt_class``, ``checkpointer``, ``epoch_counter`` and
        what the Brain reads.
    run_opts : speechbrain.utils.run_opts.RunOptions
        Of the command line.
    data : Datasets or CaptionDatasets
        Without test clips, validation clips are tested on.
    *arguments
        Of the Brain, before those of SpeechBrain.

    Returns
    -------
    brain : RecipeBrain
        Trained.
    metrics : dict of str to float
        Of the test.
    """
    brain = brain_class(
        *arguments,
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        data.train,
        data.valid,
        train_loader_kwargs=data.train_loader,
        valid_loader_kwargs=data.valid_loader,
    )
    if data.test is None:
        logger.info("No test split: tested on the validation split")
    metrics = brain.evaluate_best(
        data.test or data.valid, data.test_loader or data.valid_loader
    )
    return brain, metrics


def train_classifier(brain_class, hparams, run_opts, data):
    """Train a classifier, and write it to ``classifier/``.

    Arguments
    ---------
    brain_class, hparams, run_opts, data : object
        As for :func:`fit_and_test`; ``average`` is what is written.

    Returns
    -------
    dict of str to float
        The metrics of the test.
    """
    _, metrics = fit_and_test(brain_class, hparams, run_opts, data)
    if if_main_process():
        folder = save_classifier(
            f"{hparams['output_folder']}/classifier",
            hparams["average"].parts(),
            data.label_encoder,
            test=metrics,
            seed=hparams["seed"],
        )
        logger.info("Classifier written to %s", folder)
    return metrics


def train_interpreter(brain_class, hparams, run_opts, data):
    """Train an interpreter of a classifier; write sounds and a package.

    Arguments
    ---------
    brain_class, hparams, run_opts, data : object
        As for :func:`fit_and_test`; ``save_interpretations`` (clips to write
        sounds of) and ``save_package`` are optional.

    Returns
    -------
    dict of str to float
        The metrics of the test.
    """
    brain, metrics = fit_and_test(brain_class, hparams, run_opts, data)
    # In debug mode the checkpoints are gone with their temporary folder.
    if if_main_process() and not brain.debug:
        save_examples(
            hparams, data.manifests, hparams.get("save_interpretations")
        )
    save_package(hparams, brain)
    return metrics


def save_package(hparams, brain):
    """Write the package of a training, if ``save_package`` says so.

    A package that cannot be written is no reason to lose the training: the
    log says why, and ``lmac package`` writes it later.

    Arguments
    ---------
    hparams : dict
        ``output_folder`` and, optional, ``save_package``.
    brain : RecipeBrain
        Trained; in debug mode nothing is written.
    """
    if not hparams.get("save_package") or brain.debug:
        return
    if if_main_process():
        from speechbrain_lmac.inference.package import write_package

        try:
            folder = write_package(hparams["output_folder"], overwrite=True)
            logger.info("Package written to %s", folder)
        except UserError as err:
            logger.warning("No package was written: %s", err)
    ddp_barrier()
