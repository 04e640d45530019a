"""What a step of LMAC-ZS is made of: clips, prompts and their pairs.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import torch

from speechbrain_lmac.data.mixtures import Mixture, mix_at_snr
from speechbrain_lmac.features import Spectrum
from speechbrain_lmac.utils.checks import UserError


class Scene(NamedTuple):
    """Clips, what a CLAP encoder says of them, and the prompts to explain.

    Attributes
    ----------
    spectrum : Spectrum
        Of the clips.
    embedding : torch.Tensor
        L2-normalised, (clips, dim).
    hidden : tuple of torch.Tensor
        Hidden maps, deepest first.
    bank : torch.Tensor
        L2-normalised embeddings of all prompts of the step, (prompts, dim).
    similarity : torch.Tensor
        Cosines, (clips, prompts).
    same : torch.Tensor
        Which of these prompts say the same, bool (prompts, prompts).
    chosen : torch.Tensor
        Numbers of the prompts that each clip is explained for, int64 (clips,
        prompts per clip).
    sources : torch.Tensor or None
        Views of what the first and the second of these prompts name, (clips,
        2, frames, bins); zero where unknown.
    """

    spectrum: Spectrum
    embedding: torch.Tensor
    hidden: tuple
    bank: torch.Tensor = None
    similarity: torch.Tensor = None
    same: torch.Tensor = None
    chosen: torch.Tensor = None
    sources: torch.Tensor = None

    def pairs(self):
        """All pairs of a clip and a chosen prompt, the first clip's first.

        Returns
        -------
        tuple of torch.Tensor
            Number of the clip, of the prompt in the bank, and of the prompt
            among the clip's own; each int64 (pairs,).
        """
        clips, prompts = self.chosen.shape
        numbers = torch.arange(max(clips, prompts), device=self.chosen.device)
        return (
            numbers[:clips].repeat_interleave(prompts),
            self.chosen.reshape(-1),
            numbers[:prompts].repeat(clips),
        )


def choose_prompts(similarity, count, similar, always=None):
    """Prompts to explain each clip for: similar ones and some at random.

    Arguments
    ---------
    similarity : torch.Tensor
        Of clips and prompts, (clips, prompts).
    count : int
        Prompts of a clip; fewer if there are fewer.
    similar : int
        How many of them are the most similar.
    always : torch.Tensor or None
        Numbers of prompts that come first, int64 (clips, some). Of two that
        are the same the second is replaced by another prompt.

    Returns
    -------
    torch.Tensor
        Different numbers, int64 (clips, count).

    Example
    -------
    >>> similarity = torch.tensor([[0.1, 0.9, 0.3], [0.8, 0.2, 0.1]])
    >>> choose_prompts(similarity, 1, 1).tolist()
    [[1], [0]]
    """
    # Ranks in three storeys: at random below 1, similar from 2, always from 8.
    rank = torch.rand(similarity.shape).to(similarity)
    best = similarity.topk(min(similar, similarity.shape[1])).indices
    rank = rank.scatter(1, best, 4 + similarity.gather(1, best))
    if always is not None:
        always = always.to(rank.device)
        for place in reversed(range(always.shape[1])):
            rank.scatter_(1, always[:, place, None], 10.0 - place)
    return rank.topk(min(count, similarity.shape[1])).indices


def mix_pairs(wavs, groups, prob, snr_db, generator):
    """Mix clips of a batch with one another, the partner being known.

    Arguments
    ---------
    wavs : torch.Tensor
        Shape (clips, samples).
    groups : torch.Tensor
        Number of the group of texts of each clip, int64 (clips,).
    prob : float
        Share of the clips that are mixed.
    snr_db : sequence of float
        Range of the SNR in dB, [low, high].
    generator : torch.Generator
        Source of every draw, on the CPU.

    Returns
    -------
    tuple of (Mixture, torch.Tensor, torch.Tensor)
        The clips, mixed or not; each one's partner, int64 (clips,); and
        whether it is mixed with a partner of another group, bool (clips,).
        Others are left alone.

    Raises
    ------
    UserError
        If the range is none.
    """
    low, high = (float(x) for x in snr_db)
    if not low <= high:
        raise UserError(
            f"`mix_snr`: expected [low, high] in dB, found {list(snr_db)}."
        )
    clips = torch.arange(len(wavs))
    shifts = 1 + torch.randperm(max(len(wavs) - 1, 1), generator=generator)
    partners = (clips + shifts[:, None]) % len(wavs)
    groups = groups.to(clips.device)
    different = groups[partners] != groups
    chosen = different.sum(1).argmax()
    partner = partners[chosen]
    known = torch.rand(len(wavs), generator=generator) < prob
    known &= different[chosen]
    share = torch.rand(len(wavs), generator=generator)
    other = wavs[partner] * known.to(wavs)[:, None]
    mixed = mix_at_snr(wavs, other, (low + (high - low) * share).to(wavs))
    return Mixture(*mixed), partner, known.to(wavs.device)
