"""CLAP of ``transformers``: the library's own embedding, maps, prompts."""

import importlib.util
import json
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from clap_toys import (
    SMALL_AUDIO,
    byte_tokenizer,
    constant_padding,
    features_of,
    save_clap,
    test_clips,
    top_db,
)

from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.hf import HfClap
from speechbrain_lmac.classifiers.zero_shot.htsat import time_matrices
from speechbrain_lmac.features.clap import ClapFrontEnd
from speechbrain_lmac.utils.checks import UserError

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)

# The way through our front end costs float32 roundings, up to 2e-6. A wrong
# window, the mildest mistake, costs 1e-4: a tolerance of 1e-4 is no test.
SAME = 1e-5
PROMPTS = ["dog", "rain", "a crying baby", "clock tick"]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_clap(folder, SMALL_AUDIO, seconds=2, bands=16)
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return HfClap(str(tiny_folder))


@pytest.fixture(scope="module")
def classifier(tiny):
    return ZeroShotClassifier(tiny, PROMPTS)


@pytest.fixture
def changed(tiny_folder, tmp_path):
    """A copy of the folder with other values in one of its JSON files."""

    def change(file, part=None, **values):
        folder = tmp_path / "changed"
        shutil.copytree(tiny_folder, folder)
        content = json.loads((folder / file).read_text())
        (content[part] if part else content).update(values)
        (folder / file).write_text(json.dumps(content))
        return str(folder)

    return change


@pytest.fixture(scope="module")
def htsat(tmp_path_factory):
    """The real HTSAT-tiny with random weights, and the library's own."""
    from transformers import ClapFeatureExtractor

    folder = tmp_path_factory.mktemp("htsat")
    model = save_clap(folder)
    encoder = HfClap(str(folder))
    shutil.rmtree(folder / "model.safetensors", ignore_errors=True)
    wavs = test_clips(seconds=10)
    return SimpleNamespace(
        encoder=encoder,
        wavs=wavs,
        expected=own_embedding(
            model, ClapFeatureExtractor.from_pretrained(folder), wavs
        ),
    )


@torch.no_grad()
def own_embedding(model, extractor, wavs):
    """What the library itself makes of waveforms, in any version of it."""
    features = extractor(
        list(wavs.numpy()), sampling_rate=48000, return_tensors="pt"
    )["input_features"]
    output = model.get_audio_features(input_features=features)
    return getattr(output, "pooler_output", output)


# --- the library's own embedding -------------------------------------------


@torch.no_grad()
def test_embedding_is_the_librarys_own(htsat):
    frontend = htsat.encoder.build_frontend()
    spectrum = frontend(htsat.wavs)
    assert spectrum.stft.shape == (2, 1001, 513)
    masked = torch.ones(1001, 513) * spectrum.view
    embedding, hidden = htsat.encoder.embed(frontend.mel(masked))
    assert (embedding - htsat.expected).abs().max() < SAME
    assert [h.shape[1:] for h in hidden] == [
        (768, 32, 2),
        (768, 32, 2),
        (384, 63, 4),
        (192, 126, 8),
        (96, 251, 16),
    ]
    assert htsat.encoder.hidden_channels == (768, 768, 384, 192, 96)
    assert htsat.encoder.hidden_strides == (32, 32, 16, 8, 4)


def other_mel(**options):
    from transformers.audio_utils import mel_filter_bank

    options = {
        "min_frequency": 50,
        "norm": "slaney",
        "mel_scale": "slaney",
        **options,
    }
    return torch.as_tensor(mel_filter_bank(513, 64, **options))


@torch.no_grad()
@pytest.mark.parametrize(
    "wrong",
    ["symmetric window", "constant padding", "fmin 0", "HTK mels", "top_db"],
)
def test_wrong_settings_do_not_pass(htsat, wrong):
    settings = dict(htsat.encoder.frontend_settings)
    limits = {"max_frequency": 14000, "sampling_rate": 48000}
    if wrong == "symmetric window":
        settings["window"] = torch.hann_window(1024, periodic=False)
    elif wrong == "fmin 0":
        settings["mel_matrix"] = other_mel(min_frequency=0, **limits)
    elif wrong == "HTK mels":
        htk = {"norm": None, "mel_scale": "htk"}
        settings["mel_matrix"] = other_mel(**htk, **limits)
    make = {"constant padding": constant_padding, "top_db": top_db}.get(
        wrong, features_of
    )
    # The second clip has silences, which `top_db` needs to do harm.
    embedding, _ = htsat.encoder.embed(
        make(ClapFrontEnd(**settings), htsat.wavs[1:])
    )
    assert (embedding - htsat.expected[1:]).abs().max() > 5 * SAME


def test_right_mels_made_by_hand_do_pass(htsat):
    # The control of the controls: `other_mel` is right but for the options.
    torch.testing.assert_close(
        other_mel(max_frequency=14000, sampling_rate=48000).float(),
        htsat.encoder.frontend_settings["mel_matrix"],
    )


@torch.no_grad()
@pytest.mark.parametrize("at", [7.0, 9.4])
def test_a_burst_lands_where_it_is_on_every_level(htsat, at):
    frontend = htsat.encoder.build_frontend()
    time = torch.arange(480000) / 48000
    wavs = 1e-3 * torch.randn(1, 480000)
    burst = ((time >= at) & (time < at + 0.2)) * torch.sin(56549 * time)
    _, without = htsat.encoder.embed(features_of(frontend, wavs))
    _, with_it = htsat.encoder.embed(features_of(frontend, wavs + burst))
    for a, b, stride in zip(
        without, with_it, htsat.encoder.hidden_strides, strict=True
    ):
        cell = (a - b).abs().sum((0, 1, 3)).argmax().item()
        # Where the decoder will take the cell to be, in seconds.
        start, end = (k * stride / 100 for k in (cell, cell + 1))
        assert start < at + 0.2 and end > at, (stride, start, end)


@torch.no_grad()
@pytest.mark.parametrize("seconds", [0.3, 0.77, 1.5, 2.0])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_short_clips_are_filled_up_as_by_the_library(
    tiny, tiny_folder, seconds, padding
):
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor.from_pretrained(
        tiny_folder, padding=padding
    )
    settings = {**tiny.frontend_settings, "padding": padding}
    frontend = ClapFrontEnd(**settings)
    wavs = test_clips(seconds)
    embedding, _ = tiny.embed(features_of(frontend, frontend.fit_length(wavs)))
    expected = own_embedding(tiny.model, extractor, wavs)
    assert (embedding - expected).abs().max() < SAME


# --- gradients ---------------------------------------------------------------


def test_gradients_reach_the_mask(tiny, classifier):
    frontend = tiny.build_frontend()
    x = frontend(test_clips(seconds=2)).view
    mask = torch.rand(x.shape).requires_grad_()
    logits = classifier(frontend.mel(mask * x)).logits
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), mask)
    assert gradient.isfinite().all()
    heard = frontend.mel_matrix.sum(1) > 0
    assert (gradient[0, :, heard] != 0).float().mean() > 0.95
    # 50 to 14000 Hz: what lies above never reaches the encoder.
    assert (gradient[:, :, ~heard] == 0).all() and not heard[300:].any()


@pytest.mark.parametrize("level", [0.0, 1e-7, 1.0])
def test_gradients_are_finite_at_silence(tiny, classifier, level):
    frontend = tiny.build_frontend()
    wavs = (level * test_clips(seconds=2)).requires_grad_()
    x = frontend(wavs).view
    mask = torch.zeros_like(x, requires_grad=True)
    logits = (
        classifier(frontend.mel(mask * x)).logits
        + classifier(frontend.mel(x)).logits
    )
    for gradient in torch.autograd.grad(logits.sum(), (mask, wavs)):
        assert gradient.isfinite().all()


def test_maps_stand_in_the_graph_and_change_nothing(tiny):
    frontend = tiny.build_frontend()
    features = features_of(frontend, test_clips(seconds=2)).requires_grad_()
    embedding, hidden = tiny.embed(features)
    with torch.no_grad():
        alone, alone_hidden = tiny.embed(features)
    assert torch.equal(embedding, alone)
    for h, other in zip(hidden, alone_hidden, strict=True):
        torch.testing.assert_close(h, other)
    score = embedding[:, 0].sum()
    given, *to_maps = torch.autograd.grad(
        score, (features, *hidden), retain_graph=True
    )
    for gradient, h in zip(to_maps, hidden, strict=True):
        assert gradient.shape == h.shape and gradient.abs().max() > 0
    # The plain forward without any hook.
    from speechbrain_lmac.classifiers.zero_shot.base import to_decibels

    audio = tiny.audio_features(to_decibels(features)[:, None])
    score = F.normalize(audio, dim=-1)[:, 0].sum()
    (expected,) = torch.autograd.grad(score, features)
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-6)


def test_embed_can_be_checkpointed(tiny):
    from torch.utils.checkpoint import checkpoint

    frontend = tiny.build_frontend()
    features = features_of(frontend, test_clips(seconds=2)).requires_grad_()
    gradients = [
        torch.autograd.grad(make()[0][:, 0].sum(), features)[0]
        for make in (
            lambda: tiny.embed(features),
            lambda: checkpoint(tiny.embed, features, use_reentrant=False),
        )
    ]
    torch.testing.assert_close(*gradients)


def test_time_matrices_keep_time():
    # A map that holds its own time, in frames, must hold it after the way
    # from stretched columns to frames, wherever no end cuts it off.
    for stride in (4, 8, 16, 32):
        align, back = time_matrices(1001, 1024, stride)
        middle = (stride - 1) / 2
        columns = torch.arange(1024 // stride) * stride + middle
        frames = torch.arange(-(-1001 // stride)) * stride + middle
        inner = frames < 1000 - stride
        heard = align @ (columns * 1000 / 1023)
        torch.testing.assert_close(heard[inner], frames[inner])
        for matrix in (align, back):
            torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix)))


# --- the house's own machinery ----------------------------------------------


# --- front end ---------------------------------------------------------------


def hop4(n_samples, padding="repeatpad"):
    """A front end small enough to reckon by hand: 11 frames of 40 samples."""
    return ClapFrontEnd(
        torch.rand(9, 4),
        torch.hann_window(16),
        hop_samples=4,
        n_samples=n_samples,
        padding=padding,
    )


def test_copies_are_averaged():
    frontend = hop4(40)
    wavs = torch.randn(2, 13)
    fitted = frontend.fit_length(wavs)
    assert torch.equal(fitted[:, 39:], torch.zeros(2, 1))
    spectrum = frontend(wavs)
    back = frontend.listen(torch.ones_like(spectrum.view), spectrum, 13)
    torch.testing.assert_close(back, wavs)
    # 4 copies of 10 samples: frame j of copy k lies at frame 2.5 k + j, and
    # on a ramp that is its value; the mean over k is 3.75 + j.
    ramp = torch.arange(11.0).view(1, 11, 1).expand(2, 11, 3)
    out = frontend.own_frames(ramp, 10)
    expected = torch.tensor([3.75, 4.75, 5.75]).view(1, 3, 1).expand(2, 3, 3)
    torch.testing.assert_close(out, expected)


def test_what_was_cut_off_a_long_clip_is_not_explained():
    frontend = hop4(40)
    wavs = torch.randn(1, 50)
    assert torch.equal(frontend.fit_length(wavs), wavs[:, :40])
    mask = frontend.own_frames(torch.ones(1, 11, 3), 50)
    assert mask.shape == (1, 13, 3)
    assert mask.sum() == 33 and (mask[:, 11:] == 0).all()


def test_a_clip_that_fits_comes_back_untouched():
    frontend = hop4(40)
    mask, wavs = torch.rand(2, 11, 5), torch.randn(2, 40)
    assert torch.equal(frontend.fit_length(wavs), wavs)
    assert torch.equal(frontend.own_frames(mask, 40), mask)


def test_front_end_refuses_wrong_shapes():
    with pytest.raises(ValueError, match="'loop'"):
        hop4(40, "loop")


# --- prompts -----------------------------------------------------------------


def test_text_embeddings_are_the_librarys_own(tiny, tiny_folder):
    inputs = byte_tokenizer()(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = tiny.model.get_text_features(**inputs)
    expected = getattr(expected, "pooler_output", expected)
    torch.testing.assert_close(tiny.encode_text(PROMPTS), expected)


def test_logits_are_scaled_similarities(tiny, classifier):
    features = torch.rand(2, 201, 16)
    output = classifier(features)
    norms = output.embedding.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(2))
    expected = output.embedding @ tiny.encode_text(PROMPTS).T / 0.07
    torch.testing.assert_close(output.logits, expected)
    assert classifier.n_classes == 4


def test_templates_are_averaged(tiny):
    templates = ("a {}", "the sound of {}")
    classifier = ZeroShotClassifier(tiny, ["dog", "{x}"], templates)
    texts = tiny.encode_text(["a {x}", "the sound of {x}"])
    expected = F.normalize(texts.mean(0), dim=0)
    torch.testing.assert_close(classifier.text_embeddings[1], expected)


@pytest.mark.parametrize(
    "prompts, templates, message",
    [
        ([], ["{}"], "prompts"),
        (["dog"], [], "templates"),
        ("dog", ["{}"], "'dog'"),
        (["dog", " "], ["{}"], "' '"),
        (["dog", None], ["{}"], "None"),
        (["dog", "cat", "dog "], ["{}"], "'dog '"),
        (["dog"], ["a sound"], "exactly one"),
        (["dog"], ["{} and {}"], "exactly one"),
        (["x" * 77], ["{}"], "79 .*78"),
    ],
)
def test_prompts_that_make_no_sense(tiny, prompts, templates, message):
    with pytest.raises(UserError, match=message):
        ZeroShotClassifier(tiny, prompts, templates)


# --- models that are none ----------------------------------------------------


def test_fused_models_are_refused(changed):
    folder = changed("config.json", "audio_config", enable_fusion=True)
    with pytest.raises(UserError, match="fused"):
        HfClap(folder)


def test_a_preprocessor_of_another_model_is_refused(changed):
    with pytest.raises(UserError, match="301 .*256"):
        HfClap(changed("preprocessor_config.json", max_length_s=3))


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
    ],
)
def test_missing_files_are_named(tiny_folder, tmp_path, file):
    folder = tmp_path / "incomplete"
    shutil.copytree(tiny_folder, folder)
    (folder / file).unlink()
    with pytest.raises(UserError, match=file):
        HfClap(str(folder))


def test_a_folder_that_is_not_there():
    with pytest.raises(UserError, match="./no/clap"):
        HfClap("./no/clap")


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_noticed_at_once(monkeypatch, offline):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    # Nothing listens on port 9 of this machine.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(UserError, match="model.safetensors"):
        HfClap("nobody/no-such-clap")
    assert time.monotonic() - start < 8  # its client would retry for 30 s


def edit_weights(folder, edit):
    from safetensors.torch import load_file, save_file

    path = f"{folder}/model.safetensors"
    state = load_file(path)
    edit(state)
    save_file(state, path, {"format": "pt"})


@pytest.mark.parametrize(
    "edit, message",
    [
        (
            lambda state: state.pop("audio_projection.linear1.weight"),
            "audio_projection.linear1.weight",
        ),
        (
            lambda state: state.update(other=torch.ones(1)),
            "unexpected.* other",
        ),
    ],
)
def test_incomplete_weights_are_refused(changed, edit, message):
    folder = changed("config.json")
    edit_weights(folder, edit)
    with pytest.raises(UserError, match=message):
        HfClap(folder)


def test_the_silent_tokenizer_is_refused(changed):
    from transformers import RobertaTokenizer

    folder = changed("config.json")
    # What transformers returns offline where there are no files.
    RobertaTokenizer().save_pretrained(folder)
    with pytest.raises(UserError, match="5 tokens .*261.*vocab.json"):
        HfClap(folder)


def test_a_deaf_text_encoder_is_refused(changed):
    folder = changed("config.json")

    def silence(state):
        state["text_projection.linear1.weight"].zero_()

    edit_weights(folder, silence)
    with pytest.raises(UserError, match="same embedding"):
        HfClap(folder)
