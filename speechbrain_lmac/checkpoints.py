"""Checkpoints that survive a kill, a full disk and a flipped byte.

SpeechBrain's ``Checkpointer`` writes into the folder that it later reads: a
process that is killed while it saves leaves a folder that counts as the newest
checkpoint and cannot be loaded. Here a checkpoint is written beside, synced
and renamed, so that it is there whole or not at all. Its files are those of
SpeechBrain, whose tools read it, and ``SHA256SUMS`` besides.

Authors
 * The speechbrain_lmac authors 2026
"""

import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import torch
import yaml
from speechbrain.utils.checkpoints import (
    METAFNAME,
    Checkpoint,
    Checkpointer,
    ckpt_recency,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import (
    ddp_barrier,
    if_main_process,
    main_process_only,
)
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.checks import UserError

logger = get_logger(__name__)

SUMS_FILE = "SHA256SUMS"
#: Names of folders that are being written or deleted: no candidates.
UNFINISHED = ".unfinished-"


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

        Raises
        ------
        UserError
            If it cannot be written; what was saved before is as it was.
        """
        self._clean()
        try:
            written = super().save_checkpoint(
                meta or {}, end_of_epoch, name, verbosity=0
            )
            ddp_barrier()
            if written is not None:
                written = _publish(written)
        except (OSError, RuntimeError) as err:
            remove_unfinished(self.checkpoints_dir)
            raise UserError(
                f"`save_folder`: cannot write a checkpoint to "
                f"{self.checkpoints_dir} ({_reason(err)}). The earlier "
                "checkpoints there are as they were: make room or mend the "
                "folder, and start the same command again to go on."
            ) from err
        ddp_barrier()
        if written is not None:
            logger.info("Checkpoint saved: %s", written.path)
        return written

    def _clean(self):
        # Not when it is made: to look at a run must not disturb it.
        if if_main_process():
            remove_unfinished(self.checkpoints_dir)

    def _new_checkpoint_dirpath(self):
        return _unfinished(super()._new_checkpoint_dirpath())

    def _custom_checkpoint_dirpath(self, name):
        return _unfinished(super()._custom_checkpoint_dirpath(name))

    def recover_if_possible(self, *args, ckpt_predicate=None, **kwargs):
        """As SpeechBrain's; passes over checkpoints that are damaged."""
        self._clean()
        damaged = set()

        def sound(checkpoint):
            known = checkpoint.path not in damaged
            return known and (not ckpt_predicate or ckpt_predicate(checkpoint))

        while True:
            chosen = self.find_checkpoint(*args, ckpt_predicate=sound, **kwargs)
            if chosen is None:
                return None
            problem = find_damage(chosen.path)
            if problem is None:
                self.load_checkpoint(chosen)
                return chosen
            damaged.add(chosen.path)
            logger.warning(
                "Checkpoint %s is damaged (%s): going back to the one before",
                chosen.path,
                problem,
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
        orders += [{"importance_key": key} for key in importance_keys]
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


def _reason(err):
    """The system's word for what went wrong; PyTorch wraps it."""
    inner = err if isinstance(err, OSError) else err.__context__
    return getattr(inner, "strerror", None) or str(err).partition("\n")[0]


@register_checkpoint_hooks
class RandomStates:
    """The states of all generators, as part of a checkpoint.

    Training steps name their draws themselves, so that they need none of
    this; it serves what else draws.

    Example
    -------
    >>> states, path = RandomStates(), getfixture("tmpdir") / "random.ckpt"
    >>> states.save(path)
    >>> first = torch.rand(1)
    >>> states.load(path)
    >>> torch.equal(torch.rand(1), first)
    True
    """

    @mark_as_saver
    @main_process_only
    def save(self, path):
        """SpeechBrain checkpoint hook."""
        version, internal, gauss = random.getstate()
        name, keys, *rest = np.random.get_state()
        states = {
            "python": (version, list(internal), gauss),
            "numpy": (name, keys.tolist(), *rest),
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state_all()
        torch.save(states, path)

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """SpeechBrain checkpoint hook."""
        states = torch.load(path, weights_only=True)
        version, internal, gauss = states["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, np.array(keys, np.uint32), *rest))
        torch.set_rng_state(states["torch"])
        cuda = states.get("cuda", [])
        if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(cuda)


@register_checkpoint_hooks
class History:
    """What validations found, and how far the present epoch's sums are.

    Attributes
    ----------
    validations : list of dict
        Epoch and metrics of each, in order.
    stage : dict
        Sums of the training epoch that is under way.

    Example
    -------
    >>> history, path = History(), getfixture("tmpdir") / "history.ckpt"
    >>> history.validations.append({"epoch": 1, "loss": 0.5})
    >>> history.save(path)
    >>> again = History()
    >>> again.load(path)
    >>> again.validations
    [{'epoch': 1, 'loss': 0.5}]
    """

    def __init__(self):
        self.validations = []
        self.stage = {}

    @mark_as_saver
    @main_process_only
    def save(self, path):
        """SpeechBrain checkpoint hook."""
        content = {"validations": self.validations, "stage": self.stage}
        Path(path).write_text(json.dumps(content), encoding="utf-8")

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """SpeechBrain checkpoint hook."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        self.validations = content["validations"]
        self.stage = {} if end_of_epoch else content["stage"]
