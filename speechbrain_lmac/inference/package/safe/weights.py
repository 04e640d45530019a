"""Weights as safetensors: written, compared with a module, filled in.

A file of this format holds a header (names, types, shapes) and bytes; reading
it runs no code. The header is compared with the module before a tensor is
read.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import torch

from speechbrain_lmac.classifiers.loading import _differences
from speechbrain_lmac.inference.package.safe.budget import readable
from speechbrain_lmac.utils.checks import UserError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def save_weights(module, path):
    """Write a module's state dict.

    Arguments
    ---------
    module : torch.nn.Module
        The module; tensors that share memory are written once each.
    path : str or pathlib.Path
        File to write.

    Raises
    ------
    ValueError
        If the state dict holds anything but tensors.
    """
    library = _library()
    state, seen = {}, set()
    for name, tensor in module.state_dict().items():
        if not torch.is_tensor(tensor):
            raise ValueError(
                f"Expected tensors in the state dict of "
                f"{type(module).__name__} but got {type(tensor).__name__} "
                f"for {name}"
            )
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        state[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    library.torch.save_file(state, str(path), {"format": "pt"})


def load_weights_safely(module, path):
    """Fill a module from a file; every tensor must fit, and none be left.

    Arguments
    ---------
    module : torch.nn.Module
        The module to fill.
    path : str or pathlib.Path
        Written by :func:`save_weights`.

    Raises
    ------
    UserError
        If the file is damaged, holds values that are not finite, or does not
        hold the tensors of this module: their names, shapes and types, told
        by its header, are compared before any of them is read.

    Example
    -------
    >>> import tempfile
    >>> layer, other = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    >>> path = tempfile.mkdtemp() + "/layer.safetensors"
    >>> save_weights(layer, path)
    >>> load_weights_safely(other, path)
    >>> torch.equal(layer.weight, other.weight)
    True
    >>> load_weights_safely(torch.nn.Linear(2, 2), path)
    Traceback (most recent call last):
    ...
    speechbrain_lmac.utils.checks.UserError: \
...layer.safetensors does not hold \
the weights of this Linear: shapes weight: expected (2, 2), found (3, 2)...
    """
    library = _library()
    expected = module.state_dict()
    try:
        with library.safe_open(str(path), framework="pt") as file:
            _check_header(file, expected, module, path)
            state = {name: file.get_tensor(name) for name in file.keys()}
    except UserError:
        raise
    except Exception as err:  # the library and the system raise many kinds
        raise UserError(
            f"{path} is no readable safetensors file ({str(err)[:200]}). "
            "Fetch the package again."
        ) from err
    check_finite(state, path)
    module.load_state_dict(state)


def check_finite(state, where):
    """Refuse weights with which nothing can be computed.

    Arguments
    ---------
    state : dict of str to torch.Tensor
        By name.
    where : str or pathlib.Path
        For the error.

    Raises
    ------
    UserError
        If a value is NaN or infinite.

    Example
    -------
    >>> check_finite({"scale": torch.tensor([1.0, torch.nan])}, "a.safetensors")
    Traceback (most recent call last):
    ...
    speechbrain_lmac.utils.checks.UserError: a.safetensors: expected finite \
weights, found NaN or infinite ones in scale (1 of 2)...
    """
    for name, tensor in state.items():
        wrong = (~tensor.isfinite()).sum().item()
        if wrong:
            raise UserError(
                f"{where}: expected finite weights, found NaN or infinite "
                f"ones in {name} ({wrong} of {tensor.numel()}), so that "
                "nothing can be explained. The training that wrote them went "
                "wrong: train again, or fetch another package."
            )


def _check_header(file, expected, module, path):
    """Compare names, shapes and types; no tensor is read."""
    parts = {name: file.get_slice(name) for name in file.keys()}
    dtypes = {name: part.get_dtype() for name, part in parts.items()}
    found = {
        name: torch.empty(part.get_shape(), device="meta")
        for name, part in parts.items()
    }
    problems = _differences(expected, found) or "; ".join(
        f"{name}: expected {tensor.dtype}, found {dtypes[name]}"
        for name, tensor in expected.items()
        if _DTYPES.get(dtypes[name]) != tensor.dtype
    )
    if problems:
        needed = sum(t.numel() * t.element_size() for t in expected.values())
        raise UserError(
            f"{path} does not hold the weights of this "
            f"{type(module).__name__}: {problems[:600]}. The file is of "
            f"{readable(Path(path).stat().st_size)}, the module of "
            f"{readable(needed)}. Nothing of it was loaded."
        )


def _library():
    """The library safetensors, or an error that says how to get it."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError as err:
        raise UserError(
            "Packages need the library safetensors: pip install safetensors"
        ) from err
    return safetensors
