"""Weights of a package: safetensors, compared with what is to be filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules import module as hooks

from speechbrain_lmac.utils.checks import UserError

Module = TypeVar("Module", bound=nn.Module)
DTYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16"},
    **{torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32"},
    **{torch.uint8: "U8", torch.bool: "BOOL"},
}
#: What a module may hold beyond its weights (filters, positions), in bytes.
MAX_DERIVED = 1 << 28


def save_weights(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a state dict; tensors that share memory are written once each."""
    copies = {k: v.detach().cpu().clone() for k, v in tensors.items()}
    save_file({k: v.contiguous() for k, v in copies.items()}, path)
    path.chmod(path.parent.stat().st_mode & 0o666)  # else its owner's alone


def fill(make: Callable[[], Module], path: Path, ours: bool = True) -> Module:
    """Build a module and load its weights, which must fit exactly.

    ``make`` builds it; what is of ``ours`` is built without memory first, on
    the meta device, and compared with the file's header.
    """
    header = _header(path)
    if ours:
        with torch.device("meta"), _at_most(10 * len(header) + 100, path):
            _compare(make(), header, path)
    module = make()
    _compare(module, header, path)
    state = load_tensors(path)
    module.load_state_dict(state)
    return module


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file; NaN and infinite ones are refused."""
    _header(path)
    state = load_file(path)
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{path}: NaN or infinite values in {name}.")
    return state


def _header(path):
    """Shape and type of each tensor of a file."""
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            return {
                name: (tuple(part.get_shape()), part.get_dtype())
                for name, part in slices.items()
            }
    except Exception as err:  # the library raises kinds of its own
        raise UserError(
            f"{path}: no readable safetensors file ({str(err):.100}); fetch "
            "or write the package again."
        ) from err


def _compare(module, header, path):
    """Refuse a module that is not what the file holds."""
    expected = {
        name: (tuple(value.shape), DTYPES.get(value.dtype))
        for name, value in module.state_dict().items()
    }
    for name in sorted(expected.keys() | header.keys()):
        if expected.get(name) != header.get(name):
            raise UserError(
                f"{path}: {name} is {header.get(name)}, config.json describes "
                f"{expected.get(name)}; fetch or write the package again."
            )
    held = sum(value.nbytes for value in module.state_dict().values())
    if sum(value.nbytes for value in module.buffers()) > held + MAX_DERIVED:
        raise UserError(f"{path}: config.json describes buffers of many GB.")


@contextmanager
def _at_most(number: int, path: Path) -> Iterator[None]:
    """Refuse to build more modules and weights than a file can fill."""
    made = [0]

    def count(*_):
        made[0] += 1
        if made[0] > number:
            raise UserError(
                f"{path} holds fewer weights than config.json describes."
            )

    handles = [
        hooks.register_module_module_registration_hook(count),
        hooks.register_module_parameter_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
