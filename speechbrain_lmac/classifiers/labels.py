"""Classes of the data and of the classifier: their number, names and order.

Authors
 * The speechbrain_lmac authors 2026
"""

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.loading import LABELS_FILE, find_labels
from speechbrain_lmac.data.datasets import read_class_names
from speechbrain_lmac.data.labelled import own_classes, own_name
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import read_overrides, read_tree

logger = get_logger(__name__)

MANY = 10  # names that a message lists


def follow_own_data(hparams_file, overrides):
    """Take number of classes and name from data of one's own.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        With ``layout`` and ``labels_file``; else nothing is changed.
    overrides : str or dict
        Of the command line; what it says itself stands.

    Returns
    -------
    str or dict
        The overrides, for layouts folders and csv with ``out_n_neurons`` and
        ``dataset`` (the data folder's name), if the file has them.

    Raises
    ------
    UserError
        If there are no such data, or they have one class.
    """
    given = read_overrides(overrides)
    tree = {**read_tree(hparams_file), **given}
    folder = tree.get("data_folder")
    # Captioned data sets have a layout csv of their own, without labels.
    known = isinstance(tree.get("layout"), str) and isinstance(folder, str)
    known = known and "labels_file" in tree
    name = own_name(tree["layout"], folder) if known else None
    if name is None:
        return overrides
    names = own_classes(
        tree["layout"], folder, tree.get("labels_file"), tree.get("classes")
    )
    check_several(names)
    found = {"out_n_neurons": len(names), "dataset": name}
    return {**{k: v for k, v in found.items() if k in tree}, **given}


def check_several(names):
    """Refuse data of a single class: there is nothing to tell apart.

    Arguments
    ---------
    names : sequence of str
        The classes.

    Raises
    ------
    UserError
        If there are fewer than two.

    Example
    -------
    >>> check_several(["dog", "rain"])
    """
    if len(names) < 2:
        raise UserError(
            "`data_folder`: expected sounds of 2 or more classes, found "
            f"{listed(names)} alone. Add sounds of another class, such as a "
            "folder of other sounds, or choose more of them by `classes`."
        )


def check_number(source, n_classes):
    """Refuse a classifier of another number of classes, before its weights.

    Weights tell of shapes only; the label encoder knows the classes' names.

    Arguments
    ---------
    source : str
        ``classifier_source``; without a label encoder nothing is checked.
    n_classes : int
        Of the model that is to be filled.

    Raises
    ------
    UserError
        That names the classifier's classes.

    Example
    -------
    >>> check_number(getfixture("tmpdir"), 10)
    """
    labels = find_labels(source)
    known = labels and ordered_names(labels)
    if known and len(known) != n_classes:
        raise UserError(
            f"`classifier_source`: {source} knows {len(known)} classes "
            f"({listed(known)}), but the model has `out_n_neurons` "
            f"{n_classes}, as many as the data shall have. Point "
            "--classifier_source to a classifier that was trained on these "
            "data (train_classifier.py), or choose its classes by `classes`."
        )


def check_names(source, labels, names):
    """Compare the classes of a classifier with those of the data.

    Arguments
    ---------
    source : str
        ``classifier_source``.
    labels : pathlib.Path or None
        Its label encoder. Without one the data's order is taken for the
        classifier's, which the log says: no other file knows it.
    names : sequence of str
        The data's classes, in their order.

    Raises
    ------
    UserError
        If they differ.
    """
    if labels is None:
        logger.warning(
            "`classifier_source`: %s has no %s, so its outputs are taken for "
            "the data's classes in this order: %s. If that is not the order "
            "it was trained with, write the file beside its weights: "
            "speechbrain_lmac.data.pipelines.make_label_encoder(names, path).",
            *(source, LABELS_FILE, listed(names)),
        )
        return
    known = ordered_names(labels)
    if known == list(names):
        return
    said = f"knows the classes {listed(known)}; the data have {listed(names)}"
    if sorted(known) == sorted(names):
        said += ", the same in another order"
    raise UserError(
        f"`classifier_source`: {source} {said}. Point --classifier_source to "
        "a classifier that was trained on these data (train_classifier.py), "
        "or give `classes` as the classifier has them."
    )


def ordered_names(labels):
    """Class names of a label encoder's file, by index.

    Arguments
    ---------
    labels : str or pathlib.Path
        ``label_encoder.txt``.

    Returns
    -------
    list of str

    Raises
    ------
    UserError
        If it is damaged.
    """
    try:
        return read_class_names(labels)
    except (ValueError, SyntaxError, KeyError) as err:
        raise UserError(
            f"`classifier_source`: {labels} cannot be read ({err!r}); expected "
            "a label encoder as SpeechBrain saves it. Restore it from a copy, "
            "or write it by "
            "speechbrain_lmac.data.pipelines.make_label_encoder(names, path)."
        ) from err


def listed(names):
    """Names for a message, the first of many.

    Arguments
    ---------
    names : sequence of str
        Class names.

    Returns
    -------
    str

    Example
    -------
    >>> listed(["dog", "rain"])
    'dog, rain'
    """
    return ", ".join(names[:MANY]) + ", ..." * (len(names) > MANY)
