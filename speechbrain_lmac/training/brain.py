"""What the Brains of this package share: schedule, logs, best checkpoint.

Authors
 * The speechbrain_lmac authors 2026
"""

import math
import time
from collections import defaultdict

import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import DEFAULT_SAVE_HOOKS, get_default_hook
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.training.finite import FiniteSteps
from speechbrain_lmac.training.resume import History, RandomStates
from speechbrain_lmac.training.termination import EXIT_TERMINATED, terminations
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.distributed import any_of, summed_batch
from speechbrain_lmac.utils.seeding import derive_seed

logger = get_logger(__name__)


def cosine_warmup(progress, warmup=0.05):
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


class RecipeBrain(FiniteSteps, sb.Brain):
    """Training loop with per-clip statistics and a best checkpoint.

    A subclass writes per-clip values into ``self.stats`` and loss terms into
    :meth:`add_terms`. Hyperparameters read here: ``lr``, ``number_of_epochs``,
    ``valid_interval``, ``ckpt_metric``, ``ckpt_mode``, ``train_logger``,
    ``epoch_counter`` and, optional, ``seed``, ``lr_schedule`` (of the
    training's progress in [0, 1], such as :func:`cosine_warmup`),
    ``lr_annealing`` (a SpeechBrain scheduler that reads the loss) and
    ``tensorboard_train_logger``.

    A run that was interrupted goes on where its newest checkpoint was, to the
    same weights as one that was not: every step draws from a seed of its own,
    and all that changes from step to step is part of the checkpoint. SIGTERM
    saves before it ends the run.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.debug and self.checkpointer is not None:
            # Each process makes a temporary folder of its own in debug mode;
            # saving and deleting are collective and must agree on one.
            folder = sb.utils.distributed.ddp_broadcast(
                self.checkpointer.checkpoints_dir
            )
            self.checkpointer.checkpoints_dir = folder
        self.history = History()
        self.draws = None
        self.terminated = False
        if self.checkpointer is not None:
            self.add_recoverables()

    def add_recoverables(self):
        """All that a resumed run needs besides the recipe's own list."""
        known = {"random": RandomStates(), "history": self.history}
        for name in ("lr_annealing", "sparsity"):
            value = getattr(self.hparams, name, None)
            if get_default_hook(value, DEFAULT_SAVE_HOOKS) is not None:
                known[name] = value
        for name, value in known.items():
            if name not in self.checkpointer.recoverables:
                self.checkpointer.add_recoverable(
                    name, value, optional_load=True
                )

    def make_dataloader(self, dataset, stage, **kwargs):
        """As SpeechBrain's; notes how many steps an epoch has."""
        loader = super().make_dataloader(dataset, stage, **kwargs)
        if stage == sb.Stage.TRAIN:
            self.steps_per_epoch = len(loader)
            if not self.steps_per_epoch:
                raise UserError(
                    "The training set gives no batch: it holds "
                    f"{len(dataset)} clips; lower `batch_size` or give more "
                    "folds in `train_fold_nums`."
                )
        return loader

    def fit(self, epoch_counter, train_set, *args, **kwargs):
        """As SpeechBrain's; a loader that is given is measured, too."""
        loader = isinstance(train_set, torch.utils.data.DataLoader)
        if loader:
            self.steps_per_epoch = len(train_set)
        clips = train_set.dataset if loader else train_set
        self.draws = getattr(clips, "draws", None)
        with terminations(self):
            return super().fit(epoch_counter, train_set, *args, **kwargs)

    def step_seed(self, stage, clip_ids):
        """What a step draws from: the same sounds for a resumed run.

        It depends on the seed, the epoch and the clips alone, in whichever
        process they are; in validation and test not on the epoch, so that all
        validations meet the same sounds.

        Arguments
        ---------
        stage : speechbrain.Stage
            Training, validation or test.
        clip_ids : list of str
            The batch.

        Returns
        -------
        int
        """
        train = stage == sb.Stage.TRAIN
        epoch = self.hparams.epoch_counter.current if train else 0
        seed = getattr(self.hparams, "seed", 0)
        return derive_seed(seed, epoch, *clip_ids)

    def step_generator(self, stage, clip_ids):
        """A generator at :meth:`step_seed`, on CPU."""
        seed = self.step_seed(stage, clip_ids)
        return torch.Generator().manual_seed(seed)

    def fit_batch(self, batch):
        """As SpeechBrain's; the global generator, too, is the step's own."""
        torch.manual_seed(self.step_seed(sb.Stage.TRAIN, batch.id))
        return super().fit_batch(batch)

    def contaminated(self, contamination, wavs, clip_ids, stage):
        """Clips with what is added to them in this step.

        In training it is drawn for the batches of all processes together, so
        that it does not depend on their number.

        Arguments
        ---------
        contamination : TrainingContamination
            Draws and mixes.
        wavs : torch.Tensor
            Clean clips, shape (batch, samples).
        clip_ids : list of str
            Their ids.
        stage : speechbrain.Stage
            Training or validation.

        Returns
        -------
        Mixture
        """
        own = slice(None)
        if stage == sb.Stage.TRAIN:
            wavs, clip_ids, own = summed_batch(wavs, clip_ids)
        generator = self.step_generator(stage, clip_ids)
        mixture = contamination(wavs, generator)
        return type(mixture)(*(part[own] for part in mixture))

    def init_optimizers(self):
        """As SpeechBrain's, for the trainable parameters alone."""
        self.optimizer = self.opt_class(
            [p for p in self.modules.parameters() if p.requires_grad]
        )
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def _wrap_distributed(self):
        """As SpeechBrain's; on the CPU without synchronised batch norm.

        ``SyncBatchNorm`` knows GPUs only: converting would end a torchrun on
        CPU cores at its first step.
        """
        if not self.distributed_launch or self.device_type != "cpu":
            super()._wrap_distributed()
            return
        for name, module in self.modules.items():
            if any(p.requires_grad for p in module.parameters()):
                self.modules[name] = torch.nn.parallel.DistributedDataParallel(
                    module, find_unused_parameters=self.find_unused_parameters
                )

    @property
    def progress(self):
        """Share of the optimisation that is done, in [0, 1]."""
        total = self.steps_per_epoch * self.hparams.number_of_epochs
        return self.optimizer_step * self.grad_accumulation_factor / total

    def on_fit_batch_start(self, batch, should_step):
        """Set the learning rate of this step."""
        schedule = getattr(self.hparams, "lr_schedule", None)
        if schedule is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.hparams.lr * schedule(self.progress)

    def on_stage_start(self, stage, epoch=None):
        """Forget the last stage's statistics."""
        self.stats = ClipStats()
        self.term_values = defaultdict(list)
        self.stage_start = time.monotonic()
        if stage == sb.Stage.TRAIN:
            if self.draws is not None:
                self.draws.epoch = epoch
            # Of the steps before an interruption within the epoch.
            for name, values in self.history.stage.items():
                self.term_values[name] = [
                    *torch.tensor(values, device=self.device)
                ]

    def add_terms(self, **terms):
        """Note the loss terms of a batch (scalars; no synchronisation)."""
        for name, value in terms.items():
            self.term_values[name].append(torch.as_tensor(value).detach())

    def stage_summary(self, stage_loss):
        """Plain floats: the loss, its terms, the metrics, the seconds."""
        summary = {"loss": float(stage_loss)}
        for name, values in self.term_values.items():
            summary[name] = float(torch.stack(values).float().mean())
        summary.update(self.stats.means())
        summary["seconds"] = time.monotonic() - self.stage_start
        return summary

    def _fit_valid(self, valid_set, epoch, enable):
        """Validate every ``valid_interval`` epochs, and after the last."""
        interval = getattr(self.hparams, "valid_interval", 1)
        last = epoch == self.hparams.number_of_epochs or self.debug
        if valid_set is None or last or epoch % interval == 0:
            super()._fit_valid(valid_set, epoch, enable)
        else:
            self.log(epoch, train_stats=self.train_summary)
            self.save_checkpoint({}, epoch)
        if self.terminated:
            self.end_terminated()

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        """As SpeechBrain's, and when the run is to end."""
        wanted = super()._should_save_intra_epoch_ckpt(
            last_ckpt_time, steps_since_ckpt
        )
        # Between two optimiser steps there are gradients that none saves.
        between = self.step % self.grad_accumulation_factor
        return (wanted or self.asked_to_end()) and not between

    def _save_intra_epoch_ckpt(self):
        """As SpeechBrain's, with the sums of the epoch so far."""
        self.history.stage = {
            name: torch.stack(values).tolist()
            for name, values in self.term_values.items()
        }
        super()._save_intra_epoch_ckpt()
        self.history.stage = {}
        if self.terminated:
            self.end_terminated()

    def asked_to_end(self):
        """Whether SIGTERM came, to this process or to another one."""
        self.terminated = any_of(self.terminated, self.device)
        return self.terminated

    def end_terminated(self):
        """End the run with the exit code of SIGTERM."""
        logger.warning(
            "Ended by SIGTERM; saved. The same command goes on from here."
        )
        raise SystemExit(EXIT_TERMINATED)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log the stage; after validation, keep the best checkpoint."""
        summary = self.stage_summary(stage_loss)
        if stage == sb.Stage.TRAIN:
            self.train_summary = summary
            self.history.stage = {}
        elif stage == sb.Stage.VALID:
            self.on_validated(summary, epoch)
            self.log(epoch, train_stats=self.train_summary, valid_stats=summary)
            self.save_checkpoint(summary, epoch)
        else:
            self.test_summary = summary
            self.log(self.hparams.epoch_counter.current, test_stats=summary)

    def on_validated(self, summary, epoch):
        """Adapt what follows the validation; adds to ``summary``."""
        annealing = getattr(self.hparams, "lr_annealing", None)
        if annealing is not None:
            _, new_lr = annealing([self.optimizer], epoch, summary["loss"])
            sb.nnet.schedulers.update_learning_rate(self.optimizer, new_lr)

    def log(self, epoch, **stats):
        """Write a line to the train log, and to TensorBoard on request.

        Called on every process: the loggers write on the main one alone, and
        wait for the others.
        """
        meta = {"epoch": epoch}
        if self.optimizers_dict is not None:
            meta["lr"] = self.optimizer.param_groups[0]["lr"]
        self.hparams.train_logger.log_stats(meta, **stats)
        board = getattr(self.hparams, "tensorboard_train_logger", None)
        if board is not None:
            board.log_stats(meta, **stats)

    def save_checkpoint(self, summary, epoch):
        """Save, and keep the newest and the best by ``ckpt_metric``.

        Arguments
        ---------
        summary : dict of str to float
            Of the validation; empty for an epoch without one.
        epoch : int
            The epoch that ended.
        """
        metric, mode = self.hparams.ckpt_metric, self.hparams.ckpt_mode
        if summary and metric not in summary:
            raise UserError(
                f"`ckpt_metric` is {metric!r}, which no validation writes; "
                f"expected one of {', '.join(sorted(summary))}."
            )
        keys = {"max_keys" if mode == "max" else "min_keys": [metric]}
        meta = {name: float(value) for name, value in summary.items()}
        meta["epoch"] = epoch
        if summary:
            self.history.validations.append(meta)
        self.checkpointer.save_and_keep_only(meta=meta, **keys)

    def evaluate_best(self, test_set, loader_kwargs):
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
