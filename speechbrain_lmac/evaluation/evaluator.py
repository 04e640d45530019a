"""The evaluator: methods x conditions -> per-clip metrics.

A condition's clips are made, transformed and classified once, whatever the
number of methods; a method only turns them into masks, once for all protocols
and metrics. Each mask is scored on the masked spectrogram, and on the sound
that people hear: resynthesised and read back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from speechbrain_lmac.attribution import count_forwards
from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.data.pipelines import SameLengthBatchSampler
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.conditions import ConditionClip
from speechbrain_lmac.evaluation.journal import gather_rows
from speechbrain_lmac.evaluation.judge import Judge
from speechbrain_lmac.evaluation.methods import NEED_SOURCES, build_methods
from speechbrain_lmac.evaluation.scoring import Scorer
from speechbrain_lmac.evaluation.settings import EvaluationSettings
from speechbrain_lmac.features import BaseFrontEnd
from speechbrain_lmac.interpreters.masking import method_name
from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.utils.distributed import shard


class Evaluator:
    """Scores methods on the clips of a condition.

    Arguments
    ---------
    frontend, classifier, decoder : torch.nn.Module
        The interpreter; the classifier is frozen.
    methods : sequence of str
        Some of ``speechbrain_lmac.evaluation.methods.METHODS``.
    settings : EvaluationSettings
        How they are scored.
    decoders : dict of str to torch.nn.Module or None
        Further trained decoders by method (``TRAINED_METHODS``).
    frontends : dict of str to torch.nn.Module or None
        The front end of each of these whose masks lie on another grid.
    device : str
        Where to compute.
    judge : Judge or None
        Another classifier that hears the explanations, too.
    """

    def __init__(
        self,
        frontend: BaseFrontEnd,
        classifier: AudioClassifier,
        decoder: nn.Module,
        methods: Sequence[str],
        settings: EvaluationSettings | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
        device: str = "cpu",
        judge: Judge | None = None,
        frontends: Mapping[str, BaseFrontEnd] | None = None,
    ):
        self.frontends = {
            name: frontend.to(device).eval()
            for name, frontend in (frontends or {}).items()
        }
        self.parts = [
            part.to(device).eval() for part in (frontend, classifier, decoder)
        ]
        self.settings = settings or EvaluationSettings()
        decoders = {
            name: other.to(device).eval()
            for name, other in (decoders or {}).items()
        }
        self.own = method_name(decoder)
        self.methods = build_methods(
            methods,
            classifier,
            frontend,
            decoders,
            self.settings.attribution,
            self.own,
        )
        self.scorer = Scorer(self.settings)
        self.device = device
        self.judge = None if judge is None else judge.to(device)

    @torch.no_grad()
    def evaluate(
        self,
        clips: Sequence[ConditionClip],
        labels: Mapping[str, int],
        contaminated: bool,
        on_scored: Callable[..., Any] | None = None,
        progressbar: bool = True,
        done: Mapping[str, ClipStats] | None = None,
        on_batch: Callable[[dict[str, ClipStats]], Any] | None = None,
        revisit: Collection[tuple[str, str]] = (),
    ) -> dict[str, ClipStats]:
        """Score every method on every clip; processes share the batches.

        Arguments
        ---------
        clips : list of ConditionClip
            The clips of a condition.
        labels : dict of str to int
            Index of each class name, for the accuracy.
        contaminated : bool
            Whether the clips have an interferer; then the clean source is
            known and the separation figures are computed, too.
        on_scored : callable or None
            Called with (row, clip, k, mixture, scored): the row's name, a
            ConditionClip, its place in the batch, its Mixture, the batch's
            Scored.
        progressbar : bool
            Show one.
        done : dict of str to ClipStats or None
            Rows of an interrupted evaluation of the same clips: whole batches
            that they hold are not scored again.
        on_batch : callable or None
            Called with the rows so far after every batch that was scored.
        revisit : set of tuple
            Pairs of a row's name and a clip's id that ``on_scored`` wants to
            see, scored before or not.

        Returns
        -------
        dict of str to ClipStats
            Per method, and ``method@protocol`` for other protocols than the
            published; methods that are not defined here are left out.
        """
        stats = {
            row_key(name, protocol): (done or {}).get(
                row_key(name, protocol), ClipStats()
            )
            for name in self.methods
            if contaminated or name not in NEED_SOURCES
            for protocol in self.settings.protocols
        }
        lengths = [clip.num_samples for clip in clips]
        batches = list(
            SameLengthBatchSampler(lengths, self.settings.batch_size)
        )
        rank, world = shard()
        own = batches[rank::world]
        for indices in tqdm(own, desc="explaining", disable=not progressbar):
            chosen = [clips[i] for i in indices]
            missing = self._missing(stats, chosen, revisit)
            if not missing:
                continue
            batch, made = self._make(chosen, labels, contaminated)
            owners = [clip.clip_id for clip in chosen]
            for name, protocols in missing.items():
                seen = self._seen(name, batch)
                mask, forwards = self._mask(name, seen)
                scored = self.scorer(mask, seen, protocols, forwards)
                cost = torch.full((len(chosen),), forwards)
                for protocol, result in scored.items():
                    key = row_key(name, protocol)
                    result.values["forwards"] = cost
                    if batch.ids[0] not in stats[key]:
                        stats[key].append(batch.ids, result.values, owners)
                    for k, clip in enumerate(chosen):
                        if on_scored is not None:
                            on_scored(key, clip, k, made[k], result)
            if on_batch is not None:
                on_batch(stats)
        return gather_rows(stats, [clips[i].id for b in batches for i in b])

    def _missing(self, stats, chosen, revisit):
        """Methods and their protocols that a batch still wants."""
        missing = {}
        for key, scores in stats.items():
            name, protocol = split_key(key)
            if any(
                clip.id not in scores or (key, clip.id) in revisit
                for clip in chosen
            ):
                missing.setdefault(name, []).append(protocol)
        return missing

    def _seen(self, name, batch):
        """A batch as a method's own front end sees it."""
        if name not in self.frontends:
            return batch
        frontend, wavs = self.frontends[name], batch.mixture
        found = batch.explanation._replace(spectrum=frontend(wavs.mixture))
        batch = batch._replace(frontend=frontend, explanation=found)
        if batch.sources is None:
            return batch
        return batch._replace(sources=tuple(map(frontend, wavs[1:])))

    def _mask(self, name, batch):
        """A method's masks, and what the classifier took for each."""
        _, classifier, decoder = self.parts
        with count_forwards(classifier) as asked:
            mask: Any = self.methods[name](batch)
        own = getattr(decoder, "forwards", 0) if name == self.own else 0
        return mask, own + asked.rows / len(batch.ids)

    def _make(self, chosen, labels, contaminated):
        """All that the methods share for a batch, computed once."""
        made, frontend = [clip.make() for clip in chosen], self.parts[0]
        stacked = (torch.stack(part) for part in zip(*made, strict=True))
        mixture = Mixture(*(part.to(self.device) for part in stacked))
        truth = torch.zeros(len(chosen), len(labels), dtype=torch.bool)
        for row, clip in zip(truth, chosen, strict=True):
            row[[labels[name] for name in labels_of(clip.class_string)]] = True
        truth, named = truth.to(self.device), chosen[0].named
        batch = make_batch(
            mixture.mixture,
            [clip.id for clip in chosen],
            *self.parts,
            self.settings.seed,
            # A class is asked for by name, whatever drowns its sound.
            truth.int().argmax(1) if named else None,
        )
        return batch._replace(
            sources=tuple(map(frontend, mixture[1:])) if contaminated else None,
            mixture=mixture,
            truth=truth,
            named=named,
            placed=chosen[0].placed,
            verdict=self._verdict(batch, mixture.mixture),
        ), made

    def _verdict(self, batch, wavs):
        """What a judge says of the clips; None without one."""
        if self.judge is None:
            return None
        decided = self.parts[1].decided(batch.probs())
        decided = decided.gather(1, batch.target[:, None])[:, 0]
        return self.judge.hear(wavs, batch.target, decided)


def row_key(method: str, protocol: str) -> str:
    """Name of a method under a protocol: the method alone if published.

    Example
    -------
    >>> row_key("ig", "published"), row_key("ig", "equal_mean")
    ('ig', 'ig@equal_mean')
    """
    return method if protocol == "published" else f"{method}@{protocol}"


def split_key(key: str) -> tuple[str, str]:
    """Method and protocol of a :func:`row_key`.

    Example
    -------
    >>> split_key("ig"), split_key("ig@equal_mean")
    (('ig', 'published'), ('ig', 'equal_mean'))
    """
    method, _, protocol = key.partition("@")
    return method, protocol or "published"
