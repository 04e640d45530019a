"""What a resumed run needs besides weights: generators, and its history.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
import random
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import main_process_only


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
    bad_steps : int
        Steps in a row, up to now, without a finite gradient.

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
        self.bad_steps = 0

    @mark_as_saver
    @main_process_only
    def save(self, path):
        """SpeechBrain checkpoint hook."""
        content = {
            "validations": self.validations,
            "stage": self.stage,
            "bad_steps": self.bad_steps,
        }
        Path(path).write_text(json.dumps(content), encoding="utf-8")

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """SpeechBrain checkpoint hook."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        self.validations = content["validations"]
        self.bad_steps = content.get("bad_steps", 0)
        self.stage = {} if end_of_epoch else content["stage"]
