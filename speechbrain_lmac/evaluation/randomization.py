"""Sanity check of explanations: whether masks depend on what was learned.

Cascading model randomisation (Adebayo et al., "Sanity checks for saliency
maps", NeurIPS 2018, section 3.1): the classifier's layers lose their training
one after another, from the output down. A mask that stays the same under a
classifier that knows nothing any more did not explain what it knew.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas
import torch
from tqdm import tqdm

from speechbrain_lmac.attribution import ATTRIBUTIONS
from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.reinitialize import reinitialize
from speechbrain_lmac.data.pipelines import SameLengthBatchSampler
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.conditions import ConditionClip
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.masking import method_name
from speechbrain_lmac.metrics.similarity import (
    centred_ranks,
    correlate_ranks,
    ssim,
)
from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.report import build_randomization_figure, save_figure
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.seeding import seed_of

MEASURES = ("SSIM", "Spearman")


class BlockSimilarity(NamedTuple):
    """How alike a method's masks are before and after randomisation."""

    block: str  # the last block that was randomised, with all above it
    ssim: np.ndarray  # structural similarity per clip, (clips,)
    spearman: np.ndarray  # rank correlation per clip, (clips,)


def check_sanity_methods(methods: Sequence[str], trained: str = "lmac") -> None:
    """Refuse methods that do not look at the classifier.

    >>> check_sanity_methods(["lmac", "gradcam"])
    """
    known = (trained, *ATTRIBUTIONS)
    for name in methods:
        if name not in known:
            raise UserError(
                f"`sanity_methods`: expected some of {', '.join(known)}, "
                f"found {name!r}."
            )


def blocks(classifier: AudioClassifier) -> dict[str, torch.nn.Module]:
    """A classifier's layers from the output down, checked to be complete.

    A weight that is neither in one of its ``blocks()`` nor in its
    ``outside_blocks()`` (the text side of a zero-shot one) is a ValueError.

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
            f"No block of {type(classifier).__name__} holds "
            f"{', '.join(missing[:5])}; name their layer in `blocks()`, or in "
            "`outside_blocks()` if no sound passes them"
        )
    return found


def randomize_cascade(
    classifier: AudioClassifier, seed: int
) -> Iterator[tuple[str, AudioClassifier]]:
    """Copies of a classifier that lose their training from the output down.

    Yields the name of a block, and a frozen copy in which this block and all
    before it are drawn anew; a block's new weights are the same in all copies.

    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> classifier = SlimCnn(n_classes=10).freeze()
    >>> [name for name, _ in randomize_cascade(classifier, seed=0)][:2]
    ['linear', 'conv5']
    """
    device = next(classifier.parameters()).device
    # On CPU: the same weights for every device.
    current = copy.deepcopy(classifier).cpu()
    for name, block in blocks(current).items():
        reinitialize(block, seed_of(f"{seed}|{name}"))
        yield name, copy.deepcopy(current).to(device).freeze()


@torch.no_grad()
def cascading_randomization(
    interpreter: Interpreter,
    methods: Sequence[str],
    clips: Sequence[ConditionClip],
    seed: int = 1234,
    batch_size: int = 16,
    attribution: Mapping[str, dict] | None = None,
    device: str = "cpu",
    progressbar: bool = True,
) -> dict[str, list[BlockSimilarity]]:
    """Each method's masks under ever less of the classifier's training.

    The class or prompt that is explained stays the original decision. A
    trained decoder is left as it is, and reads the hidden maps of the
    randomised classifier; that of a zero-shot classifier also the similarity
    of its embedding of the clip to the prompt. Seeds name the new weights and
    what methods draw. By method, in the order of the cascade.
    """
    frontend, original, decoder = (
        part.to(device).eval() for part in interpreter[:3]
    )
    check_sanity_methods(methods, method_name(decoder))
    cascade = list(blocks(original))
    values = np.full((2, len(methods), len(cascade), len(clips)), np.nan)

    def masks(model, wavs, ids, target=None):
        batch = make_batch(wavs, ids, frontend, model, decoder, seed, target)
        built = build_methods(methods, model, frontend, options=attribution)
        made = (built[name](batch) for name in methods)
        return batch.target, [heard_part(mask, batch.heard) for mask in made]

    lengths = [clip.num_samples for clip in clips]
    batches = list(SameLengthBatchSampler(lengths, batch_size))
    for indices in tqdm(batches, desc="randomising", disable=not progressbar):
        wavs = torch.stack([clips[i].make().mixture for i in indices])
        wavs, ids = wavs.to(device), [clips[i].id for i in indices]
        target, originals = masks(original, wavs, ids)
        ranks = [centred_ranks(mask) for mask in originals]
        # The cascade is drawn anew for each batch, always the same: cheaper
        # than to hold all copies of a large classifier at once.
        for k, (_, model) in enumerate(randomize_cascade(original, seed)):
            for m, mask in enumerate(masks(model, wavs, ids, target)[1]):
                values[0, m, k, indices] = ssim(originals[m], mask).cpu()
                values[1, m, k, indices] = correlate_ranks(
                    ranks[m], centred_ranks(mask)
                ).cpu()
    return {
        name: [
            BlockSimilarity(block, *values[:, m, k])
            for k, block in enumerate(cascade)
        ]
        for m, name in enumerate(methods)
    }


def run_randomization(
    interpreter: Interpreter,
    clips: Sequence[ConditionClip],
    output_folder: str | Path,
    methods: Sequence[str],
    **options: Any,
) -> pandas.DataFrame:
    """Masks under a classifier that loses its training layer by layer.

    Writes ``randomization.csv`` (means over clips with 95 % intervals),
    ``randomization_<method>.csv`` (a row per clip) and ``randomization.png``,
    and prints the tables.

    Arguments
    ---------
    interpreter : Interpreter
        Of a closed set's classifier or of a zero-shot one.
    clips : list of ConditionClip
        What is explained.
    output_folder : str or pathlib.Path
        Created if need be.
    methods : sequence of str
        The trained decoder's name, and attribution methods.
    **options
        ``seed`` (1234), ``batch_size`` (16), ``attribution`` (options of
        methods by name), ``device`` (cpu), ``progressbar`` (True).

    Returns
    -------
    pandas.DataFrame
        method, block, n_clips, and for SSIM and Spearman the mean, ``_low``,
        ``_high`` and ``_undefined``.

    Raises
    ------
    UserError
        If a method is unknown, or does not look at the classifier.
    """
    found = cascading_randomization(interpreter, methods, clips, **options)
    folder = Path(output_folder)
    frame = save_randomization(folder, [clip.id for clip in clips], found)
    columns = ["block", "SSIM", "SSIM_low", "SSIM_high"]
    drawn = {
        method: list(part[columns].itertuples(index=False, name=None))
        for method, part in frame.groupby("method", sort=False)
    }
    figure = build_randomization_figure(drawn)
    save_figure(figure, folder / "randomization.png")
    for measure in MEASURES:
        print(f"\n{measure} with the original mask, {len(clips)} clips")
        print_table(frame, "block", measure, methods)
    print(f"\nIn {folder}: randomization.csv, randomization.png")
    return frame


def save_randomization(
    folder: Path,
    ids: Sequence[str],
    results: Mapping[str, Sequence[BlockSimilarity]],
) -> pandas.DataFrame:
    """Write the values of each clip, and the table of means."""
    rows = []
    for method, found in results.items():
        stats = ClipStats()
        columns = {f"SSIM_{b.block}": b.ssim for b in found}
        columns |= {f"Spearman_{b.block}": b.spearman for b in found}
        stats.append(ids, columns)
        stats.to_csv(folder / f"randomization_{method}.csv")
        for block in (b.block for b in found):
            row = {"method": method, "block": block, "n_clips": len(ids)}
            for measure in MEASURES:
                mean, low, high, _, lost = stats.summary(f"{measure}_{block}")
                row |= {measure: mean, f"{measure}_low": low}
                row |= {f"{measure}_high": high, f"{measure}_undefined": lost}
            rows.append(row)
    frame = pandas.DataFrame(rows)
    frame.to_csv(folder / "randomization.csv", index=False)
    return frame


def print_table(
    frame: pandas.DataFrame, rows: str, values: str, methods: Sequence[str]
) -> None:
    """Print values by row, one column per method, in the order of the run.

    >>> frame = pandas.DataFrame(
    ...     {"method": ["b", "a"], "block": ["x", "x"], "SSIM": [0.25, 1.0]}
    ... )
    >>> print_table(frame, "block", "SSIM", ["a", "b"])
          a     b
    x 1.000 0.250
    """
    table = frame.pivot(index=rows, columns="method", values=values)
    table = table.loc[frame[rows].unique(), list(methods)]
    table = table.rename_axis(index=None, columns=None)
    print(table.to_string(float_format="{:.3f}".format))
