"""Starting a run: the command line, the output folder, errors, processes."""

import errno
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import speechbrain as sb
import torch

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import (
    add_tensorboard,
    load_hparams,
    on_every_rank,
    parse,
    run,
    start_run,
)

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import torch
import speechbrain as sb
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.experiment import (
    load_hparams, on_every_rank, parse, run, start_run
)


class Clips(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UserError("clip a.wav is empty.\\nRecord it again.")


def touch(folder):
    path = f"{folder}/made_by_main"
    if sb.utils.distributed.if_main_process():
        open(path, "w").write("x")
    return open(path).read()


def main(argv):
    hparams_file, run_opts, overrides = parse(argv)
    sb.utils.distributed.ddp_init_group(run_opts)
    hparams = load_hparams(hparams_file, overrides)
    start_run(hparams, hparams_file, overrides)
    assert on_every_rank(touch, folder=hparams["output_folder"]) == "x"
    if hparams["fault"] == "user":
        raise UserError("clip a.wav is empty.")
    if hparams["fault"] == "worker":
        list(torch.utils.data.DataLoader(Clips(), num_workers=1))
    if hparams["fault"] == "programmer":
        raise KeyError("a bug")


if __name__ == "__main__":
    run(main, sys.argv[1:])
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(
        "output_folder: !PLACEHOLDER\nl_in_w: 4\nfault: none\nnone: null\n"
    )
    return path


@pytest.fixture
def logging_kept():
    """SpeechBrain configures logging and the exception hook of a process."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)


# ------------------------------------------------------------- command line


@pytest.mark.parametrize(
    "options, overrides",
    [
        (["--l_in_w", "4"], "l_in_w: 4"),
        (["--l_in_w=4"], "l_in_w: 4"),
        (["--l_in_w", "-4"], "l_in_w: -4"),
        (["--lr=1", "--folds=[1, 2]"], "lr: 1\nfolds: [1, 2]"),
        # SpeechBrain alone would make `/data/split train` of this folder.
        (["--folder=/data/split=train"], "folder: /data/split=train"),
        (["--folder", "/data/split=train"], "folder: /data/split=train"),
        ([], ""),
    ],
)
def test_overrides(file, options, overrides):
    found_file, run_opts, found = parse([str(file), *options])
    assert (found_file, found) == (str(file), overrides)
    assert run_opts.param_file == str(file)


def test_a_hyperparameter_file_with_an_equals_sign(file):
    renamed = file.rename(file.with_name("lr=1.yaml"))
    assert parse([str(renamed)])[0] == str(renamed)


def test_run_options_reach_the_brain(file):
    argv = [
        str(file),
        "--device=cpu",
        "--debug",
        "--precision=bf16",
        "--compile",
        "--compile_module_keys",
        "model",
        "--noprogressbar",
    ]
    _, run_opts, overrides = parse(argv)
    assert overrides == ""
    brain = sb.Brain({"model": torch.nn.Linear(1, 1)}, run_opts=run_opts)
    assert (brain.device, brain.debug) == ("cpu", True)
    assert (brain.precision, brain.compile) == ("bf16", True)
    assert brain.compile_module_keys == ["model"]


def test_a_command_line_beats_the_file(file):
    _, run_opts, _ = parse([str(file), "--precision=bf16"])
    hparams = {"precision": "fp32", "device": "cpu", "debug": True}
    brain = sb.Brain({}, hparams=hparams, run_opts=run_opts)
    assert (brain.precision, brain.device, brain.debug) == ("bf16", "cpu", True)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="no hyperparameter file .*none.yaml"):
        parse([str(tmp_path / "none.yaml")])


# ------------------------------------------------------------ output folder


def test_output_folder(file, tmp_path, logging_kept):
    folder = tmp_path / "results" / "1"
    overrides = f"output_folder: {folder}\nl_in_w: 5"
    start_run(load_hparams(file, overrides), str(file), overrides)
    assert "l_in_w: 5" in (folder / "hyperparams.yaml").read_text()
    assert {"log.txt", "env.log"} <= {path.name for path in folder.iterdir()}
    # SpeechBrain copies the file that calls it, which is not the recipe.
    assert not (folder / "experiment.py").exists()


def test_the_saved_hyperparameters_load_again(file, tmp_path, logging_kept):
    overrides = f"output_folder: {tmp_path}"
    start_run(load_hparams(file, overrides), file, overrides)
    saved = load_hparams(tmp_path / "hyperparams.yaml")
    assert saved["output_folder"] == str(tmp_path)


def test_a_file_where_the_folder_should_be(file, tmp_path):
    (tmp_path / "taken").touch()
    for folder in (tmp_path / "taken", tmp_path / "taken" / "run"):
        with pytest.raises(UserError, match=f"output_folder.*{folder} .*"):
            start_run({"output_folder": str(folder)}, str(file), "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(file, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied.*--output_folder"):
        start_run({"output_folder": str(tmp_path / "run")}, str(file), "")


def test_no_output_folder(file):
    with pytest.raises(UserError, match="expected a key `output_folder`"):
        start_run({}, str(file), "")


def test_tensorboard_only_on_request(monkeypatch, tmp_path):
    hparams = {"use_tensorboard": False}
    add_tensorboard(hparams)
    assert hparams == {"use_tensorboard": False}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        add_tensorboard(
            {
                "use_tensorboard": True,
                "tensorboard_logs_folder": str(tmp_path),
            }
        )


# ------------------------------------------------------------------- errors


def failing(error):
    def main(argv):
        raise error

    return main


@pytest.mark.parametrize(
    "error, code, text",
    [
        (UserError("`lr` is wrong."), 2, "error: `lr` is wrong.\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_exit_codes(error, code, text, capsys):
    with pytest.raises(SystemExit) as caught:
        run(failing(error), [])
    assert caught.value.code == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", text)


def test_other_errors_pass(capsys):
    with pytest.raises(KeyError, match="a bug"):
        run(failing(KeyError("a bug")), [])
    # A plain ValueError is a bug, too, though UserError is derived from it.
    with pytest.raises(ValueError, match="a bug"):
        run(failing(ValueError("a bug")), [])
    assert capsys.readouterr().err == ""


def test_on_every_rank_runs_once_on_a_single_process():
    calls = []
    assert on_every_rank(lambda value: calls.append(value) or 7, value=1) == 7
    assert calls == [1]


# ---------------------------------------------------------------- processes


def command(tmp_path, file, *options):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    return [
        sys.executable,
        str(script),
        str(file),
        f"--output_folder={tmp_path / 'run'}",
        "--device=cpu",
        *options,
    ]


def environment(**extra):
    names = ("PYTHONPATH", "OMP_NUM_THREADS")
    return {
        **os.environ,
        **dict(zip(names, (str(ROOT), "1"), strict=True)),
        **extra,
    }


def test_a_script_tells_a_users_mistake_from_a_loader_worker(tmp_path, file):
    result = subprocess.run(
        command(tmp_path, file, "--fault=worker"),
        env=environment(),
        capture_output=True,
        text=True,
    )
    message = "error: clip a.wav is empty.\nRecord it again.\n"
    assert (result.returncode, result.stderr) == (2, message)
    assert "Traceback" not in result.stdout
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "ERROR - clip a.wav is empty." in log
    # The script itself is kept with the run.
    assert (tmp_path / "run" / "train.py").read_text() == SCRIPT


def test_a_script_keeps_the_traceback_of_a_bug(tmp_path, file):
    result = subprocess.run(
        command(tmp_path, file, "--fault=programmer"),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Traceback" in log and "KeyError: 'a bug'" in log


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch without distributed"
)
def test_two_processes(tmp_path, file):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    options = ("--fault=user", "--distributed_backend=gloo")
    ranks = [
        subprocess.Popen(
            command(tmp_path, file, *options),
            env=environment(
                RANK=rank,
                LOCAL_RANK=rank,
                WORLD_SIZE="2",
                MASTER_ADDR="localhost",
                MASTER_PORT=port,
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    errors = [process.communicate(timeout=120)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [2, 2], errors
    assert "error: clip a.wav is empty." in errors[0]
    assert "[rank 1] error: clip a.wav is empty." in errors[1]
    assert "Traceback" not in "".join(errors)


@pytest.mark.parametrize(
    "error, told",
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b.csv"),
            "a/b.csv",
        ),
        (
            OSError(errno.EROFS, "Read-only file system"),
            "Read-only file system",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . x"),
            "is the disk full?",
        ),
    ],
)
def test_a_disk_that_takes_nothing_ends_in_a_message(error, told, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        run(main, [])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: cannot write: ") and told in message


def test_other_errors_keep_their_traceback():
    def main(argv):
        raise OSError(errno.EIO, "a fault")

    with pytest.raises(OSError, match="a fault"):
        run(main, [])
