"""Classes of the data and of the classifier: their number, names and order.

Authors
 * The speechbrain_lmac authors 2026
"""

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.loading import LABELS_FILE, find_labels
from speechbrain_lmac.data.labelled import listed
from speechbrain_lmac.data.pipelines import read_class_names
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)


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
            "speechbrain_lmac.data.make_label_encoder(names, path).",
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
            "speechbrain_lmac.data.make_label_encoder(names, path)."
        ) from err
