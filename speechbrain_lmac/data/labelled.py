"""The layouts of labelled data sets, by name.

Whatever the layout, what comes out are the same manifests: recipes,
evaluations and the shell tool know data sets by :func:`prepare_labelled`
alone.

Authors
 * The speechbrain_lmac authors 2026
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from speechbrain_lmac.data.esc50 import prepare_esc50
from speechbrain_lmac.data.folders import (
    prepare_csv,
    prepare_folders,
    read_csv,
    read_folders,
)
from speechbrain_lmac.data.tables import select_classes
from speechbrain_lmac.data.urbansound8k import prepare_urbansound8k
from speechbrain_lmac.utils.checks import UserError

# A choice of classes that ESC-50 alone knows, and its recipe's default.
ESC10 = "esc10"


class Layout(NamedTuple):
    """How a kind of labelled data set is read.

    Attributes
    ----------
    prepare : callable
        Writes its manifests.
    folds : tuple of int or str
        All folds; "all" where they are the data's own affair.
    options : tuple of str
        What ``prepare`` takes besides what all take.
    read : callable or None
        Lists the clips of data of one's own.
    """

    prepare: Callable
    folds: tuple | str
    options: tuple = ()
    read: Callable | None = None


LAYOUTS = {
    "esc50": Layout(prepare_esc50, (1, 2, 3, 4, 5)),
    "urbansound8k": Layout(prepare_urbansound8k, tuple(range(1, 11))),
    "folders": Layout(prepare_folders, "all", ("split",), read_folders),
    "csv": Layout(prepare_csv, "all", ("split", "labels_file"), read_csv),
}


def layout_name(name, key="layout"):
    """The name of a layout, from that of it or of its data set.

    Arguments
    ---------
    name : str
        Such as ``esc50`` or ESC-50: case and hyphens do not matter.
    key : str
        Hyperparameter that gave the name.

    Returns
    -------
    str
        A key of ``LAYOUTS``.

    Raises
    ------
    UserError
        If there is no such layout.

    Example
    -------
    >>> layout_name("UrbanSound8K"), layout_name("folders")
    ('urbansound8k', 'folders')
    """
    plain = "".join(c for c in str(name).lower() if c.isalnum())
    if plain not in LAYOUTS:
        raise UserError(
            f"`{key}`: expected ESC-50 or UrbanSound8K, whose layouts are "
            "esc50 and urbansound8k, or folders (one of audio files per "
            f"class) or csv (file, label, fold), found {name!r}. Data in one "
            "of these layouts take its name."
        )
    return plain


def find_dataset(name):
    """How a labelled data set is prepared, and its folds.

    Arguments
    ---------
    name : str
        As for :func:`layout_name`.

    Returns
    -------
    tuple of (callable, tuple of int or "all")

    Raises
    ------
    UserError
        If it is another one.

    Example
    -------
    >>> find_dataset("ESC-50")[1]
    (1, 2, 3, 4, 5)
    """
    layout = LAYOUTS[layout_name(name, "dataset")]
    return layout.prepare, layout.folds


def prepare_labelled(layout, *, split=None, labels_file=None, **common):
    """Check a labelled data set and write its manifests.

    Arguments
    ---------
    layout : str
        See :func:`layout_name`.
    split : dict, optional
        For data without folds; see
        :func:`speechbrain_lmac.data.splits.make_folds`.
    labels_file : str | pathlib.Path, optional
        The table of layout csv.
    **common
        What :func:`prepare_folders` takes: ``data_folder``, ``save_folder``,
        ``train_fold_nums``, ... A choice of classes that is esc10, the
        default of the recipe of ESC-50, means all in the other layouts.

    Returns
    -------
    Manifests

    Raises
    ------
    UserError
        If the layout is unknown, or the data cannot be used.
    """
    name = layout_name(layout)
    if labels_file is not None and name != "csv":
        raise UserError(
            f"`labels_file`: layout {name} has no table of its own. Add "
            "--layout=csv, or leave the table out."
        )
    if name != "esc50" and common.get("classes") == ESC10:
        common["classes"] = None
    extra = {"split": split, "labels_file": labels_file}
    chosen = LAYOUTS[name]
    return chosen.prepare(**common, **{k: extra[k] for k in chosen.options})


def own_classes(layout, data_folder, labels_file=None, classes=None):
    """The classes of data of one's own, for a model of so many outputs.

    Arguments
    ---------
    layout : str
        See :func:`layout_name`.
    data_folder, labels_file, classes : object
        As for :func:`prepare_labelled`.

    Returns
    -------
    tuple of str or None
        None for a published data set: its classes are known.

    Raises
    ------
    UserError
        If the data cannot be read, or a class is unknown.
    """
    read = LAYOUTS[layout_name(layout)].read
    if read is None:
        return None
    classes = None if classes == ESC10 else classes
    return select_classes(read(data_folder, labels_file), classes)[1]


def own_name(layout, data_folder):
    """What tables call data of one's own, if nothing else is said.

    Arguments
    ---------
    layout : str
        See :func:`layout_name`.
    data_folder : str | pathlib.Path
        The data set.

    Returns
    -------
    str or None
        The folder's name; None for a published data set.

    Example
    -------
    >>> own_name("folders", "sounds/birds/"), own_name("esc50", "sounds")
    ('birds', None)
    """
    read = LAYOUTS[layout_name(layout)].read
    return Path(data_folder).resolve().name or None if read else None
