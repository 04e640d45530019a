"""Ways to damage bytes, and what a case may raise."""

import numpy as np

# Numbers at which sizes, counts and signs overflow.
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF)
EDGES += (0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0x40000000, 3_999_971)


class WrongResult(Exception):
    """A case that was accepted and gave something else than it should."""


def require(condition, message):
    """Raise `WrongResult` unless the condition holds."""
    if not condition:
        raise WrongResult(message)


def damage(rng, data, header=256):
    """Damage bytes in one of many ways.

    Arguments
    ---------
    rng : numpy.random.Generator
        Chooses how, and where.
    data : bytes
        At least one byte.
    header : int
        Half of the damage falls on so many bytes at the beginning.

    Returns
    -------
    tuple of (str, bytes)
        The name of the damage, and what it left.
    """
    name = str(rng.choice(list(WAYS)))
    limit = min(header, len(data)) if rng.random() < 0.5 else len(data)
    return name, bytes(WAYS[name](rng, bytearray(data), limit))


def _truncate(rng, data, limit):
    return data[: rng.integers(0, limit + 1)]


def _flip(rng, data, limit):
    for place in rng.integers(0, limit, rng.integers(1, 17)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _edge(rng, data, limit):
    size = int(rng.choice([1, 2, 4, 4]))
    value = int(rng.choice(EDGES)) % (1 << 8 * size)
    place = int(rng.integers(0, limit))
    order = str(rng.choice(["little", "big"]))
    data[place : place + size] = value.to_bytes(size, order)
    return data


def _span(rng, data, limit):
    start, end = sorted(rng.integers(0, limit + 1, 2))
    return slice(start, min(end, start + 4096))


def _zero(rng, data, limit):
    span = _span(rng, data, limit)
    data[span] = bytes(span.stop - span.start)
    return data


def _scramble(rng, data, limit):
    span = _span(rng, data, limit)
    data[span] = rng.bytes(span.stop - span.start)
    return data


def _remove(rng, data, limit):
    del data[_span(rng, data, limit)]
    return data


def _repeat(rng, data, limit):
    span = _span(rng, data, limit)
    data[span] = data[span] * 2
    return data


def _append(rng, data, limit):
    return data + rng.bytes(int(rng.integers(1, 5000)))


def _replace(rng, data, limit):
    whole = [b"", bytes(len(data)), rng.bytes(len(data)), b"not this\n" * 30]
    return whole[rng.integers(len(whole))]


WAYS = {
    "truncated": _truncate,
    "flipped bits": _flip,
    "edge number": _edge,
    "zeros": _zero,
    "scrambled": _scramble,
    "removed": _remove,
    "repeated": _repeat,
    "appended": _append,
    "replaced": _replace,
}


def equal(a, b):
    """Whether two arrays have the same shape, type and bits."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and (a == b).all()
