"""What the READMEs show works: commands, overrides, Python, links."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

from speechbrain_lmac.utils import parse_arguments
from speechbrain_lmac.utils.hparams import (
    _check_known,
    read_overrides,
    read_tree,
)

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
READMES = [README, *sorted(ROOT.glob("recipes/*/README.md"))]
# As typed, or after a shell's "$".
COMMAND = re.compile(r"^\s*(?:\$ )?(python \w+\.py hparams/\S+\.yaml.*)$", re.M)
MODULE = re.compile(r"^\s*(?:\$ )?python -m (\S+) (.*)$", re.M)


def commands():
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        for match in COMMAND.finditer(text):
            recipe, before = readme.parent, text[: match.start()]
            if recipe != ROOT:  # a "cd" holds for its block
                before = before.rpartition("```")[2]
            for folder in re.findall(r"^ *cd (\S+)$", before, re.M)[-1:]:
                recipe = (recipe / folder).resolve()
            words = shlex.split(match[1], comments=True)[1:]
            yield pytest.param(
                recipe,
                words,
                id=f"{readme.parent.name}:{words[0]}:{match.start()}",
            )


def lmac_commands():
    lines = re.findall(r"^    (lmac .*)$", README.read_text("utf-8"), re.M)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_commands_of_the_shell_tool_work_one_after_the_other():
    from speechbrain_lmac.cli import build_parser

    asked = [build_parser().parse_args(words) for words in lmac_commands()]
    names = [words[0] for words in lmac_commands()]
    evaluate = asked[names.index("evaluate")]
    build = asked[names.index("listening-test")]
    # What is listened to has been evaluated, as have both anchors.
    assert {*build.methods, "random", "ideal"} <= {*evaluate.methods}
    assert names.index("evaluate") < names.index("report")
    # Training has written a package already.
    assert asked[names.index("package")].overwrite


def test_every_command_is_found():
    """Of those with a "$" in recipes' results, and of the project's README."""
    told = [p.values[1] for p in commands() if p.values[0].name == "ESC50"]
    methods = [w for words in told for w in words if w.startswith("--methods")]
    assert any("guided_backprop" in word for word in methods)
    assert {p.values[0].name for p in commands()} == {
        path.parent.name for path in READMES[1:]
    }


@pytest.mark.parametrize(
    "module, options",
    [
        pytest.param(*match.groups(), id=f"{readme.parent.name}:{match[1]}")
        for readme in READMES
        for match in MODULE.finditer(readme.read_text(encoding="utf-8"))
    ],
)
def test_options_of_modules_exist(module, options, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(["--help"])
    assert not ended.value.code
    told = capsys.readouterr().out
    for word in shlex.split(options):
        if word.startswith("--"):
            assert word.partition("=")[0] in told, word


@pytest.mark.parametrize("recipe, command", list(commands()))
def test_commands_name_what_exists(recipe, command, monkeypatch):
    monkeypatch.chdir(recipe)
    script, hparams_file, *options = command
    assert (recipe / script).is_file()
    _, run_opts, overrides = parse_arguments([hparams_file, *options])
    tree = read_tree(recipe / hparams_file)
    for key in read_overrides(overrides):
        _check_known(hparams_file, tree, key)
    given = set(read_overrides(overrides))
    left = [k for k, v in tree.items() if "PLACEHOLDER" in str(tag(v))]
    assert given.issuperset(left), f"the command leaves {left} open"


def tag(node):
    return getattr(getattr(node, "tag", None), "value", "")


def test_python_blocks_run(
    trained_run, synthetic_folder, tmp_path, monkeypatch
):
    from recipe_models import save_wave_model

    from speechbrain_lmac.data.audio import read_audio
    from speechbrain_lmac.inference import write_package

    package = tmp_path / "results" / "lmac_small" / "1234" / "package"
    package.parent.mkdir(parents=True)
    write_package(trained_run.interpreter, package)
    save_wave_model(tmp_path / "my-wav2vec2", "Wav2Vec2")
    clip = min((synthetic_folder / "audio").glob("*.wav"))
    sf.write(tmp_path / "dog_in_rain.flac", read_audio(clip).numpy(), 16000)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert any("TorchClassifier(" in block for block in blocks)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "out" / "explanation.wav").stat().st_size > 1000


@pytest.mark.parametrize(
    "line", re.findall(r"^    (lmac .*)$", README.read_text("utf-8"), re.M)
)
def test_shell_commands_parse(line, capsys):
    """Each command's subcommand and options exist, by its own help."""
    from speechbrain_lmac.cli import main

    words = shlex.split(line.split("#")[0])[1:]
    options = [word for word in words if word.startswith("--")]
    depth = 2 if words[0] == "listening-test" else 1
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main([*words[:depth], "--help"]))
    assert not ended.value.code
    told = capsys.readouterr().out
    for option in options:
        assert option in told, option


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.parent.name)
def test_relative_links_exist(readme):
    text = readme.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links:
        if not link.startswith(("http", "#")):
            assert (readme.parent / link.partition("#")[0]).exists(), link


@pytest.mark.slow
def test_the_demo_goes_from_nothing_to_a_page(tmp_path):
    done = subprocess.run(
        [sys.executable, "tools/demo.py", "--quick", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    evaluation = tmp_path / "lmac_small" / "evaluation"
    assert "report.html" in done.stdout
    for name in ("report.html", "results.csv", "results.md"):
        assert (evaluation / name).stat().st_size > 0
    assert len(list(evaluation.glob("examples/*/*/*/explanation.wav"))) == 88
    classes = tmp_path / "classes"
    assert len(list(classes.rglob("[12]_*/explanation.wav"))) == 2
    prompts = tmp_path / "prompts"
    assert len(list(prompts.rglob("[1-3]_*/explanation.wav"))) == 3
    [figure] = prompts.rglob("explanations.png")
    assert figure.stat().st_size > 0
