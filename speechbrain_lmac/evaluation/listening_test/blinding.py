"""Who hears what in which order, and names that tell a listener nothing.

The page computes the same numbers (``static/study.js``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

_MASK = 0xFFFFFFFF
_PADDED = 32  # bytes of a concealed name
T = TypeVar("T")


def random_numbers(text: str) -> Iterator[float]:
    """Endless numbers in [0, 1) that depend on a text alone.

    The generator is mulberry32, seeded by the 32-bit FNV-1a hash of the text:
    a few lines in Python and in JavaScript that give the same numbers.

    >>> numbers = random_numbers("a")
    >>> round(next(numbers), 6), round(next(numbers), 6)
    (0.621686, 0.308223)
    """
    state = 0x811C9DC5
    for byte in text.encode("utf-8"):
        state = (state ^ byte) * 0x01000193 & _MASK
    while True:
        state = state + 0x6D2B79F5 & _MASK
        mixed = (state ^ state >> 15) * (state | 1) & _MASK
        mixed ^= mixed + ((mixed ^ mixed >> 7) * (mixed | 61) & _MASK) & _MASK
        yield ((mixed ^ mixed >> 14) & _MASK) / 2**32


def shuffled(values: Iterable[T], text: str) -> list[T]:
    """Shuffle values (Fisher and Yates); equal texts give equal orders.

    >>> shuffled("abcde", "one") == shuffled("abcde", "one")
    True
    """
    values, numbers = list(values), random_numbers(text)
    for last in range(len(values) - 1, 0, -1):
        other = int(next(numbers) * (last + 1))
        values[last], values[other] = values[other], values[last]
    return values


def opaque_name(*parts: object) -> str:
    """Make a name of twelve characters that tells nothing of what it names.

    It begins with a letter, so that no program takes it for a number.

    >>> opaque_name(0, "clean", "clip 7", "lmac")
    'sf382fc87eff'
    """
    text = "\x1f".join(map(str, parts))
    return "s" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:11]


def conceal(method: str, study: str, stimulus: str) -> str:
    """Write a method's name so that a listener cannot read it: "~" and digits.

    It is no encryption: who knows the page's script can undo it. The same
    method reads differently for every stimulus.

    >>> code = conceal("lmac", "s", "6a71d4f2ac32")
    >>> code[:9], reveal(code, "s", "6a71d4f2ac32")
    ('~b3cb6321', 'lmac')
    """
    # Padded: the length would tell, too.
    data = method.encode("utf-8").ljust(_PADDED, b"\0")
    return "~" + _mixed(data, study, stimulus).hex()


def reveal(concealed: str, study: str, stimulus: str) -> str:
    """Undo :func:`conceal`; a plain name stays, else ValueError."""
    if not concealed.startswith("~"):
        return concealed
    data = bytes.fromhex(concealed[1:])
    method = _mixed(data, study, stimulus).decode("utf-8").rstrip("\0")
    if not method or not method.isprintable():
        raise ValueError("Expected a name that `conceal` made.")
    return method


def _mixed(data: bytes, study: str, stimulus: str) -> bytes:
    numbers = random_numbers(f"{study}/{stimulus}")
    return bytes(byte ^ int(next(numbers) * 256) for byte in data)
