"""What a run was trained on, as part of its checkpoints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from speechbrain_lmac.utils.checks import UserError

#: What tells clips apart, wherever their files lie.
OF_A_CLIP = ("class_string", "captions", "num_samples")


@register_checkpoint_hooks
class TrainedOn:
    """The training clips of a run; another set cannot go on with it.

    Hyperparameters are compared before anything is built (``check_same_run``);
    this sees a folder or a table whose content has changed.

    Example
    -------
    >>> known, path = TrainedOn(), getfixture("tmpdir") / "data.ckpt"
    >>> known.clips = {"a": {"class_string": "dog", "wav": "here/a.wav"}}
    >>> known.save(path)
    >>> known.load(path)
    """

    def __init__(self) -> None:
        self.clips: dict[str, dict[str, Any]] | None = None

    def digest(self) -> str:
        """A hash of ids, classes and captions; empty if no clips are known."""
        if self.clips is None:
            return ""
        known = [
            [clip, *(entry.get(name) for name in OF_A_CLIP)]
            for clip, entry in sorted(self.clips.items())
        ]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    @mark_as_saver
    def save(self, path: str | Path) -> None:
        """SpeechBrain checkpoint hook."""
        Path(path).write_text(self.digest(), encoding="utf-8")

    @mark_as_loader
    def load(self, path: str | Path, end_of_epoch: bool = True) -> None:
        """SpeechBrain checkpoint hook."""
        saved = Path(path).read_text(encoding="utf-8")
        if saved and self.clips is not None and saved != self.digest():
            raise UserError(
                f"`data_folder`: the training clips, their classes or their "
                f"captions are not those that the checkpoint {path} was "
                "trained on. Give another --output_folder, or the data of "
                "before."
            )
