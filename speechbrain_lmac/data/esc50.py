"""Manifests of ESC-50, and of data sets in its layout (ESC-10, synthetic).

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM
Multimedia 2015. The layout is meta/esc50.csv and audio/<filename>.
"""

from pathlib import Path

from speechbrain_lmac.data.download import ESC50_URL, download_esc50
from speechbrain_lmac.data.splits import (
    check_layout,
    named_folds,
    prepare_rows,
    settings_of,
)
from speechbrain_lmac.data.tables import parse_folds, read_metadata
from speechbrain_lmac.utils.checks import UserError

METADATA = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "target", "category")


def prepare_esc50(
    data_folder,
    save_folder,
    train_fold_nums=(1, 2, 3),
    valid_fold_nums=4,
    test_fold_nums=5,
    classes=None,
    audio=None,
    skip_broken_audio=False,
    download=True,
    dataset="ESC-50",
):
    """Check an ESC-50 folder and write its train, valid and test manifests.

    Every chosen clip is decoded once before anything is trained. Nothing is
    written in a data folder that exists.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        The folder that holds audio/ and meta/. If it is missing or empty,
        the data set is downloaded there.
    save_folder : str | pathlib.Path
        Where the manifests go. It is not inside the data folder.
    train_fold_nums, valid_fold_nums, test_fold_nums : int, sequence or None
        The folds of each split; None leaves the split out, for instance to
        evaluate on test folds alone, and "all" takes every fold.
    classes : str or sequence of str, optional
        The names of the chosen classes, "esc10" for the ten classes of
        ESC-10, or None for all.
    audio : AudioCache, optional
        Decodes the clips. By default at 16 kHz, without a cache on disk.
    skip_broken_audio : bool
        Whether to go on without the clips that cannot be used.
    download : bool
        Whether to download the data set if it is missing.
    dataset : str
        The name of the data set, for messages.

    Returns
    -------
    Manifests
        The JSON files, the class names in the order of their indices (the
        order of first appearance in the metadata) and the broken clips.

    Raises
    ------
    UserError
        If the data set is missing or incomplete, a choice of folds or
        classes is wrong, or clips cannot be used.
    """
    data_folder = Path(data_folder)
    _find_data(data_folder, download, dataset)
    metadata = data_folder / METADATA
    rows = read_metadata(metadata, COLUMNS)
    rows = rows.assign(
        fold=parse_folds(rows.fold, metadata),
        clip_id=[Path(name).stem for name in rows.filename],
        wav="audio/" + rows.filename,
        class_string=rows.category,
    )
    return prepare_rows(
        rows,
        data_folder,
        save_folder,
        named_folds(train_fold_nums, valid_fold_nums, test_fold_nums),
        _class_list(rows, classes),
        audio,
        skip_broken_audio,
        settings_of(metadata, dataset),
    )


def _class_list(rows, classes):
    """Replace "esc10" by the classes of the rows that are marked so."""
    if classes != "esc10":
        return classes
    if "esc10" not in rows.columns:
        raise UserError(
            "`classes`: esc10 needs a column esc10 in meta/esc50.csv, which "
            f"has {', '.join(rows.columns)}. List the class names instead."
        )
    marked = rows.esc10.str.strip().str.lower().isin(["true", "1"])
    return list(rows.class_string[marked].unique())


def _find_data(data_folder, download, dataset):
    """Make sure that the layout is there; download what is wholly missing."""
    if not data_folder.exists() or (
        data_folder.is_dir() and not any(data_folder.iterdir())
    ):
        if not download:
            raise UserError(
                f"{data_folder}: {dataset} is not there. Download and unpack "
                f"{ESC50_URL}, and give the folder that holds audio/ and "
                "meta/ with `--data_folder`."
            )
        download_esc50(data_folder)
    check_layout(data_folder, (METADATA, "audio"), dataset)
