"""Contrastive training of the small CLAP on captioned (or labelled) sounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.utils.logger import get_logger
from torch import Tensor

from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
from speechbrain_lmac.classifiers.zero_shot.words import hashed
from speechbrain_lmac.data.captions.prompts import prompt_table
from speechbrain_lmac.training.classifier import ClassifierBrain
from speechbrain_lmac.training.losses import multi_positive_infonce

logger = get_logger(__name__)

# Groups of a step of the text-only warm-up, and texts of each.
_WARMUP_GROUPS, _WARMUP_TEXTS = 32, 4
# Texts that the centre is computed from; more would not move it.
MAX_CENTER_TEXTS = 4096


class TextGroups:
    """Texts that say the same: the captions of a clip, the names of a class.

    Arguments
    ---------
    captions : iterable of sequence of str
        Of each clip; equal lists make one group.

    Attributes
    ----------
    groups : list of tuple of str
        In the order of their first clips.

    Example
    -------
    >>> groups = TextGroups([["a dog", "barks"], ["rain"], ["a dog", "barks"]])
    >>> groups.groups, groups.numbers([["rain"]]).tolist()
    ([('a dog', 'barks'), ('rain',)], [1])
    """

    def __init__(self, captions: Iterable[Sequence[str]]):
        self.groups = list(dict.fromkeys(map(tuple, captions)))
        self._number = {group: k for k, group in enumerate(self.groups)}

    @classmethod
    def of(cls, dataset: Any) -> TextGroups:
        """Those of a data set of clips with captions."""
        clips = (dataset.data[clip] for clip in dataset.data_ids)
        return cls(clip["captions"] for clip in clips)

    def __len__(self) -> int:
        return len(self.groups)

    def texts(self, limit: int | None = None) -> list[str]:
        """All texts, once each; at most about ``limit``, evenly spread."""
        texts = list(dict.fromkeys(t for group in self.groups for t in group))
        return texts[:: -(-len(texts) // limit)] if limit else texts

    def numbers(self, captions: Iterable[Sequence[str]]) -> Tensor:
        """Number of the group of each clip of a batch, int64 (clips,)."""
        return torch.tensor([self._number[tuple(c)] for c in captions])

    def draw(self, count: int, always: Any = ()) -> Tensor:
        """Different numbers of ``count`` groups, at random; some come first."""
        order = torch.randperm(len(self.groups))
        chosen = torch.as_tensor(always, dtype=torch.long)
        others = order[~torch.isin(order, chosen)]
        return torch.cat([chosen, others[: max(0, count - len(chosen))]])

    def draw_texts(self, numbers: Tensor, count: int) -> list[str]:
        """``count`` texts of each group, at random; none twice if it can be."""
        texts = []
        for number in numbers.tolist():
            group = self.groups[number]
            rounds = -(-count // len(group))
            order = [torch.randperm(len(group)) for _ in range(rounds)]
            texts += [group[k] for k in torch.cat(order)[:count].tolist()]
        return texts


def equal_texts(texts: list[str]) -> Tensor:
    """Which of some texts are the same, bool (texts, texts).

    >>> equal_texts(["rain", "a dog", "rain"])[0].tolist()
    [True, False, True]
    """
    first = torch.tensor([texts.index(text) for text in texts])
    return first[:, None] == first


def held_out_prompts(classes: Sequence[str]) -> dict[str, list[list[str]]]:
    """Prompts of classes that training does not see, for :class:`ClapBrain`.

    Arguments
    ---------
    classes : sequence of str
        Their names, in the order of the groups.

    Returns
    -------
    dict of str to list of list of str
        ``template``: the classes' names in each of the held-out templates.
        ``paraphrase``: the first held-out wording of each class, then the
        second, ...; a class with fewer than another begins anew.

    Example
    -------
    >>> prompts = held_out_prompts(["dog", "rain"])
    >>> prompts["template"][0]
    ['this is a sound of dog', 'this is a sound of rain']
    >>> prompts["paraphrase"][1]
    ['the bark of a dog', 'raindrops pattering']
    """
    found = {}
    for name, which in (("template", "held_out"), ("paraphrase",) * 2):
        prompts = prompt_table(classes, which).values()
        rounds = range(max(map(len, prompts)))
        found[name] = [[p[k % len(p)] for p in prompts] for k in rounds]
    return found


class ClapBrain(ClassifierBrain):
    """Trains a ``SmallClap`` by multi-positive InfoNCE, as soft labels allow.

    Modules: ``frontend``, ``clap`` and ``average``, a second one of the same
    shape that holds the moving average of the weights. Hyperparameters
    besides those of :class:`ClassifierBrain` (``out_n_neurons`` excepted):
    ``groups_per_step`` and ``texts_per_group`` of a training step,
    ``warmup_steps`` and ``warmup_lr`` of the text-only start.

    Before sounds come in, texts alone are trained for seconds: those of one
    group near to each other, those of others far. So the sounds do not pull at
    texts that are still scattered.

    Validation and test measure zero-shot accuracy: a clip is right if of all
    groups of texts its own is nearest. For labels that is the class, by the
    ensemble of its training prompts; for captions the clip itself.

    Arguments
    ---------
    groups : TextGroups
        Of the training set.
    prompt_sets : dict of str to list of list of str
        More prompts for the test: by name, one or several lists of one prompt
        per group. Their accuracy, the mean over the lists, is measured, too.
    *args, **kwargs
        As for :class:`RecipeBrain`.
    """

    trained = "clap"
    # Its prompts compete with whatever else a user asks for.
    max_unknown: float | None = None

    def __init__(
        self,
        groups: TextGroups,
        prompt_sets: Mapping[str, list[list[str]]],
        *args: Any,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.groups = self.heard = groups
        self.prompt_sets = prompt_sets
        self.compared: dict[Any, TextGroups] = {}

    def on_fit_start(self) -> None:
        """Recover; a fresh start learns the words, and texts alone."""
        super().on_fit_start()
        if not self.optimizer_step:
            clap: Any = self.average.module
            clap.learn_words(self.groups.texts())
            steps, lr = self.hparams.warmup_steps, self.hparams.warmup_lr
            warm_up_texts(clap, self.groups, steps, lr, self.hparams.seed)
            self.average.reset()

    def make_dataloader(self, dataset: Any, stage: Any, **kwargs: Any) -> Any:
        """As the base's; notes the texts of the stage.

        The training groups, if they hold these: all classes compete.
        """
        groups = TextGroups.of(dataset)
        known = set(groups.groups) <= set(self.groups.groups)
        self.compared[stage] = self.groups if known else groups
        return super().make_dataloader(dataset, stage, **kwargs)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Embed the texts that the clips of the stage are compared with."""
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.TRAIN:
            return
        self.heard = self.compared[stage]
        if stage == sb.Stage.VALID:
            texts = self.groups.texts(MAX_CENTER_TEXTS)
            self.modules.average.center_on(texts)
        self.banks = {"": [self._bank(self.heard.groups)]}
        if stage == sb.Stage.TEST and self.heard is self.groups:
            for name, prompts in self.prompt_sets.items():
                banks = (self._bank([[p] for p in one]) for one in prompts)
                self.banks[name] = list(banks)

    def _bank(self, groups):
        """Mean embedding of each group, L2-normalised, (groups, dim)."""
        texts = [text for group in groups for text in group]
        sizes = [len(group) for group in groups]
        embeddings = self.modules.average.encode_text(texts).split(sizes)
        return F.normalize(torch.stack([e.mean(0) for e in embeddings]), dim=1)

    def compute_forward(
        self, batch: Any, stage: sb.Stage
    ) -> tuple[Tensor, ...]:
        """Embeddings, what belongs together and the scale; or logits."""
        batch = batch.to(self.device)
        wavs = batch.sig.data
        if stage != sb.Stage.TRAIN:
            target = self.heard.numbers(batch.captions).to(self.device)
            labels = F.one_hot(target, len(self.heard)).float()
            features, labels = self.augmented(wavs, labels, stage)
            audio, _ = self.modules.average.embed(features)
            return audio, labels
        present, target = self.groups.numbers(batch.captions).unique(
            return_inverse=True
        )
        drawn = self.groups.draw(self.hparams.groups_per_step, present)
        count = self.hparams.texts_per_group
        texts = self.groups.draw_texts(drawn, count)
        labels = F.one_hot(target.to(self.device), len(drawn)).float()
        features, labels = self.augmented(wavs, labels, stage)
        # A text of several groups belongs to the clips of each of them.
        same = labels.repeat_interleave(count, 1)
        same = (same[:, :, None] * equal_texts(texts).to(same)).amax(1)
        words, grams = hashed(texts, self.device)
        return (*self.modules.clap(features, words, grams), same)

    def compute_objectives(
        self, predictions: tuple[Tensor, ...], batch: Any, stage: sb.Stage
    ) -> Tensor:
        """InfoNCE in training; cross-entropy and accuracy elsewhere."""
        if stage == sb.Stage.TRAIN:
            audio, text, scale, same = predictions
            self.add_terms(scale=scale)
            return multi_positive_infonce(audio, text, same, scale)
        audio, labels = predictions
        target = labels.argmax(1)
        stats = {}
        for name, banks in self.banks.items():
            logits = [self._logits(audio, bank) for bank in banks]
            correct = torch.stack([x.argmax(1) == target for x in logits])
            stats[f"{name}_accuracy".lstrip("_")] = correct.float().mean(0)
        logits = self._logits(audio, self.banks[""][0])
        stats["confidence"] = logits.softmax(1).amax(1)
        self.stats.append(batch.id, stats)
        return F.cross_entropy(logits, labels)

    def probabilities(self, features: Tensor) -> Tensor:
        """Of the groups, (lists of prompts, batch, groups)."""
        audio, _ = self.modules.average.embed(features)
        banks = [bank for some in self.banks.values() for bank in some]
        logits = torch.stack([self._logits(audio, bank) for bank in banks])
        return logits.softmax(-1)

    def _logits(self, audio, bank):
        return self.modules.average.logit_scale * audio @ bank.T


def warm_up_texts(
    clap: SmallClap, groups: TextGroups, steps: int, lr: float, seed: int
) -> float:
    """Train the text tower alone to tell groups of texts apart.

    Some steps of Adam, whose rate falls to zero, the same in every process.
    Returns the last step's loss; NaN without steps.
    """
    loss = torch.tensor(torch.nan)
    optimizer = torch.optim.AdamW(clap.text.parameters(), lr, weight_decay=0.01)
    device = clap.center.device
    was_training = clap.training
    clap.train()
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        for step in range(steps):
            for options in optimizer.param_groups:
                options["lr"] = lr * (1 - step / steps)
            drawn = groups.draw(_WARMUP_GROUPS)
            texts = groups.draw_texts(drawn, _WARMUP_TEXTS)
            text = clap.embed_hashed(*hashed(texts, device))
            group = torch.arange(len(drawn)).repeat_interleave(_WARMUP_TEXTS)
            same = (group[:, None] == group) | equal_texts(texts)
            # Even against odd: no text is compared with itself.
            same = same[::2, 1::2]
            scale = clap.logit_scale.detach()
            loss = multi_positive_infonce(
                text[::2], text[1::2], same.to(device), scale
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    clap.train(was_training)
    last = float(loss.detach())
    logger.info("Text-only warm-up: loss %.3f after %d steps", last, steps)
    return last
