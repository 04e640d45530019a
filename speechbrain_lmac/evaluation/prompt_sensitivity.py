"""Do explanations follow the prompt? All prompts on all clips; named sources.

Two measurements of a zero-shot interpreter beside methods that need no
training: the mask's mean against the similarity for every prompt and clip
(Paissan et al. 2024, LMAC-ZS, arXiv 2405.17615), and what is left of either
source of a 0 dB mixture when its class is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor
from tqdm import tqdm

from speechbrain_lmac.data.pipelines import SameLengthBatchSampler
from speechbrain_lmac.evaluation.batches import ClipBatch, make_batch
from speechbrain_lmac.evaluation.clips import LabelledClips, spread
from speechbrain_lmac.evaluation.conditions import (
    ConditionClip,
    build_condition,
    build_pairs,
)
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.evaluation.settings import EvaluationSettings
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.prompts import (
    prompt_statistics,
    source_statistics,
)
from speechbrain_lmac.metrics.separation import energy_kept, si_sdr_gain
from speechbrain_lmac.report import build_scatter_figure, save_figure
from speechbrain_lmac.utils.checks import UserError

logger = get_logger(__name__)

#: Methods whose masks are made for every prompt.
PROMPT_METHODS = ("lmac_zs", "gradcampp")
#: Methods whose masks are made for either source of a mixture.
SOURCE_METHODS = ("lmac_zs", "gradcam", "gradcampp")
#: Masks that are held at once.
MAX_MASKS = 32


class PromptMasker:
    """Makes masks of clips for prompts that are named, not decided."""

    def __init__(
        self,
        interpreter: Interpreter,
        methods: Sequence[str],
        device: str = "cpu",
        seed: int = 1234,
        attribution: Mapping[str, dict] | None = None,
    ) -> None:
        parts = [part.to(device).eval() for part in interpreter[:3]]
        self.frontend, self.classifier, self.decoder = parts
        self.methods = build_methods(
            methods, self.classifier, self.frontend, options=attribution
        )
        self.device = device
        self.seed = seed

    def batches(
        self,
        items: Sequence[ConditionClip],
        text: str,
        progressbar: bool,
        batch_size: int,
    ) -> Iterator[tuple[list[int], list[Tensor], ClipBatch]]:
        """Clips of equal length: their places, mixtures and batch."""
        lengths = [item.num_samples for item in items]
        sampler = list(SameLengthBatchSampler(lengths, batch_size))
        for indices in tqdm(sampler, desc=text, disable=not progressbar):
            made = [items[i].make() for i in indices]
            parts = [torch.stack(p) for p in zip(*made, strict=True)]
            parts = [part.to(self.device) for part in parts]
            ids = [items[i].id for i in indices]
            yield indices, parts, self.batch(parts[0], ids)

    def batch(self, wavs: Tensor, ids: Sequence[str]) -> ClipBatch:
        """All that the methods share for clips (batch, samples)."""
        parts = (self.frontend, self.classifier, self.decoder)
        return make_batch(wavs, ids, *parts, self.seed)

    def masks(self, method: str, batch: ClipBatch, targets: Tensor) -> Tensor:
        """Masks (batch, prompts, frames, bins) for chosen prompts of clips.

        ``targets`` are indices of prompts, int64, (batch, prompts).
        """
        if method == "lmac_zs":
            masks = self.decoder.prompted(
                batch.explanation.output,
                batch.view.shape[1],
                self.classifier.text_embeddings[targets],
            )
        else:
            masks = self.methods[method](_named(batch, targets))
        return masks.view(*targets.shape, *masks.shape[1:])

    def means(self, masks: Tensor) -> Tensor:
        """Mean (batch, prompts) of masks over what the model hears."""
        return heard_part(masks, self.frontend.heard).mean((2, 3))

    def similarity(self, batch: ClipBatch) -> Tensor:
        """Cosine of each clip and prompt, shape (batch, prompts)."""
        output = batch.explanation.output
        return output.embedding @ self.classifier.text_embeddings.T


def _named(batch: ClipBatch, targets: Tensor) -> ClipBatch:
    """A batch in which each clip stands once for each prompt named."""
    count = targets.shape[1]
    rows = torch.arange(len(targets), device=targets.device)
    explanation = batch.explanation
    spectrum = explanation.spectrum.rows(rows.repeat_interleave(count))
    return batch._replace(
        ids=[clip for clip in batch.ids for _ in range(count)],
        explanation=explanation._replace(
            spectrum=spectrum, target=targets.flatten()
        ),
    )


@torch.no_grad()
def measure_prompts(
    masker: PromptMasker,
    items: Sequence[ConditionClip],
    methods: Sequence[str] = PROMPT_METHODS,
    progressbar: bool = True,
    batch_size: int = 8,
) -> dict[str, np.ndarray]:
    """Similarity and mask mean of every prompt on every clip.

    ``similarity`` and ``probability``, and the mask means by method, each
    (clips, prompts) in the order of ``items`` and of the prompts.
    """
    n_prompts = masker.classifier.n_classes
    names = ("similarity", "probability", *methods)
    values = {n: np.full((len(items), n_prompts), np.nan) for n in names}
    step = max(1, MAX_MASKS // batch_size)
    for indices, _, batch in masker.batches(
        items, "prompts", progressbar, batch_size
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
    masker: PromptMasker,
    pairs: Sequence[ConditionClip],
    names: Sequence[str],
    methods: Sequence[str] = SOURCE_METHODS,
    progressbar: bool = True,
    batch_size: int = 8,
) -> dict[str, pandas.DataFrame]:
    """What is left of each source of a mixture when either is named.

    By method, two rows a mixture: mixture, clip, named, other (classes),
    similarity and probability of the named prompt, MM, named_kept, other_kept
    (shares of energy), difference and SI-SDR_gain (dB, of the explanation
    over the mixture, against the named source).
    """
    index = {name: k for k, name in enumerate(names)}
    found: dict[str, list] = {method: [] for method in methods}
    for indices, parts, batch in masker.batches(
        pairs, "mixtures", progressbar, batch_size
    ):
        chosen = [pairs[i] for i in indices]
        targets = torch.tensor(
            [[index[c.class_string], index[c.interferer]] for c in chosen],
            device=masker.device,
        )
        shared = {
            "similarity": masker.similarity(batch).gather(1, targets),
            "probability": batch.probs().gather(1, targets),
        }
        for method in methods:
            masks = masker.masks(method, batch, targets)
            values = {**shared, **_separation(masker, batch, masks, parts)}
            found[method].append(_rows(chosen, values))
    return {m: pandas.concat(f, ignore_index=True) for m, f in found.items()}


def _separation(masker, batch, masks, parts):
    """Metrics (batch, 2) of the masks (batch, 2, frames, bins)."""
    mixture, *sources = parts
    frontend, spectrum = masker.frontend, batch.explanation.spectrum
    powers = [frontend.power(frontend(source)) for source in sources]
    named, other, gains = [], [], []
    for k, source in enumerate(sources):
        gain, kept, _ = frontend.parts(masks[:, k], spectrum, mixture.shape[1])
        named.append(energy_kept(gain, powers[k]))
        other.append(energy_kept(gain, powers[1 - k]))
        gains.append(si_sdr_gain(kept, mixture, source))
    return {
        "MM": masker.means(masks),
        "named_kept": torch.stack(named, 1),
        "other_kept": torch.stack(other, 1),
        "SI-SDR_gain": torch.stack(gains, 1),
    }


def _rows(pairs, values):
    """Two rows a mixture: its first class named, then its second."""
    classes = [(pair.class_string, pair.interferer) for pair in pairs]
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
    interpreter: Interpreter,
    data: LabelledClips,
    settings: EvaluationSettings,
    output_folder: str | Path,
    *,
    max_clips: int | None = None,
    batch_size: int = 8,
    device: str = "cpu",
    progressbar: bool = True,
) -> list[dict[str, Any]]:
    """Measure, and write ``prompt_sensitivity/`` in a folder.

    Writes ``prompts_<method>.csv`` (a row per clip and prompt),
    ``sources_<method>.csv`` (two rows a mixture), ``summary.csv`` with 95 %
    bootstrap intervals over clips, and ``mask_mean.png``.

    Arguments
    ---------
    interpreter : Interpreter
        Zero-shot, with its prompts.
    data : LabelledClips
        Of :func:`speechbrain_lmac.evaluation.test_clips`.
    settings : EvaluationSettings
        ``seed`` and ``n_mixtures`` choose the mixtures; ``attribution``.
    output_folder : str or pathlib.Path
        Receives the folder.
    max_clips : int or None
        Clips that are measured, spread over the set; None for all.
    batch_size : int
        Clips explained together; no value depends on it.
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
        If there are fewer than two classes, or `max_clips` is no number of
        clips.
    """
    if len(data.names) < 2:
        raise UserError(
            "`prompt_sensitivity`: expected two classes or more, found "
            f"{len(data.names)}."
        )
    folder = Path(output_folder) / "prompt_sensitivity"
    folder.mkdir(parents=True, exist_ok=True)
    clips = spread(data.clips, max_clips, "sensitivity_clips")
    methods = list(dict.fromkeys((*PROMPT_METHODS, *SOURCE_METHODS)))
    seed, n_mixtures = settings.seed, settings.n_mixtures
    options: dict[str, Any] = {
        "progressbar": progressbar,
        "batch_size": batch_size,
    }
    masker = PromptMasker(
        interpreter, methods, device, seed, settings.attribution
    )
    items = build_condition("clean", clips, data.audio, seed)
    prompts = measure_prompts(masker, items, **options)
    rows = _save_prompts(folder, items, data.names, prompts)
    pairs = build_pairs(clips, data.audio, seed, n_mixtures)
    sources = measure_sources(masker, pairs, data.names, **options)
    for method, frame in sources.items():
        frame.to_csv(folder / f"sources_{method}.csv", index=False)
        found = source_statistics(frame["clip"], frame)
        rows += _summary_rows("sources", method, found)
    pandas.DataFrame(rows).to_csv(folder / "summary.csv", index=False)
    print(format_summary(rows))
    logger.info("Prompt sensitivity in %s", folder)
    return rows


def _save_prompts(folder, items, names, values):
    """Write the pairs of clips and prompts, their figure, and sum them up."""
    classes = [item.class_string for item in items]
    right = np.array([names.index(name) for name in classes])
    present = np.arange(len(names)) == right[:, None]
    rows, figure = [], {}
    for method in (m for m in values if m not in ("similarity", "probability")):
        frame = pandas.DataFrame(
            {
                "id": np.repeat([item.id for item in items], len(names)),
                "class": np.repeat(classes, len(names)),
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


def _summary_rows(part, method, found):
    rows = []
    for measure, summary in found.items():
        facts = summary._asdict()
        named = {"part": part, "method": method, "measure": measure}
        rows.append({**named, "value": facts.pop("mean"), **facts})
    return rows


def format_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The summary as text for a terminal.

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
