"""Every metric of a batch of explanations at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from speechbrain_lmac.metrics.functional import faithfulness_metrics
from speechbrain_lmac.metrics.masks import mask_metrics
from speechbrain_lmac.utils.checks import UserError, check_mask

AD_VARIANTS = ("definition", "speechbrain")


def explanation_metrics(
    probs: Tensor,
    masked_in_probs: Tensor,
    masked_out_probs: Tensor,
    mask: Tensor,
    target: Tensor,
    decided: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Compute every metric of a batch of explanations.

    Arguments
    ---------
    probs, masked_in_probs, masked_out_probs : torch.Tensor
        Class probabilities on the input, on the masked-in and on the
        masked-out input, (batch, classes).
    mask : torch.Tensor
        The masks, (batch, ...), values in [0, 1] (NaN makes SPS, COMP and MM
        of that clip NaN).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).
    decided : callable or None
        As for :func:`faithfulness_metrics`.

    Returns
    -------
    dict of str to torch.Tensor
        "AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP" and "MM", (batch,); of
        several labels also "Jaccard".

    Raises
    ------
    UserError
        If the rows are no probabilities, or the mask leaves [0, 1].
    ValueError
        If shapes or targets do not fit.

    Example
    -------
    >>> import torch
    >>> p = torch.tensor([[0.8, 0.2]])
    >>> q = torch.tensor([[0.5, 0.5]])
    >>> m = torch.ones(1, 3, 4)
    >>> values = explanation_metrics(p, p, q, m, torch.tensor([0]))
    >>> values["Fid-In"], values["MM"]
    (tensor([1.]), tensor([1.]))
    """
    check_mask(mask, allow_nan=True)
    if mask.shape[0] != probs.shape[0]:
        raise ValueError(
            f"Expected `mask` with {probs.shape[0]} clips as `probs` but got "
            f"{mask.shape[0]}."
        )
    return {
        **faithfulness_metrics(
            probs, masked_in_probs, masked_out_probs, target, decided
        ),
        **mask_metrics(mask),
    }


def check_ad_variant(ad_variant: str) -> None:
    """Refuse an unknown variant of AD, and name the known."""
    if ad_variant not in AD_VARIANTS:
        raise UserError(
            f"`ad_variant`: expected one of {', '.join(AD_VARIANTS)}, found "
            f"{ad_variant!r}."
        )
