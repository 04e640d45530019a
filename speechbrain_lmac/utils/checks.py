"""Checks of values that users and callers hand to the package.

Two kinds of mistakes are told apart. A mistake of the user (a wrong file, a
wrong configuration key, logits in the place of probabilities) raises
:class:`UserError`, whose message says what was expected, what was found and
what to do. A mistake of the calling code (a wrong shape) raises a plain
``ValueError``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

# Room for the rounding of a sigmoid or of a resampled mask.
RANGE_TOLERANCE = 1e-4


class UserError(ValueError):
    """A mistake that the user of the package can mend.

    The message states what was expected, what was found and what to do, and
    it names the file or the configuration key.
    """


def check_device(device: str, name: str = "--device") -> None:
    """Refuse a device that torch does not have.

    >>> check_device("cpu")
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        reason = str(err).splitlines()[0]
        raise UserError(
            f"{name} {device}: it cannot be used ({reason}); expected one "
            "such as cpu or cuda:0."
        ) from err


def check_writable(folder: str | Path, key: str) -> None:
    """Refuse a folder that cannot be made or written to, naming its key."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise UserError(
            f"`{key}`: cannot write to {folder} ({err.strerror}); give a "
            "folder that you may write to."
        ) from err


def check_probs(
    probs: torch.Tensor, name: str = "probs", allow_nan: bool = False
) -> None:
    """Check that a tensor (batch, classes) holds class probabilities.

    Rows need not sum to 1: classes may be independent of each other.
    With ``allow_nan`` rows that hold NaN pass: metrics answer NaN for such
    clips and count them.

    >>> check_probs(torch.tensor([[0.25, 0.75]]))
    >>> check_probs(torch.tensor([[2.0, 1.0]]))
    Traceback (most recent call last):
    ...
    speechbrain_lmac.utils.checks.UserError: \
`probs` must lie in [0, 1], got values from 1 to 2; \
were logits passed?
    """
    if probs.dim() != 2 or not probs.is_floating_point():
        raise ValueError(
            f"Expected `{name}` as a floating-point tensor (batch, classes) "
            f"but got shape {tuple(probs.shape)}, {probs.dtype}."
        )
    if allow_nan:
        probs = probs[~probs.isnan().any(dim=1)]
    if probs.numel():
        _check_unit_range(probs, name, "were logits passed?")


def check_mask(
    mask: torch.Tensor, name: str = "mask", allow_nan: bool = False
) -> None:
    """Check that a tensor (batch, ...) holds masks, values in [0, 1].

    >>> check_mask(torch.rand(2, 5, 3))
    """
    if mask.dim() < 2 or not mask.is_floating_point():
        raise ValueError(
            f"Expected `{name}` as a floating-point tensor (batch, ...) but "
            f"got shape {tuple(mask.shape)}, {mask.dtype}."
        )
    if mask.numel() == 0:
        return
    # One pass over what is nearly always right; a NaN fails the comparison.
    low, high = mask.detach().aminmax()
    if low >= 0 and high <= 1:
        return
    mask = mask[~mask.isnan()] if allow_nan else mask
    if mask.numel():
        _check_unit_range(mask, name, "apply the decoder's sigmoid first.")


def check_same_shape(
    a: torch.Tensor, b: torch.Tensor, names: tuple[str, str]
) -> None:
    """Refuse tensors of different shapes; ``names`` are those of the error."""
    if a.shape != b.shape:
        raise ValueError(
            f"Expected `{names[0]}` and `{names[1]}` of the same shape but "
            f"got {tuple(a.shape)} and {tuple(b.shape)}."
        )


def _check_unit_range(tensor, name, advice):
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise UserError(
            f"`{name}` must be finite, got {bad} NaN or infinite values out "
            f"of {tensor.numel()}; check the model's input and weights."
        )
    low, high = (value.item() for value in tensor.detach().aminmax())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        raise UserError(
            f"`{name}` must lie in [0, 1], got values from {low:.3g} to "
            f"{high:.3g}; {advice}"
        )
