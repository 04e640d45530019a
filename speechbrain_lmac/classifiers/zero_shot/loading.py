"""A published CLAP model by the name of the library that loads it."""

from __future__ import annotations

from speechbrain_lmac.classifiers.zero_shot.base import ClapEncoder
from speechbrain_lmac.utils.checks import UserError


def load_clap(
    source: str,
    backend: str = "transformers",
    amodel: str = "HTSAT-tiny",
    trust_source: bool = False,
) -> ClapEncoder:
    """Load a published CLAP model, frozen.

    Arguments
    ---------
    source : str
        transformers: a hub repository or a folder of its files; laion_clap: a
        checkpoint.
    backend : str
        ``transformers`` or ``laion_clap``.
    amodel : str
        Audio encoder of a laion_clap checkpoint.
    trust_source : bool
        Whether to read a laion_clap checkpoint that could run any code.

    Returns
    -------
    ClapEncoder

    Raises
    ------
    UserError
        If the backend is unknown, or the model cannot be loaded.
    """
    if backend == "transformers":
        from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

        return HfClap(source)
    if backend == "laion_clap":
        from speechbrain_lmac.classifiers.zero_shot.laion import LaionClap

        return LaionClap(source, amodel=amodel, trust_source=trust_source)
    raise UserError(
        f"`clap_backend`: expected transformers or laion_clap, found "
        f"{backend!r}."
    )
