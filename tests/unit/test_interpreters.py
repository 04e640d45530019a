"""The folder of a trained interpreter: found, checked, loaded anywhere."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.pipelines import make_label_encoder
from speechbrain_lmac.features import build_frontend
from speechbrain_lmac.interpreters.class_decoder import build_class_decoder
from speechbrain_lmac.interpreters.loading import (
    INFO_FILE,
    Interpreter,
    best_decoder_file,
    check_belongs,
    load_decoder,
    load_others,
    read_info,
    write_info,
)
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.checks import UserError


@pytest.fixture
def folder(trained_run, tmp_path):
    """A copy of the interpreter, elsewhere, to be mistreated."""
    return shutil.copytree(trained_run.interpreter, tmp_path / "moved")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def mask(interpreter):
    torch.manual_seed(0)
    return explain(
        torch.rand(1, 16000),
        interpreter.frontend,
        interpreter.classifier,
        interpreter.decoder,
    ).mask


def fresh_decoder(classifier):
    return build_class_decoder(classifier, build_frontend("gain"))


def test_what_training_leaves(trained_run):
    info = json.loads((trained_run.interpreter / INFO_FILE).read_text())
    assert info["mask_domain"] == "gain"
    assert (info["ckpt_metric"], info["ckpt_mode"]) == ("quality", "max")
    assert set(info["classifier"]) == {"classifier"}


def test_loaded_from_another_working_directory(trained_run, elsewhere):
    interpreter = Interpreter.load(trained_run.interpreter)
    info = read_info(trained_run.interpreter, "interpreter")
    assert (
        fingerprint(interpreter.classifier) == info["classifier"]["classifier"]
    )
    assert interpreter.classifier.frozen
    assert not interpreter.decoder.training
    assert not any(p.requires_grad for p in interpreter.decoder.parameters())
    assert len(interpreter.labels) == 10
    assert mask(interpreter).shape == (1, 87, 513)


def test_loading_writes_nothing(trained_run, elsewhere):
    def tree():
        return sorted(trained_run.cwd.rglob("*"))

    before = tree()
    Interpreter.load(trained_run.interpreter)
    assert list(elsewhere.iterdir()) == []
    assert tree() == before


def test_a_moved_folder_works_and_leaves_the_old_place_alone(
    folder, trained_run, elsewhere, tmp_path
):
    expected = mask(Interpreter.load(trained_run.interpreter))
    file, old = folder / "hyperparams.yaml", tmp_path / "old"
    # As after a training with absolute paths, whose place is gone.
    file.write_text(file.read_text().replace(" results/", f" {old}/results/"))
    interpreter = Interpreter.load(folder)
    assert not old.exists()
    assert torch.equal(mask(interpreter), expected)
    assert len(interpreter.labels) == 10


def test_noises_of_the_training_need_not_be_there(folder, elsewhere):
    file = folder / "hyperparams.yaml"
    text = file.read_text()
    noises = (
        "contamination: !new:speechbrain_lmac.data.TrainingContamination\n"
        "    kinds: [noise_folder]\n    noise_folder: /gone\n"
    )
    changed = re.sub(r"^contamination:.*\n", noises, text, flags=re.M)
    assert changed.count("/gone") == 1
    file.write_text(changed)
    assert Interpreter.load(folder).mask_domain == "gain"


def test_the_best_checkpoint_is_chosen(folder):
    saved = sorted((folder / "save").glob("CKPT*"))
    quality = {}
    for checkpoint in saved:
        lines = (checkpoint / "CKPT.yaml").read_text().splitlines()
        pairs = [line.split(": ") for line in lines if ": " in line]
        quality[checkpoint] = float(dict(pairs)["quality"])
    best = best_decoder_file(folder)
    assert best.name == "decoder.ckpt"
    assert best.parent == max(quality, key=quality.get)


@pytest.mark.parametrize(
    "missing",
    [
        ".",
        INFO_FILE,
        "hyperparams.yaml",
        "classifier/classifier.ckpt",
        "classifier",
        "save",
    ],
)
def test_missing_files_are_named(folder, missing):
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError) as error:
        Interpreter.load(folder)
    assert str(folder) in str(error.value) and path.name in str(error.value)


def test_a_damaged_info_file(folder):
    (folder / INFO_FILE).write_text("{")
    with pytest.raises(UserError, match=f"`my_key`.*{INFO_FILE}"):
        Interpreter.load(folder, key="my_key")


def test_a_checkpoint_without_a_decoder(folder):
    for file in (folder / "save").glob("CKPT*/decoder.ckpt"):
        file.unlink()
    with pytest.raises(UserError, match="save"):
        Interpreter.load(folder)


def test_a_decoder_of_another_size(folder):
    file = best_decoder_file(folder)
    torch.save(torch.nn.Linear(2, 2).state_dict(), file)
    with pytest.raises(UserError, match="weights of another model"):
        Interpreter.load(folder)


def test_a_changed_classifier_is_refused(folder):
    file = folder / "classifier" / "classifier.ckpt"
    state = torch.load(file)
    state["linear.bias"][0] += 1e-3
    torch.save(state, file)
    with pytest.raises(UserError, match="classifier.json"):
        Interpreter.load(folder)
    (folder / "classifier" / "classifier.json").unlink()
    with pytest.raises(UserError, match="belongs to another classifier"):
        Interpreter.load(folder)


def test_a_changed_batch_norm_is_another_classifier(trained_run):
    interpreter = Interpreter.load(trained_run.interpreter)
    parts = interpreter.classifier.parts()
    check_belongs(trained_run.interpreter, parts, "interpreter")
    interpreter.classifier.norm0.running_mean[0] += 1e-3
    with pytest.raises(UserError, match="belongs to another classifier"):
        check_belongs(trained_run.interpreter, parts, "interpreter")


def test_a_folder_belongs_to_one_classifier(folder):
    hparams = dict(Interpreter.load(folder).hparams)
    write_info(folder, hparams)  # the run goes on
    hparams["classifier"] = SlimCnn(n_classes=10)
    with pytest.raises(UserError, match="`output_folder`"):
        write_info(folder, hparams)
    shutil.rmtree(folder / "save")
    write_info(folder, hparams)  # nothing has begun


@pytest.mark.parametrize("fold, said", [(5, False), (2, True)])
def test_a_test_on_clips_that_the_classifier_saw(
    folder, trained_run, fold, said, caplog
):
    hparams = dict(Interpreter.load(folder).hparams)
    hparams["classifier_source"] = str(trained_run.classifier)
    hparams["test_fold_nums"] = [fold]
    labels = make_label_encoder([f"class {k}" for k in range(10)])
    write_info(folder, hparams, labels)
    assert ("`test_fold_nums`" in caplog.text) == said


def test_an_interpreter_from_a_brain(trained_run):
    loaded = Interpreter.load(trained_run.interpreter)
    brain = SimpleNamespace(hparams=SimpleNamespace(**loaded.hparams))
    made = Interpreter.from_brain(brain, make_label_encoder(loaded.labels))
    assert made.names == loaded.names and made.classifier.frozen
    assert torch.equal(mask(made), mask(loaded))
    with pytest.raises(UserError, match="`prompts`"):
        made.set_prompts(["dog", "rain"])


# --- pretrained_interpreter ---


def test_a_pretrained_decoder_from_a_folder(trained_run):
    trained = Interpreter.load(trained_run.interpreter)
    decoder = fresh_decoder(trained.classifier)
    load_decoder(
        {"decoder": decoder, "classifier": trained.classifier},
        trained_run.interpreter,
    )
    assert fingerprint(decoder) == fingerprint(trained.decoder)


def test_a_pretrained_decoder_from_a_file(trained_run):
    trained = Interpreter.load(trained_run.interpreter)
    decoder = fresh_decoder(trained.classifier)
    # A file names no classifier, so none is compared.
    file = best_decoder_file(trained_run.interpreter)
    load_decoder(
        {"decoder": decoder, "classifier": SlimCnn(n_classes=10)}, file
    )
    assert fingerprint(decoder) == fingerprint(trained.decoder)


def test_a_pretrained_decoder_of_another_classifier(trained_run):
    other = SlimCnn(n_classes=10)
    with pytest.raises(UserError, match="`pretrained_interpreter`.*another"):
        load_decoder(
            {"decoder": fresh_decoder(other), "classifier": other},
            str(trained_run.interpreter),
        )


def test_a_pretrained_decoder_that_is_missing(tmp_path):
    other = SlimCnn(n_classes=10)
    with pytest.raises(UserError, match="`pretrained_interpreter`.*absent"):
        load_decoder(
            {"decoder": fresh_decoder(other), "classifier": other},
            str(tmp_path / "absent"),
        )


# --- methods that are trained interpreters of their own ---


def test_a_method_is_looked_for_beside_the_interpreter(trained_run):
    interpreter = Interpreter.load(trained_run.interpreter)
    for name, place in (("l2i", "l2i_small"), ("lmac_ft", "lmac_small_ft")):
        with pytest.raises(UserError, match=f"`{name}_folder`.*{place}/1234"):
            load_others(interpreter, trained_run.interpreter, [name])


@pytest.mark.parametrize("name", ["l2i", "lmac_ft"])
def test_an_interpreter_does_not_stand_for_another_method(folder, name):
    interpreter = Interpreter.load(folder)
    with pytest.raises(UserError, match=f"`{name}_folder`"):
        load_others(interpreter, folder, [name], {name: str(folder)})


def test_a_fine_tuned_interpreter_is_loaded(folder, tmp_path):
    tuned = tmp_path / "tuned"
    shutil.copytree(folder, tuned)
    file = tuned / "hyperparams.yaml"
    text = file.read_text()
    assert "finetuning: false" in text.lower()
    file.write_text(re.sub("(?i)finetuning: false", "finetuning: true", text))
    interpreter = Interpreter.load(folder)
    found = load_others(
        interpreter, folder, ["lmac_ft"], {"lmac_ft": str(tuned)}
    )
    assert found["lmac_ft"].hparams["finetuning"] is True
