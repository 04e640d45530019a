"""Training of LMAC-ZS: a decoder that explains a frozen CLAP model.

Source: Paissan, Della Libera, Ravanelli, Subakan, "Listenable Maps for
Zero-Shot Audio Classifiers", NeurIPS 2024 (arXiv 2405.17615).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import speechbrain as sb
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from speechbrain_lmac.training import losses
from speechbrain_lmac.training.clap import (
    MAX_CENTER_TEXTS,
    TextGroups,
    equal_texts,
)
from speechbrain_lmac.training.mixtures import mix_partners
from speechbrain_lmac.training.zero_shot_brain import (
    Scene,
    ZeroShotExplainer,
    choose_prompts,
)
from speechbrain_lmac.utils.checks import UserError

OBJECTIVES = ("published", "prompt_weighted")
_RANGES = {
    **dict.fromkeys(("l_sim_w", "l_in_w", "l_out_w"), (0, math.inf)),
    **dict.fromkeys(("reg_w_l1", "l_div_w", "g_w"), (0, math.inf)),
    **dict.fromkeys(("sparsity_ramp", "mix_prob"), (0, 1)),
    "crosscor_th": (-1, math.inf),  # above 1 nothing is guided
}


def _check_settings(hparams):
    """Refuse settings that would fail, or mean nothing, in some later step."""
    choices = {"objective": OBJECTIVES, "crosscortype": losses.CROSSCOR_TYPES}
    for key, known in choices.items():
        value = getattr(hparams, key)
        if value not in known:
            raise UserError(f"`{key}`: expected one of {known}, got {value!r}.")
    ranges = dict(_RANGES)
    if hparams.pairs_per_chunk is not None:
        ranges["pairs_per_chunk"] = (1, math.inf)
    if hparams.objective == "prompt_weighted":
        # The first two of a mixture's prompts are those of its sources.
        ranges["prompts_per_clip"] = (2 if hparams.finetuning else 1, math.inf)
        ranges["similar_prompts"] = (0, hparams.prompts_per_clip)
        ranges["bank_size"] = (2, math.inf)
        ranges["area_budget"] = (0, 1)
        ranges["area_floor"] = (0, hparams.area_budget)
    for key, (low, high) in ranges.items():
        value = getattr(hparams, key)
        if not isinstance(value, Real) or not low <= value <= high:
            raise UserError(
                f"`{key}`: expected a number from {low} to {high}, got "
                f"{value!r}."
            )
    low, high = hparams.mix_snr
    if low > high:
        raise UserError(f"`mix_snr`: {low} is above {high}; give [low, high].")


class LMACZSBrain(ZeroShotExplainer):
    """Trains the decoder of LMAC-ZS on clips with captions.

    Modules: ``frontend``, ``encoder`` (a frozen CLAP) and ``decoder``, a
    ``TextMaskDecoder``. Hyperparameters besides those of
    :class:`RecipeBrain`: ``objective``, ``l_sim_w``, ``l_in_w``, ``l_out_w``,
    ``reg_w_l1``, ``l_div_w``, ``area_budget``, ``area_floor``,
    ``sparsity_ramp``, ``prompts_per_clip``, ``similar_prompts``,
    ``bank_size``, ``pairs_per_chunk``, ``contamination`` (a
    ``TrainingContamination`` or None), ``finetuning``, ``mix_prob``,
    ``mix_snr``, ``g_w``, ``crosscor_th``, ``crosscortype`` and ``seed``.

    A step compares pairs of a clip and a prompt. With the objective
    ``published`` these are all pairs of the batch's clips and captions, all of
    one weight, and the sparsity holds from the first step on. With
    ``prompt_weighted`` the prompts are captions of the batch and of other
    clips (of each group of texts one, ``bank_size`` in all); of these every
    clip gets the most similar ones and some at random.

    Arguments
    ---------
    groups : TextGroups
        Captions of the training set.
    prompts : sequence of str
        What validation and test classify between.
    templates : sequence of str
        What these prompts are put into.
    *args, **kwargs
        As for :class:`RecipeBrain`.
    """

    def __init__(
        self,
        groups: TextGroups,
        prompts: Sequence[str],
        templates: Sequence[str],
        *args: Any,
        **kwargs: Any,
    ):
        super().__init__(prompts, templates, *args, **kwargs)
        _check_settings(self.hparams)
        self.groups = groups

    def on_fit_start(self) -> None:
        """Recover; a decoder that knows no texts yet is centred on them."""
        super().on_fit_start()
        decoder = self.hparams.modules["decoder"]
        if not decoder.center.any():
            texts = self.groups.texts(MAX_CENTER_TEXTS)
            decoder.center_on(self.modules.encoder.encode_text(texts))

    # ------------------------------------------------------------- a step

    def compute_forward(self, batch: Any, stage: sb.Stage) -> tuple[Any, Any]:
        """Clips and what the encoder makes of them; in training the pairs'."""
        batch = batch.to(self.device)
        wavs = self.modules.frontend.fit_length(batch.sig.data)
        if stage != sb.Stage.TRAIN:
            return wavs, self.scene_of(wavs)
        generator = self.step_generator(stage, batch.id)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(generator.initial_seed())
            scene = self.draw(wavs, batch.captions, generator, batch.id)
        return scene, self.pair_values(scene)

    def draw(
        self,
        wavs: Tensor,
        captions: list[list[str]],
        generator: torch.Generator,
        clip_ids: Any = (),
    ) -> Scene:
        """The scene of a training step: clips, prompts, pairs, sources."""
        hparams, frontend = self.hparams, self.modules.frontend
        groups, sources, partner = self.groups.numbers(captions), None, None
        if hparams.finetuning:
            mixed, partner, known = mix_partners(
                wavs, groups, hparams.mix_prob, hparams.mix_snr, generator
            )
            wavs, *parts = mixed
            sources = torch.stack([frontend(x).view for x in parts], 1)
            # Two sounds of one name cannot be told apart by it.
            sources = sources * known.to(sources)[:, None, None, None]
        elif hparams.contamination is not None:
            wavs, *_ = self.contaminated(
                hparams.contamination, wavs, clip_ids, sb.Stage.TRAIN
            )
        published = hparams.objective == "published"
        if published:
            drawn, own = groups, torch.arange(len(groups))
        else:
            present, own = groups.unique(return_inverse=True)
            drawn = self.groups.draw(hparams.bank_size, present)
        if len(drawn) < 2:
            raise UserError(
                "A step compares prompts and found one only; raise "
                "`batch_size`, or give clips with different captions."
            )
        texts = self.groups.draw_texts(drawn, 1)
        same = equal_texts(texts) | (drawn[:, None] == drawn)
        bank = self.modules.encoder.encode_text(texts)
        scene = self.scene_of(wavs)
        similarity = scene.embedding @ bank.T
        chosen = choose_prompts(
            similarity,
            len(bank) if published else hparams.prompts_per_clip,
            0 if published else hparams.similar_prompts,
            None if partner is None else torch.stack([own, own[partner]], 1),
        )
        same = same.to(bank.device)
        return Scene(*scene[:3], bank, similarity, same, chosen, sources)

    def pair_values(self, scene: Scene) -> tuple[Tensor, ...]:
        """What the objective needs of each pair, computed chunk by chunk.

        Each chunk is computed again in the backward pass, so that only one
        chunk's activations are held; values, those of :meth:`chunk_values`,
        and gradients do not depend on its size.
        """
        pairs = scene.pairs()
        size = self.hparams.pairs_per_chunk or len(pairs[0])
        if size >= len(pairs[0]):
            return self.chunk_values(scene, *pairs)
        options: Any = {"use_reentrant": False, "preserve_rng_state": False}
        values = [
            checkpoint(self.chunk_values, scene, *chunk, **options)
            for chunk in zip(*(x.split(size) for x in pairs), strict=True)
        ]
        return tuple(torch.cat(parts) for parts in zip(*values, strict=True))

    def chunk_values(
        self, scene: Scene, owner: Tensor, prompt: Tensor, slot: Tensor
    ) -> tuple[Tensor, ...]:
        """Mask mean, masked-in and -out embedding, guidance and its gate."""
        mask, encoder = self.masks(scene, owner, prompt), self.modules.encoder
        masked = self.modules.frontend.masked(mask, scene.spectrum.rows(owner))
        masked_in, _ = encoder.embed(masked.masked_in)
        masked_out = masked_in.detach()
        if self.hparams.l_out_w:
            masked_out, _ = encoder.embed(masked.masked_out)
        guidance = self.guidance(scene, mask, owner, slot)
        return self.mask_means(mask), masked_in, masked_out, *guidance

    def guidance(
        self, scene: Scene, mask: Tensor, owner: Tensor, slot: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Guidance by the source that a prompt names, and where it holds.

        The first two prompts of a mixture name its two sources. A pair passes
        the gate when the masked-in view already correlates with the named
        source; it then gets the guidance in place of the sparsity.
        """
        guidance, guided = mask.new_zeros(len(mask)), slot < 0
        rows = (slot < 2).nonzero().squeeze(1)
        if scene.sources is None or not len(rows):
            return guidance, guided
        owner, slot, mask = owner[rows], slot[rows], mask[rows]
        named = scene.sources[owner, slot]
        other = scene.sources[owner, 1 - slot]
        view, frontend = scene.spectrum.view[owner], self.modules.frontend
        correlation = losses.cross_correlation(
            (mask * view).detach(), named, self.hparams.crosscortype
        )
        sound = torch.minimum(named.amax((1, 2)), other.amax((1, 2))) > 1e-6
        residual = losses.source_residual(
            frontend.gains(mask, view)[0],
            *map(frontend.linear, (view, named, other)),
        )
        passed = sound & (correlation >= self.hparams.crosscor_th)
        residual = torch.where(passed, residual, 0.0)
        guidance = guidance.index_copy(0, rows, residual)
        return guidance, guided.index_copy(0, rows, passed)

    # ---------------------------------------------------------- objective

    def compute_objectives(
        self, predictions: tuple[Any, Any], batch: Any, stage: sb.Stage
    ) -> Tensor:
        """The objective; in validation and test the metrics."""
        if stage != sb.Stage.TRAIN:
            return self.measure(*predictions, batch.id)
        return super().compute_objectives(predictions, batch, stage)

    def note_metrics(
        self,
        predictions: tuple[Scene, tuple[Tensor, ...]],
        batch: Any,
        stage: sb.Stage,
    ) -> None:
        """In training: the mean of the masks, and the share that is guided."""
        _, (area, *_, guided) = predictions
        self.add_terms(MM=area.mean(), guided=guided.float().mean())

    def terms(
        self,
        predictions: tuple[Scene, tuple[Tensor, ...]],
        batch: Any,
        stage: sb.Stage,
    ) -> dict[str, Tensor]:
        """The terms of the objective by name, each a scalar."""
        scene, values = predictions
        area, masked_in, masked_out, guidance, guided = values
        owner, prompt, _ = scene.pairs()
        hparams, bank = self.hparams, scene.bank
        scale = self.modules.encoder.logit_scale
        similarity = scene.similarity[owner, prompt]
        after = (masked_in * bank[prompt]).sum(1)
        # The classifier's probability of each prompt of the step.
        weight = (scale * scene.similarity).softmax(1)[owner, prompt]
        published = hparams.objective == "published"
        if published:
            change = losses.similarity_loss(similarity, after)
            excess, terms = area, {}
        else:
            change = losses.similarity_rise_loss(similarity, after, weight)
            excess = losses.area_loss(
                area, weight, hparams.area_budget, hparams.area_floor
            )
            logits = scale * masked_in @ bank.T
            entropy = F.cross_entropy(logits, prompt, reduction="none")
            terms = {"l_in": losses.weighted_mean(entropy, weight)}
        terms["l_sim"] = change.mean()
        terms["l1"] = (excess * ~guided).mean()
        if hparams.l_out_w:
            rest = losses.prompt_mask_out(
                scale * masked_out @ bank.T, prompt, scene.same
            )
            terms["l_out"] = losses.weighted_mean(
                rest, torch.ones_like(weight) if published else weight
            )
        if hparams.l_div_w:
            terms["l_div"] = losses.diversity_loss(
                masked_in.view(*scene.chosen.shape, -1), bank[scene.chosen]
            )
        if scene.sources is not None:
            terms["guidance"] = losses.weighted_mean(guidance, guided.to(area))
        return terms

    def weights(self) -> dict[str, float]:
        """Weight of each term at this step."""
        hparams, ramp = self.hparams, 1.0
        if hparams.sparsity_ramp and hparams.objective != "published":
            ramp = min(1.0, self.progress / hparams.sparsity_ramp)
        return {
            "l_sim": hparams.l_sim_w,
            "l_in": hparams.l_in_w,
            "l_out": hparams.l_out_w,
            "l1": hparams.reg_w_l1 * ramp,
            "l_div": hparams.l_div_w,
            "guidance": hparams.g_w,
        }
