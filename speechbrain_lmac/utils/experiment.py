"""What every recipe script shares about starting a run.

A recipe reads its command line (:func:`parse`), its hyperparameters
(:func:`load_hparams`) and makes its output folder (:func:`start_run`) here;
:func:`run` calls its ``main`` and turns a user's mistake into one message.

Authors
 * The speechbrain_lmac authors 2026
"""

import dataclasses
import errno
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import speechbrain as sb
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_lmac.utils.checks import UserError, system_error
from speechbrain_lmac.utils.hparams import load_hparams

__all__ = [
    "add_tensorboard",
    "check_writable",
    "load_hparams",
    "on_every_rank",
    "parse",
    "run",
    "start_run",
]

# SpeechBrain's parser splits at every "=", also inside values such as
# paths. This character (private use) stands for those in the meantime.
EQUALS_IN_VALUE = "\ue000"

EXIT_USER_ERROR = 2
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells do


def parse(argv):
    """Split a command line as SpeechBrain's recipes do.

    Arguments
    ---------
    argv : list of str
        ``[hparams_file, "--key=value", "--key", "value", ...]``.

    Returns
    -------
    hparams_file : str
        Path of the hyperparameter file.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's own options, such as ``--device`` and ``--debug``.
    overrides : str
        The other options, as YAML text.

    Raises
    ------
    UserError
        If there is no such file.

    Example
    -------
    >>> import tempfile
    >>> file = tempfile.NamedTemporaryFile(suffix=".yaml")
    >>> argv = [file.name, "--device=cpu", "--l_in_w", "4", "--lr=1e-3"]
    >>> _, run_opts, overrides = parse(argv)
    >>> run_opts.device
    'cpu'
    >>> overrides.splitlines()
    ['l_in_w: 4', 'lr: 1e-3']
    """
    _, run_opts, overrides = sb.parse_arguments(
        [_hide_equals(argument) for argument in argv]
    )
    texts = {
        name: value.replace(EQUALS_IN_VALUE, "=")
        for name, value in vars(run_opts).items()
        if isinstance(value, str)
    }
    run_opts = dataclasses.replace(run_opts, **texts)
    hparams_file = run_opts.param_file
    if not Path(hparams_file).is_file():
        raise UserError(
            f"There is no hyperparameter file {hparams_file}; expected one "
            "such as hparams/lmac_small.yaml."
        )
    return hparams_file, run_opts, overrides.replace(EQUALS_IN_VALUE, "=")


def _hide_equals(argument):
    if not argument.startswith("--"):
        return argument.replace("=", EQUALS_IN_VALUE)
    key, equals, value = argument.partition("=")
    return key + equals + value.replace("=", EQUALS_IN_VALUE)


def start_run(hparams, hparams_file, overrides):
    """Make the output folder and what SpeechBrain keeps in it.

    Those are ``hyperparams.yaml`` (overrides applied), ``log.txt``,
    ``env.log`` and a copy of the script.

    Arguments
    ---------
    hparams : dict
        With ``output_folder``.
    hparams_file : str
        Copied there, resolved.
    overrides : str or dict
        As given on the command line.

    Raises
    ------
    UserError
        If the folder cannot be made or written to.
    """
    if "output_folder" not in hparams:
        raise UserError(
            f"{hparams_file}: expected a key `output_folder`, the folder of "
            "the run; add one such as output_folder: results/my_run."
        )
    folder = Path(hparams["output_folder"])
    if if_main_process():
        check_writable(folder, "output_folder")
    sb.create_experiment_directory(
        experiment_directory=str(folder),
        hyperparams_to_save=str(hparams_file),
        overrides=overrides,
    )
    if if_main_process():
        _keep_script(folder)


def _keep_script(folder):
    """Keep the recipe's script; SpeechBrain copied its caller, this file."""
    copied = folder / Path(__file__).name
    if not (copied.exists() and copied.samefile(__file__)):
        copied.unlink(missing_ok=True)
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script and Path(script).is_file():
        try:
            shutil.copy(script, folder)
        except shutil.SameFileError:
            pass


def check_writable(folder, key):
    """Refuse a folder that cannot be made or written to, naming its key.

    Arguments
    ---------
    folder : str or pathlib.Path
        Made if it is missing.
    key : str
        Hyperparameter that names the folder.

    Raises
    ------
    UserError
        If no file can be written there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise UserError(
            f"`{key}`: cannot write to {folder} ({err.strerror}). Point "
            f"--{key} to a folder that you may write to."
        ) from err


def on_every_rank(function, **kwargs):
    """Run on the main process first, then on all, and return the result.

    For functions that find their work done the second time, such as
    preparing data or fetching weights.

    Example
    -------
    >>> on_every_rank(dict, folds=5)
    {'folds': 5}
    """
    if if_main_process():
        result = function(**kwargs)
        ddp_barrier()
        return result
    ddp_barrier()
    return function(**kwargs)


def add_tensorboard(hparams):
    """Log to TensorBoard, too, if ``use_tensorboard`` says so.

    Arguments
    ---------
    hparams : dict
        With ``use_tensorboard`` and ``tensorboard_logs_folder``; receives
        ``tensorboard_train_logger``.

    Raises
    ------
    UserError
        If TensorBoard is asked for and not installed.
    """
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


def run(main, argv=None):
    """Run a recipe's main: a user's mistake ends in one message.

    Exits with 2 after a :class:`UserError` or when a disk is full or
    read-only (the message alone on standard error and in the run's log) and
    with 130 after an interrupt; other exceptions keep their traceback.

    Arguments
    ---------
    main : callable
        Takes the list of arguments.
    argv : list of str or None
        The arguments; None takes those of the process.

    Example
    -------
    >>> run(print, ["hparams/lmac_small.yaml", "--debug"])
    ['hparams/lmac_small.yaml', '--debug']
    """
    logging.raiseExceptions = False  # a log that cannot be written
    try:
        main(sys.argv[1:] if argv is None else argv)
    except UserError as err:
        _tell(_message(err))
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        _tell("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    except (OSError, RuntimeError) as err:
        message = _disk_message(err)
        if message is None:
            raise
        _tell(message)
        sys.exit(EXIT_USER_ERROR)


def _disk_message(err):
    """What to do about a disk that is full or read-only; None for others."""
    inner = system_error(err)
    if inner is not None and inner.errno in DISK_ERRORS:
        where = f" {inner.filename}" if inner.filename else ""
        told = f"{inner.strerror}{where}"
    elif "PytorchStreamWriter" in str(err) or "inline_container" in str(err):
        told = "a file could not be written to its end; is the disk full?"
    else:
        return None
    return (
        f"cannot write: {told}. What was finished before is kept: make room or "
        "mend the folder, and start the same command again to go on."
    )


def _message(err):
    """Return the message alone; loader workers wrap it in a traceback."""
    return str(err).rpartition("checks.UserError: ")[2].strip()


def _tell(message):
    """Write a last message to standard error and to the run's log file."""
    rank = os.environ.get("RANK", "0")
    prefix = "" if rank == "0" else f"[rank {rank}] "
    print(f"{prefix}error: {message}", file=sys.stderr, flush=True)
    # Only the files: the logger's console would say it a second time.
    record = logging.LogRecord(
        __name__, logging.ERROR, __file__, 0, message, None, None
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
