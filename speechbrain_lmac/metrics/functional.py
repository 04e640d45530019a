"""Per-clip metrics of explanations by probabilities: AI, AD, AG, FF, Fid-In.

Every function takes a batch and returns one value per clip; the mean over
clips is the figure that tables print (see
:class:`speechbrain_lmac.metrics.stats.ClipStats`). Notation, with c the
explained class (the classifier's own decision), X the input and M the mask:

* p, the probability of c on X,
* o, the probability of c on the masked-in input M * X,
* q, the probability of c on the masked-out input (1 - M) * X,

all three from one softmax, or from sigmoids. A value that is undefined is NaN,
never zero: that of a clip whose probabilities hold NaN. Values are computed in
double precision and returned in float32 (float64 for float64 inputs). Rows
that are no probabilities raise a UserError, shapes or targets that do not fit
a ValueError.

Reference: F. Paissan, M. Ravanelli and C. Subakan, "Listenable maps for audio
classifiers", ICML 2024, https://arxiv.org/abs/2403.13086, section 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechbrain_lmac.utils.checks import check_probs, check_same_shape


def average_increase(
    probs: Tensor, masked_probs: Tensor, target: Tensor
) -> Tensor:
    """Whether the mask raises the explained class; 0 or 100, higher is better.

    AI = 100 * 1[o > p]. A tie is no increase.

    Arguments
    ---------
    probs, masked_probs : torch.Tensor
        Class probabilities on the input and on the masked-in input, (batch,
        classes).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).

    Returns
    -------
    torch.Tensor
        (batch,), in percent.

    Example
    -------
    >>> p = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    >>> o = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    >>> average_increase(p, o, torch.tensor([0, 1]))
    tensor([  0., 100.])
    """
    p, o, dtype = _target_probs(probs, masked_probs, target)
    increase = torch.where((o > p), 100.0, 0.0)
    return torch.where((p + o).isnan(), torch.nan, increase).to(dtype)


def average_drop(probs: Tensor, masked_probs: Tensor, target: Tensor) -> Tensor:
    """Percent of the explained class's probability lost; lower is better.

    AD = 100 * relu(p - o) / p, in [0, 100]. Where p is exactly 0 nothing can
    be lost and AD is 0; no small constant biases the other values.

    Arguments
    ---------
    probs, masked_probs : torch.Tensor
        Class probabilities on the input and on the masked-in input, (batch,
        classes).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).

    Returns
    -------
    torch.Tensor
        (batch,), in percent.

    Example
    -------
    >>> p, o = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.6, 0.4]])
    >>> round(average_drop(p, o, torch.tensor([0])).item(), 2)
    25.0
    """
    p, o, dtype = _target_probs(probs, masked_probs, target)
    # p == 0 makes the numerator 0, so any denominator gives the right value.
    room = torch.where(p == 0, 1.0, p)
    return (100 * torch.relu(p - o) / room).to(dtype)


def average_drop_speechbrain(
    probs: Tensor, masked_probs: Tensor, target: Tensor
) -> Tensor:
    """Average drop as the SpeechBrain recipe computes it; lower is better.

    The recipe ESC50/interpret applies softmax to values that are already
    probabilities: with p' and o' taken from softmax(probs) and
    softmax(masked_probs), AD' = 100 * relu(p' - o') / (p' + 1e-10). The
    second softmax squeezes probabilities into a narrow range, which makes the
    drop far smaller than that of the definition. Published tables carry it,
    so it serves for like-for-like comparisons only.

    Arguments
    ---------
    probs, masked_probs : torch.Tensor
        Class probabilities (after one softmax) on the input and on the
        masked-in input, (batch, classes).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).

    Returns
    -------
    torch.Tensor
        (batch,), in percent.

    Example
    -------
    >>> p, o = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.6, 0.4]])
    >>> round(average_drop_speechbrain(p, o, torch.tensor([0])).item(), 2)
    14.84
    """
    _check(probs, masked_probs, target)
    p = _gather(probs.double().softmax(dim=1), target)
    o = _gather(masked_probs.double().softmax(dim=1), target)
    return (100 * torch.relu(p - o) / (p + 1e-10)).to(result_dtype(probs))


def average_gain(probs: Tensor, masked_probs: Tensor, target: Tensor) -> Tensor:
    """Percent of the missing probability won by the mask; higher is better.

    AG = 100 * relu(o - p) / (1 - p), in [0, 100]. Where p is exactly 1 no
    gain is possible and AG is 0; no small constant biases the other values.

    Arguments
    ---------
    probs, masked_probs : torch.Tensor
        Class probabilities on the input and on the masked-in input, (batch,
        classes).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).

    Returns
    -------
    torch.Tensor
        (batch,), in percent.

    Example
    -------
    >>> p, o = torch.tensor([[0.6, 0.4]]), torch.tensor([[0.7, 0.3]])
    >>> round(average_gain(p, o, torch.tensor([0])).item(), 2)
    25.0
    """
    p, o, dtype = _target_probs(probs, masked_probs, target)
    # p == 1 makes the numerator 0, so any denominator gives the right value.
    room = torch.where(p == 1, 1.0, 1 - p)
    return (100 * torch.relu(o - p) / room).to(dtype)


def faithfulness(
    probs: Tensor, masked_out_probs: Tensor, target: Tensor
) -> Tensor:
    """Probability lost when the explanation is removed; higher is better.

    FF = p - q, in [-1, 1].

    Arguments
    ---------
    probs, masked_out_probs : torch.Tensor
        Class probabilities on the input and on the masked-out input, (batch,
        classes).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).

    Returns
    -------
    torch.Tensor
        (batch,), a difference of probabilities.

    Example
    -------
    >>> p, q = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    >>> faithfulness(p, q, torch.tensor([0]))
    tensor([0.2500])
    """
    p, q, dtype = _target_probs(probs, masked_out_probs, target)
    return (p - q).to(dtype)


def input_fidelity(masked_probs: Tensor, target: Tensor) -> Tensor:
    """Whether the masked-in input keeps the decision; 0 or 1, higher is better.

    Fid-In = 1[argmax f(M * X) = c].

    Arguments
    ---------
    masked_probs : torch.Tensor
        Class probabilities on the masked-in input, (batch, classes).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).

    Returns
    -------
    torch.Tensor
        (batch,), 0 or 1.

    Example
    -------
    >>> o = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    >>> input_fidelity(o, torch.tensor([0, 0]))
    tensor([1., 0.])
    """
    check_probs(masked_probs, "masked_probs", allow_nan=True)
    _check_target(masked_probs, target)
    kept = masked_probs.argmax(dim=1) == target
    return _where_defined(kept, masked_probs)


def set_fidelity(
    decided: Tensor, kept: Tensor, masked_probs: Tensor
) -> tuple[Tensor, Tensor]:
    """How far the masked-in input keeps the set of decisions.

    Of classifiers of several labels: Fid-In, whether the two sets are the
    same, 0 or 1, and their Jaccard index ``|A & B| / |A | B|``, 0 to 1; two
    empty sets are the same. Higher is better.

    Arguments
    ---------
    decided, kept : torch.Tensor
        Classes that are decided for on the input and on the masked-in input,
        bool (batch, classes).
    masked_probs : torch.Tensor
        Class probabilities on the masked-in input, (batch, classes).

    Returns
    -------
    tuple of torch.Tensor
        Fid-In and Jaccard index, each (batch,).

    Example
    -------
    >>> a, b = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    >>> set_fidelity(a, b, torch.tensor([[0.9, 0.1]]))
    (tensor([0.]), tensor([0.5000]))
    """
    either = (decided | kept).sum(1)
    jaccard = (decided & kept).sum(1) / either.clamp_min(1)
    same, jaccard = (decided == kept).all(1), jaccard + (either == 0)
    return (
        _where_defined(same, masked_probs),
        _where_defined(jaccard, masked_probs),
    )


def faithfulness_metrics(
    probs: Tensor,
    masked_in_probs: Tensor,
    masked_out_probs: Tensor,
    target: Tensor,
    decided: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """AI, AD, AG, FF and Fid-In from probabilities (batch, classes).

    ``decided``, from probabilities to the classes that they decide for, bool,
    is that of a classifier of several labels: Fid-In is then that of the set,
    and its Jaccard index is there, too.
    """
    values = {
        "AI": average_increase(probs, masked_in_probs, target),
        "AD": average_drop(probs, masked_in_probs, target),
        "AG": average_gain(probs, masked_in_probs, target),
        "FF": faithfulness(probs, masked_out_probs, target),
        "Fid-In": input_fidelity(masked_in_probs, target),
    }
    if decided is not None:
        values["Fid-In"], values["Jaccard"] = set_fidelity(
            decided(probs), decided(masked_in_probs), masked_in_probs
        )
    return values


def _where_defined(values, probs):
    """Values (batch,), NaN where a clip's probabilities hold NaN."""
    undefined = probs.isnan().any(dim=1)
    values = values.to(result_dtype(probs))
    return torch.where(undefined, torch.nan, values)


def result_dtype(tensor: Tensor) -> torch.dtype:
    """float64 for float64, float32 for all others."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _target_probs(probs, other_probs, target):
    """The target's two probabilities, double (batch,), and a dtype."""
    _check(probs, other_probs, target)
    # Rounding may carry a probability past 1, which would break the ranges.
    p = _gather(probs.double(), target).clamp(0, 1)
    o = _gather(other_probs.double(), target).clamp(0, 1)
    return p, o, result_dtype(probs)


def _gather(probs, target):
    chosen = probs.gather(1, target.long().unsqueeze(1)).squeeze(1)
    return torch.where(probs.isnan().any(dim=1), torch.nan, chosen)


def _check(probs, other_probs, target):
    check_probs(probs, "probs", allow_nan=True)
    check_probs(other_probs, "masked_probs", allow_nan=True)
    check_same_shape(probs, other_probs, ("probs", "masked_probs"))
    _check_target(probs, target)


def _check_target(probs, target):
    batch, classes = probs.shape
    integer = not (target.is_floating_point() or target.is_complex())
    if target.shape != (batch,) or not integer or target.dtype == torch.bool:
        raise ValueError(
            f"Expected `target` as integers of shape ({batch},) but got "
            f"{tuple(target.shape)}, {target.dtype}."
        )
    if batch and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise ValueError(
            f"Expected `target` in [0, {classes - 1}] but got values from "
            f"{int(target.min())} to {int(target.max())}."
        )
