"""Hyperparameters that follow the data, where nobody gave them."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.decoding import audio_info
from speechbrain_lmac.data.labelled import (
    ESC10,
    LAYOUTS,
    check_several,
    layout_name,
    select_classes,
)
from speechbrain_lmac.data.listing import audio_below
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.hparams import read_overrides, read_tree

logger = get_logger(__name__)

#: Hyperparameters of lengths, in seconds, that follow the data.
LENGTHS = ("signal_length_s", "crop_s", "valid_length_s")
SHORTEST = 0.4  # s; classifiers pad what is shorter, as 32 frames are needed
MEASURED = 300  # files whose lengths are looked at


def follow_data(hparams_file: str | Path, overrides: str | dict) -> str | dict:
    """Let hyperparameters that nobody gave follow the data.

    Data of one's own (layouts folders and csv) have a number of classes and a
    name; and no excerpt need be longer than the sounds: a file has the values
    of a published data set.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        With ``layout`` and ``data_folder``; without them nothing changes.
    overrides : str or dict
        Of the command line; what it gives stands.

    Returns
    -------
    str or dict
        The overrides with ``out_n_neurons``, ``dataset``, and the lengths
        ``signal_length_s``, ``crop_s`` and ``valid_length_s`` where sounds are
        shorter: those of them that the file has (as numbers).

    Raises
    ------
    UserError
        If there are no such data, or they have one class.
    """
    given = read_overrides(overrides)
    tree = {**read_tree(hparams_file), **given}
    layout, folder = tree.get("layout"), tree.get("data_folder")
    if not isinstance(layout, str) or not isinstance(folder, str):
        return overrides
    root = Path(folder).expanduser()
    follows: dict[str, Any] = {}
    # Captioned data sets have a layout csv of their own, without labels.
    kind = LAYOUTS[layout_name(layout)] if "labels_file" in tree else None
    if kind is not None and kind.dataset is None:
        classes = tree.get("classes")
        rows, names = select_classes(
            kind.read(root, tree["labels_file"]),
            None if classes == ESC10 else classes,
        )
        check_several(names)
        follows = {"out_n_neurons": len(names), "dataset": root.resolve().name}
        wavs = list(rows.wav)
    else:
        wavs = audio_below(root)
    lengths = {
        key: float(tree[key])
        for key in LENGTHS
        if key not in given and isinstance(tree.get(key), (int, float))
    }
    longest = _usual_length(root, wavs) if lengths else math.inf
    shorter = {key: longest for key in lengths if lengths[key] > longest}
    if shorter:
        logger.warning(
            "%s: set to %.1f s, as 95 %% of the sounds are no longer; give "
            "them to have others",
            *(", ".join(f"`{key}`" for key in shorter), longest),
        )
    follows.update(shorter)
    return {**{k: v for k, v in follows.items() if k in tree}, **given}


def _usual_length(root, wavs):
    """Seconds that 95 % of some files last at most; in tenths, 0.4 or more."""
    seconds = []
    for wav in wavs[:: max(1, len(wavs) // MEASURED)]:
        with contextlib.suppress(UserError):  # told of when they are checked
            seconds.append(audio_info(root / wav).duration)
    if not seconds:
        return math.inf
    seconds.sort()
    usual = seconds[math.ceil(0.95 * len(seconds)) - 1]
    return max(SHORTEST, math.ceil(10 * usual - 0.01) / 10)
