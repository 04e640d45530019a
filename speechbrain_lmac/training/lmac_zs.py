"""Training of LMAC-ZS: a decoder that explains a frozen CLAP model.

Source: Paissan, Della Libera, Ravanelli, Subakan, "Listenable Maps for
Zero-Shot Audio Classifiers", NeurIPS 2024 (arXiv 2405.17615).

Authors
 * The speechbrain_lmac authors 2026
"""

import speechbrain as sb
import torch
from torch.utils.checkpoint import checkpoint

from speechbrain_lmac.training import losses, losses_zs
from speechbrain_lmac.training.clap import MAX_CENTER_TEXTS, equal_texts
from speechbrain_lmac.training.zero_shot_brain import ZeroShotExplainer
from speechbrain_lmac.training.zs_batches import (
    choose_prompts,
    mix_pairs,
)
from speechbrain_lmac.training.zs_settings import check_zs_settings
from speechbrain_lmac.utils.checks import UserError


class LMACZSBrain(ZeroShotExplainer):
    """Trains the decoder of LMAC-ZS on clips with captions.

    Modules: ``frontend``, ``encoder`` (a frozen CLAP) and ``decoder``, a
    ``TextMaskDecoder``. Hyperparameters besides those of
    :class:`RecipeBrain`: ``objective``, ``l_sim_w``, ``l_in_w``, ``l_out_w``,
    ``reg_w_l1``, ``l_div_w``, ``area_budget``, ``area_floor``,
    ``sparsity_ramp``,
    ``prompts_per_clip``, ``similar_prompts``, ``bank_size``,
    ``pairs_per_chunk``, ``contamination`` (a
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

    def __init__(self, groups, prompts, templates, *args, **kwargs):
        super().__init__(prompts, templates, *args, **kwargs)
        check_zs_settings(self.hparams)
        self.groups = groups

    def on_fit_start(self):
        """Recover; a decoder that knows no texts yet is centred on them."""
        super().on_fit_start()
        decoder = self.hparams.modules["decoder"]
        if not decoder.center.any():
            texts = self.groups.texts(MAX_CENTER_TEXTS)
            decoder.center_on(self.modules.encoder.encode_text(texts))

    # ------------------------------------------------------------- a step

    def compute_forward(self, batch, stage):
        """Clips and what the encoder says of them; in training the pairs'."""
        batch = batch.to(self.device)
        wavs = self.modules.frontend.fit_length(batch.sig.data)
        if stage != sb.Stage.TRAIN:
            return wavs, self.scene_of(wavs)
        generator = self.step_generator(stage, batch.id)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(generator.initial_seed())
            scene = self.draw(wavs, batch.captions, generator, batch.id)
        return scene, self.pair_values(scene)

    def draw(self, wavs, captions, generator, clip_ids=()):
        """The scene of a training step: clips, prompts, pairs, sources."""
        hparams, sources, partner = self.hparams, None, None
        published = hparams.objective == "published"
        groups = self.groups.numbers(captions)
        if hparams.finetuning:
            mixed, partner, known = mix_pairs(
                wavs, groups, hparams.mix_prob, hparams.mix_snr, generator
            )
            wavs = mixed.mixture
            frontend = self.modules.frontend
            views = [frontend(x).view for x in (mixed.target, mixed.interferer)]
            sources = torch.stack(views, 1)
            # Two sounds of one name cannot be told apart by it.
            sources = sources * known.to(sources)[:, None, None, None]
        elif hparams.contamination is not None:
            wavs = self.contaminated(
                hparams.contamination, wavs, clip_ids, sb.Stage.TRAIN
            ).mixture
        if published:
            drawn, own = groups, torch.arange(len(groups))
        else:
            present, own = groups.unique(return_inverse=True)
            drawn = self.groups.draw(hparams.bank_size, present)
        if len(drawn) < 2:
            raise UserError(
                "A step compares prompts and found one only: expected clips "
                "with different captions; raise `batch_size` (objective "
                "published) or give more clips."
            )
        texts = self.groups.draw_texts(drawn, 1)
        same = equal_texts(texts) | (drawn[:, None] == drawn)
        bank = self.modules.encoder.encode_text(texts)
        scene = self.scene_of(wavs)
        similarity = scene.embedding @ bank.T
        always = (
            None if partner is None else torch.stack([own, own[partner]], 1)
        )
        chosen = choose_prompts(
            similarity,
            len(bank) if published else hparams.prompts_per_clip,
            0 if published else hparams.similar_prompts,
            always,
        )
        return scene._replace(
            bank=bank,
            similarity=similarity,
            same=same.to(bank.device),
            chosen=chosen,
            sources=sources,
        )

    def pair_values(self, scene):
        """What the objective needs of each pair, computed chunk by chunk.

        Each chunk is computed again in the backward pass, so that only one
        chunk's activations are held; values and gradients do not depend on
        its size.

        Returns
        -------
        tuple of torch.Tensor
            As of :meth:`chunk_values`, each (clips * prompts, ...).
        """
        owner, prompt, slot = scene.pairs()
        size = self.hparams.pairs_per_chunk or len(owner)
        chunks = zip(
            owner.split(size), prompt.split(size), slot.split(size), strict=True
        )
        if size >= len(owner):
            return self.chunk_values(scene, owner, prompt, slot)
        values = [
            checkpoint(
                self.chunk_values,
                scene,
                *chunk,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for chunk in chunks
        ]
        return tuple(torch.cat(parts) for parts in zip(*values, strict=True))

    def chunk_values(self, scene, owner, prompt, slot):
        """Values of some pairs.

        Returns
        -------
        tuple of torch.Tensor
            Mean of the mask, embedding of the masked-in and of the masked-out
            clip, guidance, and whether it holds (bool).
        """
        mask = self.masks(scene, owner, prompt)
        masked = self.modules.frontend.masked(mask, scene.spectrum.rows(owner))
        encoder = self.modules.encoder
        masked_in, _ = encoder.embed(masked.masked_in)
        masked_out = masked_in.detach()
        if self.hparams.l_out_w:
            masked_out, _ = encoder.embed(masked.masked_out)
        guidance, guided = self.guidance(scene, mask, owner, slot)
        area = self.mask_means(mask)
        return area, masked_in, masked_out, guidance, guided

    def guidance(self, scene, mask, owner, slot):
        """Guidance by the source that a prompt names, and where it holds.

        The first two prompts of a mixture name its two sources. A pair passes
        the gate when the masked-in spectrogram already correlates with the
        named source; it then gets the guidance in place of the sparsity.
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
        residual = losses_zs.source_residual(
            frontend.gains(mask, view)[0],
            *map(frontend.linear, (view, named, other)),
        )
        passed = sound & (correlation >= self.hparams.crosscor_th)
        residual = torch.where(passed, residual, 0.0)
        return guidance.index_copy(0, rows, residual), guided.index_copy(
            0, rows, passed
        )

    # ---------------------------------------------------------- objective

    def compute_objectives(self, predictions, batch, stage):
        """The objective; in validation and test the metrics."""
        if stage != sb.Stage.TRAIN:
            return self.measure(*predictions, batch.id)
        terms = self.terms(predictions, batch, stage)
        _, (area, *_, guided) = predictions
        self.add_terms(**terms, MM=area.mean(), guided=guided.float().mean())
        weights = self.weights()
        return sum(weights[name] * value for name, value in terms.items())

    def terms(self, predictions, batch, stage):
        """The terms of the objective by name, each a scalar."""
        scene, values = predictions
        area, masked_in, masked_out, guidance, guided = values
        owner, prompt, _ = scene.pairs()
        hparams, bank = self.hparams, scene.bank
        scale = self.modules.encoder.logit_scale
        similarity = scene.similarity[owner, prompt]
        after = (masked_in * bank[prompt]).sum(1)
        weight = (scale * scene.similarity).softmax(1)[owner, prompt]
        published = hparams.objective == "published"
        if published:
            change = losses_zs.similarity_loss(similarity, after)
            excess, terms = area, {}
        else:
            change = losses_zs.similarity_rise_loss(similarity, after, weight)
            excess = losses_zs.area_loss(
                area, weight, hparams.area_budget, hparams.area_floor
            )
            entropy = losses_zs.prompt_cross_entropy(
                scale * masked_in @ bank.T, prompt
            )
            terms = {"l_in": losses_zs.weighted_mean(entropy, weight)}
        terms["l_sim"] = change.mean()
        terms["l1"] = (excess * ~guided).mean()
        if hparams.l_out_w:
            rest = losses_zs.prompt_mask_out(
                scale * masked_out @ bank.T, prompt, scene.same
            )
            terms["l_out"] = losses_zs.weighted_mean(
                rest, torch.ones_like(weight) if published else weight
            )
        if hparams.l_div_w:
            terms["l_div"] = losses_zs.diversity_loss(
                masked_in.view(*scene.chosen.shape, -1), bank[scene.chosen]
            )
        if scene.sources is not None:
            terms["guidance"] = losses_zs.weighted_mean(
                guidance, guided.to(area)
            )
        return terms

    def weights(self):
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
