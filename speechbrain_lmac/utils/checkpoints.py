"""Checkpoints that survive a kill: whole or not at all.

SpeechBrain's ``Checkpointer`` writes into the folder that it later reads: a
process that is killed while it saves leaves a folder that counts as the newest
checkpoint and cannot be loaded.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.checkpoints import Checkpoint, Checkpointer, ckpt_recency
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_lmac.utils.checks import UserError

#: Where a checkpoint is written before it has its name.
UNFINISHED = ".unfinished"


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's ``Checkpointer``; a checkpoint is written, then renamed.

    Example
    -------
    >>> layer = torch.nn.Linear(1, 1)
    >>> folder = getfixture("tmpdir")
    >>> checkpointer = AtomicCheckpointer(folder, {"decoder": layer})
    >>> saved = checkpointer.save_checkpoint({"epoch": 1})
    >>> sorted(path.name for path in saved.path.iterdir())
    ['CKPT.yaml', 'decoder.ckpt']
    >>> checkpointer.recover_if_possible().meta["epoch"]
    1
    """

    checkpoints_dir: Path

    def save_checkpoint(
        self,
        meta: Mapping[str, Any] | None = None,
        end_of_epoch: bool = True,
        name: str | None = None,
        verbosity: int = logging.DEBUG,
    ) -> Checkpoint | None:
        """As SpeechBrain's; weights that are not finite are refused.

        Numbers of ``meta`` that are not finite are left out: NaN has no rank
        among the others, and would displace the best checkpoint.
        """
        self._check_finite()
        meta = {k: v for k, v in (meta or {}).items() if _is_finite(v)}
        folder = self.checkpoints_dir
        if if_main_process():
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        self.checkpoints_dir = folder / UNFINISHED
        try:
            written = super().save_checkpoint(
                meta, end_of_epoch, name, verbosity
            )
        finally:
            self.checkpoints_dir = folder
        if written is not None:  # on the main process
            written = _publish(written, folder, replace=name is not None)
        ddp_barrier()
        return written

    def delete_checkpoints(
        self, *, importance_keys: Any = (ckpt_recency,), **options: Any
    ) -> None:
        """As SpeechBrain's, whose list of keys grows with every save."""
        keys = list(dict.fromkeys(importance_keys))
        super().delete_checkpoints(importance_keys=keys, **options)

    def _check_finite(self):
        for name, part in self.recoverables.items():
            module = isinstance(part, torch.nn.Module)
            state = part.state_dict().values() if module else ()
            if not all(map(_is_finite, state)):
                raise UserError(
                    f"`{name}` holds NaN or infinite values and is not saved; "
                    f"what is in {self.checkpoints_dir} stays. Lower `lr`, or "
                    "look for broken clips, and start the same command again."
                )


def _publish(written, folder, replace):
    """Move a checkpoint that is whole to where checkpoints are read."""
    target = Path(folder) / written.path.name
    if replace:
        shutil.rmtree(target, ignore_errors=True)
    while target.exists():  # two in a second
        target = target.with_name(f"{target.name}+")
    written.path.rename(target)
    moved = {k: target / Path(p).name for k, p in written.paramfiles.items()}
    return Checkpoint(target, written.meta, moved)


def _is_finite(value):
    """Whether a number or tensor is; other things are."""
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    return not isinstance(value, float) or math.isfinite(value)
