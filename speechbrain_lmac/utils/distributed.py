"""What the processes of one run do together.

Without ``torchrun`` there is one process, and nothing is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from speechbrain.utils.distributed import ddp_barrier, if_main_process


def shard() -> tuple[int, int]:
    """Number of this process and of all of them; ``(0, 1)`` if alone."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def any_of(flag: bool, device: str | torch.device) -> bool:
    """Whether a flag is set in any process; the same answer in all.

    >>> any_of(True, "cpu")
    True
    """
    if shard()[1] == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
    return bool(value)


def on_every_rank(function: Callable, **kwargs: Any) -> Any:
    """Run on the main process first, then on all, and return the result.

    For functions that find their work done the second time.
    """
    if if_main_process():
        result = function(**kwargs)
        ddp_barrier()
        return result
    ddp_barrier()
    return function(**kwargs)


def summed_batch(
    wavs: torch.Tensor, clip_ids: list[str]
) -> tuple[torch.Tensor, list[str], slice]:
    """The batch that one process would have, and where this one's clips are.

    The sampler deals clips to the processes in turn, so that taking them in
    turn gives the order of one process; all have equally many.

    Arguments
    ---------
    wavs : torch.Tensor
        Clips of this process, shape (batch, samples).
    clip_ids : list of str
        Their ids.

    Returns
    -------
    wavs : torch.Tensor
        Of all processes, shape (processes * batch, samples).
    clip_ids : list of str
        Theirs.
    own : slice
        Which of them are this process's.

    Example
    -------
    >>> wavs, clip_ids, own = summed_batch(torch.zeros(2, 3), ["a", "b"])
    >>> wavs[own].shape, clip_ids[own]
    (torch.Size([2, 3]), ['a', 'b'])
    """
    rank, world = shard()
    if world == 1:
        return wavs, clip_ids, slice(None)
    parts = [torch.empty_like(wavs) for _ in range(world)]
    torch.distributed.all_gather(parts, wavs.contiguous())
    names: list[Any] = [None] * world
    torch.distributed.all_gather_object(names, clip_ids)
    return (
        torch.stack(parts, 1).flatten(0, 1),
        [name for turn in zip(*names, strict=True) for name in turn],
        slice(rank, None, world),
    )


def gradients_are_finite(parameters: Any) -> bool:
    """Whether no gradient holds NaN or infinity."""
    grads = [p.grad for p in parameters if p.grad is not None]
    return bool(torch.nn.utils.get_total_norm(grads).isfinite())
