"""Examples on disk: what is written, kept and removed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image

from speechbrain_lmac.classifiers import AudioClassifier
from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.evaluation.examples import ExampleWriter
from speechbrain_lmac.features import FrontEnd

SETTINGS = {"common": {"seed": 1}, "methods": {"lmac": None, "ig": None}}
LABELS = ["dog", "rain"]


def clip(name, label="dog"):
    return SimpleNamespace(
        id=name, clip_id=name, class_string=label, named=False
    )


@pytest.fixture(scope="module")
def frontend():
    return FrontEnd()


def make_writer(folder, frontend, settings=None, n_examples=2, **options):
    settings = settings or SETTINGS
    parts = (frontend, options.pop("classifier", AudioClassifier()), LABELS)
    return ExampleWriter(
        folder, *parts, n_examples, "lmac", settings, **options
    )


@pytest.fixture(scope="module")
def scored(frontend):
    """Of two clips; the first clip's mask keeps nothing but one bin."""
    generator = torch.Generator().manual_seed(0)
    wavs = 0.1 * torch.randn(2, 16000, generator=generator)
    view = frontend(wavs).view
    mask = torch.zeros_like(view)
    mask[0, 0, 0] = 1.0
    return SimpleNamespace(
        view=view,
        mask=mask,
        values={"MM": mask.mean((1, 2))},
        masked_in_wavs=0.5 * wavs,
        masked_out_wavs=20 * wavs,
        probs=torch.tensor([[0.9, 0.1], [0.3, 0.7]]),
        masked_in_probs=torch.tensor([[0.8, 0.2], [0.3, 0.7]]),
        masked_out_probs=torch.tensor([[0.2, 0.8], [float("nan")] * 2]),
        forwards=0.0,
    )


def mixture(k=0):
    wave = torch.sin(torch.arange(16000) * 0.1 * (k + 1))
    return Mixture(wave, 0.5 * wave, 0.5 * wave)


def write(writer, scored, condition="clean", methods=("lmac", "ig")):
    clips = [clip("a"), clip("b", "rain")]
    writer.start(condition, clips, methods)
    for method in methods:
        for k, item in enumerate(clips):
            writer(method, item, k, mixture(k), scored)


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in found}


def facts_of(folder, method="ig"):
    return json.loads((folder / method / "explanation.json").read_text())


@pytest.fixture(scope="module")
def clean(tmp_path_factory, frontend, scored):
    """Folder of the clean clips ``a`` and ``b``; of ``a`` there is a note."""
    folder = tmp_path_factory.mktemp("examples")
    warn = {"a": "it is silent", "b": ""}.__getitem__
    write(make_writer(folder, frontend, warn=warn), scored)
    return folder / "clean"


def test_the_layout_on_disk(tmp_path, clean, frontend, scored):
    write(make_writer(tmp_path, frontend), scored, "mixtures")
    shared = ["original.wav", "spectrogram.png", "lmac/explanation.png"]
    own = ["explanation.wav", "masked_out.wav", "mask.png", "explanation.json"]
    shared += [f"{m}/{name}" for m in ("lmac", "ig") for name in own]
    for name in "ab":
        assert files(clean / name) == {*shared}
        mixed = files(tmp_path / "mixtures" / name)
        assert mixed == {*shared, "target.wav"}


def test_facts(clean, scored):
    facts, other = (facts_of(clean / name) for name in "ab")
    expected = {"clip_id": "a", "method": "ig", "condition": "clean"}
    expected |= {"true_label": "dog", "label": "dog", "sample_rate": 16000}
    expected |= {"label_masked_in": "dog", "label_masked_out": "rain"}
    expected |= {"warning": "it is silent"}
    assert expected.items() <= facts.items()
    assert facts["probability"] == pytest.approx(0.9)
    assert facts["probability_masked_in"] == pytest.approx(0.8)
    assert facts["mask_mean"] == pytest.approx(scored.mask[0].mean().item())
    # JSON has no NaN.
    assert other["probability_masked_out"] is None and "warning" not in other


def test_sounds_and_their_gains(clean, scored):
    gains = facts_of(clean / "a")["gains"]
    assert gains["explanation"] == gains["original"] == 1.0
    assert gains["masked_out"] < 1.0
    for name, waves in (
        ("explanation", scored.masked_in_wavs),
        ("masked_out", scored.masked_out_wavs),
    ):
        wave, _ = sf.read(clean / "a/ig" / f"{name}.wav", dtype="float32")
        # 16 bits, before the gain is taken back.
        np.testing.assert_allclose(
            wave / gains[name], waves[0], atol=1 / 32000 / gains[name]
        )


def test_pictures_have_low_frequencies_below(clean):
    with Image.open(clean / "a" / "lmac" / "mask.png") as file:
        mask = np.asarray(file)
        assert file.mode == "L"
    with Image.open(clean / "a" / "spectrogram.png") as file:
        assert file.size == mask.shape[::-1] and file.mode == "L"
    height, width = np.nonzero(mask)
    assert set(width) == {0} and set(height) <= {mask.shape[0] - 1}


def test_a_mask_of_nan_is_silent(tmp_path, frontend, scored):
    bad = SimpleNamespace(**vars(scored))
    bad.mask = torch.full_like(scored.mask, float("nan"))
    bad.values = {"MM": bad.mask.mean((1, 2))}
    bad.masked_in_wavs = torch.full((2, 16000), float("nan"))
    write(make_writer(tmp_path, frontend), bad)
    wave, _ = sf.read(tmp_path / "clean" / "a" / "lmac" / "explanation.wav")
    assert not wave.any()
    assert facts_of(tmp_path / "clean" / "a", "lmac")["mask_mean"] is None


def test_clips_of_equal_starts_keep_their_own_examples(
    tmp_path, frontend, scored
):
    names = [f"{'a long name of a recording ' * 9}{k}" for k in range(2)]
    writer = make_writer(tmp_path, frontend)
    clips = [clip(name) for name in names]
    writer.start("clean", clips, ["ig"])
    for k, item in enumerate(clips):
        writer("ig", item, k, mixture(k), scored)
    found = {
        json.loads(path.read_text())["clip_id"]
        for path in tmp_path.rglob("explanation.json")
    }
    assert found == set(names)


def test_clips_are_spread_over_the_classes(tmp_path, frontend):
    writer = make_writer(tmp_path, frontend)
    clips = [clip("a"), clip("b"), clip("c", "rain"), clip("d", "rain")]
    writer.start("clean", clips, ["lmac", "ig"])
    assert writer.wanted == {
        (method, name) for method in ("lmac", "ig") for name in "ac"
    }
    writer = make_writer(tmp_path, frontend, n_examples=-1)
    writer.start("clean", clips, ["ig"])
    assert writer.wanted == {("ig", name) for name in "abcd"}


def test_what_is_on_disk_is_not_wanted(tmp_path, frontend, scored):
    write(make_writer(tmp_path, frontend), scored)
    (tmp_path / "clean" / "b" / "ig" / "explanation.json").unlink()
    writer = make_writer(tmp_path, frontend)
    writer.start("clean", [clip("a"), clip("b", "rain")], ["lmac", "ig"])
    assert writer.wanted == {("ig", "b")}


def test_examples_of_other_settings_are_removed(tmp_path, frontend, scored):
    write(make_writer(tmp_path, frontend), scored)
    # Another option of one method: the other's examples stay.
    settings = {"common": {"seed": 1}, "methods": {"lmac": None, "ig": 5}}
    make_writer(tmp_path, frontend, settings, n_examples=0)
    left = {path.parent.name for path in tmp_path.rglob("explanation.json")}
    assert left == {"lmac"}
    make_writer(tmp_path, frontend, {"common": {"seed": 2}}, n_examples=0)
    assert files(tmp_path) == set()
