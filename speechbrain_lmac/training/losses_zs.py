"""The terms of the LMAC-ZS objective, each a pure function.

Source: Paissan, Della Libera, Ravanelli, Subakan, "Listenable Maps for
Zero-Shot Audio Classifiers", NeurIPS 2024 (arXiv 2405.17615). Its objective
keeps the similarity of every text and clip of a batch, matching or not:

    min  mean_ij |t_i . a_j - t_i . f(M(t_i, h_j) * X_j)|
         + l_s mean_ij |M(t_i, h_j)|_1  (+ l_out mask-out)  (+ l_div L_div)

Besides there are the terms of an objective of ours, ``prompt_weighted``: each
pair counts by the probability ``w`` that the classifier gives the prompt.

The functions return one value per pair of prompt and clip, to be averaged,
but for those that say otherwise. The mean of a mask is
`speechbrain_lmac.training.losses.sparsity_loss`.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.training.losses import LEAK_WEIGHT

TINY = 1e-8


def similarity_loss(similarity, masked_similarity):
    """The masked clip keeps its similarity: ``|t.a - t.f(M*X)|``.

    The published text says that the objective "aims to closely reproduce the
    original similarity patterns"; the absolute difference is our reading.

    Arguments
    ---------
    similarity, masked_similarity : torch.Tensor
        Cosines of prompt and clip, and of prompt and masked-in clip, any
        shape.

    Returns
    -------
    torch.Tensor
        Same shape, in [0, 2].

    Example
    -------
    >>> similarity_loss(torch.tensor([0.75, 0.0]), torch.tensor([0.5, 0.25]))
    tensor([0.2500, 0.2500])
    """
    return (similarity - masked_similarity).abs()


def similarity_rise_loss(similarity, masked_similarity, weight):
    """Both directions for present prompts, rises alone for absent ones.

    ``w |d| + (1 - w) relu(-d)`` with ``d = t.a - t.f(M*X)``: an empty mask
    leaves nothing of a similarity, which is right where there was no reason
    for it, so that a fall costs by the prompt's probability only.

    Arguments
    ---------
    similarity, masked_similarity : torch.Tensor
        As for :func:`similarity_loss`.
    weight : torch.Tensor
        Probability ``w`` of the prompt, in [0, 1], same shape.

    Returns
    -------
    torch.Tensor
        Same shape, >= 0.

    Example
    -------
    >>> similarity_rise_loss(*torch.tensor([[0.5], [0.25], [0.5]]))  # a fall
    tensor([0.1250])
    >>> similarity_rise_loss(*torch.tensor([[0.25], [0.5], [0.5]]))  # a rise
    tensor([0.2500])
    """
    change = masked_similarity - similarity
    return weight * change.abs() + (1 - weight) * change.relu()


def prompt_cross_entropy(logits, prompt):
    """The masked-in clip is decided for the prompt: ``CE(f(M*X), t_i)``.

    Arguments
    ---------
    logits : torch.Tensor
        Scaled similarities of the masked-in clip of each pair and every
        prompt, shape (pairs, prompts).
    prompt : torch.Tensor
        Number of the pair's prompt, int64 (pairs,).

    Returns
    -------
    torch.Tensor
        Shape (pairs,), >= 0, in nats.

    Example
    -------
    >>> loss = prompt_cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
    >>> round(loss.item(), 4)  # ln 4
    1.3863
    """
    return torch.nn.functional.cross_entropy(logits, prompt, reduction="none")


def prompt_mask_out(logits, prompt, same=None):
    """The masked-out rest is no longer decided for it: ``-log(1 - p_i)``.

    Its gradient fades once the prompt is gone, other than that of ``-CE``.
    Prompts that say the same, as two clips of a class in one batch, are no
    others of each other: ``p_i`` is what they have together.

    Arguments
    ---------
    logits : torch.Tensor
        Scaled similarities of the masked-out clip of each pair and every
        prompt, shape (pairs, prompts), at least two prompts.
    prompt : torch.Tensor
        Number of the pair's prompt, int64 (pairs,).
    same : torch.Tensor or None
        Which prompts say the same, bool (prompts, prompts); None: none.

    Returns
    -------
    torch.Tensor
        Shape (pairs,), >= 0, in nats; 0 where there is no other prompt.

    Example
    -------
    >>> loss = prompt_mask_out(torch.zeros(1, 2), torch.tensor([0]))
    >>> round(loss.item(), 4)  # ln 2
    0.6931
    >>> same = torch.ones(2, 2, dtype=torch.bool)
    >>> prompt_mask_out(torch.zeros(1, 2), torch.tensor([0]), same).item()
    0.0
    """
    if same is None:
        same = torch.eye(
            logits.shape[1], dtype=torch.bool, device=logits.device
        )
    own = same[prompt]
    # Of minus infinity alone there is no gradient.
    own = own & ~own.all(1, keepdim=True)
    others = logits.masked_fill(own, float("-inf"))
    return logits.logsumexp(1) - others.logsumexp(1)


def area_loss(mask_mean, weight, budget, floor=0.0):
    """Mean of the mask outside of what the prompt may have.

    ``relu(m - b w) + relu(f w - m)``: between the floor ``f`` and the budget
    ``b``, both in proportion to its probability, a present prompt's mask is
    free, and so has no reason to die; an absent one's is to be empty. With
    neither floor nor budget this is the mean itself.

    Arguments
    ---------
    mask_mean : torch.Tensor
        Mean of each pair's mask, in [0, 1].
    weight : torch.Tensor
        Probability ``w`` of the prompt, in [0, 1], same shape.
    budget : float
        Mean that the mask of a prompt of probability 1 may have, in [0, 1].
    floor : float
        Mean that it is to have at least, in [0, budget].

    Returns
    -------
    torch.Tensor
        Same shape, in [0, 1].

    Example
    -------
    >>> area_loss(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), 0.25)
    tensor([0.2500, 0.5000])
    >>> area_loss(torch.tensor([0.0]), torch.tensor([0.5]), 0.25, floor=0.125)
    tensor([0.0625])
    """
    above = (mask_mean - budget * weight).relu()
    return above + (floor * weight - mask_mean).relu()


def weighted_mean(values, weight):
    """``sum(w x) / sum(w)``; 0 if no weight is left.

    Arguments
    ---------
    values, weight : torch.Tensor
        Same shape; the weights are >= 0.

    Returns
    -------
    torch.Tensor
        Scalar.

    Example
    -------
    >>> weighted_mean(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0]))
    tensor(2.)
    """
    return (weight * values).sum() / weight.sum().clamp_min(TINY)


def diversity_loss(masked_embeddings, text):
    """Masks of one clip differ as their prompts do.

        L_div = mean_{i != k} | e_i . e_k - t_i . t_k |

    with ``e_i`` the embedding of the clip under the mask of prompt ``i``. The
    paper's diversity term (its Eq. 7) has this purpose; the formula is our
    reading of the published description, not a copy of it.

    Arguments
    ---------
    masked_embeddings : torch.Tensor
        L2-normalised embeddings of each clip under each of its prompts,
        shape (batch, prompts, dim).
    text : torch.Tensor
        L2-normalised embeddings of these prompts, same shape.

    Returns
    -------
    torch.Tensor
        Scalar, in [0, 2]; 0 for a single prompt.

    Example
    -------
    >>> same = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    >>> diversity_loss(same, torch.eye(2)[None])
    tensor(1.)
    """
    if masked_embeddings.shape != text.shape or text.dim() != 3:
        raise ValueError(
            "Expected `masked_embeddings` and `text` (batch, prompts, dim) "
            f"but got {tuple(masked_embeddings.shape)} and "
            f"{tuple(text.shape)}"
        )
    prompts = text.shape[1]
    if prompts < 2:
        return masked_embeddings.new_zeros(())
    found = masked_embeddings @ masked_embeddings.transpose(1, 2)
    wanted = text @ text.transpose(1, 2)
    off_diagonal = ~torch.eye(prompts, dtype=torch.bool, device=text.device)
    return (found - wanted).abs()[:, off_diagonal].mean()


def source_residual(gain, mixture, named, other):
    """How far the explanation of a mixture is from the source that is named.

    Energy by which the explanation's magnitudes miss those of the named
    source, as a share of its energy (what SI-SDR counts), plus half the share
    that is left of the other source's energy. The guidance of the
    fine-tuning stage.

    Arguments
    ---------
    gain : torch.Tensor
        Linear gain of each bin, (pairs, frames, bins), in [0, 1].
    mixture, named, other : torch.Tensor
        Linear magnitudes of the mixture and of its two sources, same shape.

    Returns
    -------
    torch.Tensor
        Shape (pairs,), >= 0.

    Example
    -------
    >>> gain, named, other = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]],
    ...                                    [[[0.0, 1.0]]]])
    >>> source_residual(gain, named + other, named, other)
    tensor([0.])
    >>> source_residual(gain, named + other, other, named)
    tensor([2.5000])
    """

    def share(left, whole):
        energy = whole.square().sum((-2, -1)).clamp_min(TINY)
        return left.square().sum((-2, -1)) / energy

    missing = share(gain * mixture - named, named)
    return missing + LEAK_WEIGHT * share(gain * other, other)
