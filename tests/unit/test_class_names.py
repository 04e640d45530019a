"""Classes of a classifier and of the data: told by name, before weights."""

import logging

import pytest

from speechbrain_lmac.classifiers.labels import check_names
from speechbrain_lmac.classifiers.slim import SlimCnn
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
