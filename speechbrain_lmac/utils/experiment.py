"""Starting a run: its output folder, and loggers on request."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import speechbrain as sb
from speechbrain.utils.distributed import if_main_process

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.distributed import on_every_rank
from speechbrain_lmac.utils.hparams import load_hparams, parse_arguments

__all__ = ["load_hparams", "on_every_rank", "parse"]

parse = parse_arguments


def start_run(
    hparams: Mapping[str, Any], hparams_file: str | Path, overrides: Any
) -> None:
    """Make the output folder and what SpeechBrain keeps in it."""
    if if_main_process():
        check_writable(hparams["output_folder"], "output_folder")
    sb.create_experiment_directory(
        experiment_directory=str(hparams["output_folder"]),
        hyperparams_to_save=str(hparams_file),
        overrides=overrides,
    )


def check_writable(folder: str | Path, key: str) -> None:
    """Refuse a folder that cannot be made or written to, naming its key."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise UserError(
            f"`{key}`: cannot write to {folder} ({err.strerror}); give a "
            "folder that you may write to."
        ) from err


def add_tensorboard(hparams: dict[str, Any]) -> None:
    """Log to TensorBoard, too, if ``use_tensorboard`` says so."""
    if not hparams["use_tensorboard"]:
        return
    try:
        from speechbrain.utils.train_logger import TensorboardLogger

        board = TensorboardLogger(hparams["tensorboard_logs_folder"])
    except ImportError as err:
        raise UserError(
            "`use_tensorboard` needs the package tensorboard: "
            "pip install tensorboard"
        ) from err
    hparams["tensorboard_train_logger"] = board


def run(main: Callable, argv: list[str] | None = None) -> None:
    """Call a recipe's ``main`` with the process's arguments."""
    main(sys.argv[1:] if argv is None else argv)
