"""What the training recipes share, from the command line to what they leave.

A recipe's script calls these in their order and names its Brain:
:func:`start_training`, then :func:`labelled_data` (to train a classifier) or
:func:`explained_data` (to train what explains one), then
:func:`train_classifier` or :func:`train_interpreter`.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.distributed import (
    ddp_barrier,
    ddp_init_group,
    if_main_process,
    run_on_main,
)
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.loading import (
    ClassifierPretrainer,
    save_classifier,
)
from speechbrain_lmac.data.captions.datasets import (
    caption_dataio_prep,
    clip_classes,
)
from speechbrain_lmac.data.captions.prepare import prepare_captions
from speechbrain_lmac.data.folds import FOLD_KEYS
from speechbrain_lmac.data.labelled import (
    dataio_prep,
    follow_data,
    prepare_labelled,
)
from speechbrain_lmac.data.manifests import Manifests
from speechbrain_lmac.data.pipelines import loader_options
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
    overrides = follow_data(hparams_file, overrides)
    hparams = load_hparams(hparams_file, overrides)
    start_run(hparams, hparams_file, overrides)
    add_tensorboard(hparams)
    return hparams, run_opts


class Datasets(NamedTuple):
    """Data sets, their label encoder, their loaders' options, manifests."""

    train: DynamicItemDataset
    valid: DynamicItemDataset
    test: DynamicItemDataset
    label_encoder: CategoricalEncoder
    train_loader: dict
    valid_loader: dict
    test_loader: dict
    manifests: Manifests


def data_options(hparams, **changes):
    """Arguments of ``prepare_labelled``, but for ``save_folder``."""
    hparams = {**hparams, **changes}
    needed = ("data_folder", "classes", "audio", *FOLD_KEYS)
    return {
        "layout": hparams.get("layout") or "esc50",
        "labels_file": hparams.get("labels_file"),
        "split": hparams.get("split"),
        "skip_broken_audio": hparams["skip_broken_audio"],
        **{name: hparams[name] for name in needed},
    }


def labelled_data(hparams, crop="random"):
    """Prepare the labelled data of a run."""
    manifests = on_every_rank(
        prepare_labelled,
        save_folder=hparams["save_folder"],
        **data_options(hparams),
    )
    datasets, encoder = dataio_prep(hparams, crop)
    options = loader_options(
        datasets, hparams["batch_size"], hparams["num_workers"]
    )
    return Datasets(*datasets.values(), encoder, *options.values(), manifests)


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
    pretrained_classifier = ClassifierPretrainer(
        classifier, source, hparams["frontend"], hparams["save_folder"]
    )
    run_on_main(pretrained_classifier.collect_files)
    pretrained_classifier.load_collected()
    classifier.freeze()
    pretrained = hparams.get("pretrained_interpreter")
    if pretrained is not None:
        load_decoder(hparams["decoder"], pretrained, classifier.parts())
    data = labelled_data(hparams, "energy")
    classifier.check_labels(data.label_encoder)
    if if_main_process():
        write_info(hparams["output_folder"], hparams, data.label_encoder)
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


def caption_data(hparams, crop="random"):
    """Prepare the captions of a run; data sets, loaders' options, classes."""
    folds = {key: hparams[key] for key in FOLD_KEYS if key in hparams}
    common = ("data_folder", "save_folder", "audio", "skip_broken_audio")
    own = ("layout", "splits", "captions_file")
    on_every_rank(
        prepare_captions,
        **{name: hparams[name] for name in (*common, *own)},
        **folds,
        classes=hparams.get("classes"),
    )
    datasets = caption_dataio_prep(hparams, crop)
    options = loader_options(
        datasets, hparams["batch_size"], hparams["num_workers"]
    )
    splits = ("train", "valid", "test")
    return CaptionData(
        *(datasets.get(split) for split in splits),
        *(options.get(split) for split in splits),
        datasets,
        clip_classes(datasets["train"]),
    )


class CaptionData(NamedTuple):
    """Data sets with captions, their loaders' options, and the classes."""

    train: DynamicItemDataset
    valid: DynamicItemDataset
    test: DynamicItemDataset | None
    train_loader: dict
    valid_loader: dict
    test_loader: dict | None
    datasets: dict
    names: list


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
            hparams["average"],
            data.label_encoder,
            hparams["frontend"],
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
        from speechbrain_lmac.inference import write_package

        try:
            folder = write_package(hparams["output_folder"], overwrite=True)
            logger.info("Package written to %s", folder)
        except UserError as err:
            logger.warning("No package was written: %s", err)
    ddp_barrier()
