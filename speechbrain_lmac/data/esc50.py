"""Manifests of ESC-50, and of data sets in its layout (ESC-10, synthetic).

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM
Multimedia 2015. The layout is meta/esc50.csv and audio/<filename>.
"""

import hashlib
from pathlib import Path

from speechbrain_lmac.checks import UserError
from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.download import ESC50_URL, download_esc50
from speechbrain_lmac.data.manifests import make_manifests
from speechbrain_lmac.data.tables import (
    check_folds,
    parse_folds,
    read_metadata,
    select_classes,
)

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
        evaluate on test folds alone.
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
    audio = AudioCache() if audio is None else audio
    _find_data(data_folder, download, dataset)
    metadata = data_folder / "meta" / "esc50.csv"
    rows = read_metadata(metadata, COLUMNS)
    rows = rows.assign(
        fold=parse_folds(rows.fold, metadata),
        clip_id=[Path(name).stem for name in rows.filename],
        wav="audio/" + rows.filename,
        class_string=rows.category,
    )
    table, class_names = select_classes(rows, _class_list(rows, classes))
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
        audio,
        skip_broken_audio,
        settings={"dataset": dataset, "metadata_sha256": digest},
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
    for part in ("meta/esc50.csv", "audio"):
        if not (data_folder / part).exists():
            raise UserError(
                f"{data_folder}: expected the layout of {dataset}, but "
                f"{part} is missing. Give the folder that holds audio/ and "
                "meta/ with `--data_folder`."
            )
