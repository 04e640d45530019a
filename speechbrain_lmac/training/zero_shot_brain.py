"""What explains the prompts of a CLAP model while training, and measures it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.data.captions.datasets import clip_classes
from speechbrain_lmac.data.captions.prompts import readable
from speechbrain_lmac.features import Spectrum, heard_part
from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.metrics.similarity import rank_correlation
from speechbrain_lmac.training import losses
from speechbrain_lmac.training.lmac import ExplainerBrain, quality
from speechbrain_lmac.training.mixtures import measure_mixtures
from speechbrain_lmac.utils.checks import UserError

# A mask of a present prompt below this mean says nothing.
_DEAD_MEAN = 0.02
# Prompts of the validation where the data have no classes.
_MAX_VALID_PROMPTS = 16


class Scene(NamedTuple):
    """Clips, what a CLAP encoder makes of them, and the prompts to explain.

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
    embedding: Tensor
    hidden: tuple[Tensor, ...]
    bank: Any = None
    similarity: Any = None
    same: Any = None
    chosen: Any = None
    sources: Tensor | None = None

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """All pairs of a clip and a chosen prompt, the first clip's first.

        Number of the clip, of the prompt in the bank, and of the prompt among
        the clip's own; each int64 (pairs,).
        """
        clips, prompts = self.chosen.shape
        numbers = torch.arange(max(clips, prompts), device=self.chosen.device)
        return (
            numbers[:clips].repeat_interleave(prompts),
            self.chosen.reshape(-1),
            numbers[:prompts].repeat(clips),
        )


def choose_prompts(
    similarity: Tensor, count: int, similar: int, always: Tensor | None = None
) -> Tensor:
    """Prompts to explain each clip for: similar ones and some at random.

    Of similarities (clips, prompts) different numbers, int64 (clips, count);
    those of ``always``, (clips, some), come first, and of two that are the
    same the second is replaced by another prompt.

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


def validation_prompts(
    hparams: Mapping[str, Any], datasets: Mapping[str, Any]
) -> tuple[list[str], tuple[str, ...]]:
    """Prompts and templates that a training is validated with.

    Arguments
    ---------
    hparams : Mapping
        ``valid_prompts`` (null for those of the data) and
        ``valid_templates``.
    datasets : dict of str to DynamicItemDataset
        Of :func:`speechbrain_lmac.data.caption_dataio_prep`.

    Returns
    -------
    tuple of (list of str, tuple of str)
        The classes of the training clips; if these are captioned, the first
        captions of some validation clips, which stand alone.
    """
    templates = tuple(hparams["valid_templates"])
    names = map(readable, clip_classes(datasets["train"]))
    prompts = list(hparams["valid_prompts"] or names)
    if not prompts:
        templates, valid = ("{}",), datasets["valid"]
        clips = valid.data_ids[:: -(-len(valid) // _MAX_VALID_PROMPTS)]
        captions = (valid.data[clip]["captions"][0] for clip in clips)
        prompts = list(dict.fromkeys(captions))
    if len(prompts) < 2:
        raise UserError(
            f"`valid_prompts`: expected at least two, found {prompts}; give "
            "some, or a validation split of more clips."
        )
    return prompts, templates


class ZeroShotExplainer(ExplainerBrain):
    """Masks of clips under prompts, and how good they are.

    Modules: ``frontend``, ``encoder`` (a frozen CLAP) and ``decoder``, a
    ``TextMaskDecoder``. Hyperparameters besides those of
    :class:`RecipeBrain`: ``pairs_per_chunk`` and ``finetuning``.

    Arguments
    ---------
    prompts : sequence of str
        What validation and test classify between.
    templates : sequence of str
        What these prompts are put into.
    *args, **kwargs
        As for :class:`RecipeBrain`.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        templates: Sequence[str],
        *args: Any,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        # Before the first epoch: a prompt may be refused.
        self.classifier = ZeroShotClassifier(
            self.modules.encoder, prompts, templates
        ).to(self.device)

    def on_stage_start(self, stage: Any, epoch: int | None = None) -> None:
        """Forget the last stage's masks."""
        super().on_stage_start(stage, epoch)
        self.areas: list[Tensor] = []
        self.similarities: list[Tensor] = []

    def scene_of(self, wavs: Tensor) -> Scene:
        """What front end and encoder make of some clips."""
        frontend = self.modules.frontend
        with torch.no_grad():
            spectrum = frontend(wavs)
            features = frontend.classifier_input(spectrum.view, spectrum)
            return Scene(spectrum, *self.modules.encoder.embed(features))

    def masks(self, scene: Scene, owner: Tensor, prompt: Tensor) -> Tensor:
        """Masks of pairs, sorted by clip, (pairs, frames, bins)."""
        # Only these clips' maps are needed.
        low, high = int(owner[0]), int(owner[-1]) + 1
        view = scene.spectrum.view
        logits = self.modules.decoder(
            [h[low:high] for h in scene.hidden],
            view.shape[1],
            scene.bank[prompt],
            scene.similarity[owner, prompt],
            owner - low,
        )
        return torch.sigmoid(logits.to(view.dtype))

    def mask_means(self, mask: Tensor) -> Tensor:
        """Mean of each mask over the bins that the encoder hears."""
        heard = self.modules.frontend.heard
        return losses.sparsity_loss(heard_part(mask, heard))

    @torch.no_grad()
    def measure(self, wavs: Tensor, scene: Scene, ids: list[str]) -> Tensor:
        """Metrics of clips for their decided prompts, and of all pairs."""
        classifier, frontend = self.classifier, self.modules.frontend
        scene = self._among_classes(scene)
        logits = classifier.encoder.logit_scale * scene.similarity
        output = ClassifierOutput(logits, scene.embedding, scene.hidden)
        decided = classifier.decide(output)
        mask = self._decided(scene, decided)
        masked = frontend.masked(mask, scene.spectrum)
        outputs = (output, *map(classifier, masked))
        heard = heard_part(mask, frontend.heard)
        before, kept, rest = map(classifier.probabilities, outputs)
        metrics = explanation_metrics(before, kept, rest, heard, decided)
        metrics |= self._measure_prompts(scene, decided)
        if self.hparams.finetuning:
            metrics |= measure_mixtures(
                frontend, wavs, decided, self._explained_mixtures
            )
        self.stats.append(ids, metrics)
        return classifier.evidence_loss(outputs[1].logits, decided)

    def _among_classes(self, scene):
        """A scene whose prompts are the classes."""
        bank = self.classifier.text_embeddings
        return scene._replace(bank=bank, similarity=scene.embedding @ bank.T)

    def _decided(self, scene, decided):
        """Masks of clips for one prompt each, (clips, frames, bins)."""
        clips = torch.arange(len(decided), device=decided.device)
        return self.masks(scene, clips, decided)

    def _measure_prompts(self, scene, decided):
        """Mask means of every clip under every prompt."""
        clips, count = scene.similarity.shape
        every = torch.arange(count, device=decided.device).expand(clips, -1)
        owner, prompt, _ = scene._replace(chosen=every).pairs()
        size = self.hparams.pairs_per_chunk or 2 * count
        area = [
            self.mask_means(self.masks(scene, *chunk))
            for chunk in zip(owner.split(size), prompt.split(size), strict=True)
        ]
        area = torch.cat(area).view(clips, count)
        self.areas.append(area.cpu())
        self.similarities.append(scene.similarity.cpu())
        right = area.gather(1, decided[:, None]).squeeze(1)
        return {
            "right MM": right,
            "absent MM": (area.sum(1) - right) / max(count - 1, 1),
            "dead": (right < _DEAD_MEAN).float(),
        }

    def _explained_mixtures(self, wavs, decided):
        """Masks and spectra of mixtures for the prompts of their clips."""
        scene = self._among_classes(self.scene_of(wavs))
        return self._decided(scene, decided), scene.spectrum

    def stage_summary(self, stage_loss: float) -> dict[str, float]:
        """As the base's; the quality counts whether the prompt is followed."""
        summary = super().stage_summary(stage_loss)
        if "Fid-In" in summary:
            pairs = map(torch.cat, (self.areas, self.similarities))
            summary["spearman"] = rank_correlation(*pairs)
            summary["quality"] = zero_shot_quality(summary)
        return summary


def zero_shot_quality(metrics: Mapping[str, float]) -> float:
    """One number to rank checkpoints by: faithful and following the prompt.

    The mean, at most 1, of eight scores: the five of ``quality`` of L-MAC, the
    rank correlation of mask mean and similarity, one minus the ratio of the
    masks of absent prompts to those of decided ones, and the share of masks
    that are alive; in the fine-tuning stage also how often the named source of
    a mixture wins.

    Example
    -------
    >>> best = {"AI": 100, "AD": 0, "AG": 100, "FF": 1, "Fid-In": 1}
    >>> follows = {"spearman": 1, "right MM": 0.2, "absent MM": 0, "dead": 0}
    >>> zero_shot_quality({**best, **follows})
    1.0
    """
    ratio = metrics["absent MM"] / max(metrics["right MM"], 1e-6)
    scores = [5 * quality(metrics), 1 - min(ratio, 1), 1 - metrics["dead"]]
    spearman = metrics["spearman"]
    scores.append(spearman if math.isfinite(spearman) else 0.0)
    wins, count = metrics.get("named wins", math.nan), 8
    if math.isfinite(wins):
        scores.append(wins)
        count += 1
    return sum(scores) / count
