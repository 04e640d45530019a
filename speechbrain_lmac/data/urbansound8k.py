"""Manifests of UrbanSound8K: ten classes of city sounds, ten folds.

J. Salamon, C. Jacoby and J. P. Bello, "A dataset and taxonomy for urban sound
research", ACM Multimedia 2014. The layout is metadata/UrbanSound8K.csv and
audio/fold<k>/<slice_file_name>; clips are up to 4 s long.
"""

import hashlib
from pathlib import Path

from speechbrain_lmac.checks import UserError
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.manifests import make_manifests
from speechbrain_lmac.data.tables import (
    check_folds,
    parse_folds,
    read_metadata,
    select_classes,
)

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
    train_fold_nums, valid_fold_nums, test_fold_nums : int, sequence or None
        The folds of each split; None leaves the split out.
    classes : sequence of str, optional
        The names of the chosen classes; None for all.
    audio : AudioCache, optional
        Decodes the clips.
    skip_broken_audio : bool
        Whether to go on without the clips that cannot be used.
    dataset : str
        The name of the data set, for messages.

    Returns
    -------
    Manifests

    Raises
    ------
    UserError
        If the data set is missing or incomplete, a choice of folds or
        classes is wrong, or clips cannot be used.
    """
    data_folder = Path(data_folder)
    for part in (METADATA, "audio"):
        if not (data_folder / part).exists():
            raise UserError(
                f"{data_folder}: expected the layout of {dataset}, but "
                f"{part} is missing. Give the folder that holds audio/ and "
                "metadata/ with `--data_folder`."
            )
    metadata = data_folder / METADATA
    rows = read_metadata(metadata, COLUMNS)
    rows = rows.assign(
        fold=parse_folds(rows.fold, metadata),
        clip_id=[Path(name).stem for name in rows.slice_file_name],
        wav="audio/fold" + rows.fold + "/" + rows.slice_file_name,
        class_string=rows["class"],
    )
    table, class_names = select_classes(rows, classes)
    wanted = {
        "train_fold_nums": train_fold_nums,
        "valid_fold_nums": valid_fold_nums,
        "test_fold_nums": test_fold_nums,
    }
    folds = check_folds(
        table.fold, **{k: v for k, v in wanted.items() if v is not None}
    )
    digest = hashlib.sha256(metadata.read_bytes()).hexdigest()
    return make_manifests(
        table[["clip_id", "wav", "class_string", "fold"]],
        data_folder,
        save_folder,
        folds,
        class_names,
        AudioCache() if audio is None else audio,
        skip_broken_audio,
        settings={"dataset": dataset, "metadata_sha256": digest},
    )
