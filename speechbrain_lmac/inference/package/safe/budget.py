"""A limit on the memory and the work that building modules may ask for.

Sizes in a configuration come from whoever wrote it: one number is enough to
ask for a layer of 100 GB, or for a million layers of next to nothing, which
take hours to make.

Authors
 * The speechbrain_lmac authors 2026
"""

import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from speechbrain_lmac.utils.checks import UserError

#: Most operations and modules; the largest models here take a third of it.
MAX_STEPS = 10_000
#: What runs once for each module that is made, and for each copy of one.
_MODULE_MADE = (
    torch.nn.Module.__init__.__code__,
    torch.nn.Module.__setstate__.__code__,
)


class _TooManySteps(BaseException):
    """No ``Exception``, as constructors may catch those and go on."""


class MemoryBudget(TorchDispatchMode):
    """Refuse tensors beyond a number of bytes, before they take memory.

    What an operation will return is asked of the operation itself, on the
    device ``meta``, where tensors have shapes and no memory. All that is made
    is counted, whether it is kept or not.

    Operations are counted, too, and modules that are made or copied: small as
    each may be, a million of them takes hours.

    Arguments
    ---------
    max_bytes : int
        The limit.
    what : str
        What is built, for the error.
    max_steps : int
        Most operations and modules. While a profiler runs, which has the hook
        that tells of modules, only operations are counted.

    Raises
    ------
    UserError
        From the operation that goes beyond; of too many steps, when the
        context is left.

    Example
    -------
    >>> with MemoryBudget(1000, "the toy"):
    ...     _ = torch.nn.Linear(1_000_000, 1_000_000)
    Traceback (most recent call last):
    ...
    speechbrain_lmac.utils.checks.UserError: \
the toy asks for tensors of 4.0 TB, \
more than the 1.0 KB that it may take.
    """

    def __init__(self, max_bytes, what, max_steps=MAX_STEPS):
        super().__init__()
        self.max_bytes = max_bytes
        self.what = what
        self.max_steps = max_steps
        self.taken = self.steps = 0
        self.hooked = False

    def __enter__(self):
        """Begin to count."""
        # There is one hook; a profiler that has it could not get it back.
        if sys.getprofile() is None:
            self.hooked = True
            sys.setprofile(self._profile)
        return super().__enter__()

    def __exit__(self, kind, error, trace):
        """Stop counting; tell of too many steps."""
        if self.hooked:
            sys.setprofile(None)
        super().__exit__(kind, error, trace)
        if kind is _TooManySteps:
            raise UserError(
                f"{self.what} takes more than {self.max_steps} steps to make, "
                "as of layers that are repeated without end; no model of a "
                "package does. If you trust whoever made it as you trust a "
                "program that you run, pass trust_source=True."
            ) from None

    def _profile(self, frame, event, arg):
        """Called by Python at each call and return."""
        if event == "call" and frame.f_code in _MODULE_MADE:
            self._step()

    def _step(self):
        self.steps += 1
        if self.steps > self.max_steps:
            raise _TooManySteps

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count what an operation will return, then run it."""
        kwargs = kwargs or {}
        self._step()
        # Views and operations in place need no memory of their own.
        if not any(out.alias_info for out in func._schema.returns):
            self.take(_foreseen_bytes(func, args, kwargs))
        return func(*args, **kwargs)

    def take(self, count):
        """Count bytes; an error if there are too many."""
        self.taken += count
        if self.taken > self.max_bytes:
            raise UserError(
                f"{self.what} asks for tensors of {readable(self.taken)}, "
                f"more than the {readable(self.max_bytes)} that it may take."
            )


def readable(count):
    """A number of bytes in words.

    Example
    -------
    >>> readable(2_500_000)
    '2.5 MB'
    """
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _foreseen_bytes(func, args, kwargs):
    """Bytes of what an operation will return; 0 if it cannot be told.

    It cannot where the size depends on values, as of a boolean index: then it
    is bounded by the size of what is there already.
    """
    given = [a for a in tree_flatten((args, kwargs))[0] if torch.is_tensor(a)]
    device = torch.device(kwargs.get("device") or "cpu")
    if device.type == "meta" or any(tensor.is_meta for tensor in given):
        return 0
    args, kwargs = tree_map(_as_meta, (args, kwargs))
    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = {**kwargs, "device": "meta"}
    try:
        made = tree_flatten(func(*args, **kwargs))[0]
    except (NotImplementedError, RuntimeError, TypeError):
        return 0
    return sum(
        tensor.numel() * tensor.element_size()
        for tensor in made
        if torch.is_tensor(tensor)
    )


def _as_meta(value):
    """A tensor of the same shape without memory; other values as they are."""
    if not torch.is_tensor(value):
        return value
    return torch.empty_strided(
        value.shape, value.stride(), dtype=value.dtype, device="meta"
    )
