"""Explanations in use: files, batches, long recordings, any class."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch
from zs_toys import PROMPTS, tones, with_rule, zs_interpreter

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import build_frontend
from speechbrain_lmac.inference import AudioInterpreter, write_package
from speechbrain_lmac.inference.explanation import FIGURE
from speechbrain_lmac.inference.windows import plan_windows
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.l2i import build_l2i
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.checks import UserError

NAMES = ["dog", "rain", "sea_waves"]
CPU = {"device": "cpu"}
RATE = 16000


def parts(domain="stft", decoder=None):
    """An interpreter with random weights, small."""
    torch.manual_seed(3)
    frontend = build_frontend(domain)
    classifier = SlimCnn(3, channels=(4, 8, 8, 8, 8))
    # Batch norms that have seen data, so that classes differ.
    for norm in (*classifier.norms, classifier.norm0):
        norm.running_mean.normal_(0.1, 0.1)
    classifier.freeze()
    if decoder is None:
        decoder = build_decoder(classifier, frontend, (8, 4)).eval()
    return Interpreter(frontend, classifier, decoder, NAMES)


def wrap(interpreter, **options):
    return AudioInterpreter(interpreter, CPU, **options)


class OnesDecoder(torch.nn.Module):
    """A decoder whose masks are ones."""

    def forward(self, hidden, num_frames):
        return torch.full((len(hidden[0]), num_frames, 513), 50.0)


@pytest.fixture(scope="module")
def interpreter():
    return wrap(parts())


@pytest.fixture(scope="module")
def zero_shot():
    return wrap(zs_interpreter())


@pytest.fixture(scope="module")
def l2i():
    made = parts()
    decoder = build_l2i(made.classifier, made.frontend, 6, 0.0, (8, 4))
    decoder.set_dictionary(torch.rand(513, 6))
    # All components sound, and each class has some of its own.
    torch.nn.init.uniform_(decoder.to_activations.bias, 0.5, 1.0)
    torch.nn.init.normal_(decoder.theta.linear.weight)
    return wrap(made._replace(decoder=decoder.eval()))


@pytest.fixture(scope="module")
def wavs():
    torch.manual_seed(7)
    return torch.stack([tones(f, 1, 12000)[0] for f in (300, 900, 2500)]) + (
        0.2 * torch.randn(3, 12000)
    )


def write(path, wav, rate=RATE, subtype="FLOAT"):
    sf.write(path, np.asarray(wav), rate, subtype=subtype)
    return path


def assert_same(one, other, atol=1e-5):
    for name in ("waveform", "masked_out", "original", "mask", "spectrogram"):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), atol=atol, rtol=1e-4
        )
    assert one.label == other.label
    for name in ("probability", "probability_masked_in"):
        assert getattr(one, name) == pytest.approx(
            getattr(other, name), abs=atol
        )


# --- one clip ---


def test_an_explanation_is_what_masking_computes(interpreter, wavs):
    (found,) = interpreter.interpret_batch(3 * wavs[:1])
    wav = wavs[:1] / wavs[:1].abs().max()
    made = interpreter.interpreter
    known = explain(wav, made.frontend, made.classifier, made.decoder)
    probs = known.output.logits.softmax(1)[0]
    torch.testing.assert_close(found.mask, known.mask[0])
    torch.testing.assert_close(found.original, wav[0])
    torch.testing.assert_close(found.spectrogram, known.spectrum.view[0])
    assert found.class_index == probs.argmax()
    assert found.label == NAMES[found.class_index] and found.is_decision
    assert found.probability == pytest.approx(probs.max().item())
    masked_in = made.frontend.mel(known.mask * known.spectrum.view)
    again = made.classifier(masked_in).logits.softmax(1)[0]
    assert found.probability_masked_in == pytest.approx(
        again[found.class_index].item(), abs=1e-6
    )
    assert [label for label, _ in found.top] == [
        NAMES[k] for k in probs.argsort(descending=True)
    ]
    assert found.source is None and found.windows is None


def test_a_file_is_as_its_waveform(interpreter, wavs, tmp_path):
    file = write(tmp_path / "a.wav", 0.3 * wavs[0])
    found = interpreter.interpret_file(file)
    assert_same(found, interpreter.interpret_batch(wavs[:1])[0])
    assert found.source == str(file)
    assert len(found.waveform) == len(wavs[0])


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_stereo_is_averaged_whatever_the_rate(interpreter, rate, tmp_path):
    stereo = torch.rand(rate // 2, 2) - 0.5
    file = write(tmp_path / "a.wav", stereo, rate)
    mono = write(tmp_path / "b.wav", stereo.mean(1), rate)
    found = interpreter.interpret_file(file)
    assert_same(found, interpreter.interpret_file(mono))
    assert found.waveform.shape == (8000,)


@pytest.mark.parametrize("num_samples", [1, 3, 500, 9999])
@pytest.mark.parametrize("domain, bins", [("stft", 513), ("mel", 80)])
def test_any_length_and_domain(num_samples, domain, bins):
    (found,) = wrap(parts(domain)).interpret_batch(torch.randn(num_samples))
    assert found.waveform.shape == (num_samples,)
    assert found.mask.shape == (num_samples // 186 + 1, bins)
    assert found.waveform.isfinite().all() and found.mask_domain == domain


def test_silence_stays_silence(interpreter):
    (found,) = interpreter.interpret_batch(torch.zeros(1, 4000))
    assert found.waveform.abs().max() == found.original.abs().max() == 0
    assert 0 <= found.probability <= 1


def test_a_mask_of_ones_gives_the_clip_back(wavs):
    (found,) = wrap(parts(decoder=OnesDecoder())).interpret_batch(wavs[:1])
    torch.testing.assert_close(
        found.waveform, found.original, atol=1e-4, rtol=0
    )
    assert found.masked_out.abs().max() < 1e-4
    assert found.probability_masked_in == pytest.approx(
        found.probability, abs=1e-5
    )


def test_the_written_sound_is_classified_as_heard(interpreter, wavs, tmp_path):
    (found,) = interpreter.interpret_batch(wavs[:1], heard=True)
    folder = found.save(tmp_path / "out")
    again = interpreter.interpret_file(
        folder / "explanation.wav", classes=found.label
    )
    # 16 bits are lost on the way.
    assert again.probability == pytest.approx(found.probability_heard, abs=2e-3)
    assert found.facts()["probability_heard"] == found.probability_heard
    (silent,) = interpreter.interpret_batch(wavs[:1])
    assert silent.probability_heard is None
    assert "probability_heard" not in silent.facts()


# --- batches ---


def test_batches_are_as_single_clips_and_padding_plays_no_part(
    interpreter, wavs
):
    lengths = [12000, 5000, 9000]
    padded = wavs.clone()
    for wav, n in zip(padded, lengths, strict=True):
        wav[n:] = 7.0  # would be the peak, and be heard
    found = interpreter.interpret_batch(
        padded, torch.tensor(lengths) / 12000, top_k=2
    )
    for wav, n, several in zip(wavs, lengths, found, strict=True):
        (alone,) = interpreter.interpret_batch(wav[:n], top_k=2)
        assert len(several) == 2
        for one, other in zip(several, alone, strict=True):
            assert one.waveform.shape == (n,)
            assert_same(one, other)


def test_clips_of_one_length_are_computed_in_groups_in_order(
    interpreter, monkeypatch
):
    from speechbrain_lmac.inference import clips

    batch = torch.randn(7, 6000)
    together = interpreter.interpret_batch(batch)
    monkeypatch.setattr(clips, "MAX_FRAMES", 66)  # two clips
    grouped = interpreter(batch)
    for wav, one, other in zip(batch, together, grouped, strict=True):
        torch.testing.assert_close(one.original, wav / wav.abs().max())
        assert_same(one, other)


def test_kept_explanations_keep_no_batch(interpreter, wavs):
    one = interpreter.interpret_batch(wavs)[0]
    for tensor in (one.waveform, one.mask, one.original, one.spectrogram):
        assert tensor.untyped_storage().nbytes() == 4 * tensor.numel()


@pytest.mark.parametrize(
    "sound, found",
    [
        (torch.zeros(8000, 2), "silent"),
        (tones(300, 1)[0][:, None] * torch.tensor([1, -1]), "cancel"),
        (tones(300, 1)[0][:, None], None),
    ],
)
def test_sounds_of_which_nothing_is_left(interpreter, sound, found, tmp_path):
    item = interpreter.interpret_file(write(tmp_path / "a.wav", sound))
    assert found in item.facts()["warning"] if found else not item.warning
    (item,) = interpreter.interpret_batch(sound.mean(1))
    assert bool(item.warning) == (found is not None)


# --- which class ---


def test_any_class_under_the_one_mask_of_lmac(interpreter, wavs):
    several = interpreter.interpret_batch(wavs[:1], top_k=3)[0]
    probs = [item.probability for item in several]
    assert probs == sorted(probs, reverse=True)
    assert sum(probs) == pytest.approx(1, abs=1e-5)
    assert [item.is_decision for item in several] == [True, False, False]
    for item in several:
        assert not item.mask_depends_on_class
        assert torch.equal(item.mask, several[0].mask)
        assert "does not depend on the class" in item.facts()["note"]
        (alone,) = interpreter.interpret_batch(wavs[:1], classes=item.label)
        assert alone.probability == item.probability
        (alone,) = interpreter.interpret_batch(
            wavs[:1], classes=[item.class_index]
        )
        assert alone.label == item.label
        assert alone.probability_masked_out == item.probability_masked_out


def test_masks_of_l2i_are_made_for_the_class(l2i, wavs):
    several = l2i.interpret_batch(wavs[:1], classes=NAMES)[0]
    made = l2i.interpreter
    frontend, wav = made.frontend, wavs[:1] / wavs[:1].abs().max()
    output = made.classifier(frontend.features(wav))
    parts_of = made.decoder(output.hidden, len(several[0].mask))
    for k, item in enumerate(several):
        mask = made.decoder.select(parts_of, torch.tensor([k]))[0]
        torch.testing.assert_close(item.mask, mask)
        assert item.mask_depends_on_class and "note" not in item.facts()
    assert not torch.allclose(several[0].mask, several[1].mask)
    decided = next(item for item in several if item.is_decision)
    assert_same(decided, l2i.interpret_batch(wavs[:1])[0])


def test_prompts_are_compared_by_the_model_itself(zero_shot, wavs):
    texts = ["a bark", "rain", "one two"]
    (found,) = zero_shot.interpret_batch(wavs[:1], prompts=texts)
    made = zero_shot.interpreter
    encoder, frontend = made.classifier.encoder, made.frontend
    wav = wavs[:1] / wavs[:1].abs().max()
    audio, _ = encoder.embed(frontend.features(wav))
    cosines = (audio @ encoder.encode_text(texts).T)[0]
    probs = (encoder.logit_scale * cosines).softmax(0)
    assert [item.label for item in found] == texts
    for item, cosine, p in zip(found, cosines, probs, strict=True):
        assert item.similarity == pytest.approx(cosine.item(), abs=1e-6)
        assert item.probability == pytest.approx(p.item(), abs=1e-6)
        assert item.mask_depends_on_class and item.mask.shape == (65, 513)
        assert -1 <= item.similarity_masked_in <= 1
    assert not torch.allclose(found[0].mask, found[1].mask)
    # The interpreter's own prompts play no part, and stay.
    assert made.classifier.prompts == list(PROMPTS)


@pytest.mark.parametrize("domain, bins", [("stft", 513), ("mel", 80)])
def test_masks_of_one_and_zero_share_a_sound(domain, bins, wavs):
    toy = with_rule(
        zs_interpreter(domain=domain),
        lambda k, s: torch.full((bins,), float(k == 0)),
    )
    prompts = ["the sound of dog", "the sound of rain"]
    (found,) = wrap(toy).interpret_batch(wavs[:1], prompts=prompts)
    kept, dropped = found
    torch.testing.assert_close(kept.waveform, kept.original, atol=1e-4, rtol=0)
    assert dropped.waveform.abs().max() < 1e-6
    assert kept.mask_mean == 1 and dropped.mask_mean == 0


def test_a_prompt_alone_has_a_similarity_only(zero_shot, wavs, tmp_path):
    (alone,) = zero_shot.interpret_batch(wavs[:1], prompts="rain")
    assert alone.probability is alone.probability_masked_in is None
    (pair,) = zero_shot.interpret_batch(wavs[:1], prompts=["dog", "rain"])
    assert alone.similarity == pytest.approx(pair[1].similarity, abs=1e-6)
    torch.testing.assert_close(alone.mask, pair[1].mask)
    alone.save(tmp_path / "out")
    facts = json.loads((tmp_path / "out/explanation.json").read_text())
    assert facts["probability"] is None
    assert facts["similarity"] == pytest.approx(alone.similarity)


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    """A CLAP model of transformers that takes 2 s."""
    pytest.importorskip("transformers")
    from clap_toys import SMALL_AUDIO, save_clap

    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    folder = tmp_path_factory.mktemp("clap")
    save_clap(folder, SMALL_AUDIO, seconds=2, bands=16)
    return zs_interpreter(HfClap(folder))


@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.3])
def test_a_clap_model_of_one_length(clap, seconds):
    toy = wrap(with_rule(clap, lambda k, s: torch.ones(513)), overlap_s=0.2)
    wav = tones(440, 1, int(48000 * seconds), 48000)[0]
    (found,) = toy.interpret_batch(wav, prompts=["dog", "rain"])
    assert found[0].waveform.shape == wav.shape
    assert (found[0].windows is not None) == (seconds > 2)
    # Nothing is left unexplained, but for the edges of the STFT.
    inner = slice(1024, -1024)
    torch.testing.assert_close(
        found[0].waveform[inner], found[0].original[inner], atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("seconds", [1, 3])
def test_mask_means_are_taken_over_what_the_model_hears(clap, seconds):
    heard = clap.frontend.heard
    toy = wrap(with_rule(clap, lambda k, s: heard * 0.5), overlap_s=0.2)
    wav = tones(440, 1, 48000 * seconds, 48000)[0]
    (found,) = toy.interpret_batch(wav, prompts="dog")
    assert 0 < heard.sum() < 513
    assert found.mask_mean == pytest.approx(0.5, abs=1e-6)
    assert found.facts()["mask_mean"] == found.mask_mean


# --- long recordings ---


@pytest.fixture(scope="module")
def recording():
    torch.manual_seed(11)
    level = torch.linspace(0.05, 1, 74321)
    return level * (tones(500, 1, 74321)[0] + 0.3 * torch.randn(74321))


def windowed(made, **options):
    return wrap(made, window_s=1.5, overlap_s=0.25, **options)


@pytest.mark.parametrize("n", [24001, 24002, 44000, 44001, 74321])
def test_windows_cover_and_sum_to_one(n):
    plan = plan_windows(n, 24000, 4000)
    total = torch.zeros(n)
    for k, start in enumerate(plan.starts):
        weights = plan.weights(k)
        assert weights.min() >= 0 and weights.max() <= 1
        total[start : start + 24000] += weights
    torch.testing.assert_close(total, torch.ones(n))
    assert plan.starts[0] == 0 and plan.starts[-1] == n - 24000


def test_a_window_s_middle_is_as_the_window_alone(recording):
    toy = windowed(parts())
    (found,) = toy.interpret_batch(recording)
    fade, size = 4000, 24000
    starts = plan_windows(len(recording), size, fade).starts
    assert len(found.windows) == len(starts) == 4
    for start, told in zip(starts, found.windows, strict=True):
        wav = found.original[start : start + size]
        (alone,) = toy.interpret_batch(wav)
        level = wav.abs().max()
        # What two windows share is more, where the last one is shifted.
        others = [s for s in starts if s != start]
        begin = max([s + size for s in others if s < start] or [start])
        end = min([s for s in others if s > start] or [start + size])
        assert end > begin
        for name in ("waveform", "masked_out"):
            torch.testing.assert_close(
                getattr(found, name)[begin:end],
                level * getattr(alone, name)[begin - start : end - start],
                atol=1e-5,
                rtol=0,
            )
        assert told.start == start / RATE
        assert told.label == told.decision == alone.label
        assert told.probability == pytest.approx(alone.probability, abs=1e-5)
        assert told.probability_masked_out == pytest.approx(
            alone.probability_masked_out, abs=1e-5
        )
        assert told.mask_mean == pytest.approx(alone.mask_mean, abs=1e-6)


def test_a_mask_of_ones_gives_a_long_recording_back(recording):
    toy = windowed(parts(decoder=OnesDecoder()))
    (found,) = toy.interpret_batch(recording)
    torch.testing.assert_close(
        found.waveform, recording / recording.abs().max(), atol=1e-4, rtol=0
    )
    assert found.masked_out.abs().max() < 1e-4
    torch.testing.assert_close(found.mask, torch.ones_like(found.mask))


def test_probabilities_of_a_recording_are_means(recording, l2i):
    for toy in (windowed(parts()), windowed(l2i.interpreter)):
        several = toy.interpret_batch(recording, top_k=3)[0]
        assert sum(item.probability for item in several) == pytest.approx(1)
        for item in several:
            assert {w.label for w in item.windows} == {item.label}
            told = [w.probability for w in item.windows]
            assert item.probability == pytest.approx(np.mean(told))
            told = [w.probability_masked_in for w in item.windows]
            assert item.probability_masked_in == pytest.approx(np.mean(told))
        assert several[0].is_decision
        same = torch.equal(several[0].waveform, several[1].waveform)
        assert same != several[0].mask_depends_on_class


def test_a_long_recording_is_saved_with_a_reduced_mask(
    recording, tmp_path, monkeypatch
):
    from speechbrain_lmac.inference import windows

    monkeypatch.setattr(windows, "GRID_FRAMES", 50)
    (found,) = windowed(parts()).interpret_batch(recording)
    assert found.mask.shape == found.spectrogram.shape == (50, 513)
    assert 0 <= found.mask.min() and found.mask.max() <= 1
    assert found.mask_hop_samples == len(recording) / 50
    folder = found.save(tmp_path / "out")
    facts = json.loads((folder / "explanation.json").read_text())
    assert len(facts["windows"]) == 4
    assert facts["windows"][1]["start"] == 20000 / RATE


# --- what is written ---


def test_what_is_saved(interpreter, wavs, tmp_path):
    file = write(tmp_path / "a clip.wav", 0.3 * wavs[0])
    found = interpreter.interpret_file(file)
    folder = found.save(tmp_path / "out")
    assert {p.name for p in folder.iterdir()} == {
        "original.wav",
        "explanation.wav",
        "masked_out.wav",
        "explanation.png",
        "explanation.json",
    }
    facts = json.loads((folder / "explanation.json").read_text())
    assert facts["label"] == found.label and facts["source"] == str(file)
    assert facts["mask_depends_on_class"] is False
    assert facts["probability"] == found.probability
    assert facts["mask_mean"] == pytest.approx(found.mask.mean().item())
    assert "peak of 1" in facts["level"]
    wav, rate = sf.read(folder / "explanation.wav", dtype="float32")
    assert rate == RATE
    torch.testing.assert_close(
        torch.from_numpy(wav),
        found.waveform * facts["gains"]["explanation"],
        atol=1e-4,
        rtol=0,
    )
    with pytest.raises(UserError, match="overwrite=True"):
        found.save(folder)
    found.save(folder, overwrite=True)
    chosen = tmp_path / ("a: b? " + "x" * 120)
    assert found.save(chosen) == chosen and (chosen / FIGURE).is_file()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "original.wav").write_text("x")
    with pytest.raises(UserError, match=r"\(original.wav\)"):
        found.save(mine)
    with pytest.raises(UserError, match="found a file"):
        found.save(file)


# --- many files ---


def test_many_files_with_failures_in_order(interpreter, wavs, tmp_path):
    files = [write(tmp_path / f"{k}.wav", w) for k, w in enumerate(wavs)]
    (tmp_path / "text.wav").write_text("no sound")
    files[1:1] = [tmp_path / "absent.wav", tmp_path / "text.wav"]
    results = list(interpreter.interpret_files(files, batch_size=3))
    assert [result.path for result in results] == list(map(str, files))
    for result in results:
        failed = "absent" in result.path or "text" in result.path
        assert (result.error is not None) == failed
        assert (result.explanation is None) == failed
        if not failed:
            assert_same(
                result.explanation, interpreter.interpret_file(result.path)
            )
    assert isinstance(results[1].error, UserError)


# --- loading ---


def test_a_run_folder(trained_run, wavs):
    loaded = AudioInterpreter.from_run(trained_run.interpreter, run_opts=CPU)
    assert len(loaded.labels) == 10
    (found,) = loaded.interpret_batch(wavs[:1])
    assert found.label in loaded.labels
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not loaded.mods.decoder.training


def test_a_zero_shot_run_folder(zero_shot_run, wavs):
    loaded = AudioInterpreter.from_run(zero_shot_run.interpreter, run_opts=CPU)
    assert loaded.zero_shot and loaded.labels == []
    (found,) = loaded.interpret_batch(wavs[:1], prompts=["siren", "rain"])
    assert [item.label for item in found] == ["siren", "rain"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_package(parts(), tmp_path_factory.mktemp("package") / "p")


def test_all_ways_to_a_package(package, wavs, tmp_path):
    (expected,) = wrap(parts()).interpret_batch(wavs[:1])
    loaded = AudioInterpreter.from_hparams(package, run_opts=CPU)
    loaded.save_pretrained(tmp_path / "again")
    again = AudioInterpreter.from_pretrained(tmp_path / "again", run_opts=CPU)
    unused = tmp_path / "unused"
    other = AudioInterpreter.from_hparams(str(package), unused, run_opts=CPU)
    for each in (loaded, again, other):
        assert each.labels == NAMES
        assert_same(each.interpret_batch(wavs[:1])[0], expected)
        assert not any(p.requires_grad for p in each.parameters())
    assert not unused.exists()


@pytest.fixture
def hub(package, tmp_path, monkeypatch):
    """A cache of the hub with a repository of two revisions; no network."""
    from huggingface_hub import constants

    repository = tmp_path / "cache/models--someone--lmac"
    (repository / "refs").mkdir(parents=True)
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text("abc")
    shutil.copytree(package, repository / "snapshots/abc")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_hub_repository_without_a_network(hub, wavs, monkeypatch):
    from huggingface_hub import constants

    for options in ({}, {"revision": "v1"}):
        loaded = AudioInterpreter.from_hparams(
            "someone/lmac", savedir=hub, run_opts=CPU, **options
        )
        assert loaded.interpret_batch(wavs[:1])[0].label in NAMES
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    assert AudioInterpreter.from_pretrained("someone/lmac", run_opts=CPU).labels
    done = AudioInterpreter.from_hparams("someone/lmac", download_only=True)
    assert done is None


@pytest.mark.parametrize(
    "source, options",
    [
        ("someone/lmac", {"revision": "v9"}),
        ("other/one", {}),
        ("absent", {}),
        ("./absent/folder", {}),
        ("/absent/x", {}),
        ("a/b/c", {}),
    ],
)
def test_sources_that_are_none(hub, source, options):
    with pytest.raises(UserError) as error:
        AudioInterpreter.from_hparams(source, savedir=hub, **options)
    assert source in str(error.value) and "\n" not in str(error.value)


def test_pushing_writes_a_package_and_no_more(wavs, tmp_path, monkeypatch):
    from huggingface_hub import HfApi

    def upload(self, folder_path, **options):
        shutil.copytree(folder_path, tmp_path / options["repo_id"])

    def create(self, repo_id, **options):
        return SimpleNamespace(repo_id=repo_id)

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    interpreter = wrap(parts())
    interpreter.push_to_hub("someone/lmac")
    names = {path.name for path in (tmp_path / "someone/lmac").iterdir()}
    assert names == {
        *("README.md", "config.json"),
        *("classifier.safetensors", "decoder.safetensors"),
    }
    loaded = AudioInterpreter.from_hparams(
        tmp_path / "someone/lmac", run_opts=CPU
    )
    assert_same(
        *(i.interpret_batch(wavs[:1])[0] for i in (interpreter, loaded))
    )


def test_an_explanation_is_shown_in_a_line(interpreter, wavs):
    (found,) = interpreter.interpret_batch(wavs[:1])
    shown = repr(found)
    assert shown.startswith(f"Explanation({found.label!r}, probability=0.")
    assert "mask_mean=" in shown and "tensor" not in shown
    assert len(shown) < 120


# --- mistakes ---


def test_a_folder_that_is_no_package(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        AudioInterpreter.from_hparams(tmp_path)
    with pytest.raises(UserError, match="revision"):
        AudioInterpreter.from_hparams(tmp_path, revision="v1")
    with pytest.raises(UserError, match=r"interpreter\.json"):
        AudioInterpreter.from_run(tmp_path)


@pytest.mark.parametrize(
    "asked",
    [
        {"classes": np.int64(1)},
        {"classes": torch.tensor(1)},
        {"classes": np.array([1, 2])},
        {"classes": torch.tensor([1])},
        {"classes": (np.str_("rain"),)},
        {"top_k": np.int32(2)},
        {"top_k": torch.tensor(2)},
    ],
)
def test_numbers_of_numpy_and_torch(interpreter, wavs, asked):
    (found,) = interpreter.interpret_batch(wavs[:1].numpy(), **asked)
    found = found if isinstance(found, list) else [found]
    labels = [item.label for item in found]
    if "classes" in asked:
        assert labels == ["rain", "sea_waves"][: len(labels)]
    else:
        assert len(labels) == 2
    json.dumps([item.facts() for item in found])


@pytest.mark.parametrize(
    "asked, found",
    [
        ({"classes": "sea waves"}, "did you mean 'sea_waves'"),
        ({"classes": ["xyzzy"]}, "'xyzzy'"),
        ({"classes": [3]}, "3"),
        ({"classes": []}, r"\[\]"),
        ({"classes": ["dog", 0]}, "'dog', 0"),
        ({"classes": ["dog"], "top_k": 2}, "one of the two"),
        ({"top_k": 0}, "0"),
        ({"top_k": 4}, "1 to 3"),
        ({"top_k": 1.5}, "1.5"),
        ({"top_k": True}, "True"),
        ({"classes": 1.0}, "1.0"),
        ({"classes": [1.0]}, "1.0"),
        ({"classes": [np.float32(1)]}, "1.0"),
        ({"classes": [True]}, "True"),
        ({"classes": np.int64(-1)}, "-1"),
        ({"classes": torch.tensor([0.5])}, "0.5"),
        ({"classes": [None]}, "None"),
        ({"prompts": ["a dog"]}, "a dog"),
    ],
)
def test_wrong_requests_of_a_closed_set(interpreter, wavs, asked, found):
    with pytest.raises(UserError, match=found) as error:
        interpreter.interpret_batch(wavs, **asked)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError):  # before any file is read
        interpreter.interpret_files(["absent.wav"], **asked)


@pytest.mark.parametrize(
    "asked, found",
    [
        ({}, "`prompts`"),
        ({"classes": ["dog"]}, "dog"),
        ({"prompts": []}, r"\[\]"),
        ({"prompts": [" ", "dog"]}, "' '"),
        ({"prompts": ["dog", 3]}, "3"),
        ({"prompts": ["dog", "dog"]}, "'dog'"),
        ({"prompts": ["dog", "word " * 40]}, "40 tokens"),
        ({"prompts": 3}, "3"),
        ({"prompts": {"a": "b"}}, "'a': 'b'"),
        ({"prompts": [{"a": "b"}, "rain"]}, "'a': 'b'"),
        ({"prompts": ["dog", "rain"], "top_k": 2}, "`top_k`"),
        ({"prompts": ["dog", "xylem quartz"]}, "xylem quartz"),
    ],
)
def test_wrong_requests_of_a_zero_shot_one(zero_shot, wavs, asked, found):
    with pytest.raises(UserError, match=found):
        zero_shot.interpret_batch(wavs, **asked)


@pytest.mark.parametrize(
    "wavs, lens, found",
    [
        (torch.zeros(2, 0), None, r"\(2, 0\)"),
        (torch.zeros(2, 3, 4), None, r"\(2, 3, 4\)"),
        (torch.full((1, 9), torch.nan), None, "NaN"),
        ("dog.wav", None, "`interpret_file` takes files"),
        (0.5, None, r"\(\)"),
        (None, None, "`wavs`"),
        ([torch.zeros(3), torch.zeros(4)], None, "`wav_lens` the lengths"),
        (torch.zeros(1, 9, dtype=torch.cfloat), None, "`wavs`"),
        (torch.zeros(1, 9), "all", "'all'"),
        (torch.zeros(2, 9), torch.tensor([1.0]), "expected 2"),
        (torch.zeros(2, 9), torch.tensor([1.0, 0.0]), "above 0"),
        (torch.zeros(2, 9), torch.tensor([9, 4]), "9, 4"),
        # As soundfile and Gradio give a sound: (time, channels).
        (np.zeros((2000, 2), "float32"), None, r"wavs.mean\(1\)"),
        (np.zeros((33, 1), "float32"), None, r"wavs.mean\(1\)"),
    ],
)
def test_waveforms_that_are_none(interpreter, wavs, lens, found):
    with pytest.raises(UserError, match=found):
        interpreter.interpret_batch(wavs, lens)


def test_files_that_are_none(interpreter, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    write(tmp_path / "empty.wav", torch.zeros(0))
    for name in ("absent.wav", "text.wav", "empty.wav", "."):
        with pytest.raises(UserError, match=name) as err:
            interpreter.interpret_file(tmp_path / name)
        assert "\n" not in str(err.value)


def test_windows_that_are_none():
    with pytest.raises(UserError, match="at most a third"):
        wrap(parts(), window_s=1.0, overlap_s=0.5)


def test_real_clips(esc10_folder, trained_run, tmp_path):
    loaded = AudioInterpreter.from_run(trained_run.interpreter, run_opts=CPU)
    files = sorted((esc10_folder / "audio").glob("*"))[:3]
    for result in loaded.interpret_files(files):
        assert result.error is None
        found = result.explanation
        # As in ESC-50, but for the coder's last block.
        assert abs(len(found.waveform) - 80000) < 100
        assert 0.9 <= found.original.abs().max() <= 1
        found.save(tmp_path / found.label, overwrite=True)
