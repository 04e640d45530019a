"""The terms of the objectives, each a pure function.

Every term is a mean over clips (and bins), so that the batch size changes no
weight. L-MAC (Paissan, Ravanelli, Subakan, "Listenable Maps for Audio
Classifiers", ICML 2024, arXiv 2403.13086, section 3), with y the classifier's
own decision on X:

    min  l_in CE(f(M*X), y) - l_out CE(f((1-M)*X), y) + l_s |M|_1
         (+ l_tv TV(M)) + l_g guidance

LMAC-ZS (Paissan, Della Libera, Ravanelli, Subakan, "Listenable Maps for
Zero-Shot Audio Classifiers", NeurIPS 2024, arXiv 2405.17615) keeps the
similarity of every text and clip of a batch, matching or not:

    min  mean_ij |t_i . a_j - t_i . f(M(t_i, h_j) * X_j)|
         + l_s mean_ij |M(t_i, h_j)|_1  (+ l_out mask-out)  (+ l_div L_div)

Besides there are the terms of an objective of ours, ``prompt_weighted``: each
pair counts by the probability ``w`` that the classifier gives the prompt. What
keeps or removes a decision is said by the classifier (``evidence_loss``,
``rest_loss``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

CROSSCOR_TYPES = ("dotp", "conv")
GUIDE_LOSS_TYPES = ("binary", "distance", "residual")

# What the energy of the interferer that is left counts in guidance by the
# source, against 1 for the energy by which the target is missed.
_LEAK_WEIGHT = 0.5
_TINY = 1e-8


# ------------------------------------------------------------------ of masks


def sparsity_loss(mask: Tensor) -> Tensor:
    """``|M|_1`` as a mean over bins, per clip: (batch,), in [0, 1].

    Example
    -------
    >>> sparsity_loss(torch.tensor([[[0.0, 1.0]], [[0.5, 0.0]]])).tolist()
    [0.5, 0.25]
    """
    return mask.abs().mean((-2, -1))


def total_variation(mask: Tensor) -> Tensor:
    """Mean squared step between neighbours, in time and frequency, per clip.

    Half the sum of the squared steps, as in the reference recipe, divided by
    the number of bins, so that neither clip length nor batch size matters.

    Example
    -------
    >>> total_variation(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])).tolist()
    [0.25]
    """
    time = (mask[:, 1:] - mask[:, :-1]).square().sum((-2, -1))
    frequency = (mask[..., 1:] - mask[..., :-1]).square().sum((-2, -1))
    return (time + frequency) / (2 * mask.shape[-2] * mask.shape[-1])


# ------------------------------------------------- guidance by a clean source


def cross_correlation(
    masked_in: Tensor, clean: Tensor, kind: str = "dotp"
) -> Tensor:
    """Normalised cross-correlation of two views, per clip, in [-1, 1].

    ``dotp``: their cosine, 0 where one is silent. ``conv``: the same after
    each one's mean is taken off (the reference's convolution of two maps of
    one size has a single output, this one).

    Example
    -------
    >>> x = torch.rand(2, 5, 4)
    >>> torch.allclose(cross_correlation(2 * x, x), torch.ones(2))
    True
    """
    _check_kind("crosscortype", kind, CROSSCOR_TYPES)
    a, b = masked_in.flatten(1), clean.flatten(1)
    if kind == "conv":
        a = a - a.mean(1, keepdim=True)
        b = b - b.mean(1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=1e-8)


def guidance_loss(
    mask: Tensor,
    view: Tensor,
    clean: Tensor,
    kind: str = "binary",
    bin_th: float = 0.35,
    linear: Callable[[Tensor], Tensor] = torch.expm1,
) -> Tensor:
    """How far the explanation is from the clip before contamination.

    ``distance``: mean squared difference of ``M * X`` and ``X_clean``.
    ``binary``: cross-entropy of M against the oracle mask
    ``X_clean >= bin_th * max(X_clean)``.
    ``residual``: energy by which the linear magnitudes of explanation and
    clean clip differ, as a share of the clean clip's (what SI-SDR counts),
    plus half the share that is left of the energy which was added. Where both
    are faint it leaves the mask to the other terms. Masks and views are
    (batch, frames, bins); ``linear`` leads views to linear magnitudes.

    Example
    -------
    >>> x, clean = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    >>> guidance_loss(clean, x, clean, kind="distance").item()
    0.0
    >>> round(guidance_loss(1 - clean, x, clean, kind="residual").item(), 4)
    2.5
    """
    _check_kind("guidelosstype", kind, GUIDE_LOSS_TYPES)
    if kind == "distance":
        return (mask * view - clean).square().mean((-2, -1))
    if kind == "binary":
        oracle = (clean >= bin_th * clean.amax((-2, -1), keepdim=True)).float()
        with torch.autocast(mask.device.type, enabled=False):
            entropy = F.binary_cross_entropy(
                mask.float(), oracle.float(), reduction="none"
            )
        return entropy.mean((-2, -1))
    kept, wanted, magnitude = map(linear, (mask * view, clean, view))
    added = (magnitude - wanted).abs()
    gain = kept / magnitude.clamp_min(1e-6)
    return _energy_share(kept - wanted, wanted) + _LEAK_WEIGHT * _energy_share(
        gain * added, added
    )


def source_residual(
    gain: Tensor, mixture: Tensor, named: Tensor, other: Tensor
) -> Tensor:
    """How far the explanation of a mixture is from the source that is named.

    As ``residual`` of :func:`guidance_loss`, of the linear magnitudes (pairs,
    frames, bins) of a mixture and of its two sources, under a linear gain.

    Example
    -------
    >>> gain, named, other = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]],
    ...                                    [[[0.0, 1.0]]]])
    >>> source_residual(gain, named + other, named, other)
    tensor([0.])
    >>> source_residual(gain, named + other, other, named)
    tensor([2.5000])
    """
    missing = _energy_share(gain * mixture - named, named)
    return missing + _LEAK_WEIGHT * _energy_share(gain * other, other)


def waveform_residual(
    estimate: Tensor, wanted: Tensor, mixture: Tensor, least: float = 1e-3
) -> Tensor:
    """Energy of ``estimate - wanted`` as a share of what is wanted, in bels.

    Minus a tenth of the SNR in dB; where silence is wanted, the energy that is
    left is a share of the mixture's. Below ``least``, which is added to the
    share, little is gained (Wisdom et al., "Unsupervised Sound Separation
    Using Mixture Invariant Training", NeurIPS 2020, equation 3). Of waveforms
    (batch, samples): (batch,), >= the logarithm of ``least``.

    Example
    -------
    >>> clip, silence = torch.ones(1, 8), torch.zeros(1, 8)
    >>> [round(waveform_residual(*waves, clip).item(), 2)
    ...  for waves in ((clip, clip), (0.9 * clip, clip), (clip, silence))]
    [-3.0, -1.96, 0.0]
    """
    energy = wanted.square().sum(1)
    energy = torch.where(energy > 0, energy, mixture.square().sum(1))
    missing = (estimate - wanted).square().sum(1)
    return (missing / energy.clamp_min(_TINY) + least).log10()


def _energy_share(part, whole):
    energy = whole.square().sum((-2, -1)).clamp_min(_TINY)
    return part.square().sum((-2, -1)) / energy


def _check_kind(key, kind, kinds):
    if kind not in kinds:
        raise ValueError(f"`{key}`: {kind!r} is not one of {kinds}.")


# ------------------------------------------- of pairs of a prompt and a clip


def similarity_loss(similarity: Tensor, masked_similarity: Tensor) -> Tensor:
    """The masked clip keeps its similarity: ``|t.a - t.f(M*X)|``, in [0, 2].

    The published text says that the objective "aims to closely reproduce the
    original similarity patterns"; the absolute difference is our reading.

    Example
    -------
    >>> similarity_loss(torch.tensor([0.75, 0.0]), torch.tensor([0.5, 0.25]))
    tensor([0.2500, 0.2500])
    """
    return (similarity - masked_similarity).abs()


def similarity_rise_loss(
    similarity: Tensor, masked_similarity: Tensor, weight: Tensor
) -> Tensor:
    """Both directions for present prompts, rises alone for absent ones.

    ``w |d| + (1 - w) relu(-d)`` with ``d = t.a - t.f(M*X)``: an empty mask
    leaves nothing of a similarity, which is right where there was no reason
    for it, so that a fall costs by the prompt's probability ``w`` only.

    Example
    -------
    >>> similarity_rise_loss(*torch.tensor([[0.5], [0.25], [0.5]]))  # a fall
    tensor([0.1250])
    >>> similarity_rise_loss(*torch.tensor([[0.25], [0.5], [0.5]]))  # a rise
    tensor([0.2500])
    """
    change = masked_similarity - similarity
    return weight * change.abs() + (1 - weight) * change.relu()


def prompt_mask_out(logits: Tensor, prompt: Tensor, same: Tensor) -> Tensor:
    """The masked-out rest is no longer decided for it: ``-log(1 - p_i)``.

    Its gradient fades once the prompt is gone, other than that of ``-CE``.
    Prompts that say the same, as two clips of a class in one batch, are no
    others of each other: ``p_i`` is what they have together. Of logits
    (pairs, prompts), the prompts' numbers (pairs,) and which of them say the
    same, bool (prompts, prompts); in nats, 0 where there is no other.

    Example
    -------
    >>> same = torch.eye(2, dtype=torch.bool)
    >>> loss = prompt_mask_out(torch.zeros(1, 2), torch.tensor([0]), same)
    >>> round(loss.item(), 4)  # ln 2
    0.6931
    >>> prompt_mask_out(torch.zeros(1, 2), torch.tensor([0]), ~same | same)
    tensor([0.])
    """
    own = same[prompt]
    # Of minus infinity alone there is no gradient.
    own = own & ~own.all(1, keepdim=True)
    others = logits.masked_fill(own, float("-inf"))
    return logits.logsumexp(1) - others.logsumexp(1)


def area_loss(
    mask_mean: Tensor, weight: Tensor, budget: float, floor: float = 0.0
) -> Tensor:
    """Mean of the mask outside of what the prompt may have, in [0, 1].

    ``relu(m - b w) + relu(f w - m)``: between the floor ``f`` and the budget
    ``b``, both in proportion to its probability ``w``, a present prompt's mask
    is free, and so has no reason to die; an absent one's is to be empty.

    Example
    -------
    >>> area_loss(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), 0.25)
    tensor([0.2500, 0.5000])
    >>> area_loss(torch.tensor([0.0]), torch.tensor([0.5]), 0.25, floor=0.125)
    tensor([0.0625])
    """
    above = (mask_mean - budget * weight).relu()
    return above + (floor * weight - mask_mean).relu()


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """``sum(w x) / sum(w)``, a scalar; 0 if no weight is left.

    Example
    -------
    >>> weighted_mean(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0]))
    tensor(2.)
    """
    return (weight * values).sum() / weight.sum().clamp_min(_TINY)


def diversity_loss(masked_embeddings: Tensor, text: Tensor) -> Tensor:
    """Masks of one clip differ as their prompts do; a scalar in [0, 2].

        L_div = mean_{i != k} | e_i . e_k - t_i . t_k |

    with ``e_i`` the embedding of the clip under the mask of prompt ``i``; both
    are (batch, prompts, dim), L2-normalised. The paper's diversity term (its
    Eq. 7) has this purpose; the formula is our reading of the published
    description, not a copy of it.

    Example
    -------
    >>> same = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    >>> diversity_loss(same, torch.eye(2)[None])
    tensor(1.)
    """
    prompts = text.shape[1]
    if prompts < 2:
        return masked_embeddings.new_zeros(())
    found = masked_embeddings @ masked_embeddings.transpose(1, 2)
    wanted = text @ text.transpose(1, 2)
    off_diagonal = ~torch.eye(prompts, dtype=torch.bool, device=text.device)
    return (found - wanted).abs()[:, off_diagonal].mean()


# ------------------------------------------------------- of a CLAP's training


def multi_positive_infonce(
    audio: Tensor, text: Tensor, same: Tensor, scale: float | Tensor = 1.0
) -> Tensor:
    """InfoNCE in both directions, with several texts to a sound.

    With ``s = scale * audio @ text.T`` and the rows of ``same`` brought to a
    sum of 1, ``p``: the mean over sounds of ``-sum_j p_ij log softmax_j
    s_ij``, and the like over texts with the columns; the loss is the mean of
    the two. One text to each sound gives the loss of CLAP (Wu et al. 2023,
    arXiv 2211.06687, equation 1), several are treated as by Khosla et al.
    2020 (arXiv 2004.11362, equation 2). Embeddings are L2-normalised,
    (sounds, dim) and (texts, dim); ``same`` holds booleans or weights >= 0,
    (sounds, texts). What belongs to nothing counts as a negative alone.

    Example
    -------
    >>> loss = multi_positive_infonce(
    ...     torch.eye(2), torch.eye(2), torch.eye(2) > 0, scale=100.0
    ... )
    >>> round(loss.item(), 4)
    0.0
    """
    similarities = scale * audio.float() @ text.float().T
    same = same.to(similarities)
    return 0.5 * (
        _one_direction(similarities, same)
        + _one_direction(similarities.T, same.T)
    )


def _one_direction(similarities, same):
    """Mean cross-entropy of the rows that have a positive."""
    total = same.sum(1)
    # Rows without a positive have weights of 0 and so add nothing.
    target = same / total.clamp_min(torch.finfo(same.dtype).tiny)[:, None]
    losses = -(target * similarities.log_softmax(1)).sum(1)
    return losses.sum() / (total > 0).sum().clamp_min(1)
