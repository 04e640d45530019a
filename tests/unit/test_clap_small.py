"""Tests of the small CLAP: words, towers, folder and training."""

import copy
import json
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from brain_toys import fit, make_brain
from data_toys import prompted
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.small import (
    INITIAL_SCALE,
    SmallClap,
    load_small_clap,
    save_small_clap,
)
from speechbrain_lmac.classifiers.zero_shot.words import (
    HashedEmbedding,
    hashed,
    split_words,
    stable_hash,
    trigrams,
)
from speechbrain_lmac.data.augment import Augmenter
from speechbrain_lmac.data.captions.prompts import (
    prompt_table,
)
from speechbrain_lmac.training.clap import (
    ClapBrain,
    TextGroups,
    held_out_prompts,
    warm_up_texts,
)
from speechbrain_lmac.utils.checks import UserError

CLASSES = ["siren", "clock_tick", "rain", "engine"]
LENGTH = 16000  # samples of a training clip
CPU = {"device": "cpu", "noprogressbar": True}
SMALL = {"embed_dim": 32, "channels": (8, 8, 16, 16, 32), "dropout": 0.0}
PROMPTS = ["dog", "rain falling", "a siren wails"]


def small(learnt=PROMPTS):
    clap = SmallClap(**SMALL)
    clap.learn_words(learnt)
    clap.center_on(learnt)
    return clap.eval()


# --- words ---


def test_words_by_hand():
    assert split_words(" A dog's bark; über-LOUD\n") == [
        "a",
        "dog",
        "s",
        "bark",
        "über",
        "loud",
    ]
    assert split_words("?! _ ...") == []
    assert trigrams("a") == ["#a#"]
    assert trigrams("dog") == ["#do", "dog", "og#"]


def test_hashes_are_the_same_in_every_process():
    code = (
        "from speechbrain_lmac.classifiers.zero_shot.words import stable_hash;"
        "print(stable_hash('helicopter'))"
    )
    # Python's own hash would depend on this seed.
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "17", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(found.stdout) == stable_hash("helicopter") == 2774541906


def test_hashed_texts_by_hand():
    words, grams = hashed(["Dog!", "a dog"])
    dog, a = stable_hash("dog"), stable_hash("a")
    assert words.tolist() == [[dog, 0], [a, dog]]
    letters = [stable_hash(g) for g in ("#do", "dog", "og#")]
    assert grams.tolist() == [
        [letters, [0, 0, 0]],
        [[stable_hash("#a#"), 0, 0], letters],
    ]


def test_a_row_belongs_to_the_hash_that_came_first():
    table = HashedEmbedding(8, 4)
    table.claim([3])
    table.claim([11, 4])  # 11 would have the row of 3
    vectors, known = table(torch.tensor([[3, 11], [4, 0]]))
    assert known.tolist() == [[True, False], [True, False]]
    assert torch.equal(vectors[0, 0], table.weight[3])
    assert torch.equal(vectors[~known], torch.zeros(2, 4))
    _, known = table(torch.tensor([3, 4]), dropout=1.0)
    assert not known.any()


def test_case_and_punctuation_change_no_text():
    clap = small()
    one, other = clap.encode_text(["a siren wails", "A SIREN, wails!"])
    assert torch.equal(one, other)


# --- the model ---


def test_size_and_shapes():
    clap = SmallClap()
    sizes = [
        sum(p.numel() for p in part.parameters())
        for part in (clap.audio, clap.text)
    ]
    assert 350_000 < sizes[0] < 450_000 and 250_000 < sizes[1] < 350_000
    clap.learn_words(PROMPTS)
    text = clap.encode_text(PROMPTS)
    assert text.shape == (3, clap.embed_dim) and not text.requires_grad
    assert torch.allclose(text.norm(dim=1), torch.ones(3))
    assert clap.logit_scale.item() == pytest.approx(INITIAL_SCALE, rel=1e-5)
    assert clap.max_tokens == 32 and clap.source


@pytest.mark.parametrize("frames", [1, 20, 87, 301])
def test_any_length_and_gradients(frames):
    clap = small()
    features = torch.rand(2, frames, 80, requires_grad=True)
    embedding, hidden = clap.embed(features)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2), atol=1e-5)
    assert [h.shape[1] for h in hidden] == list(clap.hidden_channels)
    used = max(frames, clap.audio.min_frames)
    for h, stride in zip(hidden, clap.hidden_strides, strict=True):
        assert abs(h.shape[2] - used / stride) < 1
    embedding[:, 0].sum().backward()
    assert features.grad.abs().sum() > 0
    silence, _ = clap.embed(torch.zeros(1, frames, 80))
    assert torch.isfinite(silence).all()


def test_texts_are_centred():
    clap = small()
    raw = clap.text(*hashed(PROMPTS)).detach()
    expected = F.normalize(raw - raw.mean(0), dim=1)
    assert torch.allclose(clap.encode_text(PROMPTS), expected, atol=1e-6)
    # In training, on the mean of the step.
    clap.train()
    clap.text.dropout = 0.0
    other = hashed(["dog", "a siren wails"])
    raw = raw[[0, 2]]
    expected = F.normalize(raw - raw.mean(0), dim=1)
    assert torch.allclose(clap.embed_hashed(*other), expected, atol=1e-6)


@pytest.mark.parametrize("text, words", [("?!", 0), ("word " * 33, 33)])
def test_texts_that_cannot_be_read(text, words):
    assert small().text_lengths([text]) == [words]
    with pytest.raises(UserError, match=f"{words} .*32"):
        ZeroShotClassifier(small(), ["dog", text])


def test_the_zero_shot_classifier_takes_it():
    clap = small()
    classifier = ZeroShotClassifier(clap, PROMPTS, ("{}", "we hear {}"))
    features = torch.rand(2, 90, 80, requires_grad=True)
    output = classifier(features)
    audio, _ = clap.embed(features)
    expected = clap.logit_scale * audio @ classifier.text_embeddings.T
    assert torch.allclose(output.logits, expected)
    assert output.logits.abs().max() <= clap.logit_scale
    output.logits.sum().backward()
    assert features.grad.abs().sum() > 0
    classifier.train()
    assert not clap.training


# --- its folder ---


def test_a_folder_gives_the_same_model(tmp_path):
    clap = small()
    clap.source = "elsewhere"
    folder = save_small_clap(tmp_path / "clap", clap, PROMPTS, seed=3)
    info = json.loads((folder / "clap.json").read_text())
    assert info["architecture"]["embed_dim"] == 32
    assert info["fingerprint"] == fingerprint(clap)
    assert (info["n_texts"], info["seed"]) == (3, 3)
    again = save_small_clap(tmp_path / "b", clap, [*PROMPTS[::-1], "dog"])
    other = json.loads((again / "clap.json").read_text())
    assert other["texts_hash"] == info["texts_hash"]
    loaded = load_small_clap(folder)
    assert loaded.frozen and loaded.source == str(folder)
    texts = ["a barking dog", "falling rain"]
    assert torch.equal(loaded.encode_text(texts), clap.encode_text(texts))
    features = torch.rand(1, 60, 80)
    assert torch.equal(loaded.embed(features)[0], clap.embed(features)[0])
    assert sorted(path.name for path in folder.iterdir()) == [
        "clap.ckpt",
        "clap.json",
    ]


def spoil(folder, **changes):
    info = json.loads((folder / "clap.json").read_text())
    (folder / "clap.json").write_text(json.dumps({**info, **changes}))


@pytest.mark.parametrize(
    "damage, found",
    [
        (lambda f: (f / "clap.json").unlink(), "clap.json"),
        (lambda f: (f / "clap.ckpt").unlink(), "clap.ckpt"),
        (lambda f: (f / "clap.json").write_text("{"), "JSON"),
        (lambda f: (f / "clap.json").write_text("{}"), "format"),
        (lambda f: spoil(f, format=9), "9"),
        (lambda f: spoil(f, architecture={"layers": 3}), "layers"),
        (lambda f: spoil(f, architecture={"embed_dim": 16}), "16"),
        (lambda f: (f / "clap.ckpt").write_bytes(b"x"), "clap.ckpt"),
    ],
)
def test_a_damaged_folder(tmp_path, damage, found):
    folder = save_small_clap(tmp_path, small(), PROMPTS)
    damage(folder)
    with pytest.raises(UserError, match=f"(?s)`zero_shot`: .*{found}"):
        load_small_clap(folder, key="zero_shot")


# --- groups of texts, and texts alone ---


def test_groups_of_texts():
    groups = TextGroups([["a", "b"], ["c"], ["a", "b"], ["d", "b"]])
    assert len(groups) == 3
    assert groups.texts() == ["a", "b", "c", "d"]
    assert groups.texts(2) == ["a", "c"]
    assert groups.numbers([["d", "b"], ("a", "b")]).tolist() == [2, 0]


def test_texts_alone_teach_new_wordings():
    """Wordings that training never saw find their class, in principle."""
    classes = ["dog", "rain", "siren", "engine", "clock_tick", "sneezing"]
    table = prompt_table(classes)
    groups = TextGroups(table.values())
    clap = SmallClap(**SMALL)
    clap.learn_words(groups.texts())
    state = torch.random.get_rng_state()
    loss = warm_up_texts(clap, groups, steps=80, lr=0.01, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    # Each text has two that belong to it: ln 2 is the least.
    assert math.log(2) < loss < math.log(2) + 0.3
    clap.center_on(groups.texts())
    clap.eval()
    bank = torch.stack([clap.encode_text(g).mean(0) for g in groups.groups])
    right = []
    for k, held_out in enumerate(prompt_table(classes, "paraphrase").values()):
        right += (clap.encode_text(held_out) @ bank.T).argmax(1) == k
    assert len(right) == 12 and sum(right) >= 11


# --- training ---


@pytest.fixture(scope="module")
def data(synthetic_folder, tmp_path_factory):
    """Four classes: 24 training clips, 8 for validation, 8 for the test."""
    save = tmp_path_factory.mktemp("manifests")
    return prompted(synthetic_folder, save, CLASSES, LENGTH)


def classes_of(dataset):
    entries = (dataset.data[clip] for clip in dataset.data_ids)
    return list(dict.fromkeys(entry["class_string"] for entry in entries))


@pytest.fixture
def brain(tmp_path, data):
    """Makes a ClapBrain; changes are hyperparameters."""

    def make(groups=None, prompts=None, **changes):
        modules = {"clap": SmallClap(**SMALL), "average": SmallClap(**SMALL)}
        modules["frontend"] = modules["clap"].build_frontend()
        hparams = {
            **{"ckpt_metric": "score", "augment": Augmenter(crop_s=0.75)},
            **{"groups_per_step": 3, "texts_per_group": 2, "ema_decay": 0.9},
            **{"warmup_steps": 5, "warmup_lr": 0.01, **changes},
        }
        if prompts is None:
            prompts = held_out_prompts(classes_of(data.train))
        return make_brain(
            *(ClapBrain, tmp_path, modules, ("clap", "average")),
            *(groups or TextGroups.of(data.train), prompts),
            **hparams,
        )

    return make


def test_a_step_by_hand(brain, data):
    brain = brain(augment=None)
    batch = PaddedBatch([data.train[k] for k in (0, 8, 1)])
    brain.on_stage_start(Stage.TRAIN, 1)
    audio, text, scale, same = brain.compute_forward(batch, Stage.TRAIN)
    groups = brain.groups.numbers(batch.captions).tolist()
    assert audio.shape == (3, 32)
    assert text.shape[0] == same.shape[1] == 2 * max(3, len(set(groups)))
    # Two texts of each clip's own group, and the same for the same group.
    assert same.sum(1).tolist() == [2.0, 2.0, 2.0]
    for i, one in enumerate(groups):
        for j, other in enumerate(groups):
            assert torch.equal(same[i], same[j]) == (one == other)
    assert scale == brain.modules.clap.logit_scale


def test_a_text_of_two_groups_belongs_to_both(brain, data):
    train = captioned(data.train)
    for k, texts in enumerate((["rain", "drops"], ["rain"], ["a dog"])):
        train.data[train.data_ids[k]]["captions"] = texts
    brain = brain(
        augment=None,
        groups=TextGroups.of(train),
        prompts={},
        groups_per_step=1,
    )
    batch = PaddedBatch([train[k] for k in range(3)])
    brain.on_stage_start(Stage.TRAIN, 1)
    same = brain.compute_forward(batch, Stage.TRAIN)[3]
    # Columns: rain and drops in some order, twice rain, twice a dog.
    rain, rest = (0, 1) if same[1, 0] else (1, 0)
    expected = torch.zeros(3, 6)
    expected[0, [rain, rest, 2, 3]] = 1
    expected[1, [rain, 2, 3]] = 1
    expected[2, [4, 5]] = 1
    assert torch.equal(same, expected)


def test_two_epochs_and_the_test(brain, data):
    brain = brain()
    before = fingerprint(brain.modules.clap)
    fit(brain, data)
    assert fingerprint(brain.modules.clap) != before
    metrics = brain.evaluate_best(data.test, data.test_loader)
    assert {"accuracy", "template_accuracy", "paraphrase_accuracy"} <= set(
        metrics
    )
    assert all(math.isfinite(value) for value in metrics.values())
    for name in ("silence", "white_noise"):
        assert 0.25 <= metrics[name] <= 1
    # The best checkpoint carries its centre: texts are centred exactly.
    average = brain.modules.average
    texts = brain.groups.texts()
    center = average.center.clone()
    average.center_on(texts)
    assert torch.allclose(center, average.center, atol=1e-6)
    assert center.abs().max() > 0


def test_the_warm_up_comes_once(brain, data, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "speechbrain_lmac.training.clap.warm_up_texts",
        lambda clap, *_: seen.append(fingerprint(clap)),
    )
    make = brain
    fit(make(epochs=1), data)
    fit(make(epochs=2), data)  # goes on after the first epoch
    assert len(seen) == 1


def test_it_learns(brain, data):
    brain = brain(augment=None)
    brain.on_fit_start()
    brain.modules.train()
    brain.on_stage_start(Stage.TRAIN, 1)
    batch = PaddedBatch([data.train[k] for k in range(0, 24, 2)])
    losses = [float(brain.fit_batch(batch)) for _ in range(25)]
    least = 0.5 * (math.log(2) + math.log(3))  # of what belongs together
    assert losses[-1] - least < 0.5 * (losses[0] - least)


def captioned(dataset):
    """A copy whose clips have captions of their own."""
    dataset = copy.deepcopy(dataset)
    for k, clip in enumerate(dataset.data_ids):
        dataset.data[clip]["captions"] = [f"sound {k}", f"noise {k}"]
    return dataset


# --- the recipe ---
