"""How far explanations follow the prompt: statistics over clips and prompts.

Every prompt of a set is explained on every clip, whether the clip holds what
the prompt names or not (Paissan et al. 2024, LMAC-ZS, arXiv 2405.17615, show
the mask's mean against the similarity of text and sound). Intervals come from
resampling clips, with all of a clip's prompts and mixtures: they depend on
each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from speechbrain_lmac.metrics.similarity import rank_correlation
from speechbrain_lmac.metrics.stats import Summary, mean_by_clip, summarize

#: A mask of a smaller mean is dead: nothing is left to be heard.
DEAD_MASK = 0.02
# Spearman's correlation of all pairs is ranked anew in each resample.
N_BOOT = 500


def prompt_statistics(
    similarity: ArrayLike, mask_mean: ArrayLike, right: ArrayLike
) -> dict[str, Summary]:
    """How far mask means follow the similarity of prompt and clip.

    Arguments
    ---------
    similarity : array-like
        Cosine of each clip and prompt, shape (clips, prompts).
    mask_mean : array-like
        Mean of the mask that explains the prompt on the clip, same shape;
        NaN is undefined.
    right : array-like
        Index of the prompt that each clip holds, shape (clips,).

    Returns
    -------
    dict of str to Summary
        ``spearman``: of similarity and mask mean over all pairs.
        ``spearman_in_clip``: mean over clips of that within a clip.
        ``MM_right``, ``MM_absent``: mean of the mask for the prompt of the
        clip and for the others. ``absent_right``: their quotient; 1 for a
        method that does not listen to the prompt. ``dead``: share of the
        clips whose right prompt has a mask mean below ``DEAD_MASK``.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Example
    -------
    >>> found = prompt_statistics([[0.9, 0.1], [0.2, 0.8]],
    ...     [[0.4, 0.1], [0.1, 0.4]], [0, 1])
    >>> round(found["absent_right"].mean, 2), found["dead"].mean
    (0.25, 0.0)
    """
    similarity = np.asarray(similarity, float)
    mask_mean = np.asarray(mask_mean, float)
    right = np.asarray(right, int)
    if similarity.shape != mask_mean.shape or similarity.ndim != 2:
        raise ValueError(
            "Expected `similarity` and `mask_mean` of one shape (clips, "
            f"prompts) but got {similarity.shape} and {mask_mean.shape}."
        )
    if right.shape != similarity.shape[:1]:
        raise ValueError(
            f"Expected `right` of shape ({len(similarity)},) but got "
            f"{right.shape}."
        )
    present, absent = split_means(mask_mean, right)
    within = list(map(rank_correlation, similarity, mask_mean))
    dead = np.where(np.isnan(present), np.nan, present < DEAD_MASK)
    n = int((~np.isnan(mask_mean)).sum())
    counts = {"n": n, "n_undefined": mask_mean.size - n}
    return {
        "spearman": _bootstrapped(
            lambda k: rank_correlation(similarity[k], mask_mean[k]),
            len(right),
            **counts,
        ),
        "spearman_in_clip": summarize(within),
        "MM_right": summarize(present),
        "MM_absent": summarize(absent),
        "absent_right": _bootstrapped(
            lambda k: _quotient(absent[k], present[k]), len(right), **counts
        ),
        "dead": summarize(dead),
    }


def split_means(
    mask_mean: NDArray, right: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mask means of each clip's right prompt, and the mean over its others.

    Means (clips, prompts) and indices of prompts (clips,) to two times
    (clips,); the second is NaN where there is no other prompt.

    >>> split_means(np.array([[0.5, 0.1, 0.3]]), np.array([0]))
    (array([0.5]), array([0.2]))
    """
    rows = np.arange(len(mask_mean))
    others = np.ones(mask_mean.shape, bool)
    others[rows, right] = False
    others &= ~np.isnan(mask_mean)
    total = np.where(others, mask_mean, 0).sum(1)
    count = others.sum(1)
    absent = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mask_mean[rows, right], absent


def source_statistics(clips: Any, values: Any) -> dict[str, Summary]:
    """What naming a source of a mixture does.

    Arguments
    ---------
    clips : sequence of str
        The clip of each row. A mixture of it has a row for each of two
        prompts, one source after the other. A method that does not listen to
        the prompt then has a difference of 0 and wins half of the time.
    values : dict of str to array-like
        ``named_kept``, ``other_kept`` (shares of energy, 0 to 1),
        ``SI-SDR_gain`` (dB) and ``MM``, each (rows,).

    Returns
    -------
    dict of str to Summary
        ``named_kept``, ``other_kept``, their ``difference``, ``named_wins``
        (share of the rows where the named source keeps more than the other;
        ties count half), ``MM``, each averaged over a clip's rows first; and
        ``SI-SDR_gain``, the *median* over rows.

    Example
    -------
    >>> found = source_statistics(["a", "a"], {"named_kept": [0.5, 0.2],
    ...     "other_kept": [0.2, 0.5], "SI-SDR_gain": [1, 3], "MM": [0.1, 0.1]})
    >>> found["difference"].mean, found["named_wins"].mean
    (0.0, 0.5)
    """
    named = np.asarray(values["named_kept"], float)
    other = np.asarray(values["other_kept"], float)
    difference = named - other
    columns = {
        "named_kept": named,
        "other_kept": other,
        "difference": difference,
        "named_wins": (np.sign(difference) + 1) / 2,
        "MM": values["MM"],
    }
    found = {
        name: summarize(mean_by_clip(column, clips))
        for name, column in columns.items()
    }
    gain = np.asarray(values["SI-SDR_gain"], float)
    owner, names = pd.factorize(np.asarray(clips, dtype=object))
    rows = [np.flatnonzero(owner == k) for k in range(len(names))]
    n = int((~np.isnan(gain)).sum())
    found["SI-SDR_gain"] = _bootstrapped(
        lambda chosen: _median(gain[np.concatenate([rows[k] for k in chosen])]),
        len(rows),
        n=n,
        n_undefined=len(gain) - n,
    )
    return found


def _median(values):
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _quotient(above, below):
    """Quotient of two means; NaN where the lower one is 0 or undefined."""
    both = ~(np.isnan(above) | np.isnan(below))
    total = below[both].sum()
    return float(above[both].sum() / total) if total > 0 else float("nan")


def _bootstrapped(
    statistic: Callable[[NDArray], float],
    n_clips: int,
    n: int,
    n_undefined: int,
) -> Summary:
    """Summary of a statistic of clips: on all, and on resamples of them.

    ``statistic`` takes indices of clips; where it is undefined a resample is
    left out.
    """
    value = statistic(np.arange(n_clips))
    if n_clips == 1:
        return Summary(value, value, value, n, n_undefined)
    generator = np.random.default_rng(0)
    draws = np.array(
        [
            statistic(generator.integers(n_clips, size=n_clips))
            for _ in range(N_BOOT)
        ]
    )
    draws = draws[np.isfinite(draws)]
    low = high = float("nan")
    if len(draws):
        low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    return Summary(value, low, high, n, n_undefined)
