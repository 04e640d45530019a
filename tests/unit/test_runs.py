"""Whole jobs: tables, values per clip, sounds that say what they should."""

import csv
import json
import shutil

import pytest
import soundfile as sf
import torch

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data import prepare_labelled
from speechbrain_lmac.data.audio import AudioCache, write_wav
from speechbrain_lmac.data.synthetic.sounds import CATEGORIES
from speechbrain_lmac.evaluation import (
    EvaluationSettings,
    LabelledClips,
    evaluate,
)
from speechbrain_lmac.evaluation.clips import manifest_clips
from speechbrain_lmac.evaluation.evaluator import Evaluator
from speechbrain_lmac.evaluation.journal import Journal
from speechbrain_lmac.evaluation.seeds import (
    seed_overrides,
    seeds_folder,
    write_seeds,
)
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.interpreters.loading import INFO_FILE, Interpreter
from speechbrain_lmac.utils.checks import UserError

METHODS = ["lmac", "all_ones", "random", "ideal"]
CONDITIONS = ["clean", "mixtures"]


@pytest.fixture(scope="module")
def interpreter():
    """Random weights, and decisions that differ and are sure."""
    torch.manual_seed(0)
    frontend = FrontEnd()
    classifier = SlimCnn(n_classes=10, channels=(4, 8, 8, 16)).freeze()
    classifier.linear.weight.data.mul_(50)
    decoder = build_decoder(classifier, frontend, (16, 8, 8, 4)).eval()
    return Interpreter(frontend, classifier, decoder, list(CATEGORIES))


@pytest.fixture(scope="module")
def test_folder(synthetic_folder, tmp_path_factory):
    """The data set with test clips of lengths of their own."""
    folder = tmp_path_factory.mktemp("data") / "set"
    shutil.copytree(synthetic_folder, folder)
    for k, path in enumerate(sorted((folder / "audio").glob("5-*"))):
        wav, rate = sf.read(path, dtype="float32")
        samples = (len(wav), 3333, 24000)[k % 3]
        write_wav(path, torch.from_numpy(wav[:samples]), rate)
    return folder


@pytest.fixture(scope="module")
def clips(test_folder, tmp_path_factory):
    """The clips of the test fold."""
    manifests = prepare_labelled(
        test_folder,
        tmp_path_factory.mktemp("manifests"),
        train_fold_nums=None,
        valid_fold_nums=None,
    )
    return manifest_clips(manifests.test, test_folder)


@pytest.fixture(scope="module")
def run(interpreter, clips):
    """Evaluates into a folder."""

    def call(folder, chosen=None, **changes):
        options = {
            "conditions": CONDITIONS,
            "methods": METHODS,
            "n_examples": 3,
            "n_mixtures": 1,
            **changes,
        }
        return evaluate(
            interpreter,
            LabelledClips(
                chosen or clips[:12], interpreter.names, AudioCache()
            ),
            EvaluationSettings(dataset="ESC-50", **options),
            folder,
            device="cpu",
            progressbar=False,
        )

    return call


def snapshot(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def first(run, test_folder, tmp_path_factory):
    """An evaluation: rows, output folder, data folder before and after."""
    folder = tmp_path_factory.mktemp("out") / "evaluation"
    before = snapshot(test_folder)
    rows = run(folder)
    return rows, folder, before, snapshot(test_folder)


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_method_and_condition(first):
    rows, folder, *_ = first
    found = [(row["condition"], row["method"]) for row in rows]
    expected = [(c, m) for c in CONDITIONS for m in METHODS]
    expected.remove(("clean", "ideal"))  # without contamination: the clip
    assert found == expected
    table = read_csv(folder / "results.csv")
    assert [(row["condition"], row["method"]) for row in table] == expected
    assert all(row["n_clips"] == "12" for row in table)


def test_values_of_each_clip(first, clips):
    rows, folder, *_ = first
    for row in rows:
        name = f"per_clip_{row['condition']}_{row['method']}.csv"
        values = read_csv(folder / name)
        assert len(values) == 12
        ids = {value["id"].partition("+")[0] for value in values}
        assert ids == {clip["id"] for clip in clips[:12]}
        column = [float(value["FF"]) for value in values]
        assert row["FF"] == pytest.approx(sum(column) / 12, abs=1e-6)


def examples(folder):
    return sorted((folder / "examples").glob("*/*"))


def explanations(folder):
    return sorted((folder / "examples").glob("*/*/*/explanation.json"))


def test_sounds_have_the_clips_own_length(first, clips):
    lengths = {clip["id"]: clip["num_samples"] for clip in clips}
    folders = examples(first[1])
    assert len(folders) == 2 * 3
    assert [f.parent.name for f in folders] == ["clean"] * 3 + ["mixtures"] * 3
    seen = set()
    for folder in folders:
        expected = lengths[folder.name.partition("+")[0]]
        seen.add(expected)
        sounds = sorted(folder.rglob("*.wav"))
        # Input and, of mixtures, the clip alone; two sounds of each method.
        assert len(sounds) == (2 + 8 if "+" in folder.name else 1 + 6)
        for path in sounds:
            info = sf.info(path)
            assert (info.frames, info.samplerate) == (expected, 16000)
            assert info.channels == 1
    assert len(seen) > 1


def test_every_method_has_examples(first, interpreter):
    rows, folder, *_ = first
    found = [(p.parts[-4], p.parent.name) for p in explanations(folder)]
    expected = [(row["condition"], row["method"]) for row in rows] * 3
    assert sorted(found) == sorted(expected)
    names = interpreter.names
    for path in explanations(folder):
        facts = json.loads(path.read_text())
        assert facts["label"] in names
        assert (facts["condition"], facts["method"]) in found
        assert 0 < facts["probability"] <= 1
        drawn = (path.parent / "explanation.png").is_file()
        assert drawn == (facts["method"] == "lmac")


def test_a_page(first):
    page = (first[1] / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == len(list(first[1].rglob("*.wav")))
    for folder in examples(first[1]):
        assert folder.name in page


def test_nothing_is_written_in_the_data_folder(first):
    _, _, before, after = first
    assert before == after


def test_results_are_reproducible(first, run, tmp_path):
    run(tmp_path, n_examples=0)
    for name in ("results.csv", "results.md"):
        again = (tmp_path / name).read_bytes()
        assert again == (first[1] / name).read_bytes(), name
    assert not (tmp_path / "examples").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<table>" in page and "<audio" not in page


def classify(interpreter, wav):
    features = interpreter.frontend.features(wav[None])
    with torch.no_grad():
        return interpreter.classifier(features).logits.softmax(1)[0]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_listening_with_the_classifier(
    first, interpreter, condition, run, clips, tmp_path
):
    """What the classifier says of explanation.wav is what the table says.

    A file has 16 bits, so a decision may only differ in a near tie.
    """
    values = {
        row["id"]: row
        for row in read_csv(first[1] / f"per_clip_{condition}_lmac.csv")
    }
    names = interpreter.names
    for clip in (first[1] / "examples" / condition).iterdir():
        folder = clip / "lmac"
        facts = json.loads((folder / "explanation.json").read_text())
        wav, _ = sf.read(folder / "explanation.wav", dtype="float32")
        gain = facts["gains"]["explanation"]
        probs = classify(interpreter, torch.from_numpy(wav) / gain)
        top = probs.topk(2).values
        if top[0] - top[1] < 1e-3:
            continue
        kept = names[int(probs.argmax())] == facts["label"]
        row = values[clip.name]
        assert float(row["Fid-In_wav"]) == kept
        target = names.index(facts["label"])
        drop = 100 * max(1 - probs[target].item() / facts["probability"], 0)
        assert float(row["AD_wav"]) == pytest.approx(drop, abs=1.0)


def test_mixtures_of_a_clip_count_once(run, clips, tmp_path):
    changes = {"conditions": ["mixtures"], "methods": ["lmac", "random"]}
    for row in run(tmp_path, clips[:6], n_mixtures=2, n_examples=0, **changes):
        assert (row["n_clips"], row["n_rows"]) == (6, 12)
    assert {r["n"] for r in read_csv(tmp_path / "comparisons.csv")} == {"6"}
    text = (tmp_path / "results.md").read_text()
    assert "6 clips in 12 mixtures" in text


def test_mistakes_are_found_before_any_work(run, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(UserError, match="'lime'"):
        run(folder, methods=["lime"])
    with pytest.raises(UserError, match="speech"):
        run(folder, conditions=["speech"])
    assert not folder.exists()


# --- interrupted, and taken up again ---


def files_of(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.glob("*.csv")) + [folder / "results.md"]
    }


def test_an_interrupted_run_goes_on_to_the_same_results(
    first, run, tmp_path, monkeypatch
):
    class Killed(Exception):
        pass

    saved = []

    def stop(self, condition, stats, now=False):
        keep(self, condition, stats, now=True)
        saved.append(condition)
        if condition == "mixtures":
            raise Killed

    keep = Journal.save
    monkeypatch.setattr(Journal, "save", stop)
    with pytest.raises(Killed):
        run(tmp_path)
    assert not (tmp_path / "results.csv").exists()
    monkeypatch.setattr(Journal, "save", keep)

    explained = []
    prepare = Evaluator._make
    monkeypatch.setattr(
        Evaluator,
        "_make",
        lambda self, chosen, *rest: (
            explained.extend(clip.id for clip in chosen)
            or prepare(self, chosen, *rest)
        ),
    )
    run(tmp_path, n_examples=0)
    # Of the clean clips nothing was left to do, of the mixtures a batch less.
    assert 0 < len(explained) < 12
    found, expected = files_of(tmp_path), files_of(first[1])
    # Of the sounds that are kept, and this time no more were.
    assert found.pop("explanations.csv") != expected.pop("explanations.csv")
    assert found == expected


def test_a_second_run_measures_nothing_and_says_the_same(
    first, run, tmp_path, monkeypatch
):
    shutil.copytree(first[1], tmp_path / "again")
    monkeypatch.setattr(Evaluator, "_make", None)
    run(tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(first[1])


def test_a_missing_example_alone_is_made_again(
    first, run, tmp_path, monkeypatch
):
    folder = tmp_path / "again"
    shutil.copytree(first[1], folder)
    lost = explanations(folder)[0]
    lost.unlink()
    asked = []
    build = Evaluator.evaluate
    monkeypatch.setattr(
        Evaluator,
        "evaluate",
        lambda self, *args, **options: (
            asked.append(set(options["revisit"]))
            or build(self, *args, **options)
        ),
    )
    run(folder)
    facts = json.loads(lost.read_text())
    # Clean clips have no ideal mask: nobody will make that.
    clean, mixtures = asked
    clean = {(method, clip) for method, clip in clean if method != "ideal"}
    assert clean == {(facts["method"], facts["clip_id"])}
    assert mixtures == set()
    assert len(explanations(folder)) == 3 * 7


def test_other_settings_measure_anew(first, run, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(first[1], folder)
    run(folder, seed=5, n_examples=0)
    before, after = files_of(first[1]), files_of(folder)
    assert before.keys() == after.keys()
    name = "per_clip_clean_random.csv"
    assert before[name] != after[name]
    # Sounds of other settings would be taken for those of these.
    assert examples(folder) == []


# --- repeated seeds ---


def test_seeds_are_summed_up(tmp_path):
    for seed in (7, 8):
        (tmp_path / "lmac" / str(seed)).mkdir(parents=True)
        info = {"mask_domain": "stft", "ckpt_metric": "q", "ckpt_mode": "max"}
        text = json.dumps({**info, "classifier": {}})
        (tmp_path / "lmac" / str(seed) / INFO_FILE).write_text(text)
    hparams = {"seeds": [7, 8], "interpreter": str(tmp_path / "lmac" / "7")}
    given = {"batch_size": 4}
    runs = seed_overrides(hparams, given)
    assert runs == [
        {**given, "seed": seed, "interpreter": f"{tmp_path}/lmac/{seed}"}
        for seed in (7, 8)
    ]
    assert seed_overrides({**hparams, "seeds": None}, given) == [given]
    rows = {
        seed: [
            {
                **{"condition": "clean", "method": "lmac", "FF": 0.1 * seed},
                **{"accuracy": 0.5, "AI": None},
            }
        ]
        for seed in (7, 8)
    }
    [row] = write_seeds(rows, seeds_folder(hparams, given))
    assert row["n_seeds"] == 2 and row["FF"] == pytest.approx(0.75)
    assert row["FF_sd"] == pytest.approx(0.1 / 2**0.5) and "AI" not in row
    text = (tmp_path / "lmac" / "evaluation" / "seeds.md").read_text()
    assert "Seeds: 7, 8." in text and "0.75 ± 0.07" in text
    hparams["seeds"] = [7, 9]
    with pytest.raises(UserError, match=f"`seeds`: {tmp_path}/lmac/9"):
        seed_overrides(hparams, given)
