"""Listen to Interpret (L2I): from NMF activations to a mask.

L2I explains a decision by the components of a non-negative factorisation
``log1p|X| ~ W H``: those on which its own linear classifier of the pooled
activations leans for the explained class are let through.

Source: Parekh, Parekh, Mozharovskyi, d'Alche-Buc, Richard, "Listen to
Interpret: Post-hoc Interpretability for Audio Networks with NMF", NeurIPS
2022 (arXiv 2202.11479), section 3.3.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch


def relevance(pooled, weight, target):
    """Relevance of each component for the explained class.

    ``r_k = w_ck z_k / max_l |w_cl z_l|``: what a component adds to the logit
    of class ``c``, relative to the one that adds or takes the most.

    Arguments
    ---------
    pooled : torch.Tensor
        Activations pooled over time ``z``, shape (batch, components), >= 0.
    weight : torch.Tensor
        Weights of the linear classifier, shape (classes, components).
    target : torch.Tensor
        Explained classes, integers, shape (batch,).

    Returns
    -------
    torch.Tensor
        Shape (batch, components), in [-1, 1]; zeros where no component adds
        or takes anything.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Example
    -------
    >>> weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]])
    >>> relevance(torch.tensor([[2.0, 2.0, 1.0]]), weight, torch.tensor([0]))
    tensor([[ 0.5000, -1.0000,  0.1250]])
    """
    if pooled.dim() != 2 or weight.dim() != 2:
        raise ValueError(
            "Expected `pooled` (batch, components) and `weight` (classes, "
            f"components) but got {tuple(pooled.shape)} and "
            f"{tuple(weight.shape)}."
        )
    if pooled.shape[1] != weight.shape[1] or target.shape != pooled.shape[:1]:
        raise ValueError(
            "Expected as many components in `pooled` and `weight`, and one "
            f"class per clip, but got {tuple(pooled.shape)}, "
            f"{tuple(weight.shape)} and {tuple(target.shape)}."
        )
    added = pooled * weight[target]
    largest = added.abs().amax(1, keepdim=True)
    share = added / largest.clamp_min(torch.finfo(added.dtype).tiny)
    return share.clamp(-1.0, 1.0)


def l2i_mask(activations, dictionary, relevance, threshold=0.2):
    """Share of the reconstruction that the relevant components make.

    ``M = sum_{k: r_k > threshold} W_k H_k / sum_k W_k H_k``. It acts on
    ``log1p`` magnitudes, the domain of the factorisation.

    Arguments
    ---------
    activations : torch.Tensor
        ``H``, shape (batch, components, frames), >= 0.
    dictionary : torch.Tensor
        ``W``, shape (bins, components), >= 0.
    relevance : torch.Tensor
        Of :func:`relevance`, shape (batch, components).
    threshold : float
        Components of a larger relevance are kept (0.2 in the published
        comparisons).

    Returns
    -------
    torch.Tensor
        Masks, shape (batch, frames, bins), in [0, 1]. Zeros for a clip of
        which no component is kept, and where nothing is reconstructed.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Example
    -------
    >>> activations = torch.tensor([[[1.0], [3.0]]])
    >>> dictionary = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    >>> l2i_mask(activations, dictionary, torch.tensor([[1.0, 0.1]]))
    tensor([[[0.2500, 1.0000]]])
    """
    components = dictionary.shape[-1]
    if activations.dim() != 3 or activations.shape[1] != components:
        raise ValueError(
            f"Expected `activations` (batch, {components} components, frames) "
            f"but got {tuple(activations.shape)}."
        )
    if relevance.shape != activations.shape[:2]:
        raise ValueError(
            f"Expected `relevance` of shape {tuple(activations.shape[:2])} "
            f"but got {tuple(relevance.shape)}."
        )
    frames = activations.transpose(1, 2)
    kept = frames * (relevance > threshold).unsqueeze(1)
    whole = frames @ dictionary.T
    part = kept @ dictionary.T
    tiny = torch.finfo(whole.dtype).tiny
    # The two sums are rounded differently: a share may exceed 1 by a digit.
    return (part / whole.clamp_min(tiny)).clamp(0.0, 1.0)
