"""Classes of a classifier and of the data: told by name, before weights."""

import logging

import pytest

from speechbrain_lmac.classifiers.labels import (
    check_names,
    check_number,
)
from speechbrain_lmac.data.labelled import follow_data
from speechbrain_lmac.data.pipelines import make_label_encoder
from speechbrain_lmac.training import setup as training
from speechbrain_lmac.utils.checks import UserError


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "label_encoder.txt"
    make_label_encoder(["dog", "rain"], path)
    return path


def test_another_number_of_classes_is_told_by_names(labels):
    with pytest.raises(
        UserError, match=r"`classifier_source`.* 2 classes \(dog, rain\).* 3"
    ):
        check_number(str(labels.parent), 3)
    check_number(str(labels.parent), 2)
    check_number("owner/name", 3)  # a hub's: its weights will tell


@pytest.mark.parametrize(
    "names, message",
    [
        (["dog", "wind"], "knows the classes dog, rain; the data have dog, wi"),
        (["rain", "dog"], "the same in another order"),
    ],
)
def test_other_names_are_told(labels, names, message):
    with pytest.raises(UserError, match="`classifier_source`.*" + message):
        check_names("folder", labels, names)


def test_equal_names_pass(labels, caplog):
    check_names("folder", labels, ("dog", "rain"))
    assert not caplog.records


def test_an_order_that_nothing_tells_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        check_names("my_net.pt", None, ("dog", "rain"))
    assert "my_net.pt has no label_encoder.txt" in caplog.text
    assert "in this order: dog, rain" in caplog.text


def test_a_damaged_file_says_how_to_write_it(tmp_path):
    path = tmp_path / "label_encoder.txt"
    path.write_text("'rain' => 0\n'dog' => 1\n")  # its end is missing
    with pytest.raises(UserError, match="label_encoder.txt cannot be read"):
        check_names("my_net.pt", path, ("rain", "dog"))


def test_names_are_compared_before_weights(labels, monkeypatch):
    monkeypatch.setattr(training, "load_classifier", None)
    hparams = {
        "classifier": None,
        "classifier_source": str(labels.parent),
        "out_n_neurons": 10,
    }
    with pytest.raises(UserError, match="dog, rain"):
        training.explained_data(hparams)


# --- data of one's own ---


@pytest.fixture
def own(tmp_path):
    """Hyperparameters, and two folders of a file each."""
    for name in ("owl", "wren"):
        (tmp_path / "birds" / name).mkdir(parents=True)
        (tmp_path / "birds" / name / "1.wav").touch()
    file = tmp_path / "h.yaml"
    file.write_text("layout: esc50\ndataset: ESC-50\nout_n_neurons: 50\n")
    text = "data_folder: !PLACEHOLDER\nclasses: null\nlabels_file: null\n"
    file.write_text(file.read_text() + text)
    return file, {"data_folder": str(tmp_path / "birds"), "layout": "folders"}


def test_own_data_give_their_name_and_number_of_classes(own):
    file, given = own
    found = follow_data(file, given)
    assert found == {**given, "out_n_neurons": 2, "dataset": "birds"}
    mine = {**given, "dataset": "Mine", "out_n_neurons": 7}
    assert follow_data(file, mine) == mine
    esc = {**given, "layout": "esc50"}
    assert follow_data(file, esc) == esc


def test_a_file_without_classes_gets_the_name_alone(own):
    file, given = own
    file.write_text(file.read_text().replace("out_n_neurons: 50\n", ""))
    assert follow_data(file, given) == {**given, "dataset": "birds"}


def test_one_class_is_no_choice(own):
    file, given = own
    with pytest.raises(UserError, match="2 or more classes, found owl alone"):
        follow_data(file, {**given, "classes": ["owl"]})


def test_captions_in_layout_csv_are_left_alone(own):
    file, given = own
    file.write_text(file.read_text().replace("labels_file: null\n", ""))
    captions = {**given, "layout": "csv"}
    assert follow_data(file, captions) == captions
