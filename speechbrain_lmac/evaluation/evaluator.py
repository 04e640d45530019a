"""The evaluator: methods x conditions -> per-clip metrics.

A condition's clips are made, transformed and classified once, whatever the
number of methods; a method only turns them into masks, once for all protocols
and metrics. Each mask is scored on the masked spectrogram, and on the sound
that people hear: resynthesised and read back.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
from tqdm import tqdm

from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.data.pipelines import SameLengthBatchSampler
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.journal import gather_rows
from speechbrain_lmac.evaluation.methods import (
    NEED_SOURCES,
    build_methods,
    check_protocols,
)
from speechbrain_lmac.evaluation.scoring import Scorer
from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.utils.distributed import shard


class Evaluator:
    """Scores methods on the clips of a condition.

    Arguments
    ---------
    frontend : FrontEnd
        Waveform to the domains of mask and classifier.
    classifier : AudioClassifier
        Frozen.
    decoder : torch.nn.Module
        The trained decoder.
    methods : sequence of str
        Some of :data:`speechbrain_lmac.evaluation.methods.METHODS`.
    protocols : sequence of str
        Some of ``PROTOCOLS``; a method's mask is
        computed once for all.
    curve_steps : int
        Steps of the insertion and deletion curves, whose points and areas are
        then scored, too; 0 leaves them out.
    batch_size : int
        Clips of equal length are explained together; no score depends on it.
    seed : int
        For methods that draw.
    device : str
        Where to compute.
    ad_variant : str
        ``speechbrain`` adds AD as that toolkit computes it.
    decoders : dict of str to torch.nn.Module or None
        Further trained decoders: :data:`speechbrain_lmac.evaluation.methods.
        TRAINED_METHODS` by name.
    attribution : dict of str to dict or None
        Options of attribution methods by name.
    heard : bool
        Whether to score the resynthesised sounds, too.
    """

    def __init__(
        self,
        frontend,
        classifier,
        decoder,
        methods=("lmac", "all_ones", "random", "ideal"),
        protocols=("published",),
        curve_steps=0,
        batch_size=16,
        seed=1234,
        device="cpu",
        ad_variant="definition",
        decoders=None,
        attribution=None,
        heard=True,
    ):
        self.frontend = frontend.to(device)
        self.classifier = classifier.to(device)
        self.decoder = decoder.to(device).eval()
        decoders = {
            name: other.to(device).eval()
            for name, other in (decoders or {}).items()
        }
        self.methods = build_methods(
            methods,
            self.classifier,
            self.frontend,
            decoders,
            attribution,
        )
        check_protocols(protocols)
        self.protocols = list(protocols)
        self.scorer = Scorer(
            self.frontend,
            self.classifier,
            curve_steps,
            ad_variant,
            heard,
        )
        self.batch_size = batch_size
        self.seed = seed
        self.device = device

    @torch.no_grad()
    def evaluate(
        self,
        clips,
        labels,
        contaminated,
        on_scored=None,
        progressbar=True,
        done=None,
        on_batch=None,
        revisit=(),
    ):
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
            for protocol in self.protocols
        }
        lengths = [clip.num_samples for clip in clips]
        batches = list(SameLengthBatchSampler(lengths, self.batch_size))
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
                mask = self.methods[name](batch)
                scored = self.scorer(mask, batch, protocols)
                for protocol, found in scored.items():
                    key = row_key(name, protocol)
                    if batch.ids[0] not in stats[key]:
                        stats[key].append(batch.ids, found.values, owners)
                    for k, clip in enumerate(chosen if on_scored else []):
                        on_scored(key, clip, k, made[k], found)
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

    def _make(self, chosen, labels, contaminated):
        """All that the methods share for a batch, computed once."""
        made = [clip.make() for clip in chosen]
        mixture = Mixture(
            *(
                torch.stack(part).to(self.device)
                for part in zip(*made, strict=True)
            )
        )
        batch = make_batch(
            mixture.mixture,
            [clip.id for clip in chosen],
            self.frontend,
            self.classifier,
            self.decoder,
            self.seed,
        )
        sources = None
        if contaminated:
            sources = tuple(map(self.frontend, mixture[1:]))
        truth = torch.tensor(
            [labels[clip.class_string] for clip in chosen], device=self.device
        )
        return batch._replace(
            sources=sources, mixture=mixture, truth=truth
        ), made


def row_key(method, protocol):
    """Name of a method under a protocol: the method alone if published.

    Example
    -------
    >>> row_key("ig", "published"), row_key("ig", "equal_mean")
    ('ig', 'ig@equal_mean')
    """
    return method if protocol == "published" else f"{method}@{protocol}"


def split_key(key):
    """Method and protocol of a :func:`row_key`.

    Example
    -------
    >>> split_key("ig"), split_key("ig@equal_mean")
    (('ig', 'published'), ('ig', 'equal_mean'))
    """
    method, _, protocol = key.partition("@")
    return method, protocol or "published"
