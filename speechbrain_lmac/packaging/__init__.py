"""Packages: all that inference needs of a trained interpreter, in a folder."""

from speechbrain_lmac.packaging.loading import load_package
from speechbrain_lmac.packaging.writing import write_package
from speechbrain_lmac.safe_loading import UnsafePackageError

__all__ = ["UnsafePackageError", "load_package", "write_package"]
