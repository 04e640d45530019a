"""Layout of UrbanSound8K: metadata/UrbanSound8K.csv and audio/fold<k>/<name>.

J. Salamon, C. Jacoby and J. P. Bello, "A dataset and taxonomy for urban sound
research", ACM Multimedia 2014. Ten classes of city sounds of 0.05 to 4 s, at
rates from 8 to 192 kHz; parts of one recording share a fold.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from speechbrain_lmac.data.folds import parse_folds
from speechbrain_lmac.data.listing import plain_path
from speechbrain_lmac.data.tables import check_layout, read_table

METADATA = "metadata/UrbanSound8K.csv"
COLUMNS = ("slice_file_name", "fold", "class")


def read_urbansound8k(
    data_folder: str | Path, labels_file: None = None
) -> pd.DataFrame:
    """Table of the clips of UrbanSound8K."""
    root = Path(data_folder)
    check_layout(root, (METADATA, "audio"), "UrbanSound8K")
    rows = read_table(root / METADATA, COLUMNS)
    folders = "audio/fold" + parse_folds(rows.fold, METADATA).astype(str)
    files = rows.slice_file_name.map(lambda name: plain_path(name, METADATA))
    return rows.assign(
        clip_id=[Path(name).stem for name in files],
        wav=folders + "/" + files,
        class_string=rows["class"],
    )
