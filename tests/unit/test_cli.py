"""The command lmac: what is typed, printed, written, and the exit codes."""

import argparse
import csv
import json
import logging
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from listening_toys import make_examples
from report_toys import write_results_folder

from speechbrain_lmac import cli
from speechbrain_lmac.cli import explain
from speechbrain_lmac.cli.inputs import (
    collect,
    output_names,
    plan_outputs,
)
from speechbrain_lmac.cli.sources import find_source
from speechbrain_lmac.data.audio import read_audio
from speechbrain_lmac.utils.checks import UserError

ROOT = Path(__file__).resolve().parents[2]
#: How the fixture `synthetic_folder` was made.
SYNTHETIC = "--seed 1234 --clips-per-class-and-fold 2 --duration 2.5".split()
COMMANDS = (
    ["explain"],
    ["report"],
    ["package"],
    ["listening-test"],
    ["listening-test", "build"],
    ["listening-test", "analyse"],
    ["listening-test", "webmushra"],
    ["evaluate"],
    ["data"],
    ["data", "synthetic"],
)


@pytest.fixture(autouse=True)
def no_debug(monkeypatch):
    monkeypatch.delenv(cli.DEBUG_VARIABLE, raising=False)


def write_sound(path, seconds=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    sf.write(path, 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
    return path


class FakeExplanation:
    is_decision = True
    similarity = None

    def __init__(self, label="dog", **notes):
        self.label, self.notes = label, notes

    def facts(self):
        facts = {
            "label": self.label,
            "probability": 0.75,
            "probability_masked_in": 0.5,
            "probability_masked_out": None,
            "mask_mean": 0.25,
            "is_decision": self.is_decision,
        }
        return facts | self.notes

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "explanation.json").write_text(json.dumps(self.facts()))
        return folder


class FileResult(NamedTuple):
    path: str
    explanation: object
    error: Exception | None


class FakeInterpreter:
    """Explains all that can be read; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def interpret_file(self, path, top_k=1, classes=None, prompts=None):
        self.asked.append((path, top_k, classes, prompts))
        read_audio(path)
        labels = classes or prompts or ["dog", "rain", "cat"][:top_k]
        found = [FakeExplanation(label) for label in labels]
        return found[0] if len(found) == 1 else found

    def interpret_files(
        self, paths, top_k=1, classes=None, prompts=None, events=False,
        against=None,
    ):  # fmt: skip
        if classes and "yodel" in classes:
            raise UserError("the classifier knows no class 'yodel'")
        return self.stream([str(p) for p in paths], top_k, classes, prompts)

    def stream(self, paths, *asked):
        for path in paths:
            try:
                yield FileResult(path, self.interpret_file(path, *asked), None)
            except UserError as error:
                yield FileResult(path, None, error)


@pytest.fixture
def fake(monkeypatch):
    interpreter = FakeInterpreter()
    monkeypatch.setattr(
        explain, "load_audio_interpreter", lambda *args: interpreter
    )
    return interpreter


# --- the command itself ---


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from speechbrain_lmac.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'speechbrain', 'soundfile', 'tqdm'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.stderr.strip() == "set()"
    for command, *_ in COMMANDS:
        assert f"\n    {command}" in done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_has_examples_that_parse(command, lmac):
    code, out, _ = lmac(*command, "--help")
    assert code == 0
    assert "--json" in out or len(command) == 1
    examples = out.partition("examples:\n")[2].partition("\n\n")[0]
    joined = examples.replace("\\\n", " ").splitlines()
    assert joined
    parser = cli.build_parser()
    for line in joined:
        words = shlex.split(line.partition(" >")[0])
        assert words[0] == "lmac"
        assert words[1] == command[0]
        parsed = parser.parse_args(words[1:])  # exits if it is wrong
        assert callable(parsed.run)


def test_no_argument_without_help():
    parsers = [cli.build_parser()]
    while parsers:
        parser = parsers.pop()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            else:
                assert action.help, (parser.prog, action.dest)


def test_what_help_lists_is_what_there_is():
    from speechbrain_lmac.cli.evaluate import (
        CONDITIONS,
        METHODS,
        PROTOCOLS,
    )
    from speechbrain_lmac.evaluation import conditions
    from speechbrain_lmac.evaluation.methods import METHODS as methods
    from speechbrain_lmac.evaluation.methods import PROTOCOLS as protocols

    listed = METHODS.replace(" (lmac_zs for zero-shot)", ", lmac_zs")
    assert set(listed.split(", ")) == set(methods)
    assert tuple(CONDITIONS.split(", ")) == conditions.CONDITIONS
    assert tuple(PROTOCOLS.split(", ")) == protocols


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["sing"],
        ["explain", "a.wav"],
        ["explain", "a", "--interpreter", "x", "--out", "y", "--top-k", "0"],
        ["explain", "a", "--interpreter", "x", "--out", "y", "--classes", ","],
        ["data", "synthetic", "x", "--duration", "long"],
    ],
    ids=" ".join,
)
def test_wrong_usage(argv, lmac):
    code, out, err = lmac(*argv)
    assert code == 2 and out == ""
    assert err.startswith("usage: lmac")


def fails_with(error):
    def run(args):
        raise error

    return run


@pytest.fixture
def report_raises(monkeypatch):
    def plant(error):
        monkeypatch.setattr(cli.report, "run", fails_with(error))

    return plant


def test_a_mistake_of_the_user_is_one_line(report_raises, lmac):
    report_raises(UserError("expected a, found b; do c"))
    code, out, err = lmac("report", "x")
    assert (code, out) == (1, "")
    assert err == "lmac: error: expected a, found b; do c\n"


def test_an_unknown_error_says_how_to_see_more(report_raises, lmac):
    report_raises(KeyError("a\nb"))
    code, out, err = lmac("report", "x")
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert "KeyError" in err and "--debug" in err


@pytest.mark.parametrize("how", ["before", "after", "environment"])
def test_debug_shows_the_traceback(how, report_raises, lmac, monkeypatch):
    report_raises(UserError("no"))
    argv = ["report", "x"]
    if how == "environment":
        monkeypatch.setenv(cli.DEBUG_VARIABLE, "1")
    else:
        argv.insert(0 if how == "before" else 1, "--debug")
    code, _, err = lmac(*argv)
    assert code == 1
    assert "Traceback" in err and err.endswith("lmac: error: no\n")


def test_interrupted(report_raises, lmac):
    report_raises(KeyboardInterrupt())
    assert lmac("report", "x") == (130, "", "lmac: interrupted\n")


def test_a_reader_that_went_away(synthetic_folder):
    """As in `lmac ... | head -0`: no traceback."""
    program = [sys.executable, "-m", "speechbrain_lmac", "data", "synthetic"]
    process = subprocess.Popen(
        [*program, str(synthetic_folder), *SYNTHETIC],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


def test_libraries_are_quiet_and_we_are_not(report_raises, lmac, monkeypatch):
    def chatter(args):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        get_logger("speechbrain.x").warning("noise")
        get_logger("speechbrain_lmac.y").warning("too long")
        get_logger("speechbrain_lmac.y").info("detail")
        return 0

    from speechbrain.utils.logger import get_logger

    before = logging.getLogger().handlers[:]
    monkeypatch.setattr(cli.report, "run", chatter)
    assert lmac("report", "x") == (0, "", "lmac: too long\n")
    assert before == logging.getLogger().handlers
    assert logging.getLogger("speechbrain_lmac").handlers == []


# --- which files, and where to ---


def test_files_of_folders(tmp_path):
    for name in ("b.wav", "a.FLAC", ".hidden.wav", "in/c.ogg", ".x/d.wav"):
        write_sound(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    flat, failed = collect([tmp_path])
    assert [f.name for f in flat] == ["a.FLAC", "b.wav"] and not failed
    deep, _ = collect([tmp_path], recursive=True)
    assert [f.name for f in deep] == ["a.FLAC", "b.wav", "c.ogg"]


def test_a_file_given_twice_counts_once(tmp_path):
    file = write_sound(tmp_path / "a.wav")
    (tmp_path / "link.wav").symlink_to(file)
    # Nor are the sounds of earlier explanations inputs.
    write_sound(tmp_path / "out" / "a" / "explanation.wav")
    (tmp_path / "out" / "a" / "explanation.json").write_text("{}")
    inputs = [file, tmp_path, tmp_path / "." / "a.wav"]
    assert collect(inputs, recursive=True)[0] == [file]


def test_inputs_without_audio(tmp_path):
    write_sound(tmp_path / "in" / "c.ogg")
    (tmp_path / "empty").mkdir()
    absent = str(tmp_path / "absent.wav")
    inputs = [tmp_path, tmp_path / "empty", Path(absent)]
    files, failed = collect(inputs)
    assert files == []
    assert "--recursive" in failed[str(tmp_path)]
    assert "--recursive" not in failed[str(tmp_path / "empty")]
    assert "does not exist" in failed[absent]


def test_names_of_outputs():
    files = ["x/a.wav", "x/b.wav", "y/b.wav", "x/c.wav", "x/C.flac", "a.b.ogg"]
    expected = ["a", "x_b.wav", "y_b.wav", "x_c.wav", "x_C.flac", "a.b"]
    assert output_names([Path(f) for f in files]) == expected
    # Whatever the order.
    again = output_names([Path(f) for f in files[::-1]])
    assert again == expected[::-1]


@pytest.mark.parametrize(
    "files",
    [
        ["/q/a_b/c.wav", "/q/a/b_c.wav", "/q/a/b/c.wav", "/r/a_b/c.wav"],
        ["/x/" + "n" * 200 + "1.wav", "/x/" + "n" * 200 + "2.wav"],
        ["/x/a?.wav", "/x/a*.wav"],
        ["/x/a.wav", "/x/a.wav.ogg", "/x/a.ogg"],
    ],
)
def test_names_never_clash(files):
    names = output_names([Path(f) for f in files])
    assert len({name.casefold() for name in names}) == len(files)
    assert all("/" not in name for name in names)
    backwards = output_names([Path(f) for f in files[::-1]])
    assert backwards[::-1] == names


def test_what_is_in_the_way(tmp_path):
    files, made = [Path("a.wav")], tmp_path / "a"
    assert plan_outputs(files, tmp_path) == [made]
    made.mkdir()
    assert plan_outputs(files, tmp_path) == [made]  # empty folders are free
    mark = made / "1_dog" / "explanation.json"
    for inner in (made / "1_dog", made):
        touch(inner, mark.name)
        with pytest.raises(UserError, match="`overwrite`"):
            plan_outputs(files, tmp_path)
        assert plan_outputs(files, tmp_path, overwrite=True) == [made]
        (inner / mark.name).rename(inner / "thesis.tex")
        with pytest.raises(UserError, match="never overwritten"):
            plan_outputs(files, tmp_path, overwrite=True)


# --- which interpreter ---


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_sources(tmp_path):
    run = touch(tmp_path / "run", "interpreter.json", "hyperparams.yaml")
    assert find_source(str(run)) == ("run", str(run))
    package = touch(run / "package", "config.json")
    assert find_source(str(run)) == ("package", str(package))
    assert find_source(str(run), prefer="run") == ("run", str(run))
    for prefer in ("run", "package"):
        found = find_source(str(package), prefer)
        assert found == ("package", str(package))


@pytest.mark.parametrize(
    "text",
    [
        "results/lmac_smal",  # results/ exists
        "~/lmac",
        "/nowhere/lmac",
        "lmac",
        "results/",
    ],
)
def test_a_mistyped_path_is_no_repository(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text != "results/":
        (tmp_path / "results").mkdir()
    with pytest.raises(UserError, match="no such folder"):
        find_source(text)


def test_a_folder_or_file_that_is_no_interpreter(tmp_path):
    with pytest.raises(UserError, match="holds no interpreter"):
        find_source(str(tmp_path))
    (tmp_path / "x.yaml").touch()
    with pytest.raises(UserError, match="it is a file"):
        find_source(str(tmp_path / "x.yaml"))


# --- explain ---


def explain_args(*inputs, out, interpreter="x"):
    return ["explain", *inputs, "--interpreter", interpreter, "--out", out]


def test_explain_a_file(fake, lmac, tmp_path):
    file, out = write_sound(tmp_path / "a.wav"), tmp_path / "out"
    code, told, err = lmac(*explain_args(file, out=out))
    assert (code, err) == (0, "")
    assert told == (
        f"{file}: dog  p 0.75  masked-in 0.50  masked-out -  -> {out / 'a'}\n"
    )
    assert sorted(p.name for p in out.iterdir()) == ["a", "explanations.csv"]
    assert (out / "a" / "explanation.json").is_file()
    assert fake.asked == [(str(file), 1, None, None)]


def test_explain_several_classes(fake, lmac, tmp_path):
    file, out = write_sound(tmp_path / "a.wav"), tmp_path / "out"
    code, told, _ = lmac(*explain_args(file, out=out), "--top-k", "2")
    assert code == 0 and len(told.splitlines()) == 2
    folders = sorted(p.name for p in (out / "a").iterdir())
    assert folders == ["1_dog", "2_rain"]
    lmac(*explain_args(file, out=tmp_path / "b"), "--classes", "cat, sea")
    lmac(*explain_args(file, out=tmp_path / "c"), "--prompts", "a b", "c/d")
    assert fake.asked[1:] == [
        (str(file), 1, ["cat", "sea"], None),
        (str(file), 1, None, ["a b", "c/d"]),
    ]
    prompts = sorted(p.name for p in (tmp_path / "c" / "a").iterdir())
    assert prompts == ["1_a_b", "2_c_d"]


@pytest.fixture
def mixed_folder(tmp_path):
    """Three sounds, of which one is broken, and a text that is no sound."""
    folder = tmp_path / "in"
    for name in ("a.wav", "c.flac"):
        write_sound(folder / name)
    (folder / "b.wav").write_bytes(b"RIFF no sound")
    (folder / "notes.txt").write_text("x")
    return folder


def test_explain_a_folder_with_a_broken_file(fake, lmac, mixed_folder):
    out = mixed_folder.parent / "out"
    code, told, err = lmac(*explain_args(mixed_folder, out=out))
    assert code == 1
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        str(mixed_folder / name) for name in ("a.wav", "c.flac")
    ]
    made = sorted(p.name for p in out.iterdir())
    assert made == ["a", "c", "explanations.csv"]
    assert err.count("\n") == 1
    assert err.startswith(f"lmac: error: {mixed_folder}/b.wav: expected an")


def test_json_lines(fake, lmac, mixed_folder):
    out = mixed_folder.parent / "out"
    code, told, _ = lmac(*explain_args(mixed_folder, out=out), "--json")
    assert code == 1
    first, second, failed = map(json.loads, told.splitlines())
    assert first["file"] == str(mixed_folder / "a.wav")
    assert first["folder"] == str(out / "a")
    assert first["probability"] == 0.75
    assert first["probability_masked_out"] is None
    assert second["label"] == "dog"
    assert failed["file"] == str(mixed_folder / "b.wav")
    assert "expected an audio file" in failed["error"]


def test_explain_never_overwrites_silently(fake, lmac, tmp_path):
    file, out = write_sound(tmp_path / "a.wav"), tmp_path / "out"
    argv = explain_args(file, out=out)
    assert lmac(*argv)[0] == 0
    mark = out / "a" / "explanation.json"
    mark.write_text("old")
    code, told, err = lmac(*argv)
    assert (code, told) == (1, "")
    assert "--overwrite" in err and mark.read_text() == "old"
    assert len(fake.asked) == 1  # refused before any work
    assert lmac(*argv, "--overwrite")[0] == 0
    assert mark.read_text() != "old"


@pytest.mark.parametrize("more", [[], ["--top-k", "2"]], ids=["one", "two"])
def test_files_of_the_user_are_never_deleted(fake, lmac, tmp_path, more):
    file, out = write_sound(tmp_path / "a.wav"), tmp_path / "out"
    lmac(*explain_args(file, out=out), "--top-k", "3")
    (out / "a" / "best").mkdir()
    touch(out / "a", "notes.txt", "2_rain/remark.txt")
    touch(out / "a" / "best", "explanation.json")
    (out / "a" / "4_link").symlink_to(out / "a" / "best")
    assert lmac(*explain_args(file, out=out), *more, "--overwrite")[0] == 0
    kept = {"notes.txt", "2_rain/remark.txt", "best/explanation.json"}
    made = {"explanation.json"}
    if more:
        made = {"1_dog/explanation.json", "2_rain/explanation.json"}
    files = (path for path in (out / "a").rglob("*") if path.is_file())
    found = {path.relative_to(out / "a").as_posix() for path in files}
    assert found - {"4_link/explanation.json"} == kept | made


@pytest.mark.parametrize(
    "error", [ValueError("odd"), OSError(28, "No space"), UserError("no")]
)
def test_a_result_that_cannot_be_written(
    fake, lmac, mixed_folder, monkeypatch, error
):
    save = FakeExplanation.save

    def fail(self, folder):
        if folder.parts[-1] == "a":
            folder.mkdir()
            raise error
        return save(self, folder)

    monkeypatch.setattr(FakeExplanation, "save", fail)
    out = mixed_folder.parent / "out"
    code, told, err = lmac(*explain_args(mixed_folder, out=out))
    assert code == 1 and len(told.splitlines()) == 1
    names = sorted(path.name for path in out.iterdir())
    assert names == ["c", "explanations.csv"]
    assert f"  {mixed_folder}/a.wav: " in err


def test_interrupted_between_files(fake, lmac, mixed_folder, monkeypatch):
    out = mixed_folder.parent / "out"

    def stop(path, *args):
        if str(path).endswith("c.flac"):
            raise KeyboardInterrupt
        return FakeExplanation()

    monkeypatch.setattr(fake, "interpret_file", stop)
    code, _, err = lmac(*explain_args(mixed_folder, out=out))
    assert code == 130 and err.endswith("lmac: interrupted\n")
    # What is there is whole, and nothing else is left behind.
    assert sorted(p.name for p in out.iterdir()) == ["a", "b"]


def test_nothing_to_do_loads_nothing(lmac, tmp_path, monkeypatch):
    monkeypatch.setattr(explain, "load_audio_interpreter", None)
    code, told, err = lmac(
        *explain_args(tmp_path / "absent.wav", out=tmp_path / "out")
    )
    assert (code, told) == (1, "") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there(fake, lmac, tmp_path):
    file = write_sound(tmp_path / "a.wav")
    argv = explain_args(file, out=tmp_path / "out")
    code, _, err = lmac(*argv, "--device", "warp9")
    assert code == 1 and "warp9" in err and err.count("\n") == 1


def test_an_out_that_cannot_be_written(fake, lmac, tmp_path):
    file = write_sound(tmp_path / "a.wav")
    code, told, err = lmac(*explain_args(file, out=file))
    assert (code, told) == (1, "") and str(file) in err
    assert err.count("\n") == 1


def test_the_home_folder_in_a_value(fake, lmac, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_sound(tmp_path / "a.wav")
    argv = ["explain", "~/a.wav", "--interpreter=x", "--out=~/out"]
    assert lmac(*argv)[0] == 0
    assert (tmp_path / "out" / "a" / "explanation.json").is_file()


def test_an_unknown_class_is_found_before_any_work(fake, lmac, mixed_folder):
    out = mixed_folder.parent / "out"
    argv = explain_args(mixed_folder, out=out)
    code, told, err = lmac(*argv, "--classes", "yodel")
    assert (code, told) == (1, "") and not out.exists()
    assert err == "lmac: error: the classifier knows no class 'yodel'\n"


def test_a_note_is_told_once(fake, lmac, mixed_folder, monkeypatch):
    def noted(path, *args):
        return FakeExplanation(note="one mask for all classes")

    monkeypatch.setattr(fake, "interpret_file", noted)
    argv = explain_args(mixed_folder, out=mixed_folder.parent / "out")
    assert "note" not in lmac(*argv)[2]
    monkeypatch.setattr(FakeExplanation, "is_decision", False)
    assert lmac(*argv, "--overwrite")[2].count("one mask") == 1


def test_a_sound_of_which_nothing_is_left_is_noted(packaged, lmac, tmp_path):
    tone = 0.5 * np.sin(np.arange(8000) * 0.3)
    sf.write(tmp_path / "inverted.wav", np.stack([tone, -tone], 1), 16000)
    argv = explain_args(
        tmp_path / "inverted.wav", out=tmp_path / "o", interpreter=packaged
    )
    code, told, err = lmac(*argv, "--json")
    assert code == 0 and f"note: {tmp_path}/inverted.wav: " in err
    assert json.loads(told)["warning"] in err


def test_files_behind_prompts_are_no_prompts(fake, lmac, tmp_path, monkeypatch):
    files = [write_sound(tmp_path / name) for name in ("a.wav", "b.wav")]
    options = ["--interpreter", "x", "--out", tmp_path / "out", "--prompts"]
    code, _, err = lmac("explain", *options, "a dog", files[0])
    assert code == 2 and "FILE_OR_FOLDER" in err
    code, _, err = lmac("explain", files[0], *options, "a dog", files[1])
    assert code == 2 and f"--prompts: '{files[1]}' is a file" in err
    code, _, err = lmac("explain", files[0], *options, f"{tmp_path}/")
    assert code == 2 and fake.asked == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rain").mkdir()  # as of a class of that name
    argv = ["explain", *options, "a dog", "--prompts", "rain", "--", *files]
    assert lmac(*argv)[0] == 0
    assert [asked[3] for asked in fake.asked] == [["a dog", "rain"]] * 2


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["lines", "json"])
def test_labels_of_strangers_do_not_steer_the_terminal(
    fake, lmac, tmp_path, monkeypatch, more
):
    label = "dog\x1b[2J\x9b1m\u202e\rx\nlmac: all is well"
    monkeypatch.setattr(
        fake, "interpret_file", lambda *_: FakeExplanation(label, note=label)
    )
    monkeypatch.setattr(FakeExplanation, "is_decision", False)
    files = [write_sound(tmp_path / f"{k}.wav") for k in range(2)]
    _, told, err = lmac(*explain_args(*files, out=tmp_path / "out"), *more)
    _, _, refused = lmac(*explain_args("a\x1b[2J.wav", out=tmp_path / "out"))
    assert len(told.splitlines()) == 2 and refused
    for text in (told, err, refused):
        assert not set(text) & set("\x1b\x9b\u202e\r")
    if more:
        assert json.loads(told.splitlines()[0])["label"] == label


# --- report, package, listening-test, data ---


def test_report(lmac, tmp_path):
    write_results_folder(tmp_path / "ev")
    code, told, err = lmac("report", tmp_path / "ev")
    page = tmp_path / "ev" / "report.html"
    assert (code, err) == (0, "") and page.is_file()
    assert told.startswith(f"{page} (")
    other = tmp_path / "other.html"
    argv = ("report", tmp_path / "ev", "--out", other, "--json")
    code, told, _ = lmac(*argv, "--title", "Heard")
    assert json.loads(told) == {"report": str(other)}
    assert "Heard" in other.read_text(encoding="utf-8")
    code, told, err = lmac(*argv)
    assert (code, told) == (1, "") and "--overwrite" in err
    assert lmac(*argv, "--overwrite")[0] == 0
    code, _, err = lmac("report", tmp_path / "ev", "--out", tmp_path)
    assert code == 1 and f"--out: {tmp_path}" in err


STUDY = ("--methods", "lmac,gradcam", "--items", "2")


@pytest.mark.parametrize(
    "kind, made", [("build", "index.html"), ("webmushra", "key.csv")]
)
def test_listening_test(kind, made, lmac, tmp_path):
    results = make_examples(tmp_path / "ev", ideal=True)
    argv = ["listening-test", kind, "--results", results, *STUDY]
    argv += ["--out", tmp_path / "study"]
    code, told, err = lmac(*argv)
    assert (code, err) == (0, "") and str(tmp_path / "study") in told
    assert (tmp_path / "study" / made).is_file()
    code, told, err = lmac(*argv)
    assert (code, told) == (1, "") and "lmac: error" in err
    assert lmac(*argv, "--overwrite", "--json")[0] == 0


def test_mistakes_are_told_in_words_of_the_shell(lmac, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = lmac("package", tmp_path / "empty")
    assert code == 1 and err.startswith("lmac: error: RUN_FOLDER: ")
    assert str(tmp_path / "empty") in err
    argv = ["data", "synthetic", tmp_path / "s", "--n-folds", "1"]
    argv += ["--clips-per-class-and-fold", "2000"]
    code, _, err = lmac(*argv)
    assert code == 1 and "--clips-per-class-and-fold" in err and "2000" in err


def ratings_file(path, participant="p1"):
    """A listener's answers, as the page saves them."""
    from speechbrain_lmac.evaluation.listening_test.ratings import COLUMNS

    row = dict.fromkeys(COLUMNS, "1")
    row |= {"study": "s", "participant": participant, "question": "quality"}
    liking = {"lmac": 80, "low_anchor": 5, "high_anchor": 95}
    rows = [
        row | {"item": item, "method": m, "stimulus": item + m, "rating": r}
        for item in "ab"
        for m, r in liking.items()
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_listening_test_analyse(lmac, tmp_path):
    files = [ratings_file(tmp_path / f"{k}.csv", f"p{k}") for k in range(3)]
    out = tmp_path / "analysis"
    argv = ["listening-test", "analyse", *files, "--out", out]
    code, told, err = lmac(*argv)
    assert (code, err) == (0, "")
    assert "quality: L-MAC  80.0 [80.0, 80.0]  (3 listeners)" in told
    assert told.endswith(f"tables in {out}\n")
    assert (out / "scores.csv").is_file()
    code, told, err = lmac(*argv)
    assert (code, told) == (1, "") and "--overwrite" in err
    bad = tmp_path / "bad.csv"
    bad.write_text("no,ratings\n1,2\n")
    code, told, err = lmac(*argv[:3], bad, *argv[3:], "--overwrite", "--json")
    assert code == 1 and "bad.csv" in err and "0.csv" not in err
    found = json.loads(told)
    assert len(found["problems"]) == 1
    assert {"lmac"} < {row["method"] for row in found["scores"]}


def test_data_synthetic(lmac, tmp_path):
    argv = ["data", "synthetic", tmp_path / "set", "--duration", "2.5"]
    argv += ["--clips-per-class-and-fold", "1", "--n-folds", "1"]
    code, told, err = lmac(*argv)
    assert (code, err, told) == (0, "", f"{tmp_path / 'set'}\n")
    assert len(list((tmp_path / "set" / "audio").iterdir())) == 10
    assert lmac(*argv)[0] == 0
    code, told, err = lmac(*argv, "--seed", "5")
    assert (code, told) == (1, "") and "other settings" in err
    assert lmac(*argv, "--seed", "5", "--overwrite")[0] == 0


# --- from end to end, with an interpreter that was trained a little ---


@pytest.fixture(scope="module")
def packaged(trained_run, tmp_path_factory):
    """A copy of the run's folder with its package, written by the command."""
    run = tmp_path_factory.mktemp("cli") / "run"
    shutil.copytree(trained_run.interpreter, run)
    # The training may have written one.
    assert cli.main(["package", str(run), "--overwrite"]) == 0
    return run


@pytest.fixture
def sounds(synthetic_folder, tmp_path):
    """A folder with two clips, in two formats, and a broken one."""
    first, second = sorted((synthetic_folder / "audio").iterdir())[:2]
    folder = tmp_path / "sounds"
    folder.mkdir()
    shutil.copy(first, folder / "a.wav")
    wav, rate = sf.read(second)
    sf.write(folder / "b.flac", np.stack([wav, -0.5 * wav], 1), rate)
    (folder / "broken.wav").write_text("no sound")
    return folder


def test_a_package_is_not_replaced_silently(packaged, lmac):
    code, told, err = lmac("package", packaged)
    assert (code, told) == (1, "") and "--overwrite" in err
    code, told, _ = lmac("package", packaged, "--overwrite", "--json")
    assert code == 0
    assert json.loads(told) == {"package": str(packaged / "package")}


def test_package_and_run_explain_alike(packaged, sounds, lmac, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(packaged, bare)
    shutil.rmtree(bare / "package")
    told = {}
    for name, source in (
        ("run", bare),
        ("packaged", packaged),
        ("package", packaged / "package"),
    ):
        out = tmp_path / name
        code, printed, err = lmac(
            *explain_args(sounds, out=out, interpreter=source), "--json"
        )
        assert code == 1 and "broken.wav" in err and "Traceback" not in err
        assert err.count("\n") == 1, err
        *good, failed = map(json.loads, printed.splitlines())
        assert failed["file"] == str(sounds / "broken.wav")
        told[name] = [
            {key: facts[key] for key in ("file", "label", "probability")}
            for facts in good
        ]
        *folders, table = sorted(p.name for p in out.iterdir())
        assert (folders, table) == (["a", "b"], "explanations.csv")
        assert len((out / table).read_text().splitlines()) == 3
        for folder in folders:
            sound = sf.info(out / folder / "explanation.wav")
            assert sound.frames == sf.info(out / folder / "original.wav").frames
    assert told["run"] == told["packaged"] == told["package"]


def test_mistakes_of_a_real_interpreter(packaged, sounds, lmac):
    out = sounds.parent / "out"
    argv = explain_args(sounds, out=out, interpreter=packaged)
    for more, named in (
        (("--top-k", "99"), "--top-k"),
        (("--prompts", "a dog"), "--prompts"),
        (("--classes", "rian"), "'rain'"),
    ):
        code, told, err = lmac(*argv, *more)
        assert (code, told) == (1, "") and named in err
        assert err.count("\n") == 1 and not out.exists()


def test_a_zero_shot_interpreter(zero_shot_run, sounds, lmac):
    out = sounds.parent / "out"
    argv = explain_args(
        sounds / "a.wav", out=out, interpreter=zero_shot_run.interpreter
    )
    code, _, err = lmac(*argv)
    assert code == 1 and "--prompts: " in err and err.count("\n") == 1
    code, told, err = lmac(*argv, "--prompts", "rain falls", "a siren")
    assert (code, err) == (0, "") and told.count("similarity") == 2
    found = sorted(p.name for p in (out / "a").iterdir())
    assert found == ["1_rain_falls", "2_a_siren", "explanations.png"]


def evaluate_args(interpreter, data, out, *more):
    return [
        *("evaluate", "--interpreter", interpreter, "--data-folder", data),
        *("--out", out, "--conditions", "clean", "--examples", "0"),
        *("--methods", "lmac,random", "--json", *more),
    ]


def rows_of(told):
    rows = json.loads(told)["rows"]
    return {row["method"]: row for row in rows}


@pytest.fixture
def own_sounds(synthetic_folder, tmp_path):
    """Two clips of each of two classes: a folder per class, and a table."""
    folder, lines = tmp_path / "own", ["file,label"]
    with open(synthetic_folder / "meta" / "esc50.csv") as file:
        rows = [r for r in csv.DictReader(file) if r["fold"] == "5"]
    for row in rows:
        if row["category"] in ("rain", "siren"):
            place = folder / row["category"] / row["filename"]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(synthetic_folder / "audio" / row["filename"], place)
            name = place.relative_to(folder).as_posix()
            lines.append(f"{name},{row['category']}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_evaluate_layouts_alike(
    packaged, own_sounds, synthetic_folder, trained_run, lmac
):
    out, found = own_sounds.parent, {}
    # Its own classifier
    judge = ("--judge", trained_run.classifier)
    for layout, source, data, more in (
        ("folders", packaged / "package", own_sounds, ()),
        ("csv", packaged / "package", own_sounds / "labels.csv", ()),
        ("esc50", packaged, synthetic_folder, ("--classes", "rain,siren")),
    ):
        argv = evaluate_args(source, data, out / layout, "--dataset", layout)
        code, told, err = lmac(*argv, *more, *judge)
        assert code == 0, err
        assert (out / layout / "results.csv").is_file()
        found[layout] = rows_of(told)
    for layout in ("csv", "esc50"):
        for name in ("AI", "FF", "accuracy", "n_clips"):
            expected = found["folders"]["lmac"][name]
            assert found[layout]["lmac"][name] == pytest.approx(expected)
        row = found[layout]["lmac"]
        assert row["judge_FF"] == pytest.approx(row["FF_wav"], abs=1e-4)
    assert found["csv"]["lmac"]["dataset"] == "own"
    assert found["esc50"]["lmac"]["dataset"] == "ESC-50"
    # Once more: said, and nothing is measured again.
    argv = evaluate_args(packaged, own_sounds, out / "folders")
    code, _, err = lmac(*argv, "--dataset", "folders", *judge)
    assert code == 0 and "holds an evaluation" in err


def test_evaluate_refuses_before_any_work(packaged, own_sounds, lmac):
    out = own_sounds.parent / "out"
    for more, expected in (
        (("--methods", "lime"), "'lime'"),
        (("--conditions", "speech"), "speech"),
        (("--protocols", "loud"), "'loud'"),
        (("--data-folder", "absent"), "--data-folder: there is no absent"),
        (("--out", own_sounds), f"--out: {own_sounds}"),
        (("--device", "cuda:99"), "--device: cuda:99"),
        (("--judge", "./absent"), "--judge: there is no ./absent"),
    ):
        argv = evaluate_args(packaged, own_sounds, out, "--dataset", "folders")
        code, told, err = lmac(*argv, *more)
        assert (code, told) == (1, "") and expected in err
        assert not out.exists()


def test_a_refused_evaluation_is_mended(packaged, own_sounds, lmac, tmp_path):
    (own_sounds / "rain" / "broken.wav").write_bytes(b"no sound")
    argv = evaluate_args(packaged, own_sounds, tmp_path / "o")
    argv += ["--dataset", "folders"]
    code, _, err = lmac(*argv)
    # The advice names an option of this command.
    assert code == 1 and "broken.wav" in err and "--skip-broken-audio" in err
    code, told, _ = lmac(*argv, "--skip-broken-audio")
    assert code == 0 and rows_of(told)["lmac"]["n_clips"] == 4
    (own_sounds / "rain" / "broken.wav").unlink()
    code, told, _ = lmac(*argv)
    assert code == 0 and rows_of(told)["lmac"]["n_clips"] == 4


def test_evaluate_bad_data(packaged, own_sounds, lmac, tmp_path):
    argv = evaluate_args(packaged, own_sounds / "rain", tmp_path / "o")
    code, _, err = lmac(*argv, "--dataset", "folders")
    assert code == 1 and "for each class" in err
    table = own_sounds / "bad.csv"
    table.write_text("file,label\n../../etc/passwd,rain\n")
    argv = evaluate_args(packaged, table, tmp_path / "p", "--dataset", "csv")
    code, _, err = lmac(*argv)
    assert code == 1 and "'..'" in err
    argv = evaluate_args(packaged, own_sounds / "rain", tmp_path / "p")
    code, _, err = lmac(*argv, "--dataset", "csv")
    assert code == 1 and "rain/labels.csv: expected" in err
    argv = evaluate_args(packaged, own_sounds, tmp_path / "q")
    code, _, err = lmac(*argv)
    assert code == 1 and "esc50.csv is missing" in err


def test_a_package_has_no_place_for_an_evaluation(packaged, own_sounds, lmac):
    argv = ["evaluate", "--interpreter", packaged / "package"]
    code, _, err = lmac(*argv, "--data-folder", own_sounds)
    assert code == 2 and "--out" in err
