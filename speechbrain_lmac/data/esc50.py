"""Layout of ESC-50: meta/esc50.csv and audio/<filename>.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM
Multimedia 2015. ESC-10 and the built-in data set lie on disk in the same way.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from speechbrain_lmac.data.download import ESC50_URL, download_esc50
from speechbrain_lmac.data.tables import check_layout, read_metadata

METADATA = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "target", "category")


def read_esc50(
    data_folder: str | Path, labels_file: None = None
) -> pd.DataFrame:
    """Table of the clips of ESC-50, downloaded if the folder is empty."""
    root = Path(data_folder)
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        download_esc50(root, ESC50_URL)
    check_layout(root, (METADATA, "audio"), "ESC-50")
    rows = read_metadata(root / METADATA, COLUMNS)
    return rows.assign(
        clip_id=[Path(name).stem for name in rows.filename],
        wav="audio/" + rows.filename,
        class_string=rows.category,
    )
