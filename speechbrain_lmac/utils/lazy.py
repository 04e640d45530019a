"""Rooms hand on their public names without importing what is slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def attach(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Lazy public names of a package (PEP 562).

    Arguments
    ---------
    package : str
        ``__name__`` of the package.
    names : mapping of str to sequence of str
        Module of the package -> names that it holds.

    Returns
    -------
    tuple
        Its ``__getattr__``, ``__dir__`` and ``__all__``.

    Example
    -------
    >>> get, _, public = attach("speechbrain_lmac", {"utils.lazy": ["attach"]})
    >>> public, get("attach") is attach
    (['attach'], True)
    """
    homes = {name: module for module, each in names.items() for name in each}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}"
            )
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: sorted(homes), sorted(homes)
