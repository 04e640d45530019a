"""Many files one after the other: read, explained, handed out, forgotten.

Authors
 * The speechbrain_lmac authors 2026
"""

import itertools
import os
from typing import NamedTuple

from speechbrain_lmac.inference.explanation import Explanation
from speechbrain_lmac.utils.checks import UserError


class FileResult(NamedTuple):
    """What became of a file of many.

    Attributes
    ----------
    path : str
        The file.
    explanation : Explanation or list of Explanation or None
        As of :meth:`AudioInterpreter.interpret_file`; None if it failed.
    error : UserError or None
        Why it failed.
    """

    path: str
    explanation: Explanation | list | None
    error: UserError | None


def stream_files(read, explain, paths, batch_size):
    """Yield the result of each file; a failure does not stop the others.

    Arguments
    ---------
    read : callable
        Path -> waveform (samples,), or a UserError.
    explain : callable
        ``(waveforms, sources) -> explanations``.
    paths : iterable of str or pathlib.Path
        The files.
    batch_size : int
        Files that are in memory at a time.

    Yields
    ------
    FileResult
        In the order of the files.
    """
    paths = iter(paths)
    while some := list(itertools.islice(paths, batch_size)):
        some = [os.fspath(path) for path in some]
        read_ones = [_attempt(read, path) for path in some]
        good = [k for k, (_, error) in enumerate(read_ones) if error is None]
        made = explain([read_ones[k][0] for k in good], [some[k] for k in good])
        made = dict(zip(good, made, strict=True))
        for k, path in enumerate(some):
            yield FileResult(path, made.pop(k, None), read_ones[k][1])


def _attempt(read, path):
    try:
        return read(path), None
    except UserError as error:
        return None, error
