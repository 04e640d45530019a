"""Checks of values that users and callers hand to the package.

Two kinds of mistakes are told apart. A mistake of the user (a wrong file, a
wrong configuration key, logits in the place of probabilities) raises
:class:`UserError`, whose message says what was expected, what was found and
what to do. A mistake of the calling code (a wrong shape) raises a plain
``ValueError``.
"""

import torch

# Softmax in float32 sums to 1 within about 1e-6; the rounding of half
# precision (8 bits in bfloat16) adds up to about 1e-2 over many classes.
PROB_SUM_TOLERANCE = 1e-3
HALF_PROB_SUM_TOLERANCE = 2e-2
# Room for the rounding of a sigmoid or of a resampled mask.
RANGE_TOLERANCE = 1e-4


class UserError(ValueError):
    """A mistake that the user of the package can mend.

    The message states what was expected, what was found and what to do, and
    it names the file or the configuration key.

    Example
    -------
    >>> from speechbrain_lmac.utils.checks import UserError
    >>> issubclass(UserError, ValueError)
    True
    """


def system_error(err):
    """The error of the system that an exception stands for.

    PyTorch's writer of files raises one of its own while it handles that one.

    Arguments
    ---------
    err : Exception
        What was raised.

    Returns
    -------
    OSError or None

    Example
    -------
    >>> system_error(OSError(28, "No space left on device")).errno
    28
    >>> system_error(ValueError()) is None
    True
    """
    inner = err if isinstance(err, OSError) else err.__context__
    return inner if isinstance(inner, OSError) else None


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


def _describe(tensor):
    return f"shape {tuple(tensor.shape)}"


def check_probs(probs, name="probs", allow_nan=False):
    """Check that a tensor holds class probabilities.

    Arguments
    ---------
    probs : torch.Tensor
        Expected shape (batch, classes), values in [0, 1], rows that sum to 1.
    name : str
        The name that the error message uses.
    allow_nan : bool
        Whether rows that hold NaN pass; the other rows are checked. Metrics
        use it, because they answer NaN for such clips and count them.

    Raises
    ------
    ValueError
        If the tensor is not a floating-point tensor of two dimensions.
    UserError
        If it holds NaN or infinite values, values outside [0, 1] or rows
        that do not sum to 1.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.utils.checks import check_probs
    >>> check_probs(torch.tensor([[0.25, 0.75]]))
    >>> check_probs(torch.tensor([[2.0, 1.0]]))
    Traceback (most recent call last):
    ...
    speechbrain_lmac.utils.checks.UserError: \
`probs` rows must sum to 1, got 3; \
were logits passed? Apply softmax first.
    """
    if probs.dim() != 2 or not probs.is_floating_point():
        raise ValueError(
            f"Expected `{name}` as a floating-point tensor of shape "
            f"(batch, classes) but got {_describe(probs)}, {probs.dtype}."
        )
    if allow_nan:
        probs = probs[~probs.isnan().any(dim=1)]
    if probs.numel() == 0:
        return
    _check_finite(probs, name)
    sums = probs.detach().double().sum(dim=1)
    worst = sums[(sums - 1).abs().argmax()].item()
    half = torch.finfo(probs.dtype).bits < 32
    tolerance = HALF_PROB_SUM_TOLERANCE if half else PROB_SUM_TOLERANCE
    if abs(worst - 1) > tolerance:
        raise UserError(
            f"`{name}` rows must sum to 1, got {worst:.3g}; "
            "were logits passed? Apply softmax first."
        )
    _check_unit_range(probs, name, "were logits passed? Apply softmax first.")


def check_mask(mask, name="mask", allow_nan=False):
    """Check that a tensor holds a batch of masks.

    Arguments
    ---------
    mask : torch.Tensor
        Expected shape (batch, ...), for example (batch, frames, bins), values
        in [0, 1].
    name : str
        The name that the error message uses.
    allow_nan : bool
        Whether NaN values pass; the other values are checked.

    Raises
    ------
    ValueError
        If the tensor is not floating-point or has fewer than two dimensions.
    UserError
        If it holds NaN or infinite values or values outside [0, 1].

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.utils.checks import check_mask
    >>> check_mask(torch.rand(2, 5, 3))
    """
    if mask.dim() < 2 or not mask.is_floating_point():
        raise ValueError(
            f"Expected `{name}` as a floating-point tensor of shape "
            f"(batch, ...) but got {_describe(mask)}, {mask.dtype}."
        )
    if mask.numel() == 0:
        return
    # One pass over what is nearly always right; a NaN fails the comparison.
    low, high = mask.detach().aminmax()
    if low >= 0 and high <= 1:
        return
    if allow_nan:
        mask = mask[~mask.isnan()]
        if mask.numel() == 0:
            return
    _check_finite(mask, name)
    _check_unit_range(mask, name, "apply the decoder's sigmoid first.")


def check_same_shape(a, b, names):
    """Check that two tensors have the same shape.

    Arguments
    ---------
    a : torch.Tensor
        The first tensor.
    b : torch.Tensor
        The second tensor.
    names : tuple of str
        The names of the two tensors in the error message.

    Raises
    ------
    ValueError
        If the shapes differ.

    Example
    -------
    >>> import torch
    >>> from speechbrain_lmac.utils.checks import check_same_shape
    >>> check_same_shape(torch.ones(2, 3), torch.zeros(2, 3), ("a", "b"))
    >>> check_same_shape(torch.ones(2, 3), torch.zeros(2, 4), ("a", "b"))
    Traceback (most recent call last):
    ...
    ValueError: Expected `a` and `b` of the same shape but got (2, 3) and \
(2, 4).
    """
    if a.shape != b.shape:
        raise ValueError(
            f"Expected `{names[0]}` and `{names[1]}` of the same shape but "
            f"got {tuple(a.shape)} and {tuple(b.shape)}."
        )


def _check_finite(tensor, name):
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise UserError(
            f"`{name}` must be finite, got {bad} NaN or infinite values out "
            f"of {tensor.numel()}; check the model's input and weights."
        )


def _check_unit_range(tensor, name, advice):
    low, high = (value.item() for value in tensor.detach().aminmax())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        raise UserError(
            f"`{name}` must lie in [0, 1], got values from {low:.3g} to "
            f"{high:.3g}; {advice}"
        )
