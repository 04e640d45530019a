"""Classifiers of several labels: training, explanation, evaluation, pages."""

import json
from types import SimpleNamespace

import pytest
import torch
from brain_toys import make_brain, step
from sklearn.metrics import f1_score
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch, PaddedData

from speechbrain_lmac.classifiers import (
    SlimCnn,
    load_classifier,
    save_classifier,
)
from speechbrain_lmac.cli.explain import _line_of, _notes_of
from speechbrain_lmac.data import AudioCache, make_label_encoder
from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.data.labelled import labelled_rows, prepare_labelled
from speechbrain_lmac.data.manifests import SPLITS
from speechbrain_lmac.data.mixtures import mix_some
from speechbrain_lmac.data.pipelines import make_dataset, multi_hot
from speechbrain_lmac.evaluation import (
    EvaluationSettings,
    LabelledClips,
    evaluate,
)
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.inference import AudioInterpreter, write_package
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.labels import macro_f1
from speechbrain_lmac.report import build_report
from speechbrain_lmac.training import ClassifierBrain
from speechbrain_lmac.utils.checks import UserError

NAMES = ["low", "high", "noise"]
RATE = 16000


class Several(SlimCnn):
    """Overrides nothing but the threshold."""

    threshold = 0.5


def sounds():
    """A tone of 300 Hz, one of 3 kHz, and noise."""
    time = torch.arange(RATE) / RATE
    low, high = (0.5 * torch.sin(6.2832 * f * time) for f in (300, 3000))
    return torch.stack([low, high, 0.2 * torch.randn(RATE)])


# --- mixtures to learn from ---


def test_a_mixture_is_the_sum_of_its_parts():
    wavs, labels = torch.eye(4, 8), torch.eye(4)
    generator = torch.Generator().manual_seed(5)
    mixed, union = mix_some(wavs, labels, generator)
    # Clip k is a click at k: what is heard is what is labelled, within 6 dB.
    assert torch.equal(mixed[:, :4] > 0, union > 0)
    assert (union.diagonal() == 1).all() and (mixed.amax(1) == 1).all()
    levels = mixed[:, :4] / mixed[:, :4].diagonal()[:, None]
    assert 0.5 < levels[levels > 0].min() and levels.max() < 2
    again = mix_some(wavs, labels, torch.Generator().manual_seed(5))[0]
    assert torch.equal(mixed, again)
    counts = torch.cat([mix_some(wavs, labels)[1] for _ in range(200)]).sum(1)
    shares = (counts.long().bincount(minlength=4) / 800).tolist()
    # Three equal shares, whose standard error is .017.
    assert shares == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.08)


def test_a_silent_part_has_no_label():
    wavs = torch.stack([torch.ones(8), torch.zeros(8)])
    mixed, labels = mix_some(wavs, torch.eye(2), most=1)
    assert labels.tolist() == [[1, 0], [0, 0]] and (mixed[1] == 0).all()


def test_macro_f1_is_that_of_scikit_learn():
    decided, truth = torch.rand(2, 30, 7) > torch.linspace(0.2, 1.1, 7)
    assert not (decided | truth)[:, -1].any()  # a class of no clip
    known = f1_score(truth, decided, average="macro", zero_division=torch.nan)
    assert macro_f1(decided, truth) == pytest.approx(known)


def test_a_classifier_is_validated_on_the_same_mixtures():
    torch.manual_seed(0)
    modules = {"frontend": FrontEnd()}
    for name in ("classifier", "average"):
        modules[name] = SlimCnn(3, channels=(4,) * 5, threshold=0.5)
    brain = make_brain(
        ClassifierBrain, None, modules, {}, out_n_neurons=3, augment=None
    )
    batch = SimpleNamespace(
        id=list("abc"),
        sig=SimpleNamespace(data=sounds()),
        label=PaddedData(torch.arange(3)[:, None], torch.ones(3)),
    )
    batch.to = lambda device: batch
    modules["average"].eval()
    (output, truth), loss = step(brain, batch, Stage.VALID)
    _, known = mix_some(
        sounds()[:, :8], torch.eye(3), brain.step_generator(None, batch.id)
    )
    assert torch.equal(truth, known) and known.sum() > 3
    z = output.logits
    closed = (z.exp() + 1).log() - truth * z
    torch.testing.assert_close(loss, closed.mean())
    summary = brain.stage_summary(float(loss))
    decided = z > 0
    right = (decided == truth.bool()).all(1).float().mean()
    assert summary["accuracy"] == pytest.approx(right.item())
    assert summary["macro_F1"] == macro_f1(decided, truth.bool())


# --- explained ---


@pytest.fixture(scope="module")
def interpreter():
    """Decides for a class where a band is loud: low, high, or both."""
    torch.manual_seed(0)
    frontend, classifier = FrontEnd(), Several(3, channels=(4, 4, 8, 8, 8))
    with torch.no_grad():
        classifier.linear.weight.mul_(20)
    decoder = build_decoder(classifier.freeze(), frontend, (8, 4)).eval()
    return Interpreter(frontend, classifier, decoder, NAMES)


def biased(interpreter, *biases):
    """The same, with other biases of the classes."""
    classifier = Several(3, channels=(4, 4, 8, 8, 8))
    classifier.load_state_dict(interpreter.classifier.state_dict())
    with torch.no_grad():
        classifier.linear.weight.zero_()
        classifier.linear.bias.copy_(torch.tensor(biases))
    return interpreter._replace(classifier=classifier.freeze())


def test_an_explanation_lists_the_decisions(interpreter, tmp_path):
    made = AudioInterpreter(biased(interpreter, 1.0, 2.0, -1.0))
    first, second = made.interpret_batch(sounds()[:1], top_k=2)[0]
    sure = torch.tensor([2.0, 1.0]).sigmoid().tolist()
    known = dict(zip(["high", "low"], map(pytest.approx, sure), strict=True))
    for item in (first, second):
        assert item.decided == "2 of 3" and item.is_decision
        assert item.decisions == item.decisions_masked_in == known
    assert [first.label, second.label] == list(first.decisions)
    facts = {"file": "a.wav", "folder": "out", **first.facts()}
    assert _line_of(facts).endswith("decided 2 of 3  -> out")
    assert not list(_notes_of(facts))
    # One mask for all: the second class is told whose mask it is.
    assert len(list(_notes_of({**facts, **second.facts()}))) == 1
    first.save(tmp_path / "1_high"), second.save(tmp_path / "2_low")
    text = build_report(tmp_path).read_text(encoding="utf-8")
    assert "decides for 2 of 3 classes: <b>high</b> (0.88), <b>low</b>" in text


def test_no_decision_is_said(interpreter, tmp_path):
    made = AudioInterpreter(biased(interpreter, -3.0, -2.0, -1.0))
    (found,) = made.interpret_batch(sounds()[:1])
    assert (found.label, found.decided) == ("noise", "none of 3")
    assert found.decisions == {} and not found.is_decision
    facts = {"file": "a.wav", "folder": "out", **found.facts()}
    assert "none of 3 classes" in next(_notes_of(facts))
    found.save(tmp_path / "a")
    text = build_report(tmp_path).read_text(encoding="utf-8")
    assert "decides for none of 3 classes" in text


def test_windows_have_decisions_of_their_own(interpreter):
    made = AudioInterpreter(interpreter, window_s=0.5, overlap_s=0.1)
    (found,) = made.interpret_batch(torch.cat([*sounds()])[None])
    every: dict = {}
    for window in found.facts()["windows"]:
        sure = window["probability"] > 0.5
        assert (window["label"] in window["decisions"]) == sure
        for name, p in window["decisions"].items():
            every[name] = max(p, every.get(name, 0))
    assert found.decisions == every and len(every) > 1


def test_one_label_has_none_of_this():
    frontend, classifier = FrontEnd(), SlimCnn(3, channels=(4,) * 5).freeze()
    decoder = build_decoder(classifier, frontend, (4, 4)).eval()
    parts = Interpreter(frontend, classifier, decoder, NAMES)
    (found,) = AudioInterpreter(parts).interpret_batch(sounds()[:1])
    assert not {"decided", "decisions"} & found.facts().keys()


# --- kept in folders and packages ---


def test_folders_and_packages_keep_the_threshold(interpreter, tmp_path):
    classifier = interpreter.classifier
    encoder = make_label_encoder(NAMES)
    folder = save_classifier(tmp_path / "classifier", classifier, encoder)
    loaded = SlimCnn(3, channels=(4, 4, 8, 8, 8))
    assert load_classifier(folder, loaded).threshold == 0.5
    plain = SlimCnn(3, channels=(4, 4, 8, 8, 8), threshold=0.25)
    made = interpreter._replace(classifier=plain.freeze())
    package = write_package(made, tmp_path / "package")
    opened = AudioInterpreter.from_hparams(package).interpreter
    assert opened.classifier.threshold == 0.25


# --- evaluated ---


def test_an_evaluation_counts_sets(interpreter, tmp_path):
    clips = []
    for name, wav in zip(NAMES, sounds(), strict=True):
        write_wav(tmp_path / f"{name}.wav", wav, RATE)
        clips.append({"id": name, "wav": str(tmp_path / f"{name}.wav"),
                      "class_string": name, "num_samples": RATE})  # fmt: skip
    rows = evaluate(
        biased(interpreter, 1.0, 2.0, -1.0),
        LabelledClips(clips, NAMES, AudioCache()),
        EvaluationSettings(
            methods=("lmac", "all_ones"),
            conditions=("clean", "mixtures"),
            n_mixtures=1,
            n_examples=1,
        ),
        tmp_path / "out",
        device="cpu",
        progressbar=False,
    )
    for row in rows:
        # Two of three clips have a class that is decided for.
        assert row["accuracy"] == pytest.approx(2 / 3)
        assert row["Jaccard"] == row["Fid-In"] == row["Jaccard_wav"] == 1
        assert row["FF"] == pytest.approx(0, abs=1e-6)
    assert "Jaccard" in (tmp_path / "out/results.md").read_text()
    described = next((tmp_path / "out").rglob("explanation.json"))
    facts = json.loads(described.read_text())
    assert facts["decided"] == "2 of 3"
    assert list(facts["decisions_masked_out"]) == ["high", "low"]
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "decides for 2 of 3 classes" in page
    assert "says <b>high, low</b>" in page


# --- labels of a table ---


@pytest.fixture
def table(tmp_path):
    """Four sounds of which two have several labels."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["file,label,fold"]
    labels = ("dog; rain", "rain", "sea;dog", "dog")
    for k, label in enumerate(labels):
        write_wav(folder / f"{k}.wav", torch.randn(RATE), RATE)
        lines.append(f"{k}.wav,{label},{min(k, 2) + 1}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def test_a_table_of_several_labels(table, tmp_path):
    save = tmp_path / "save"
    folds = {f"{s}_fold_nums": k for k, s in enumerate(SPLITS, 1)}
    manifests = prepare_labelled(table, save, "csv", **folds)
    assert manifests.class_names == ("dog", "rain", "sea")
    encoder = make_label_encoder(manifests.class_names)
    dataset = make_dataset(manifests.test, table, AudioCache(), encoder)
    batch = PaddedBatch([dataset[0], dataset[1]])
    assert multi_hot(batch.label, 3).tolist() == [[1, 0, 1], [1, 0, 0]]
    modules = {"frontend": FrontEnd()}
    for name in ("classifier", "average"):
        modules[name] = SlimCnn(3, channels=(4,) * 5)
    brain = make_brain(
        ClassifierBrain, None, modules, {}, out_n_neurons=3, augment=None
    )
    with pytest.raises(UserError, match="--threshold=0.5"):
        step(brain, batch)
    rows, names = labelled_rows(table, "csv", folds, ["rain", "dog"])
    assert rows.class_string.tolist() == ["dog;rain", "rain", "dog", "dog"]
    assert names == ("dog", "rain")


def test_all_labels_of_a_clip_are_to_be_decided_for(interpreter):
    probs = torch.tensor([[0.9, 0.8, 0.7], [0.9, 0.2, 0.1]])
    truth = torch.tensor([[True, True, False], [True, True, False]])
    decides = interpreter.classifier.decides(probs, truth)
    assert decides.tolist() == [True, False]
