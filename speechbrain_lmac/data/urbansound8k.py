"""Manifests of UrbanSound8K: ten classes of city sounds, ten folds.

J. Salamon, C. Jacoby and J. P. Bello, "A dataset and taxonomy for urban sound
research", ACM Multimedia 2014. The layout is metadata/UrbanSound8K.csv and
audio/fold<k>/<slice_file_name>; clips are 0.05 to 4 s long, at rates from 8 to
192 kHz; parts of one recording share a fold.
"""

from functools import partial
from pathlib import Path

from speechbrain_lmac.data.splits import (
    check_layout,
    named_folds,
    prepare_rows,
    settings_of,
)
from speechbrain_lmac.data.tables import parse_folds, read_metadata
from speechbrain_lmac.utils.checks import UserError

METADATA = "metadata/UrbanSound8K.csv"
COLUMNS = ("slice_file_name", "fold", "class")


def prepare_urbansound8k(
    data_folder,
    save_folder,
    train_fold_nums=(1, 2, 3, 4, 5, 6, 7, 8),
    valid_fold_nums=9,
    test_fold_nums=10,
    classes=None,
    audio=None,
    skip_broken_audio=False,
    dataset="UrbanSound8K",
):
    """Check an UrbanSound8K folder and write its manifests.

    As :func:`speechbrain_lmac.data.esc50.prepare_esc50`, except that nothing
    is downloaded: the data set is given out on request.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        The folder that holds audio/ and metadata/.
    save_folder : str | pathlib.Path
        Where the manifests go. It is not inside the data folder.
    train_fold_nums, valid_fold_nums, test_fold_nums : object
        As for ESC-50.
    classes, audio, skip_broken_audio, dataset : object
        As for ESC-50; there is no "esc10".

    Returns
    -------
    Manifests

    Raises
    ------
    UserError
        If the data set or the folder of a chosen fold is missing, a choice of
        folds or classes is wrong, or clips cannot be used.
    """
    data_folder = Path(data_folder)
    check_layout(data_folder, (METADATA, "audio"), dataset)
    metadata = data_folder / METADATA
    rows = read_metadata(metadata, COLUMNS)
    folders = "audio/fold" + parse_folds(rows.fold, metadata).astype(str)
    rows = rows.assign(
        fold=parse_folds(rows.fold, metadata),
        clip_id=[Path(name).stem for name in rows.slice_file_name],
        wav=folders + "/" + rows.slice_file_name,
        class_string=rows["class"],
    )
    return prepare_rows(
        rows,
        data_folder,
        save_folder,
        named_folds(train_fold_nums, valid_fold_nums, test_fold_nums),
        classes,
        audio,
        skip_broken_audio,
        settings_of(metadata, dataset),
        partial(_check_fold_folders, data_folder),
    )


def _check_fold_folders(data_folder, table):
    """A fold that was not unpacked is no matter of broken clips."""
    for fold, rows in table.groupby("fold"):
        folder = data_folder / f"audio/fold{fold}"
        if not folder.is_dir():
            raise UserError(
                f"{folder}: the folder of fold {fold} is missing; the metadata "
                f"name {len(rows)} clips in it. Unpack the data set again, or "
                "choose other folds with --train_fold_nums, --valid_fold_nums "
                "and --test_fold_nums."
            )
