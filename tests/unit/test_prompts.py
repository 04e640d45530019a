"""Tests of the prompts: templates, wordings and labels as captions."""

import json

import pytest
from data_toys import prompted
from speechbrain.dataio.dataloader import make_dataloader

from speechbrain_lmac.data.captions.datasets import clip_classes
from speechbrain_lmac.data.captions.prompts import (
    HELD_OUT_TEMPLATES,
    TRAIN_TEMPLATES,
    fill,
    paraphrases,
    prompt_table,
    readable,
    wordings,
)
from speechbrain_lmac.data.synthetic.sets import CATEGORIES
from speechbrain_lmac.utils.checks import UserError

ESC50 = """
dog rooster pig cow frog cat hen insects sheep crow rain sea_waves
crackling_fire crickets chirping_birds water_drops wind pouring_water
toilet_flush thunderstorm crying_baby sneezing clapping breathing coughing
footsteps laughing brushing_teeth snoring drinking_sipping door_wood_knock
mouse_click keyboard_typing door_wood_creaks can_opening washing_machine
vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter chainsaw siren
car_horn engine train church_bells airplane fireworks hand_saw
""".split()
URBANSOUND8K = """
air_conditioner car_horn children_playing dog_bark drilling engine_idling
gun_shot jackhammer siren street_music
""".split()
SETS = {"esc50": ESC50, "us8k": URBANSOUND8K, "built-in": CATEGORIES}
WHICH = ("train", "held_out", "paraphrase")


def prompts_of(table):
    return [prompt for prompts in table.values() for prompt in prompts]


def test_every_class_has_wordings():
    assert [len(classes) for classes in SETS.values()] == [50, 10, 10]
    assert set(wordings()) == {*ESC50, *URBANSOUND8K, *CATEGORIES}
    for name in wordings():
        names, sentences, held_out = paraphrases(name)
        assert names[0] == name.replace("_", " ")
        assert len(names) >= 3 and len(sentences) >= 1 and len(held_out) >= 2
        every = (*names, *sentences, *held_out)
        assert len(set(every)) == len(every)
        assert all(text == " ".join(text.split()) for text in every)
        assert all(text == text.lower() and text for text in every)


@pytest.mark.parametrize("tested", SETS)
def test_no_prompt_of_a_test_is_trained_on(tested):
    trained = set(prompts_of(prompt_table(list(wordings()))))
    for which in ("held_out", "paraphrase"):
        assert not trained & set(prompts_of(prompt_table(SETS[tested], which)))


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("classes", SETS.values(), ids=SETS)
def test_a_prompt_stands_for_one_class(classes, which):
    table = prompt_table(classes, which)
    assert list(table) == list(classes)
    prompts = prompts_of(table)
    assert len(set(prompts)) == len(prompts)


def test_prompt_table_by_hand():
    assert prompt_table(["dog", "dog_bark"], "held_out") == {
        "dog": [t.format("dog") for t in HELD_OUT_TEMPLATES],
        "dog_bark": [t.format("dog bark") for t in HELD_OUT_TEMPLATES],
    }
    names = ("dog", "dog barking", "puppy barking")
    filled = [t.format(name) for name in names for t in TRAIN_TEMPLATES]
    assert prompt_table(["dog"]) == {"dog": [*filled, "a dog barks"]}


def test_unknown_classes_stand_for_themselves():
    assert paraphrases("My_dog") == (("My dog",), (), ())
    assert prompt_table(["My_dog"], "paraphrase") == {"My_dog": ["My dog"]}
    assert prompt_table(["x"])["x"] == [t.format("x") for t in TRAIN_TEMPLATES]


def test_known_classes_in_other_spellings():
    known, other = map(paraphrases, ("sea_waves", "Sea waves"))
    assert other == known._replace(names=("Sea waves", *known.names[1:]))


@pytest.mark.parametrize("template", ["a sound", "{} or {}", "{0}", ""])
def test_wrong_templates(template):
    with pytest.raises(UserError, match="exactly one"):
        fill(template, "dog")


@pytest.mark.parametrize(
    "classes", [["dog", "dog"], ["sea_waves", "rain", "Sea waves"]]
)
def test_classes_of_one_prompt_are_refused(classes):
    with pytest.raises(UserError, match=f"'{classes[-1]}' have the same"):
        prompt_table(classes)


def test_mistakes():
    with pytest.raises(UserError, match="the name of a class but got '_'"):
        readable("_")
    with pytest.raises(ValueError, match="train, held_out or paraphrase"):
        prompt_table(["dog"], "test")


def test_a_labelled_data_set_as_caption_data(synthetic_folder, tmp_path):
    data = prompted(synthetic_folder, tmp_path, length=8000, batch=20)
    (batch,) = make_dataloader(data.valid, **data.valid_loader)
    assert batch.sig.data.shape == (20, 8000)
    known = prompt_table(CATEGORIES)
    valid = json.loads((tmp_path / "valid.json").read_text())
    assert batch.captions == [
        known[valid[clip]["class_string"]] for clip in batch.id
    ]
    assert clip_classes(data.train) == list(CATEGORIES)
