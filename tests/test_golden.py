"""The golden values hold; ``tests/golden.py`` makes them anew."""

import json

import golden
import pytest


@pytest.fixture(scope="module")
def known():
    return json.loads(golden.FILE.read_text(encoding="utf-8"))


def only(values, toys):
    return {
        name: value
        for name, value in values.items()
        if name.startswith("toy/") == toys
    }


def test_toys(known):
    found = golden.toys()
    assert golden.differences(found, only(known, True)) == []


def test_a_difference_is_found(known):
    name = next(iter(known))
    changed = {**known, name: known[name] + 1}
    assert len(golden.differences(changed, known)) == 1
    del changed[name]
    assert len(golden.differences(changed, known)) == 1


@pytest.mark.slow
def test_trainings(known):
    found = golden.trainings()
    assert golden.differences(found, only(known, False)) == []
