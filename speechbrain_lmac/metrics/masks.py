"""Per-clip metrics of the mask alone: SPS, COMP, MM.

One value per clip, NaN where a value is undefined, double precision inside (a
mask has some 220 000 bins), float32 outside. Masks that are no floating-point
tensors of two or more dimensions raise a ValueError.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from speechbrain_lmac.metrics.functional import result_dtype

# Values at a time: what fits in the cache is twice as fast, and memory is
# bounded.
CHUNK_VALUES = 2**18


def sparseness(mask: Tensor) -> Tensor:
    """Gini index of the absolute mask; in [0, 1), higher is sparser.

    With the n absolute values sorted upwards,
    SPS = sum_i (2i - n - 1) * m_i / (n * sum_i m_i), i = 1..n
    (Chalasani et al., "Concise explanations of neural networks using
    adversarial training", ICML 2020). A uniform mask has 0, a mask with one
    active bin 1 - 1/n; the scale of the mask does not matter. An all-zero
    mask has no sparseness: NaN.

    Quantus' ``Sparseness`` adds 1e-7 to every value of masks that it divides
    by the maximum of the batch: the two agree to 1e-5 where the mean is above
    0.01; below, Quantus is biased, by 2 % for one active bin in 220 000.

    Arguments
    ---------
    mask : torch.Tensor
        (batch, ...), for example (batch, frames, bins).

    Returns
    -------
    torch.Tensor
        (batch,).

    Example
    -------
    >>> sparseness(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]]))
    tensor([0.0000, 0.7500])
    """
    return _per_clip(_gini, mask)


def complexity(mask: Tensor) -> Tensor:
    """Entropy of the absolute mask in nats; in [0, log n], lower is simpler.

    COMP = -sum_i w_i log(w_i) with w = |M| / sum |M| and 0 log 0 = 0 (Bhatt
    et al., "Evaluating and aggregating feature-based model explanations",
    IJCAI 2020). A uniform mask of n bins has log n, a mask with one active
    bin 0; the scale of the mask does not matter. An all-zero mask has no
    complexity: NaN. Quantus' ``Complexity`` differs by less than n * 1e-12.

    Arguments
    ---------
    mask : torch.Tensor
        (batch, ...), for example (batch, frames, bins).

    Returns
    -------
    torch.Tensor
        (batch,), in nats.

    Example
    -------
    >>> complexity(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]]))
    tensor([1.3863, 0.0000])
    """
    return _per_clip(_entropy, mask)


def mask_mean(mask: Tensor) -> Tensor:
    """Mean of the mask: the share of the input kept; to report, not to rank.

    Arguments
    ---------
    mask : torch.Tensor
        (batch, ...), for example (batch, frames, bins).

    Returns
    -------
    torch.Tensor
        (batch,); in [0, 1] for masks in [0, 1].

    Example
    -------
    >>> mask_mean(torch.tensor([[1.0, 1.0, 0.0, 1.0]]))
    tensor([0.7500])
    """
    _check_batched(mask)
    # torch sums in pairs: in single precision, too, to about 1e-7.
    return mask.flatten(1).to(result_dtype(mask)).mean(dim=1)


def mask_metrics(mask: Tensor) -> dict[str, Tensor]:
    """SPS, COMP and MM of masks, (batch, ...); per-clip values by name."""
    return {
        "SPS": sparseness(mask),
        "COMP": complexity(mask),
        "MM": mask_mean(mask),
    }


def _per_clip(function: Callable[[Tensor], Tensor], mask: Tensor) -> Tensor:
    """Apply `function`: (clips, values) -> (clips,), to a few clips a time."""
    _check_batched(mask)
    flat = mask.flatten(1).abs()
    clips = max(1, CHUNK_VALUES // flat.shape[1])
    values = torch.cat([function(chunk) for chunk in flat.split(clips)])
    return values.to(result_dtype(mask))


def _sorted(values):
    """Rows in ascending order; the values may be overwritten."""
    # On the CPU NumPy's vectorised sort is several times faster than torch's.
    if values.device.type == "cpu" and not values.requires_grad:
        wide = values.to(result_dtype(values))  # NumPy has no bfloat16
        rows = wide.numpy()
        rows.sort(axis=1)
        return torch.from_numpy(rows)
    return values.sort(dim=1).values


def _gini(values):
    size = values.shape[1]
    ranked = _sorted(values).double()
    weights = _ranks(size, values.device)
    # An all-zero row is 0 / 0: NaN, as intended.
    return (ranked @ weights) / (size * ranked.sum(dim=1))


@functools.lru_cache(maxsize=4)
def _ranks(size, device):
    """``2 i - size - 1`` for i from 1 to size: the same for every clip."""
    # Kept for later callers, who may want gradients.
    with torch.inference_mode(False):
        return torch.arange(
            1 - size, size, 2, dtype=torch.float64, device=device
        )


def _entropy(values):
    # H(v / S) = log S - sum(v log v) / S, with v's peak as its unit: exact for
    # a flat mask and for a single bin.
    values = values.to(result_dtype(values))
    values = values / values.amax(1, keepdim=True)  # an empty mask gives NaN
    total = values.sum(dim=1).double()
    tiny = torch.finfo(values.dtype).tiny  # 0 log 0 = 0
    spread = values * values.clamp_min(tiny).log()
    return total.log() - spread.sum(dim=1).double() / total


def _check_batched(mask):
    if mask.dim() < 2 or not mask.is_floating_point():
        raise ValueError(
            "Expected `mask` as a floating-point tensor of shape (batch, ...) "
            f"but got {tuple(mask.shape)}, {mask.dtype}."
        )
