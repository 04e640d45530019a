"""Sanity check of explanations: whether masks depend on what was learned.

Cascading model randomisation (Adebayo et al., "Sanity checks for saliency
maps", NeurIPS 2018, section 3.1): the classifier's layers lose their training
one after another, from the output down. A mask that stays the same under a
classifier that knows nothing any more did not explain what it knew.

Authors
 * The speechbrain_lmac authors 2026
"""

import copy
import hashlib
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from speechbrain_lmac.attribution import ATTRIBUTIONS
from speechbrain_lmac.classifiers.reinitialize import reinitialize
from speechbrain_lmac.data.pipelines import SameLengthBatchSampler
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.metrics.similarity import (
    centred_ranks,
    correlate_ranks,
    ssim,
)
from speechbrain_lmac.utils.checks import UserError

#: Methods that look at the classifier: the trained decoder, and gradients.
CHECKED_METHODS = ("lmac", *ATTRIBUTIONS)
#: The same for zero-shot classifiers.
CHECKED_ZS_METHODS = ("lmac_zs", *ATTRIBUTIONS)


class BlockSimilarity(NamedTuple):
    """How alike a method's masks are before and after randomisation.

    Attributes
    ----------
    block : str
        The last block that was randomised: this one and all above it are.
    ssim : numpy.ndarray
        Structural similarity per clip, shape (clips,), in the clips' order.
    spearman : numpy.ndarray
        Rank correlation per clip, same shape.
    """

    block: str
    ssim: np.ndarray
    spearman: np.ndarray


def check_names(names, known, key):
    """Refuse names that are not known, and list those that are.

    Example
    -------
    >>> check_names(["lmac"], CHECKED_METHODS, "sanity_methods")
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in known:
            raise UserError(
                f"`{key}`: unknown name {name!r}; expected some of "
                f"{', '.join(known)}."
            )


def checked_methods(classifier):
    """The methods that can be checked on a classifier of this kind.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> checked_methods(SlimCnn(n_classes=10))[:2]
    ('lmac', 'saliency')
    """
    zero_shot = classifier.trained_name == "lmac_zs"
    return CHECKED_ZS_METHODS if zero_shot else CHECKED_METHODS


def blocks(classifier):
    """A classifier's layers from the output down, checked to be complete.

    Arguments
    ---------
    classifier : AudioClassifier
        Names its layers by its method ``blocks()``, and by
        ``outside_blocks()`` what is none of them: the text side of a
        zero-shot classifier.

    Returns
    -------
    dict of str to torch.nn.Module

    Raises
    ------
    ValueError
        If a weight or buffer of the classifier is neither in a block nor
        named as outside of them.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> list(blocks(SlimCnn(n_classes=10)))
    ['linear', 'conv5', 'conv4', 'conv3', 'conv2', 'conv1', 'norm0']
    """
    found = classifier.blocks()
    held = {
        id(tensor)
        for block in found.values()
        for tensor in block.state_dict(keep_vars=True).values()
    }
    outside = tuple(f"{name}." for name in classifier.outside_blocks())
    missing = [
        name
        for name, tensor in classifier.state_dict(keep_vars=True).items()
        if id(tensor) not in held and not f"{name}.".startswith(outside)
    ]
    if missing:
        raise ValueError(
            f"Expected the blocks of {type(classifier).__name__} to hold all "
            f"its weights but got none that holds {', '.join(missing[:5])}; "
            "say in its method `blocks()` which layer they belong to, or in "
            "`outside_blocks()` that no sound passes them"
        )
    return found


def randomize_cascade(classifier, seed):
    """Copies of a classifier that lose their training from the output down.

    Arguments
    ---------
    classifier : AudioClassifier
        Left as it is.
    seed : int
        Of the new weights; a block's are the same in all copies.

    Yields
    ------
    tuple of (str, AudioClassifier)
        Name of a block, and a frozen copy in which this block and all before
        it are initialised anew.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> classifier = SlimCnn(n_classes=10).freeze()
    >>> [name for name, _ in randomize_cascade(classifier, seed=0)][:2]
    ['linear', 'conv5']
    """
    device = next(classifier.parameters()).device
    # On CPU: the same weights for every device.
    current = copy.deepcopy(classifier).cpu()
    for name, block in blocks(current).items():
        digest = hashlib.sha256(f"{seed}|{name}".encode()).digest()
        reinitialize(block, int.from_bytes(digest[:8], "little") >> 1)
        yield name, copy.deepcopy(current).to(device).freeze()


@torch.no_grad()
def cascading_randomization(
    frontend,
    classifier,
    decoder,
    methods,
    clips,
    seed=1234,
    batch_size=16,
    attribution=None,
    device="cpu",
    progressbar=True,
):
    """Each method's masks under ever less of the classifier's training.

    The class or prompt that is explained stays the original decision. A
    trained decoder is left as it is, and reads the hidden maps of the
    randomised classifier; that of a zero-shot classifier also the similarity
    of its embedding of the clip to the prompt.

    Arguments
    ---------
    frontend, classifier, decoder : torch.nn.Module
        The interpreter; the classifier is not changed.
    methods : sequence of str
        Some of ``CHECKED_METHODS``, or of ``CHECKED_ZS_METHODS`` for a
        zero-shot classifier.
    clips : list of ConditionClip
        What is explained: each one's mixture.
    seed : int
        Of the new weights and of methods that draw.
    batch_size : int
        Clips of equal length explained together; no value depends on it.
    attribution : dict of str to dict or None
        Options of attribution methods by name.
    device : str
        Where to compute.
    progressbar : bool
        Show one.

    Returns
    -------
    dict of str to list of BlockSimilarity
        By method, in the order of the cascade.

    Raises
    ------
    UserError
        If a method is unknown, or is none that looks at the classifier.
    """
    check_names(methods, checked_methods(classifier), "sanity_methods")
    parts = [m.to(device).eval() for m in (frontend, classifier, decoder)]
    frontend, classifier, decoder = parts
    cascade = list(blocks(classifier))
    values = np.full((2, len(methods), len(cascade), len(clips)), np.nan)

    def masks(model, wavs, ids, target=None):
        batch = make_batch(wavs, ids, frontend, model, decoder, seed, target)
        built = build_methods(methods, model, frontend, options=attribution)
        made = (built[name](batch) for name in methods)
        return batch, [heard_part(mask, batch.heard) for mask in made]

    lengths = [clip.num_samples for clip in clips]
    batches = list(SameLengthBatchSampler(lengths, batch_size))
    for indices in tqdm(batches, desc="randomising", disable=not progressbar):
        wavs = torch.stack([clips[i].make().mixture for i in indices])
        wavs, ids = wavs.to(device), [clips[i].id for i in indices]
        batch, originals = masks(classifier, wavs, ids)
        ranks = [centred_ranks(mask) for mask in originals]
        # The cascade is drawn anew for each batch, always the same: cheaper
        # than to hold all copies of a large classifier at once.
        for k, (_, model) in enumerate(randomize_cascade(classifier, seed)):
            for m, mask in enumerate(masks(model, wavs, ids, batch.target)[1]):
                values[0, m, k, indices] = ssim(originals[m], mask).cpu()
                values[1, m, k, indices] = correlate_ranks(
                    ranks[m], centred_ranks(mask)
                ).cpu()
    return {
        name: [
            BlockSimilarity(block, values[0, m, k], values[1, m, k])
            for k, block in enumerate(cascade)
        ]
        for m, name in enumerate(methods)
    }
