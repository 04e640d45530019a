"""Layout of ESC-50: meta/esc50.csv and audio/<filename>.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM
Multimedia 2015. ESC-10 and the built-in data set lie on disk in the same way.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pandas as pd
import torch

from speechbrain_lmac.data.listing import plain_path
from speechbrain_lmac.data.tables import check_layout, read_table
from speechbrain_lmac.utils.checks import UserError

ESC50_URL = "https://github.com/karolpiczak/ESC-50/archive/master.zip"
METADATA = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "target", "category")


def read_esc50(
    data_folder: str | Path, labels_file: None = None
) -> pd.DataFrame:
    """Table of the clips of ESC-50, downloaded if the folder is empty."""
    root = Path(data_folder)
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        _download(root, ESC50_URL)
    check_layout(root, (METADATA, "audio"), "ESC-50")
    rows = read_table(root / METADATA, COLUMNS)
    files = rows.filename.map(lambda name: plain_path(name, METADATA))
    return rows.assign(
        clip_id=[Path(name).stem for name in files],
        wav="audio/" + files,
        class_string=rows.category,
    )


def _download(data_folder, url):
    """Fetch and unpack beside the folder, which is renamed at the end."""
    target = data_folder.resolve()  # a link to an empty folder stays one
    work = target.parent / f".{target.name}.download"
    archive = work / "archive.zip"
    try:
        work.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(archive))
        shutil.unpack_archive(archive, work / "unpacked")
        tables = (work / "unpacked").rglob(METADATA)
        root = next((table.parents[1] for table in tables), None)
        if root is None or not (root / "audio").is_dir():
            raise ValueError(f"it holds no audio/ and {METADATA}")
        if target.exists():
            target.rmdir()
        root.rename(target)
    except (OSError, ValueError, zipfile.BadZipFile) as err:
        raise UserError(
            f"`data_folder` {data_folder}: it is empty, and {url} could not be "
            f"downloaded there ({err}). Try again, or unpack it by hand and "
            "give the folder that holds audio/ and meta/."
        ) from err
    finally:
        shutil.rmtree(work, ignore_errors=True)
