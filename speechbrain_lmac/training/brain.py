"""What the Brains of this package share: schedule, logs, best checkpoint."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.pipelines import same_length_batches
from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.training.resume import TrainedOn
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.distributed import (
    any_of,
    gradients_are_finite,
    summed_batch,
)
from speechbrain_lmac.utils.seeding import derive_seed

logger = get_logger(__name__)

#: What shells report of a process that SIGTERM ended.
EXIT_TERMINATED = 128 + signal.SIGTERM


def cosine_warmup(progress: float, warmup: float = 0.05) -> float:
    """Learning-rate factor: linear warm-up, then a half cosine to zero.

    Arguments
    ---------
    progress : float
        Share of the training that is done, in [0, 1].
    warmup : float
        Share of the training spent warming up.

    Returns
    -------
    float
        In (0, 1].

    Example
    -------
    >>> cosine_warmup(0.05), round(cosine_warmup(1.0), 3)
    (1.0, 0.0)
    """
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    done = (progress - warmup) / (1 - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class RecipeBrain(sb.Brain):
    """Training loop with per-clip statistics and a best checkpoint.

    A subclass writes per-clip values into ``self.stats`` and loss terms into
    :meth:`add_terms`. Hyperparameters read here: ``lr``, ``number_of_epochs``,
    ``valid_interval``, ``ckpt_metric``, ``ckpt_mode``, ``train_logger``,
    ``epoch_counter`` and, optional, ``seed``, ``lr_schedule`` (of the
    training's progress in [0, 1], such as :func:`cosine_warmup`),
    ``lr_annealing`` (a SpeechBrain scheduler that reads the loss) and
    ``tensorboard_train_logger``.

    A run that was interrupted goes on where its newest checkpoint was, to the
    same weights as one that was not: every step draws from a seed of its own.
    SIGTERM saves before it ends the run. Steps without a finite gradient
    change no weight.
    """

    avg_train_loss: float
    steps_per_epoch: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skip_nonfinite_grads = True
        self.bad_loss = self.terminated = False
        self.trained_on, self.draws = TrainedOn(), None
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable(
                "trained_on", self.trained_on, optional_load=True
            )

    # ------------------------------------------------------------ the loop

    def make_dataloader(self, dataset: Any, stage: Any, **kwargs: Any) -> Any:
        """As SpeechBrain's; beside training, batches are of one length.

        So that no score depends on a clip's neighbours. Other data sets than
        :func:`speechbrain_lmac.data.dataio_prep` makes come as they are.
        """
        ours = hasattr(dataset, "fixed_length")
        size = kwargs.pop("batch_size", None) if ours else None
        if size is not None and stage == sb.Stage.TRAIN:
            kwargs["batch_size"] = min(size, max(len(dataset), 1))
        elif size is not None:
            kwargs["batch_sampler"] = same_length_batches(dataset, size)
        loader = super().make_dataloader(dataset, stage, **kwargs)
        if stage == sb.Stage.TRAIN:
            self.steps_per_epoch = len(loader)
            if not self.steps_per_epoch:
                raise UserError(
                    f"The training set of {len(dataset)} clips gives no batch;"
                    " lower `batch_size`, or give more `train_fold_nums`."
                )
        return loader

    def fit(self, epoch_counter: Any, train_set: Any, *args, **kwargs) -> None:
        """As SpeechBrain's; ``train_set`` may be a loader, too."""
        self.train_set = train_set
        if isinstance(train_set, torch.utils.data.DataLoader):
            self.train_set = train_set.dataset
            self.steps_per_epoch = len(train_set)
        self.draws = getattr(self.train_set, "draws", None)
        self.trained_on.clips = getattr(self.train_set, "data", None)
        with _terminations(self):
            super().fit(epoch_counter, train_set, *args, **kwargs)

    def on_fit_start(self) -> None:
        """As SpeechBrain's; says so if all epochs are done."""
        super().on_fit_start()
        counter = self.hparams.epoch_counter
        if counter.current >= counter.limit:
            logger.info(
                "All %d epochs are done: nothing is left to train.",
                counter.limit,
            )

    def fit_batch(self, batch: Any) -> torch.Tensor:
        """As SpeechBrain's; the global generator, too, is the step's own."""
        torch.manual_seed(self.step_seed(sb.Stage.TRAIN, batch.id))
        loss = super().fit_batch(batch)
        # Between two optimiser steps there are gradients that none saves.
        between = self.step % self.grad_accumulation_factor
        if any_of(self.terminated, self.device) and not between:
            self.avg_train_loss = self.update_average(loss, self.avg_train_loss)
            self.checkpointer.save_checkpoint(
                {INTRA_EPOCH_CKPT_FLAG: True}, end_of_epoch=False
            )
            self._end()
        return loss

    def _fit_valid(self, valid_set, epoch, enable):
        """As SpeechBrain's, every ``valid_interval`` epochs and at the end."""
        interval = getattr(self.hparams, "valid_interval", 1)
        last = epoch == self.hparams.number_of_epochs or self.debug
        if valid_set is None or last or epoch % interval == 0:
            super()._fit_valid(valid_set, epoch, enable)
        else:
            self.log(epoch, train_stats=self.train_summary)
            self.save_checkpoint({}, epoch)

    def _end(self):
        logger.warning(
            "Ended by SIGTERM; saved. The same command goes on from here."
        )
        raise SystemExit(EXIT_TERMINATED)

    # ------------------------------------------------- steps and their draws

    def step_seed(self, stage: Any, clip_ids: Sequence[str]) -> int:
        """What a step draws from: the same sounds for a resumed run.

        It depends on the seed, the epoch and the clips alone, in whichever
        process they are; in validation and test not on the epoch, so that all
        validations meet the same sounds.
        """
        train = stage == sb.Stage.TRAIN
        epoch = self.hparams.epoch_counter.current if train else 0
        seed = getattr(self.hparams, "seed", 0)
        return derive_seed(seed, epoch, *clip_ids)

    def step_generator(
        self, stage: Any, clip_ids: Sequence[str]
    ) -> torch.Generator:
        """A generator at :meth:`step_seed`, on CPU."""
        seed = self.step_seed(stage, clip_ids)
        return torch.Generator().manual_seed(seed)

    def contaminated(
        self, contamination: Any, wavs: torch.Tensor, clip_ids: list, stage: Any
    ) -> Any:
        """The ``Mixture`` of clips (batch, samples) with what is added to them.

        In training it is drawn for the batches of all processes together, so
        that it does not depend on their number.
        """
        own = slice(None)
        if stage == sb.Stage.TRAIN:
            wavs, clip_ids, own = summed_batch(wavs, clip_ids)
        generator = self.step_generator(stage, clip_ids)
        mixture = contamination(wavs, generator)
        return type(mixture)(*(part[own] for part in mixture))

    @property
    def progress(self) -> float:
        """Share of the optimisation that is done, in [0, 1]."""
        total = self.steps_per_epoch * self.hparams.number_of_epochs
        return self.optimizer_step * self.grad_accumulation_factor / total

    def on_fit_batch_start(self, batch: Any, should_step: bool) -> None:
        """Set the learning rate of this step."""
        schedule = getattr(self.hparams, "lr_schedule", None)
        if schedule is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.hparams.lr * schedule(self.progress)

    # ------------------------------------------- what is not a finite number

    def check_loss_isfinite(self, loss: torch.Tensor) -> None:
        """As SpeechBrain's, which counts losses that are not finite."""
        if not torch.isfinite(loss):
            self.bad_loss = True
            self._count_bad("loss")

    def check_gradients(self) -> None:
        """As SpeechBrain's, for the step as a whole, of all processes."""
        trained = self.optimizer.param_groups[0]["params"]
        bad_loss, self.bad_loss = self.bad_loss, False
        if bad_loss or not gradients_are_finite(trained):
            self.zero_grad(set_to_none=True)
            if not bad_loss:
                self._count_bad("gradient")

    def _count_bad(self, what):
        self.nonfinite_count += 1
        epoch = self.hparams.epoch_counter.current
        where = f"The {what} is not finite in step {self.step} of epoch {epoch}"
        if self.nonfinite_count > self.nonfinite_patience:
            raise UserError(
                f"{where}, the {self.nonfinite_count}th such step: training "
                "stops, the last checkpoint is kept. Lower `lr`, or look for "
                "broken clips; --nonfinite_patience allows more such steps."
            )
        logger.warning("%s: it changes no weight.", where)

    def update_average(self, loss: torch.Tensor, avg_loss: float) -> float:
        """As SpeechBrain's; a validation's loss is NaN if a part of it is.

        Left out, it would make the loss of a broken network the best one.
        """
        if self.modules.training or torch.isfinite(loss):
            return super().update_average(loss, avg_loss)
        return float("nan")

    # ---------------------------------------------------- stages and metrics

    def on_stage_start(self, stage: Any, epoch: Any = None) -> None:
        """Forget the last stage's statistics."""
        self.stats = ClipStats()
        self.term_values: dict[str, list] = defaultdict(list)
        self.stage_start = time.monotonic()
        if stage == sb.Stage.TRAIN and self.draws is not None:
            self.draws.epoch = epoch

    def add_terms(self, **terms: torch.Tensor | float) -> None:
        """Note the loss terms of a batch (scalars; no synchronisation)."""
        for name, value in terms.items():
            self.term_values[name].append(torch.as_tensor(value).detach())

    def stage_summary(self, stage_loss: float) -> dict[str, float]:
        """Plain floats: the loss, its terms, the metrics, the seconds."""
        summary = {"loss": float(stage_loss)}
        for name, values in self.term_values.items():
            summary[name] = float(torch.stack(values).float().mean())
        summary.update(self.stats.means())
        summary["seconds"] = time.monotonic() - self.stage_start
        return summary

    def on_stage_end(
        self, stage: Any, stage_loss: float, epoch: Any = None
    ) -> None:
        """Log the stage; after validation, keep the best checkpoint."""
        summary = self.stage_summary(stage_loss)
        if stage == sb.Stage.TRAIN:
            self.train_summary = summary
        elif stage == sb.Stage.VALID:
            self.on_validated(summary, epoch)
            self.log(epoch, train_stats=self.train_summary, valid_stats=summary)
            self.save_checkpoint(summary, epoch)
        else:
            self.test_summary = summary
            self.log(self.hparams.epoch_counter.current, test_stats=summary)

    def on_validated(self, summary: dict[str, float], epoch: int) -> None:
        """Adapt what follows the validation; adds to ``summary``."""
        annealing = getattr(self.hparams, "lr_annealing", None)
        if annealing is not None:
            _, new_lr = annealing([self.optimizer], epoch, summary["loss"])
            sb.nnet.schedulers.update_learning_rate(self.optimizer, new_lr)

    def log(self, epoch: int, **stats: Mapping[str, float]) -> None:
        """Write a line to the train log, and to TensorBoard on request."""
        meta = {"epoch": epoch}
        if self.optimizers_dict is not None:
            meta["lr"] = self.optimizer.param_groups[0]["lr"]
        self.hparams.train_logger.log_stats(meta, **stats)
        board = getattr(self.hparams, "tensorboard_train_logger", None)
        if board is not None:
            board.log_stats(meta, **stats)

    def save_checkpoint(self, summary: Mapping[str, float], epoch: int) -> None:
        """Save, and keep the newest and the best by ``ckpt_metric``.

        ``summary`` is that of the validation; empty for an epoch without one.
        """
        metric, mode = self.hparams.ckpt_metric, self.hparams.ckpt_mode
        if summary and metric not in summary:
            raise UserError(
                f"`ckpt_metric` is {metric!r}, which no validation writes; "
                f"expected one of {', '.join(sorted(summary))}."
            )
        meta = {name: float(value) for name, value in summary.items()}
        keys = {f"{mode}_keys": [metric], "importance_keys": []}
        self.checkpointer.save_and_keep_only(
            meta={**meta, "epoch": epoch}, verbosity=logging.DEBUG, **keys
        )
        if any_of(self.terminated, self.device):
            self._end()

    def evaluate_best(
        self, test_set: Any, loader_kwargs: Mapping[str, Any]
    ) -> dict[str, float]:
        """Test the best checkpoint; returns its metrics as plain floats."""
        mode = self.hparams.ckpt_mode
        self.evaluate(
            test_set,
            **{f"{mode}_key": self.hparams.ckpt_metric},
            test_loader_kwargs=dict(loader_kwargs),
        )
        # With --test_only nothing was saved: keep what was tested. Saving is
        # collective, so that the main process decides for all.
        nothing = self.checkpointer.find_checkpoint() is None
        if sb.utils.distributed.ddp_broadcast(nothing):
            self.save_checkpoint(self.test_summary, epoch=0)
        return self.test_summary


@contextmanager
def _terminations(brain: RecipeBrain) -> Iterator[None]:
    """Note SIGTERM, as pre-emption sends it, in place of ending at once."""

    def note(signum, frame):
        # First: a log call may fail here, in the middle of another one.
        brain.terminated = True
        logger.warning("SIGTERM: saving, then ending")

    # Handlers belong to the main thread; others are not asked to end.
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, note) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
