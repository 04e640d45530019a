"""Do explanations follow the prompt? All prompts on all clips; named sources.

Two measurements of a zero-shot interpreter beside methods that need no
training: the mask's mean against the similarity for every prompt and clip
(Paissan et al. 2024, LMAC-ZS, arXiv 2405.17615), and what is left of either
source of a 0 dB mixture when its class is named.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import numpy as np
import pandas
import torch
from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from speechbrain_lmac.data.pipelines import SameLengthBatchSampler
from speechbrain_lmac.evaluation.conditions import build_condition, build_pairs
from speechbrain_lmac.evaluation.prompt_masks import PromptMasker
from speechbrain_lmac.evaluation.zero_shot import spread
from speechbrain_lmac.metrics.prompts import (
    prompt_statistics,
    source_statistics,
)
from speechbrain_lmac.metrics.separation import energy_kept, si_sdr_gain
from speechbrain_lmac.report.figures.plots import build_scatter_figure
from speechbrain_lmac.report.figures.style import save_figure
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

#: Methods whose masks are made for every prompt.
PROMPT_METHODS = ("lmac_zs", "gradcampp")
#: Methods whose masks are made for either source of a mixture.
SOURCE_METHODS = ("lmac_zs", "gradcam", "gradcampp")
#: Masks that are held at once.
MAX_MASKS = 32


def _batches(items, masker, text, progressbar, batch_size):
    """Clips of equal length, made and classified, one batch after another."""
    lengths = [item.num_samples for item in items]
    sampler = list(SameLengthBatchSampler(lengths, batch_size))
    for indices in tqdm(sampler, desc=text, disable=not progressbar):
        made = [items[i].make() for i in indices]
        parts = [torch.stack(p) for p in zip(*made, strict=True)]
        ids = [items[i].id for i in indices]
        yield indices, parts, masker.batch(parts[0], ids)


@torch.no_grad()
def measure_prompts(
    masker, items, methods=PROMPT_METHODS, progressbar=True, batch_size=8
):
    """Similarity and mask mean of every prompt on every clip.

    Arguments
    ---------
    masker : PromptMasker
        Makes the masks.
    items : list of ConditionClip
        The clips.
    methods : sequence of str
        Some of the masker's.
    progressbar : bool
        Show one.
    batch_size : int
        Clips of equal length explained together; no value depends on it.

    Returns
    -------
    dict of str to numpy.ndarray
        ``similarity`` and ``probability``, and the mask means by method, each
        (clips, prompts) in the order of ``items`` and of the prompts.
    """
    n_prompts = masker.classifier.n_classes
    names = ("similarity", "probability", *methods)
    values = {n: np.full((len(items), n_prompts), np.nan) for n in names}
    step = max(1, MAX_MASKS // batch_size)
    for indices, _, batch in _batches(
        items, masker, "prompts", progressbar, batch_size
    ):
        values["similarity"][indices] = masker.similarity(batch).cpu()
        values["probability"][indices] = batch.probs().cpu()
        for chosen in torch.arange(n_prompts).split(step):
            targets = chosen.to(masker.device).expand(len(indices), -1)
            for method in methods:
                masks = masker.masks(method, batch, targets)
                means = masker.means(masks).cpu()
                values[method][np.ix_(indices, chosen)] = means
    return values


@torch.no_grad()
def measure_sources(
    masker,
    pairs,
    names,
    methods=SOURCE_METHODS,
    progressbar=True,
    batch_size=8,
):
    """What is left of each source of a mixture when either is named.

    Arguments
    ---------
    masker : PromptMasker
        Makes the masks.
    pairs : list of ConditionClip
        From :func:`speechbrain_lmac.evaluation.conditions.build_pairs`.
    names : list of str
        Classes in the order of the prompts.
    methods, progressbar, batch_size : object
        As for :func:`measure_prompts`.

    Returns
    -------
    dict of str to pandas.DataFrame
        By method, two rows a mixture: mixture, clip, named, other (classes),
        similarity and probability of the named prompt, MM, named_kept,
        other_kept (shares of energy), difference and SI-SDR_gain (dB, of the
        explanation over the mixture, against the named source).
    """
    index = {name: k for k, name in enumerate(names)}
    found = {method: [] for method in methods}
    for indices, parts, batch in _batches(
        pairs, masker, "mixtures", progressbar, batch_size
    ):
        chosen = [pairs[i] for i in indices]
        classes = [(c.class_string, c.interferer) for c in chosen]
        targets = torch.tensor(
            [[index[a], index[b]] for a, b in classes], device=masker.device
        )
        shared = {
            "similarity": masker.similarity(batch).gather(1, targets),
            "probability": batch.probs().gather(1, targets),
        }
        for method in methods:
            masks = masker.masks(method, batch, targets)
            values = {**shared, **_separation(masker, batch, masks, parts)}
            found[method].append(_rows(chosen, classes, values))
    return {m: pandas.concat(f, ignore_index=True) for m, f in found.items()}


def _separation(masker, batch, masks, parts):
    """Metrics (batch, 2) of the masks (batch, 2, frames, bins)."""
    mixture, *sources = (part.to(masker.device) for part in parts)
    frontend, spectrum = masker.frontend, batch.explanation.spectrum
    powers = [frontend.power(frontend(source)) for source in sources]
    values = {"MM": masker.means(masks), "named_kept": [], "other_kept": []}
    values["SI-SDR_gain"] = []
    for k, source in enumerate(sources):
        gain, kept, _ = frontend.parts(masks[:, k], spectrum, mixture.shape[1])
        values["named_kept"].append(energy_kept(gain, powers[k]))
        values["other_kept"].append(energy_kept(gain, powers[1 - k]))
        values["SI-SDR_gain"].append(si_sdr_gain(kept, mixture, source))
    return {
        name: torch.stack(v, 1) if isinstance(v, list) else v
        for name, v in values.items()
    }


def _rows(pairs, classes, values):
    """Two rows a mixture: its first class named, then its second."""
    frame = pandas.DataFrame(
        {
            "mixture": [pair.id for pair in pairs for _ in range(2)],
            "clip": [pair.clip_id for pair in pairs for _ in range(2)],
            "named": [name for pair in classes for name in pair],
            "other": [name for pair in classes for name in pair[::-1]],
            **{
                k: v.flatten().cpu().double().numpy() for k, v in values.items()
            },
        }
    )
    frame["difference"] = frame.named_kept - frame.other_kept
    return frame


def run_prompt_sensitivity(
    interpreter,
    clips,
    names,
    output_folder,
    *,
    load,
    seed=1234,
    n_mixtures=2,
    max_clips=None,
    attribution=None,
    batch_size=8,
    device="cpu",
    progressbar=True,
):
    """Measure, and write ``prompt_sensitivity/`` in a folder.

    Writes ``prompts_<method>.csv`` (a row per clip and prompt),
    ``sources_<method>.csv`` (two rows a mixture), ``summary.csv`` with 95 %
    bootstrap intervals over clips or mixtures, and ``mask_mean.png``.

    Arguments
    ---------
    interpreter : Interpreter
        Zero-shot.
    clips : list of dict
        From :func:`speechbrain_lmac.evaluation.run.manifest_clips`.
    names : list of str
        Classes in the order of the classifier's prompts.
    output_folder : str or pathlib.Path
        Receives the folder.
    load : callable
        path -> waveform.
    seed : int
        Chooses the mixtures' partners.
    n_mixtures : int
        Mixtures per clip.
    max_clips : int or None
        Clips that are measured, spread over the set; None for all.
    attribution : dict of str to dict or None
        Options of attribution methods by name.
    batch_size : int
        Clips explained together.
    device : str
        Where to compute.
    progressbar : bool
        Show one.

    Returns
    -------
    list of dict
        Rows of ``summary.csv``: part, method, measure, value, low, high, n,
        n_undefined.

    Raises
    ------
    UserError
        If there are fewer than two prompts, not one class a prompt, or
        `max_clips` is no number of clips.
    """
    if len(names) < 2 or len(names) != interpreter.classifier.n_classes:
        raise UserError(
            "`prompt_sensitivity`: expected two classes or more and one "
            f"prompt for each, got {len(names)} classes and "
            f"{interpreter.classifier.n_classes} prompts."
        )
    folder = Path(output_folder) / "prompt_sensitivity"
    folder.mkdir(parents=True, exist_ok=True)
    clips = spread(clips, max_clips, "sensitivity_clips")
    methods = dict.fromkeys((*PROMPT_METHODS, *SOURCE_METHODS))
    masker = PromptMasker(interpreter, list(methods), device, seed, attribution)
    options = {"progressbar": progressbar, "batch_size": batch_size}
    items = build_condition("clean", clips, load, seed)
    prompts = measure_prompts(masker, items, **options)
    rows = save_prompts(folder, items, names, prompts)
    pairs = build_pairs(clips, load, seed, n_mixtures)
    sources = measure_sources(masker, pairs, names, **options)
    rows += save_sources(folder, sources)
    table = pandas.DataFrame(rows)
    table.to_csv(folder / "summary.csv", index=False)
    print(format_summary(rows))
    logger.info("Prompt sensitivity in %s", folder)
    return rows


def save_prompts(folder, items, names, values):
    """Write the pairs of clips and prompts, their figure, and sum them up.

    Arguments
    ---------
    folder : pathlib.Path
        Where to.
    items : list of ConditionClip
        The clips.
    names : list of str
        Classes in the order of the prompts.
    values : dict of str to numpy.ndarray
        Of :func:`measure_prompts`.

    Returns
    -------
    list of dict
        Rows of the summary.
    """
    right = np.array([names.index(item.class_string) for item in items])
    present = np.arange(len(names)) == right[:, None]
    rows, figure = [], {}
    for method in (m for m in values if m not in ("similarity", "probability")):
        frame = pandas.DataFrame(
            {
                "id": np.repeat([item.id for item in items], len(names)),
                "class": np.repeat([i.class_string for i in items], len(names)),
                "prompt": np.tile(names, len(items)),
                "present": present.ravel().astype(int),
                "similarity": values["similarity"].ravel(),
                "probability": values["probability"].ravel(),
                "MM": values[method].ravel(),
            }
        )
        frame.to_csv(folder / f"prompts_{method}.csv", index=False)
        found = prompt_statistics(values["similarity"], values[method], right)
        rows += _summary_rows("prompts", method, found)
        figure[method] = (values["similarity"], values[method], present)
    save_figure(build_scatter_figure(figure), folder / "mask_mean.png")
    return rows


def save_sources(folder, sources):
    """Write the named sources of mixtures, and sum them up.

    Arguments
    ---------
    folder : pathlib.Path
        Where to.
    sources : dict of str to pandas.DataFrame
        Of :func:`measure_sources`.

    Returns
    -------
    list of dict
        Rows of the summary.
    """
    rows = []
    for method, frame in sources.items():
        frame.to_csv(folder / f"sources_{method}.csv", index=False)
        found = source_statistics(frame["clip"], frame)
        rows += _summary_rows("sources", method, found)
    return rows


def _summary_rows(part, method, found):
    rows = []
    for measure, summary in found.items():
        row = {"part": part, "method": method, "measure": measure}
        row |= {"value": summary.mean, **summary._asdict()}
        del row["mean"]
        rows.append(row)
    return rows


def format_summary(rows):
    """The summary as text for a terminal.

    Example
    -------
    >>> row = {"part": "prompts", "method": "lmac_zs", "measure": "dead",
    ...     "value": 0.1, "low": 0.0, "high": 0.2, "n": 9, "n_undefined": 0}
    >>> print(format_summary([row]))
    prompts  lmac_zs    dead                0.100 [0.000, 0.200]
    """
    lines = []
    for row in rows:
        names = f"{row['part']:<8} {row['method']:<10} {row['measure']:<17}"
        lost = f" ({row['n_undefined']} undefined)" * bool(row["n_undefined"])
        lines.append(
            f"{names} {row['value']:7.3f} [{row['low']:.3f}, "
            f"{row['high']:.3f}]{lost}"
        )
    return "\n".join(lines)
