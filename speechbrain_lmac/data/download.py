"""Downloading ESC-50: resumable, verified, and never half made."""

import json
import re
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

import requests
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

ESC50_URL = "https://github.com/karolpiczak/ESC-50/archive/master.zip"
LAYOUT = ("meta/esc50.csv", "audio")
ATTEMPTS = 3
TIMEOUT = (15, 60)  # seconds to connect, seconds between two pieces
PIECE = 1 << 16  # bytes; what is lost of a piece when a connection breaks


class _Interrupted(Exception):
    """The connection broke; what has come so far may be continued."""


def download_esc50(data_folder, url=ESC50_URL):
    """Download ESC-50 and unpack it.

    Everything happens in a folder beside `data_folder` that is renamed at the
    end, so a half-made folder never passes for data. A download that broke is
    continued by the next call, if the server allows it.

    Arguments
    ---------
    data_folder : str | pathlib.Path
        Where the data set goes: afterwards it holds audio/ and meta/. It must
        not exist, or be empty.
    url : str
        The zip archive.

    Returns
    -------
    pathlib.Path
        The data folder.

    Raises
    ------
    UserError
        If `data_folder` holds something else, the archive cannot be
        downloaded or is not ESC-50, or there is no permission or space.
    """
    # A link to an empty folder stays: the folder behind it is filled.
    target = Path(data_folder).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"{data_folder}: expected a folder that does not exist or is "
            "empty, found something in it; it is left as it is. Give another "
            "folder with `--data_folder`."
        )
    work = target.parent / f".{target.name}.download"
    try:
        work.mkdir(parents=True, exist_ok=True)
        archive = _fetch_archive(url, work, target)
        try:
            _unpack(archive, url, work / "unpacked", target)
        except UserError:  # this archive will never do
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as err:
        raise UserError(
            f"{data_folder}: the data set cannot be written there ({err}). "
            "Check the permissions and the free space (2 GB) of "
            f"{target.parent}, or give another folder with `--data_folder`."
        ) from err
    shutil.rmtree(work, ignore_errors=True)
    logger.info("Downloaded %s to %s", url, target)
    return Path(data_folder)


def _by_hand(url, target):
    return (
        f"Try again, or download {url} by hand, unpack it and give the folder "
        f"that holds audio/ and meta/ with `--data_folder` (now {target})."
    )


def _fetch_archive(url, work, target):
    """Download the archive until it is a whole zip file; return its path."""
    part, validator = work / "archive.zip.part", work / "archive.json"
    restarted = False
    for _ in range(ATTEMPTS):
        resumed = part.exists()
        try:
            _fetch(url, part, validator)
        except (_Interrupted, requests.RequestException) as err:
            problem = err
            continue
        if _is_whole_zip(part):
            return part
        part.unlink()
        validator.unlink(missing_ok=True)
        problem = "what came is not a whole zip archive"
        # Pieces of two versions of the archive do not fit: once more from the
        # start. If that is damaged too, the server has no good one.
        if restarted or not resumed:
            break
        restarted = True
    raise UserError(
        f"{url} could not be downloaded ({problem}). {_by_hand(url, target)}"
    )


def _fetch(url, part, validator):
    """Download `url` onto the end of `part`, or anew if that is impossible."""
    known = _read_validator(validator)
    if known.get("url") != url:
        part.unlink(missing_ok=True)
        known = {}
    have = part.stat().st_size if part.exists() else 0
    if have and have == known.get("total"):
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known.get("tag"):
            headers["If-Range"] = known["tag"]
    with requests.get(
        url, headers=headers, stream=True, timeout=TIMEOUT
    ) as response:
        if response.status_code == 416:  # nothing beyond what we have
            total = re.fullmatch(
                r"bytes \*/(\d+)", response.headers.get("Content-Range", "")
            )
            if total and int(total[1]) == have:
                return
            part.unlink()
            raise _Interrupted("the part did not fit the archive")
        response.raise_for_status()
        start, total = _extent(response, have)
        # A server that cannot continue sends everything again: start is 0.
        if start and (start != have or known.get("total", total) != total):
            part.unlink()
            raise _Interrupted("the archive has changed meanwhile")
        _remember(validator, url, response, total)
        _save(response, part, start, total)


def _extent(response, have):
    """Offset of the first byte that comes, and the size of the archive."""
    if response.status_code == 206:
        match = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "")
        )
        return (int(match[1]), int(match[2])) if match else (-1, None)
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _read_validator(path):
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(path, url, response, total):
    """Keep what tells whether the archive is still the same next time."""
    tag = response.headers.get("ETag", "")
    if not tag or tag.startswith("W/"):  # If-Range takes strong tags only
        tag = response.headers.get("Last-Modified")
    known = {"url": url, "tag": tag, "total": total}
    write_atomically(path, json.dumps(known).encode())


def _save(response, part, start, total):
    bar = tqdm(
        desc="downloading",
        initial=start,
        total=total,
        unit="B",
        unit_scale=True,
    )
    with bar, open(part, "ab" if start else "wb") as file:
        for piece in response.iter_content(PIECE):
            file.write(piece)
            bar.update(len(piece))
        size = file.tell()
    if total is not None and size != total:
        raise _Interrupted(f"the connection broke at {size} of {total} bytes")


def _is_whole_zip(path):
    """Whether every member has the checksum that the archive announces."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError):
        return False
    except Exception as err:  # zlib.error and the like of damaged members
        logger.warning("%s is damaged: %s", path, err)
        return False


def _unpack(archive_path, url, unpacked, target):
    """Unpack, and move the data set to its place."""
    shutil.rmtree(unpacked, ignore_errors=True)
    with zipfile.ZipFile(archive_path) as archive:
        for member in archive.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/"))
            linked = stat.S_ISLNK(member.external_attr >> 16)
            if name.is_absolute() or ".." in name.parts or linked:
                raise UserError(
                    f"{url}: the archive has an unsafe entry "
                    f"({member.filename}) and was not unpacked. Check where "
                    "it comes from."
                )
        archive.extractall(unpacked)
    roots = [unpacked, *(path for path in unpacked.iterdir() if path.is_dir())]
    for root in roots:
        if all((root / part).exists() for part in LAYOUT):
            if target.exists():  # empty, as was checked; rmdir checks again
                target.rmdir()
            root.rename(target)
            return
    raise UserError(
        f"{url}: expected an archive with {' and '.join(LAYOUT)}; "
        "found neither at its top nor in a folder of it. Check the address."
    )
