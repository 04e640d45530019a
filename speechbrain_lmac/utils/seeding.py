"""Random draws that depend on what they are for, not on what came before.

A training whose draws come from one long stream changes with the number of
processes and workers, and with every interruption. Here each draw is named by
the seed, the epoch and the clips: it is the same wherever and whenever it is
made.
"""

from __future__ import annotations

import hashlib

import torch


def seed_of(text: str) -> int:
    """A seed in [0, 2**63) that a text names, the same on every machine.

    >>> seed_of("1234|dog") == seed_of("1234|dog") != seed_of("1234|cat")
    True
    """
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def derive_seed(*parts: int | str) -> int:
    """A seed that some values name, such as seed, epoch and clip."""
    return seed_of(repr(parts))


class EpochDraws:
    """What the clips of a training set draw from in an epoch.

    ``epoch`` is to be set before the epoch's first clip is loaded; worker
    processes that start then know it.

    >>> draws = EpochDraws(seed=1234)
    >>> first = torch.rand(2, generator=draws.of("dog.wav"))
    >>> torch.equal(first, torch.rand(2, generator=draws.of("dog.wav")))
    True
    >>> draws.epoch = 1
    >>> torch.equal(first, torch.rand(2, generator=draws.of("dog.wav")))
    False
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0

    def of(self, clip_id: str) -> torch.Generator:
        """The generator of a clip in this epoch, on CPU, at its beginning."""
        seed = derive_seed(self.seed, self.epoch, clip_id)
        return torch.Generator().manual_seed(seed)
