"""Checkpoints that survive a kill, a full disk and a flipped byte.

SpeechBrain's ``Checkpointer`` writes into the folder that it later reads: a
process that is killed while it saves leaves a folder that counts as the newest
checkpoint and cannot be loaded. Here a checkpoint is written beside, synced
and renamed, so that it is there whole or not at all. Its files are those of
SpeechBrain, whose tools read it, and ``SHA256SUMS`` besides.

Authors
 * The speechbrain_lmac authors 2026
"""

import errno
import hashlib
import math
import os
import shutil
from pathlib import Path

import torch
import yaml
from speechbrain.utils.checkpoints import (
    METAFNAME,
    Checkpoint,
    Checkpointer,
    ckpt_recency,
)
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
)
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.utils.checks import UserError, system_error

logger = get_logger(__name__)

SUMS_FILE = "SHA256SUMS"
#: Names of folders that are being written or deleted: no candidates.
UNFINISHED = ".unfinished-"
#: Free bytes below which a write that failed is put down to a full disk.
FULL_DISK = 1 << 20


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's ``Checkpointer``, whole or not at all.

    Arguments
    ---------
    checkpoints_dir : str or pathlib.Path
        Where the checkpoints are.
    *args, **kwargs
        As for SpeechBrain's.

    Example
    -------
    >>> folder = getfixture("tmpdir")
    >>> layer = torch.nn.Linear(1, 1)
    >>> checkpointer = AtomicCheckpointer(folder, {"decoder": layer})
    >>> saved = checkpointer.save_checkpoint({"epoch": 1})
    >>> sorted(path.name for path in saved.path.iterdir())
    ['CKPT.yaml', 'SHA256SUMS', 'decoder.ckpt']
    >>> checkpointer.recover_if_possible().meta["epoch"]
    1
    """

    def save_checkpoint(self, meta=None, end_of_epoch=True, name=None, **_):
        """As SpeechBrain's: written beside, synced, then renamed.

        Numbers of ``meta`` that are not finite are left out: NaN has no rank
        among the others, and would displace the best checkpoint.

        Raises
        ------
        UserError
            If it cannot be written, or holds weights that are not finite;
            what was saved before is as it was.
        """
        self._clean()
        self._check_finite()
        meta = {k: v for k, v in (meta or {}).items() if _is_finite(v)}
        try:
            written = super().save_checkpoint(
                meta, end_of_epoch, name, verbosity=0
            )
            ddp_barrier()
            if written is not None:
                written = _publish(written)
        except (OSError, RuntimeError) as err:
            reason = _reason(err, self.checkpoints_dir)
            remove_unfinished(self.checkpoints_dir)
            raise UserError(
                f"`save_folder`: cannot write a checkpoint to "
                f"{self.checkpoints_dir} ({reason}). The earlier "
                "checkpoints there are as they were: make room or mend the "
                "folder, and start the same command again to go on."
            ) from err
        ddp_barrier()
        if written is not None:
            logger.info("Checkpoint saved: %s", written.path)
        return written

    def _check_finite(self):
        for name, part in self.recoverables.items():
            state = part.state_dict() if _is_module(part) else {}
            if all(map(_is_finite, state.values())):
                continue
            raise UserError(
                f"`{name}` holds values that are NaN or infinite: it is not "
                f"saved, and what is in {self.checkpoints_dir} stays as it "
                "was. Lower `lr`, or look for broken clips, and start the "
                "same command again to go on from there."
            )

    def _clean(self):
        # Not when it is made: to look at a run must not disturb it.
        if if_main_process():
            remove_unfinished(self.checkpoints_dir)

    def _new_checkpoint_dirpath(self):
        return _unfinished(super()._new_checkpoint_dirpath())

    def _custom_checkpoint_dirpath(self, name):
        return _unfinished(super()._custom_checkpoint_dirpath(name))

    def recover_if_possible(self, *args, ckpt_predicate=None, **kwargs):
        """As SpeechBrain's; passes over checkpoints that are damaged.

        Raises
        ------
        UserError
            If a sound checkpoint does not fit what is to be recovered, or
            none could be read to its end.
        """
        self._clean()
        damaged, touched = set(), False

        def sound(checkpoint):
            known = checkpoint.path not in damaged
            return known and (not ckpt_predicate or ckpt_predicate(checkpoint))

        while True:
            chosen = self.find_checkpoint(*args, ckpt_predicate=sound, **kwargs)
            if chosen is None:
                self._tell_none_left(damaged, touched)
                return None
            problem = find_damage(chosen.path)
            if problem is None:
                try:
                    self.load_checkpoint(chosen)
                    return chosen
                except Exception as err:  # whatever a reader of files raises
                    problem, touched = self._cannot_load(chosen, err), True
            damaged.add(chosen.path)
            logger.warning(
                "Checkpoint %s is damaged (%s): passed over",
                chosen.path,
                problem,
            )

    def _cannot_load(self, checkpoint, err):
        """Why a checkpoint cannot be loaded; raises if it is not damaged."""
        told = str(err).strip().partition("\n")[0] or type(err).__name__
        if not (checkpoint.path / SUMS_FILE).is_file():
            return told
        raise UserError(
            f"`output_folder`: {checkpoint.path} is whole, but of other "
            f"settings than these ({told}). Give another `output_folder`, or "
            "the settings that the run there began with."
        ) from err

    def _tell_none_left(self, damaged, touched):
        if touched:
            raise UserError(
                f"`output_folder`: no checkpoint in {self.checkpoints_dir} "
                "can be read to its end. Give another `output_folder`, or "
                "delete that folder to begin again."
            )
        if damaged:
            logger.warning(
                "No checkpoint in %s is sound: beginning again",
                self.checkpoints_dir,
            )

    def delete_checkpoints(
        self,
        *,
        num_to_keep=1,
        min_keys=None,
        max_keys=None,
        importance_keys=(ckpt_recency,),
        ckpt_predicate=None,
        **_,
    ):
        """As SpeechBrain's; what is deleted is renamed first."""
        orders = [{"min_key": key} for key in min_keys or []]
        orders += [{"max_key": key} for key in max_keys or []]
        # SpeechBrain hands over one list, which it lengthens at every save.
        keys = dict.fromkeys(importance_keys)
        orders += [{"importance_key": key} for key in keys]
        found, kept = set(), set()
        for order in orders:
            order["ckpt_predicate"] = ckpt_predicate
            some = self.find_checkpoints(**order)
            found.update(checkpoint.path for checkpoint in some)
            kept.update(checkpoint.path for checkpoint in some[:num_to_keep])
        ddp_barrier()
        if if_main_process():
            for path in sorted(found - kept):
                hidden = _unfinished(path)
                path.rename(hidden)
                shutil.rmtree(hidden)
        ddp_barrier()

    def _list_checkpoint_dirs(self):
        # A damaged meta file must not hide the sound checkpoints.
        return [p for p in super()._list_checkpoint_dirs() if _has_meta(p)]


def remove_unfinished(folder):
    """Delete what a killed process left half written, or half deleted.

    Arguments
    ---------
    folder : str or pathlib.Path
        Of the checkpoints; one that is missing holds nothing.
    """
    for path in Path(folder).glob(f"{UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def find_damage(folder):
    """What is wrong with a checkpoint's files.

    Arguments
    ---------
    folder : str or pathlib.Path
        The checkpoint. One without ``SHA256SUMS``, from SpeechBrain itself,
        is taken for sound.

    Returns
    -------
    str or None
    """
    sums = Path(folder) / SUMS_FILE
    if not sums.is_file():
        return None
    try:
        for line in sums.read_text(encoding="utf-8").splitlines():
            expected, name = line.split("  ", 1)
            if not (Path(folder) / name).is_file():
                return f"{name} is missing"
            if _sha256(Path(folder) / name) != expected:
                return f"{name} has changed since it was written"
    except (OSError, ValueError) as err:
        return f"{SUMS_FILE} cannot be read: {err}"
    return None


def _publish(checkpoint):
    """Sync the files of a checkpoint and give its folder its real name."""
    folder = checkpoint.path
    lines = [
        f"{_sha256(path)}  {path.name}" for path in sorted(folder.iterdir())
    ]
    (folder / SUMS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _sync(path)
    final = folder.with_name(folder.name.removeprefix(UNFINISHED))
    if final.exists():  # a checkpoint of a given name is replaced
        old = _unfinished(final).with_suffix(".old")
        final.rename(old)
        folder.rename(final)
        shutil.rmtree(old)
    else:
        folder.rename(final)
    _sync(final.parent)
    moved = {k: final / Path(p).name for k, p in checkpoint.paramfiles.items()}
    return Checkpoint(final, checkpoint.meta, moved)


def _unfinished(path):
    return path.with_name(UNFINISHED + path.name)


def _sync(path):
    """Have a file or a folder's entries written to the disk itself."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # folders, on some systems
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _has_meta(folder):
    try:
        meta = yaml.safe_load((folder / METAFNAME).read_text(encoding="utf-8"))
        complete = {"end-of-epoch", "unixtime"} <= meta.keys()
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        complete = False
    if not complete:
        logger.warning("%s has no readable %s: passed over", folder, METAFNAME)
    return complete


def _is_module(part):
    return isinstance(part, torch.nn.Module)


def _is_finite(value):
    """Whether a number or tensor is; other things are."""
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    return not isinstance(value, float) or math.isfinite(value)


def _reason(err, folder):
    """The system's word for what went wrong."""
    inner = system_error(err)
    told = None if inner is None else inner.strerror
    if told is None and shutil.disk_usage(folder).free < FULL_DISK:
        told = os.strerror(errno.ENOSPC)
    return told or str(err).partition("\n")[0]
