"""Files that are whole, under names that every file system takes."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

# File systems take 255 bytes, encrypted ones 143; suffixes need room, too.
MAX_BYTES = 120
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')  # by Windows
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def write_atomically(path: str | os.PathLike, content: bytes | str) -> None:
    """Write a file so that it is either the old one or the whole new one.

    Arguments
    ---------
    path : str or pathlib.Path
        The file; missing folders are made.
    content : bytes or str
        Text is written as UTF-8.

    Example
    -------
    >>> path = Path(getfixture("tmpdir")) / "new" / "a.txt"
    >>> write_atomically(path, "whole")
    >>> path.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        data = content.encode() if isinstance(content, str) else content
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def safe_name(text: object) -> str:
    """Name a file or folder after a text, on any system.

    A long text keeps its start, and a hash of it all.

    Arguments
    ---------
    text : object
        For example a clip's identifier, a class name, a prompt.

    Returns
    -------
    str
        At most 120 bytes in UTF-8, never empty; what separates paths or is
        forbidden on Windows became "_".

    Example
    -------
    >>> safe_name("../a:b?"), safe_name("1-4211-A-12"), safe_name("Hund, Käse")
    ('_a_b_', '1-4211-A-12', 'Hund, Käse')
    >>> name = safe_name("犬が吠える" * 20)
    >>> len(name.encode()), name[-12:]
    (120, 'る犬が-49062c87')
    """
    text = str(text).encode("utf-8", "replace").decode()
    name = unicodedata.normalize("NFC", FORBIDDEN.sub("_", text)).strip(". ")
    if len(name.encode()) > MAX_BYTES:
        return _with_hash(name, text)
    return f"_{name}" if DEVICES.fullmatch(name) else name or "clip"


def unique_names(texts: Iterable[object]) -> dict[str, str]:
    """Names for files that stand in one folder.

    Arguments
    ---------
    texts : iterable of object
        As for :func:`safe_name`, all of the folder.

    Returns
    -------
    dict of str to str
        Text to name. Those whose names would be one, on a system that ignores
        case, too, get a hash of their text, whatever their order.

    Example
    -------
    >>> unique_names(["dog", "a:b", "a?b"])
    {'dog': 'dog', 'a:b': 'a_b-6783a31e', 'a?b': 'a_b-c2a7b64a'}
    """
    names = {text: safe_name(text) for text in map(str, texts)}
    uses = Counter(name.casefold() for name in names.values())
    return {
        text: name if uses[name.casefold()] == 1 else _with_hash(name, text)
        for text, name in names.items()
    }


def _with_hash(name: str, text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    # A character that is cut in two is left out.
    start = name.encode()[: MAX_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{start.rstrip('. ')}-{digest}"
