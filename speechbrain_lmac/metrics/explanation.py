"""Every metric of a batch of explanations at once.

Authors
 * The speechbrain_lmac authors 2026
"""

from speechbrain_lmac.metrics.functional import (
    average_drop,
    average_drop_speechbrain,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)
from speechbrain_lmac.metrics.masks import complexity, mask_mean, sparseness
from speechbrain_lmac.utils.checks import UserError, check_mask

AD_VARIANTS = ("definition", "speechbrain")


def faithfulness_metrics(probs, masked_in_probs, masked_out_probs, target):
    """AI, AD, AG, FF and Fid-In from the three probabilities.

    Arguments
    ---------
    probs : torch.Tensor
        On the clip, shape (batch, classes).
    masked_in_probs, masked_out_probs : torch.Tensor
        On explanation and rest, same shape.
    target : torch.Tensor
        Explained classes, shape (batch,).

    Returns
    -------
    dict of str to torch.Tensor
        Per-clip values.
    """
    return {
        "AI": average_increase(probs, masked_in_probs, target),
        "AD": average_drop(probs, masked_in_probs, target),
        "AG": average_gain(probs, masked_in_probs, target),
        "FF": faithfulness(probs, masked_out_probs, target),
        "Fid-In": input_fidelity(masked_in_probs, target),
    }


def mask_metrics(mask):
    """SPS, COMP and MM of masks, (batch, ...); per-clip values by name."""
    return {
        "SPS": sparseness(mask),
        "COMP": complexity(mask),
        "MM": mask_mean(mask),
    }


def explanation_metrics(
    probs,
    masked_in_probs,
    masked_out_probs,
    mask,
    target,
    ad_variant="definition",
):
    """Compute every metric of a batch of explanations.

    Arguments
    ---------
    probs : torch.Tensor
        Class probabilities on the input, (batch, classes).
    masked_in_probs : torch.Tensor
        Class probabilities on the masked-in input, (batch, classes).
    masked_out_probs : torch.Tensor
        Class probabilities on the masked-out input, (batch, classes).
    mask : torch.Tensor
        The masks, (batch, ...), values in [0, 1] (NaN makes SPS, COMP and MM
        of that clip NaN).
    target : torch.Tensor
        The explained class of each clip, integers (batch,).
    ad_variant : str
        "definition" (:func:`average_drop`) or "speechbrain"
        (:func:`average_drop_speechbrain`).

    Returns
    -------
    dict
        "AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP" and "MM", each a
        tensor (batch,).

    Raises
    ------
    UserError
        If the rows are no probabilities, the mask leaves [0, 1] or
        `ad_variant` is unknown.
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
    check_ad_variant(ad_variant)
    check_mask(mask, allow_nan=True)
    if mask.shape[0] != probs.shape[0]:
        raise ValueError(
            f"Expected `mask` with {probs.shape[0]} clips as `probs` but got "
            f"{mask.shape[0]}."
        )
    values = faithfulness_metrics(
        probs, masked_in_probs, masked_out_probs, target
    )
    if ad_variant == "speechbrain":
        values["AD"] = average_drop_speechbrain(probs, masked_in_probs, target)
    return {**values, **mask_metrics(mask)}


def check_ad_variant(ad_variant):
    """Refuse an unknown variant of AD, and name the known.

    Example
    -------
    >>> check_ad_variant("speechbrain")
    """
    if ad_variant not in AD_VARIANTS:
        raise UserError(
            f"`ad_variant` must be one of {', '.join(AD_VARIANTS)}, "
            f"got {ad_variant!r}."
        )
