"""YAML and weights from strangers: loaded without running their code."""

from speechbrain_lmac.inference.package.safe.building import (
    UnsafePackageError,
    load_hparams_safely,
)

__all__ = ["UnsafePackageError", "load_hparams_safely"]
