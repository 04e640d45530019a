"""What the processes of one training do together.

Without ``torchrun`` there is one process, and nothing is exchanged.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.utils.sharding import shard


def any_of(flag, device):
    """Whether a flag is set in any process; the same answer in all.

    Arguments
    ---------
    flag : bool
        Of this process.
    device : str or torch.device
        Of the training: Gloo and NCCL exchange alike there.

    Returns
    -------
    bool

    Example
    -------
    >>> any_of(True, "cpu")
    True
    """
    if shard()[1] == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
    return bool(value)


def summed_batch(wavs, clip_ids):
    """The batch that one process would have, and where this one's clips are.

    The sampler deals clips to the processes in turn, so that taking them in
    turn gives the order of one process. The processes' batches are equally
    large: the sampler sees to it.

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
    names = [None] * world
    torch.distributed.all_gather_object(names, clip_ids)
    return (
        torch.stack(parts, 1).flatten(0, 1),
        [name for turn in zip(*names, strict=True) for name in turn],
        slice(rank, None, world),
    )


def gradients_are_finite(parameters):
    """Whether no gradient holds NaN or infinity.

    Arguments
    ---------
    parameters : iterable of torch.nn.Parameter
        Those without a gradient do not count.

    Returns
    -------
    bool

    Example
    -------
    >>> layer = torch.nn.Linear(1, 1)
    >>> (layer(torch.ones(1, 1)) * torch.nan).sum().backward()
    >>> gradients_are_finite(layer.parameters())
    False
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    return bool(torch.nn.utils.get_total_norm(grads).isfinite())
