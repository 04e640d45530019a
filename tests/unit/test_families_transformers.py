"""Audio classifiers of ``transformers``: the library's own logits, and maps."""

import importlib.util
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from speechbrain_lmac.classifiers.families.loading import load_any_classifier
from speechbrain_lmac.classifiers.families.transformers_audio import (
    HfAudioClassifier,
    load_hf_audio,
)
from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.utils.checks import UserError

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
# Float32 roundings on the way through the STFT and back; the mildest mistake
# below costs ten times as much.
SAME = 1e-5
RATE = 16000
LABELS = {0: "dog", 1: "rain", 2: "siren"}
CONVOLUTIONAL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (40, 8),
    "conv_stride": (20, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
#: Class of the model before `ForSequenceClassification`, and extractor's
#: options: with masks and without, with normalisation and without.
FAMILIES = {
    "Wav2Vec2": {},
    "Hubert": {"do_normalize": False},
    "WavLM": {"return_attention_mask": True},
    "UniSpeechSat": {},
    "Data2VecAudio": {"return_attention_mask": True},
    "SEW": {},
    "AST": {"max_length": 64, "num_mel_bins": 24},
    "Whisper": {"chunk_length": 1, "feature_size": 24},
}


def build(family, extractor=None, **options):
    """A small model of random weights and its extractor, of the library."""
    import transformers

    names = {"id2label": LABELS, "label2id": {v: k for k, v in LABELS.items()}}
    if family == "AST":
        sizes = {k: CONVOLUTIONAL[k] for k in list(CONVOLUTIONAL)[:4]}
        sizes |= {"patch_size": 8, "frequency_stride": 8, "time_stride": 4}
        sizes |= {"max_length": 64, "num_mel_bins": 24}
        kind, head = "AST", "ForAudioClassification"
    elif family == "Whisper":
        sizes = {"d_model": 16, "encoder_layers": 3, "decoder_layers": 1}
        sizes |= {"encoder_attention_heads": 2, "encoder_ffn_dim": 32}
        sizes |= {"decoder_attention_heads": 2, "max_source_positions": 50}
        sizes |= {"num_mel_bins": 24, "vocab_size": 9, "pad_token_id": 0}
        sizes |= {"bos_token_id": 1, "eos_token_id": 2}
        sizes |= {"decoder_start_token_id": 1}
        kind, head = "Whisper", "ForAudioClassification"
    else:
        sizes, kind, head = (
            CONVOLUTIONAL,
            "Wav2Vec2",
            "ForSequenceClassification",
        )
    # Ten times the usual: logits that differ by more than roundings.
    spread = {"init_std" if kind == "Whisper" else "initializer_range": 0.2}
    config = getattr(transformers, f"{family}Config")(
        **{**sizes, **names, **spread, **options}
    )
    model = getattr(transformers, f"{family}{head}")(config).eval()
    own = getattr(transformers, f"{kind}FeatureExtractor")
    return model, own(**{**FAMILIES[family], **(extractor or {})})


@pytest.fixture
def saved(tmp_path):
    """Saves a family's model and extractor, and gives all three."""

    def save(family, extractor=None, **options):
        model, own = build(family, extractor, **options)
        model.save_pretrained(tmp_path)
        own.save_pretrained(tmp_path)
        return SimpleNamespace(folder=tmp_path, model=model, extractor=own)

    return save


def clips(seconds):
    """Two clips that are no mere noise: each family tells them apart."""
    n = int(seconds * RATE)
    t = torch.arange(n) / RATE
    tone = torch.sin(2 * torch.pi * torch.tensor([[300.0], [1700.0]]) * t)
    return 0.3 * tone * torch.rand(2, n) * torch.linspace(0, 1, n) + 0.01


@torch.no_grad()
def library_logits(model, extractor, wavs):
    """Each clip through the library's own pipeline, alone."""
    rows = [
        model(**extractor(w.numpy(), sampling_rate=RATE, return_tensors="pt"))
        for w in wavs
    ]
    return torch.cat([row.logits for row in rows])


def masked_logits(classifier, wavs):
    """Under a mask that keeps all, and the mask."""
    frontend = classifier.build_frontend()
    spectrum = frontend(wavs)
    mask = torch.ones_like(spectrum.view).requires_grad_()
    return classifier(frontend.masked(mask, spectrum).masked_in).logits, mask


@pytest.mark.parametrize("family", FAMILIES)
def test_the_library_s_own_logits(saved, family):
    made = saved(family)
    classifier = load_hf_audio(str(made.folder))
    # Shorter and longer than what AST and Whisper hear.
    for seconds in (0.3, 1.3):
        wavs = clips(seconds)
        logits, mask = masked_logits(classifier, wavs)
        expected = library_logits(made.model, made.extractor, wavs)
        assert (logits - expected).abs().max() < SAME
        assert (expected[0] - expected[1]).abs().max() > 100 * SAME
        logits[:, 0].sum().backward()
        assert mask.grad.isfinite().all() and mask.grad.abs().max() > 0
    assert classifier.labels == list(LABELS.values())
    assert (classifier.sample_rate, classifier.threshold) == (RATE, None)
    assert not any(p.requires_grad for p in classifier.parameters())
    assert classifier.length_policy and not classifier.network.training


@pytest.mark.parametrize(
    "family, mistake",
    [
        ("AST", {"window": lambda x: torch.hamming_window(len(x))}),
        ("AST", {"window": lambda x: torch.hann_window(len(x))}),
        ("AST", {"scale": lambda x: x / 2}),
        ("AST", {"mean": lambda x: 0.0}),
        ("AST", {"mel_matrix": lambda x: x.roll(1, 0)}),
        ("AST", {"pre_emphasis": lambda x: 0.95}),
        ("Whisper", {"window": lambda x: torch.hamming_window(len(x))}),
        ("Whisper", {"mel_matrix": lambda x: x / x.amax(0)}),
        ("Wav2Vec2", {"normalise": lambda x: False}),
    ],
)
def test_a_wrong_extractor_is_found(saved, family, mistake):
    made = saved(family)
    classifier, wavs = load_hf_audio(str(made.folder)), clips(0.5)
    extractor = classifier.network.extractor
    for name, wrong in mistake.items():
        setattr(extractor, name, wrong(getattr(extractor, name)))
    logits, _ = masked_logits(classifier, wavs)
    expected = library_logits(made.model, made.extractor, wavs)
    assert (logits - expected).abs().max() > 10 * SAME


def test_show(saved):
    pass


#: Cells (frames, bands) of the maps of 0.3 s, deepest first; AST and Whisper
#: hear more, which is no part of a map.
CELLS = {
    "Wav2Vec2": [(58, 1)] * 3,
    "SEW": [(29, 1)] * 2 + [(58, 1)],
    "AST": [(7, 3)] * 3,
    "Whisper": [(15, 1)] * 3,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("family", CELLS)
def test_hidden_maps_stand_in_the_graph(family, weighted):
    model, own = build(family, use_weighted_layer_sum=weighted)
    classifier, wavs = HfAudioClassifier(model, own).freeze(), clips(0.3)
    output = classifier(wavs.requires_grad_())
    assert torch.equal(output.logits, classifier.network(wavs))
    cells = [tuple(maps.shape[2:]) for maps in output.hidden]
    channels = [maps.shape[1] for maps in output.hidden]
    assert cells == CELLS[family] and channels == [*classifier.hidden_channels]
    logit = output.logits[:, 0].sum()
    for slope in torch.autograd.grad(logit, output.hidden, retain_graph=True):
        assert slope.abs().max() > 0
    # All that is heard passes the map: no way leads around it.
    (first,) = torch.autograd.grad(logit, output.hidden[-1], retain_graph=True)
    (through,) = torch.autograd.grad(output.hidden[-1], wavs, first, True)
    (whole,) = torch.autograd.grad(logit, wavs)
    inside = slice(0, 4000) if family in ("AST", "Whisper") else slice(None)
    assert torch.allclose(through[:, inside], whole[:, inside], atol=1e-6)


def test_patches_lie_where_they_were_heard():
    model, own = build("AST")
    base = "audio_spectrogram_transformer.embeddings"
    layers = [base, f"{base}.patch_embeddings.projection"]
    classifier = HfAudioClassifier(model, own, layers).freeze()
    wavs = clips(0.3)
    # Tokens and cells of the convolution, as there is no position yet.
    tokens, cells = classifier(wavs).hidden
    assert torch.equal(tokens, cells)
    image = classifier.network.extractor(wavs)["input_values"]
    patch = image[:, 4 * 2 : 4 * 2 + 8, 8 * 1 : 8 * 1 + 8].transpose(1, 2)
    own = model.get_submodule(layers[1])
    expected = torch.einsum("bft,cft->bc", patch, own.weight[:, 0]) + own.bias
    assert torch.allclose(cells[:, :, 2, 1], expected, atol=1e-5)


@pytest.mark.parametrize(
    "config, given, threshold",
    [
        ({"problem_type": "multi_label_classification"}, {}, 0.5),
        (
            {"problem_type": "multi_label_classification"},
            {"threshold": None},
            None,
        ),
        ({}, {"threshold": 0.2}, 0.2),
        ({"num_labels": 527}, {}, 0.5),
        (
            {"num_labels": 527, "problem_type": "single_label_classification"},
            {},
            None,
        ),
    ],
)
def test_several_labels_are_told_or_given(config, given, threshold):
    if "num_labels" in config:
        config = {**config, "id2label": {k: str(k) for k in range(527)}}
        config.pop("num_labels")
    model, own = build("AST", **config)
    assert HfAudioClassifier(model, own, **given).threshold == threshold


def test_one_string_and_other_names(saved):
    folder = saved("AST").folder
    names = ["hund", "regen", "sirene"]
    frontend, classifier = load_any_classifier(folder, labels=names)
    assert classifier.labels == names and classifier.frozen
    assert frontend.n_samples == classifier.n_samples


def test_longer_clips_come_in_windows():
    frontend = HfAudioClassifier(*build("AST")).build_frontend()
    heard = 63 * 160 + 400
    assert frontend.n_samples == frontend.arguments["n_samples"] == heard


def change(folder, file, **values):
    content = json.loads((folder / file).read_text())
    content.update(values)
    (folder / file).write_text(
        json.dumps({k: v for k, v in content.items() if v is not None})
    )


@pytest.mark.parametrize(
    "file, values, words",
    [
        ("preprocessor_config.json", None, "misses preprocessor_config.json"),
        ("config.json", None, "misses config.json"),
        ("config.json", {"id2label": None}, "names no two classes"),
        ("config.json", {"id2label": {"0": "dog"}}, "names no two classes"),
        (
            "config.json",
            {"architectures": ["Wav2Vec2ForCTC"]},
            "Wav2Vec2ForCTC",
        ),
        ("config.json", {"model_type": "bert"}, "expected one of"),
        (
            "config.json",
            {"model_type": "hubert", "architectures": None},
            "missing keys hubert",
        ),
        ("config.json", {"hidden_size": 32}, "mismatched keys"),
        (
            "config.json",
            {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.C"}},
            "custom code",
        ),
        (
            "preprocessor_config.json",
            {"feature_extractor_type": "ClapFeatureExtractor"},
            "found ClapFeatureExtractor",
        ),
        ("model.safetensors", None, "no file named"),
    ],
)
def test_folders_that_are_none(saved, file, values, words):
    folder = saved("Wav2Vec2").folder
    if values is None:
        (folder / file).unlink()
    else:
        change(folder, file, **values)
    with pytest.raises(UserError, match=words) as error:
        load_hf_audio(str(folder))
    assert "\n" not in str(error.value)


def test_an_extractor_of_another_model(saved):
    with pytest.raises(UserError, match="do not fit each other"):
        load_hf_audio(str(saved("AST", {"max_length": 32}).folder))


@pytest.mark.parametrize(
    "source, words",
    [("./nowhere", "no folder"), ("someone/none", "place these files")],
)
def test_sources_that_are_not_here(source, words, monkeypatch):
    # A hub at a port where nobody listens.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9"
    )
    start = time.monotonic()
    with pytest.raises(UserError, match=words):
        load_hf_audio(source)
    assert time.monotonic() - start < 5


def test_layers_that_are_none():
    with pytest.raises(UserError, match="no module 'encoder.layers.9'"):
        HfAudioClassifier(*build("Whisper"), ["encoder.layers.9"])


@pytest.mark.parametrize("kind", ["wav2vec2", "ast"])
def test_the_example(tmp_path, kind):
    path = ROOT / "examples" / "explain_transformers.py"
    spec = importlib.util.spec_from_file_location("example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for k, wav in enumerate(clips(0.3)[:1].expand(40, -1)):
        speaker = example.UNHEARD if k < 2 else "anna"
        sound = tmp_path / f"{k % 10}_{speaker}_{k}.wav"
        write_wav(sound, wav[k * 50 :], example.RATE)
    right = example.fit(getattr(example, kind), tmp_path, tmp_path / "net", 1)
    assert 0 <= right <= 1
    found = example.listen(tmp_path / "net", sound, tmp_path / "out")
    assert found.label in example.DIGITS and any((tmp_path / "out").iterdir())
