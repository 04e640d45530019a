"""Classes of a classifier and of the data: told by name, before weights."""

import logging

import pytest

from speechbrain_lmac import training
from speechbrain_lmac.checks import UserError
from speechbrain_lmac.class_names import check_names, check_number
from speechbrain_lmac.data.pipelines import make_label_encoder


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
