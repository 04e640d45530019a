"""An evaluation that several processes share, batch by batch.

Each process scores every n-th batch; the batches themselves are those of one
process, so that every value is the same to the bit.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.metrics.stats import ClipStats


def shard():
    """Number of this process and of all of them.

    Returns
    -------
    tuple of int
        ``(0, 1)`` without ``torchrun``.

    Example
    -------
    >>> shard()
    (0, 1)
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gather_rows(rows, ids):
    """All processes' per-clip values, in one order, the same in each process.

    What an interrupted evaluation left may be in another order, and paired
    tests compare by place.

    Arguments
    ---------
    rows : dict of str to ClipStats
        What this process scored, by method; clips that several processes
        know, from an earlier run, count once.
    ids : list of str
        All clips in the order of one process.

    Returns
    -------
    dict of str to ClipStats
        In the order of ``ids``.
    """
    _, world = shard()
    own = {key: stats.rows() for key, stats in rows.items()}
    parts = [own]
    if world > 1:
        parts = [None] * world
        torch.distributed.all_gather_object(parts, own)
    return {key: _merged([part[key] for part in parts], ids) for key in rows}


def _merged(parts, ids):
    """One ``ClipStats`` from lists of rows, in the order of the ids."""
    known = {row["id"]: row for rows in parts for row in rows}
    ordered = [known[clip] for clip in ids if clip in known]
    stats = ClipStats()
    if ordered:
        names = [name for name in ordered[0] if name != "id"]
        columns = {name: [row[name] for row in ordered] for name in names}
        stats.append([row["id"] for row in ordered], columns)
    return stats
