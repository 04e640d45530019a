"""Packages: all that inference needs of a trained interpreter, in a folder."""

from speechbrain_lmac.inference.package.loading import load_package
from speechbrain_lmac.inference.package.safe import UnsafePackageError
from speechbrain_lmac.inference.package.writing import write_package

__all__ = ["UnsafePackageError", "load_package", "write_package"]
