"""The loss that a CLAP model is trained with, as a pure function.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch


def multi_positive_infonce(audio, text, same, scale=1.0):
    """InfoNCE in both directions, with several texts to a sound.

    With ``s = scale * audio @ text.T`` and the rows of ``same`` brought to a
    sum of 1, ``p``: the mean over sounds of ``-sum_j p_ij log softmax_j
    s_ij``, and the like over texts with the columns; the loss is the mean of
    the two. One text to each sound gives the loss of CLAP (Wu et al. 2023,
    arXiv 2211.06687, equation 1), several are treated as by Khosla et al.
    2020 (arXiv 2004.11362, equation 2).

    Arguments
    ---------
    audio : torch.Tensor
        L2-normalised embeddings of sounds, shape (sounds, dim).
    text : torch.Tensor
        L2-normalised embeddings of texts, shape (texts, dim).
    same : torch.Tensor
        Which belong together, shape (sounds, texts): booleans, or weights
        >= 0 where a sound belongs more to one text than to another. A sound
        or a text that belongs to nothing counts as a negative alone.
    scale : float or torch.Tensor
        What the similarities are multiplied with.

    Returns
    -------
    torch.Tensor
        Scalar, >= 0, in nats; 0 if nothing belongs together.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Example
    -------
    >>> loss = multi_positive_infonce(
    ...     torch.eye(2), torch.eye(2), torch.eye(2) > 0, scale=100.0
    ... )
    >>> round(loss.item(), 4)
    0.0
    """
    if audio.shape[1:] != text.shape[1:] or audio.dim() != 2:
        raise ValueError(
            "Expected `audio` (sounds, dim) and `text` (texts, dim) but got "
            f"{tuple(audio.shape)} and {tuple(text.shape)}."
        )
    if same.shape != (len(audio), len(text)):
        raise ValueError(
            f"Expected `same` of shape {(len(audio), len(text))} but got "
            f"{tuple(same.shape)}."
        )
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
