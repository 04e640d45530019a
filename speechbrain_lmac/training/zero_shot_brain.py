"""What explains the prompts of a CLAP model while training, and measures it.

Authors
 * The speechbrain_lmac authors 2026
"""

import math

import torch

from speechbrain_lmac.classifiers.base import ClassifierOutput
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.data.mixtures import mix_at_snr
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.metrics import explanation_metrics
from speechbrain_lmac.metrics.separation import energy_kept, si_sdr_gain
from speechbrain_lmac.metrics.similarity import rank_correlation
from speechbrain_lmac.training import losses
from speechbrain_lmac.training.brain import RecipeBrain
from speechbrain_lmac.training.lmac import quality
from speechbrain_lmac.training.zs_batches import Scene

#: A mask of a present prompt below this mean says nothing.
DEAD_MEAN = 0.02


class ZeroShotExplainer(RecipeBrain):
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

    def __init__(self, prompts, templates, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Before the first epoch: a prompt may be refused.
        self.classifier = ZeroShotClassifier(
            self.modules.encoder, prompts, templates
        ).to(self.device)

    def on_stage_start(self, stage, epoch=None):
        """Forget the last stage's masks."""
        super().on_stage_start(stage, epoch)
        self.areas, self.similarities = [], []

    def scene_of(self, wavs):
        """What front end and encoder make of some clips."""
        frontend = self.modules.frontend
        with torch.no_grad():
            spectrum = frontend(wavs)
            features = frontend.classifier_input(spectrum.view, spectrum)
            embedding, hidden = self.modules.encoder.embed(features)
        return Scene(spectrum, embedding, hidden)

    def masks(self, scene, owner, prompt):
        """Masks of some pairs, (pairs, frames, bins)."""
        # The pairs are sorted by clip: only these clips' maps are needed.
        low, high = int(owner[0]), int(owner[-1]) + 1
        logits = self.modules.decoder(
            [h[low:high] for h in scene.hidden],
            scene.spectrum.view.shape[1],
            scene.bank[prompt],
            scene.similarity[owner, prompt],
            owner - low,
        )
        return torch.sigmoid(logits.to(scene.spectrum.view.dtype))

    def mask_means(self, mask):
        """Mean of each mask over the bins that the encoder hears."""
        return losses.sparsity_loss(
            heard_part(mask, self.modules.frontend.heard)
        )

    @torch.no_grad()
    def measure(self, wavs, scene, ids):
        """Metrics of clips for their decided prompts, and of all pairs."""
        classifier, frontend = self.classifier, self.modules.frontend
        logits = classifier.encoder.logit_scale * (
            scene.embedding @ classifier.text_embeddings.T
        )
        output = ClassifierOutput(logits, scene.embedding, scene.hidden)
        decided = classifier.decide(output)
        mask = self.decided_masks(scene, decided)
        masked = frontend.masked(mask, scene.spectrum)
        outputs = (output, *map(classifier, masked))
        metrics = explanation_metrics(
            *map(classifier.probabilities, outputs),
            heard_part(mask, frontend.heard),
            decided,
        )
        self.stats.append(
            ids,
            {
                **metrics,
                **self.measure_prompts(scene, decided),
                **self.measure_mixtures(wavs, decided),
            },
        )
        return classifier.evidence_loss(outputs[1].logits, decided)

    def decided_masks(self, scene, decided):
        """Masks of clips for one prompt each, (clips, frames, bins)."""
        bank = self.classifier.text_embeddings
        scene = scene._replace(bank=bank, similarity=scene.embedding @ bank.T)
        clips = torch.arange(len(decided), device=decided.device)
        return self.masks(scene, clips, decided)

    def measure_prompts(self, scene, decided):
        """Mask means of every clip under every prompt."""
        bank = self.classifier.text_embeddings
        clips, count = len(decided), len(bank)
        scene = scene._replace(
            bank=bank,
            similarity=scene.embedding @ bank.T,
            chosen=torch.arange(count, device=bank.device).expand(clips, -1),
        )
        owner, prompt, _ = scene.pairs()
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
            "dead": (right < DEAD_MEAN).float(),
        }

    def measure_mixtures(self, wavs, decided):
        """Which source the masks of 0 dB mixtures keep; if fine-tuning.

        Every clip is mixed with another one of the batch, and named by the
        prompt that was decided on it alone; NaN if both have the same.
        """
        if not self.hparams.finetuning:
            return {}
        frontend, shift = self.modules.frontend, len(wavs) // 2
        mixed = mix_at_snr(wavs, wavs.roll(shift, 0), 0.0)
        scene = self.scene_of(mixed.mixture)
        mask, spectrum = self.decided_masks(scene, decided), scene.spectrum
        gain = frontend.gains(mask, spectrum.view)[0]
        named, other = (
            energy_kept(gain, frontend.linear(frontend(x).view).square())
            for x in mixed[1:]
        )
        undefined = decided == decided.roll(shift)
        values = {"named wins": (named > other).float()}
        if frontend.listenable:
            values["SI-SDR gain"] = si_sdr_gain(
                frontend.listen(mask, spectrum, wavs.shape[1]),
                mixed.mixture,
                mixed.target,
            )
        return {
            name: torch.where(undefined | ~value.isfinite(), torch.nan, value)
            for name, value in values.items()
        }

    def stage_summary(self, stage_loss):
        """As the base's, with the quality that ranks checkpoints."""
        summary = super().stage_summary(stage_loss)
        if "Fid-In" in summary:
            areas, similarities = map(
                torch.cat, (self.areas, self.similarities)
            )
            summary["spearman"] = rank_correlation(areas, similarities)
            summary["quality"] = zero_shot_quality(summary)
        return summary


def zero_shot_quality(metrics):
    """One number to rank checkpoints by: faithful and following the prompt.

    The mean of eight scores: the five of
    :func:`speechbrain_lmac.training.lmac.quality`, the rank correlation of mask
    mean and similarity, one minus the ratio of the masks of absent prompts to
    those of decided ones, and the share of masks that are alive; in the
    fine-tuning stage also how often the named source of a mixture wins.

    Arguments
    ---------
    metrics : dict
        Means of the validation.

    Returns
    -------
    float
        Higher is better; at most 1.

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
