"""Prompts for zero-shot classifiers: class names put in words, and templates.

Two things are kept apart so that a test can hold out either of them: the
template around the words ("this is a sound of {}") and the wording of the
class itself ("dog barking" or "the bark of a dog"; wordings.csv has those of
ESC-50, UrbanSound8K and the built-in data set). No held-out template is a
training template, and no held-out wording of any class is a training wording
of any other.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from speechbrain_lmac.utils.checks import UserError

TRAIN_TEMPLATES = (
    "{}",
    "the sound of {}",
    "a recording of {}",
    "an audio clip with {}",
    "we can hear {}",
)
# The first one is the prompt of the zero-shot tables (LMAC-ZS, arXiv
# 2405.17615).
HELD_OUT_TEMPLATES = (
    "this is a sound of {}",
    "somewhere there is {}",
    "listen to {} in this clip",
)


class Paraphrases(NamedTuple):
    """The wordings of a class."""

    names: tuple[str, ...]  # for training, in a template; its own name first
    sentences: tuple[str, ...]  # for training; stand alone
    held_out: tuple[str, ...]  # for testing; fit in a template


@cache
def wordings() -> dict[str, Paraphrases]:
    """Class -> wordings, without its own name, of the known data sets."""
    file = resources.files(__package__) / "wordings.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return {
        row["class"]: Paraphrases(
            *(tuple(row[field].split(", ")) for field in Paraphrases._fields)
        )
        for row in rows
    }


def readable(class_name: str) -> str:
    """The name of a class in words: blanks in the place of underscores.

    >>> readable("door_wood_knock")
    'door wood knock'
    """
    words = " ".join(class_name.replace("_", " ").split())
    if not words:
        raise UserError(
            f"Expected the name of a class but got {class_name!r}; give each "
            "class a name."
        )
    return words


def class_key(class_name: str) -> str:
    """What names of one class share: case and underscores do not count.

    >>> class_key("Sea waves") == class_key("sea_waves")
    True
    """
    return readable(class_name).casefold()


def paraphrases(class_name: str) -> Paraphrases:
    """Wordings of a class; an unknown one has none but its own name.

    >>> paraphrases("dog").names
    ('dog', 'dog barking', 'puppy barking')
    """
    name = readable(class_name)
    unknown = Paraphrases((), (), ())
    known = wordings().get(name.lower().replace(" ", "_"), unknown)
    return known._replace(names=(name, *known.names))


def fill(template: str, words: str) -> str:
    """Put words in a template.

    >>> fill("this is a sound of {}", "dog")
    'this is a sound of dog'
    """
    if template.count("{}") != 1:
        raise UserError(
            f"`template`: expected exactly one {{}} for the class but got "
            f"{template!r}; write for example {HELD_OUT_TEMPLATES[0]!r}."
        )
    return template.replace("{}", words)


def prompt_table(
    classes: Sequence[str], which: str = "train"
) -> dict[str, list[str]]:
    """Prompts of each class, to train with or to test with.

    Arguments
    ---------
    classes : sequence of str
        The names of the classes.
    which : str
        "train": every name in every training template, and the sentences.
        "held_out": the class's own name in the held-out templates, so that
        only the template is new.
        "paraphrase": the held-out wordings as they are, so that only the
        wording is new. A class without held-out wordings has its own name.

    Returns
    -------
    dict
        Class, as given -> list of str.

    Raises
    ------
    ValueError
        If ``which`` is none of these.
    UserError
        If two classes have the same name in words.

    Example
    -------
    >>> prompt_table(["dog"], "paraphrase")
    {'dog': ['a barking dog', 'the bark of a dog']}
    >>> prompt_table(["dog"], "held_out")["dog"][0]
    'this is a sound of dog'
    >>> len(prompt_table(["dog"])["dog"])
    16
    """
    if which not in ("train", "held_out", "paraphrase"):
        raise ValueError(
            "Expected `which` to be train, held_out or paraphrase but got "
            f"{which!r}."
        )
    owner: dict[str, str] = {}
    for name in classes:
        words = readable(name).lower()
        if words in owner:
            raise UserError(
                f"`classes`: {owner[words]!r} and {name!r} have the same "
                "prompt; expected classes that differ in words."
            )
        owner[words] = name
    return {name: _prompts(paraphrases(name), which) for name in classes}


def _prompts(known, which):
    names, sentences, held_out = known
    if which == "paraphrase":
        return list(held_out or names[:1])
    if which == "held_out":
        return [fill(template, names[0]) for template in HELD_OUT_TEMPLATES]
    filled = [fill(t, name) for name in names for t in TRAIN_TEMPLATES]
    return [*filled, *sentences]
