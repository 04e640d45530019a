"""Models that people have, from the shell and from Python."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch

import speechbrain_lmac
from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.inference import (
    AudioInterpreter,
    load_package,
    write_package,
)
from speechbrain_lmac.inference.explanation import LEVELS
from speechbrain_lmac.interpreters import Interpreter, build_decoder
from speechbrain_lmac.utils.checks import UserError

RATE = 8000
TONES = {"low": 500, "high": 3000}  # Hz
NET = (Path(__file__).parent / "tone_nets.py").read_text(encoding="utf-8")
MODEL = ("cli_nets:Tones", "--sample-rate", RATE, "--labels", "low,high")


def tone(*names, seconds=0.5, level=0.2, rate=RATE):
    """Tones on top of one another."""
    times = np.arange(int(seconds * rate)) / rate
    waves = [np.sin(2 * np.pi * TONES[name] * times) for name in names]
    return level * np.sum(waves, 0)


@pytest.fixture
def net(tmp_path, monkeypatch):
    """The working folder, with a module ``cli_nets`` in it."""
    (tmp_path / "cli_nets.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("cli_nets", None)


@pytest.fixture
def both(net):
    """A file with both tones, at twice the model's rate."""
    wave = tone("low", rate=2 * RATE) + 2 * tone("high", rate=2 * RATE)
    sf.write(net / "both.wav", wave, 2 * RATE)
    return net / "both.wav"


@pytest.fixture
def model(net):
    return speechbrain_lmac.load_model(
        MODEL[0], "saliency", RATE, labels=list(TONES)
    )


def energy(wave, name):
    """Energy of a tone, by its Fourier coefficient."""
    times = torch.arange(len(wave)) / RATE
    angles = 2 * torch.pi * TONES[name] * times
    return (wave * torch.exp(1j * angles)).sum().abs().item()


def test_explain_a_model_from_the_shell(both, lmac):
    argv = ("explain", both, "--model", *MODEL, "--method", "ig")
    code, told, err = lmac(*argv, "--classes", "high,low", "--out", "out")
    assert (code, err, told.count("\n")) == (0, "", 2)
    kept = {}
    for k, name in enumerate(("high", "low"), 1):
        folder = both.parent / f"out/both/{k}_{name}"
        facts = json.loads((folder / "explanation.json").read_text())
        assert (facts["method"], facts["sample_rate"]) == ("ig", RATE)
        assert facts["forwards"] == 50  # its steps
        assert facts["level"] == LEVELS[False]
        wave, rate = sf.read(folder / "explanation.wav")
        assert rate == RATE
        kept[name] = [energy(torch.tensor(wave), tone) for tone in TONES]
    # Each class is explained by its own tone.
    assert kept["low"][0] > 1.5 * kept["high"][0]
    assert kept["high"][1] > 1.5 * kept["low"][1]
    page = both.parent / "out/report.html"
    assert lmac("report", "out")[0] == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("Integrated Gradients: 50 classifier forwards") == 2
    assert "1 other class<" in text


def test_explain_in_python(both, model):
    found = speechbrain_lmac.explain(both, model)
    assert (found.label, found.method, found.forwards) == (
        "high",
        "saliency",
        1,
    )
    sound = found.original[None, None]
    # At the file's own level, as the network's author hears it.
    logits = model.classifier.network(sound)
    assert found.probability == pytest.approx(logits.softmax(1)[0, 1].item())
    assert found.original.abs().max() < 0.7
    torch.testing.assert_close(
        found.waveform + found.masked_out, found.original, atol=1e-6, rtol=0
    )
    kept = model.classifier.network(found.waveform[None, None]).softmax(1)
    assert found.probability_masked_in == pytest.approx(
        kept[0, 1].item(), abs=1e-5
    )
    several = speechbrain_lmac.explain(
        found.original, MODEL[0], "ig", top_k=2, sample_rate=RATE, n_steps=5
    )
    assert [one.label for one in several] == ["class 1", "class 0"]
    other = speechbrain_lmac.explain(both, model, "ig", n_steps=7)
    assert (other.method, other.forwards) == ("ig", 7)


def test_a_long_file_in_windows(model):
    interpreter = AudioInterpreter(model, window_s=1, overlap_s=0.2)
    wave = torch.tensor(np.r_[tone("low", seconds=2), tone("high", seconds=2)])
    (found,) = interpreter.interpret_batch(wave)
    decided = [window.decision for window in found.windows]
    assert (decided[0], decided[-1]) == ("low", "high")
    assert found.forwards == len(found.windows)  # one each
    # Nothing is scaled: the windows of explanation and rest sum to the file.
    torch.testing.assert_close(
        found.waveform + found.masked_out, wave.float(), atol=1e-5, rtol=0
    )


def test_windows_are_no_longer_than_the_model_hears(model):
    model.frontend.n_samples = RATE
    interpreter = AudioInterpreter(model, overlap_s=0.2)
    wave = torch.tensor(tone("low", seconds=1.5))
    (found,) = interpreter.interpret_batch(wave)
    assert [window.end - window.start for window in found.windows] == [1, 1]


@pytest.mark.slow
def test_ten_minutes_take_little_more_than_their_sounds(net):
    program = f"""
import resource, torch
from speechbrain_lmac import explain, load_model

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

model = load_model("cli_nets:Tones", "saliency", {RATE})
wave = 0.1 * torch.randn(600 * {RATE})
explain(wave[: 25 * {RATE}], model)
before = peak()
found = explain(wave, model)
print(len(found.windows), found.forwards, peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    windows, forwards, grown = map(float, done.stdout.split())
    assert windows == forwards == 67
    # MB; the recording has 18. Its spectrum alone would take 590.
    assert grown < 150


SOURCE = ("--model", "cli_nets:Tones", "--sample-rate", RATE)


@pytest.mark.parametrize(
    "argv, told",
    [
        ((), "one of the arguments --interpreter --model is required"),
        ((*SOURCE, "--interpreter", "x"), "not allowed with argument"),
        ((*SOURCE, "--method", "gradcan"), "--method: .*mean gradcam?"),
        (("--model", "cli_nets:Tones"), "--sample-rate: cli_nets:Tones does"),
        (("--model", "cli_nets:none"), "--model: cannot import cli_nets:none"),
        (("--interpreter", "x", "--weights", "x.pt"), "--weights: .*--model"),
        ((*SOURCE, "--classes", "lwo"), "--classes: 'lwo' is neither"),
        (("--model", "no/such/folder"), "--model: there is no no/such/folder"),
        (
            ("--model", "both.wav", "--weights", "x"),
            "--weights: both.wav holds",
        ),
        (("--model", "both.wav"), "--model: both.wav is taken.*--trust"),
        (("--model", "cli_nets:Rated", "--sample-rate", 9), "hears at 8000 Hz"),
    ],
)
def test_bad_input_is_one_line(argv, told, both, lmac):
    code, out, err = lmac("explain", both, *argv, "--out", "out")
    assert code in (1, 2) and out == ""
    *usage, line = err.splitlines()
    assert not usage or code == 2  # argparse's
    assert line.startswith("lmac") and "error: " in line
    assert re.search(told, line), line
    assert not (both.parent / "out").exists()


def test_what_needs_no_training_needs_no_package(model, tmp_path):
    with pytest.raises(UserError, match="load_model"):
        AudioInterpreter(model).save_pretrained(tmp_path / "package")


def test_evaluate_a_model(net, lmac):
    for name in ("LOW", "high", "neither"):
        (net / "data" / name).mkdir(parents=True)
        for k in range(3):
            wave = tone("low" if name == "LOW" else "high", level=0.1 + k / 9)
            sf.write(net / f"data/{name}/{k}.wav", wave, RATE)
    code, told, err = lmac(
        *("evaluate", "--model", *MODEL, "--data-folder", "data"),
        *("--dataset", "folders", "--out", "out", "--conditions", "mixtures"),
        *("--methods", "ig,saliency,random,ideal", "--examples", 2),
    )
    assert code == 0, err
    assert "3 of 9 clips are left out" in err and "neither" in err
    assert "figures are of all 6 clips" in err
    with open(net / "out/results.csv", encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["ig", "saliency", "random", "ideal"]
    # Random masks have the mean of the first method's.
    mean = float(rows["ig"]["MM"])
    assert float(rows["random"]["MM"]) == pytest.approx(mean, rel=0.1)
    with open(net / "out/comparisons.csv", encoding="utf-8") as file:
        pairs = {(r["first"], r["method"]) for r in csv.DictReader(file)}
    assert pairs == {("ig", "saliency"), ("ig", "random")}
    page = (net / "out/report.html").read_text(encoding="utf-8")
    assert "50 classifier forwards" in page
    assert "Integrated Gradients is significantly better" in page
    code, _, err = lmac(
        *("listening-test", "build", "--results", "out", "--out", "study"),
        *("--methods", "ig,saliency", "--wrong-too"),
    )
    assert code == 0, err


def test_a_model_is_evaluated_by_its_first_method(monkeypatch):
    from speechbrain_lmac.cli import evaluate

    monkeypatch.setattr(evaluate, "load_any", lambda args, method: method)
    source = evaluate.Source("model", "x")
    args = SimpleNamespace(trust=False)
    methods = ("random", "gradcam", "mask")
    assert evaluate._load(source, args, methods) == "gradcam"
    assert evaluate._load(source, args, ()) == "mask"


def test_the_package_alone_is_imported_fast():
    program = (
        "import sys, speechbrain_lmac\n"
        "assert 'torch' not in sys.modules\n"
        "print(speechbrain_lmac.load_model.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.stdout == "load_model\n", done.stderr


@pytest.fixture
def wav2vec2(tmp_path):
    """A folder as ``save_pretrained`` leaves it: tiny, of random weights."""
    import transformers

    config = transformers.Wav2Vec2Config(
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 16, "conv_dim": (8, 8), "conv_kernel": (40, 8)},
        **{"conv_stride": (20, 8), "num_conv_pos_embeddings": 8},
        num_conv_pos_embedding_groups=2,
        id2label={0: "Low", 1: "High_tone"},
        label2id={"Low": 0, "High_tone": 1},
    )
    folder = tmp_path / "my-wav2vec2"
    network = transformers.Wav2Vec2ForSequenceClassification(config)
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    (folder / "optimizer.pt").write_text("not for others")
    return folder


def trained(source, **options):
    """An interpreter with a decoder for a model, as training leaves it."""
    parts = load_any_classifier(source, **options)
    decoder = build_decoder(parts[1], parts[0]).eval()
    names = parts[1].labels or list(TONES)
    return Interpreter(*parts, decoder, names, {"seed": 1})


def test_a_folder_of_transformers(wav2vec2, both, lmac):
    argv = ("explain", both, "--model", wav2vec2, "--method", "gradcam")
    code, told, _ = lmac(*argv, "--classes", "Low", "--out", "out")
    assert code == 0 and ": Low  p 0." in told


def test_a_package_holds_a_model_that_is_no_ours(wav2vec2, tmp_path):
    interpreter = trained(wav2vec2)
    package = write_package(interpreter, tmp_path / "package")
    wav2vec2.rename(tmp_path / "gone")
    files = sorted(p.name for p in (package / "classifier").rglob("*.*"))
    assert files == [
        *("config.json", "model.safetensors", "preprocessor_config.json"),
    ]
    wave = torch.randn(1, 8000)
    before, after = (
        AudioInterpreter(one).interpret_batch(wave)[0]
        for one in (interpreter, load_package(package))
    )
    torch.testing.assert_close(after.mask, before.mask)
    assert (after.method, after.label) == ("lmac", before.label)


def test_a_package_that_names_code_is_trusted_or_refused(net, tmp_path):
    torch.save({"conv.weight": torch.randn(2, 1, 2)}, net / "net.pt")
    options = {"sample_rate": RATE, "weights": net / "net.pt"}
    interpreter = trained("cli_nets:Tones", **options)
    package = write_package(interpreter, tmp_path / "package")
    (net / "net.pt").unlink()
    with pytest.raises(UserError, match="cli_nets:Tones.*trust_source"):
        load_package(package)
    weight = load_package(package, trust_source=True).classifier.network.conv
    torch.testing.assert_close(
        weight.weight, interpreter.classifier.network.conv.weight
    )
