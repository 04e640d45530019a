"""Classes of a classifier and of the data: told by name, before weights."""

import logging

import pytest

from speechbrain_lmac.classifiers.labels import check_names
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.labelled import follow_data
from speechbrain_lmac.data.pipelines import make_label_encoder
from speechbrain_lmac.utils.checks import UserError


@pytest.mark.parametrize(
    "names, named",
    [(["dog", "wind"], "wind"), (["rain", "dog"], "in another order")],
)
def test_other_names_are_refused(names, named):
    with pytest.raises(UserError, match=f"`classifier_source`.*{named}"):
        check_names(["dog", "rain"], names)


def test_equal_names_pass(caplog):
    check_names(("dog", "rain"), ["dog", "rain"])
    assert not caplog.records


def test_an_order_that_no_file_says_is_logged(caplog):
    classifier = SlimCnn(n_classes=2)
    with caplog.at_level(logging.WARNING):
        classifier.check_labels(make_label_encoder(["dog", "rain"]))
    assert "label_encoder.txt" in caplog.text and "dog, rain" in caplog.text
    assert classifier.labels == ["dog", "rain"]
    with pytest.raises(UserError, match="another order"):
        classifier.check_labels(make_label_encoder(["rain", "dog"]))


def test_a_name_that_a_label_file_cannot_hold(tmp_path):
    with pytest.raises(UserError, match="low => high"):
        make_label_encoder(["low", "low => high"], tmp_path / "labels.txt")
    assert not list(tmp_path.iterdir())


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
