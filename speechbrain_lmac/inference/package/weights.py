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
    shapes = _shapes(path)
    if ours:
        with torch.device("meta"), _at_most(10 * len(shapes) + 100, path):
            _compare(make(), shapes, path)
    module = make()
    _compare(module, shapes, path)
    module.load_state_dict(load_tensors(path))
    return module


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file; NaN and infinite ones are refused."""
    state = load_file(path)
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{path}: NaN or infinite values in {name}.")
    return state


def _shapes(path):
    """The shape of each tensor of a file, from its header."""
    try:
        with safe_open(path, "pt") as file:
            return {
                k: tuple(file.get_slice(k).get_shape()) for k in file.keys()
            }
    except Exception as err:  # the library raises kinds of its own
        raise UserError(
            f"{path}: no readable safetensors file ({str(err):.100}); fetch "
            "or write the package again."
        ) from err


def _compare(module, shapes, path):
    """Refuse a module that is not what the file holds."""
    state = module.state_dict().items()
    expected = {name: tuple(value.shape) for name, value in state}
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise UserError(
                f"{path}: {name} is {shapes.get(name)}, config.json describes "
                f"{expected.get(name)}; fetch or write the package again."
            )


@contextmanager
def _at_most(number: int, path: Path) -> Iterator[None]:
    """Refuse to build more modules and weights than a file can fill."""
    made = []

    def count(*_):
        made.append(None)
        if len(made) > number:
            raise UserError(f"{path} has fewer weights than config.json says.")

    handles = [
        hooks.register_module_module_registration_hook(count),
        hooks.register_module_parameter_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
