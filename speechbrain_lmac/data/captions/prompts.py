"""Prompts for zero-shot classifiers: class names put in words, and templates.

Two things are kept apart so that a test can hold out either of them: the
template around the words ("this is a sound of {}") and the wording of the
class itself ("dog barking" or "the bark of a dog"; see
`speechbrain_lmac.data.captions.wordings`). No held-out template is a training
template, and no held-out wording of any class is a training wording of any
other.
"""

from typing import NamedTuple

from speechbrain_lmac.data.captions.wordings import WORDINGS
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

    names: tuple  # str, for training; fit in a template; its own name first
    sentences: tuple  # str, for training; stand alone
    held_out: tuple  # str, for testing; fit in a template


def readable(class_name):
    """Turn the name of a class into words.

    Arguments
    ---------
    class_name : str
        For example of ESC-50.

    Returns
    -------
    str
        Blanks in the place of underscores; the case is kept.

    Raises
    ------
    UserError
        If nothing is left.

    Example
    -------
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


def paraphrases(class_name):
    """Look up other wordings of a class.

    Arguments
    ---------
    class_name : str
        Of ESC-50, UrbanSound8K or the built-in data set, with blanks or
        underscores, in any case. Any other name has no wording but itself.

    Returns
    -------
    Paraphrases
        For training and held out; these never overlap.

    Example
    -------
    >>> paraphrases("dog").names
    ('dog', 'dog barking', 'puppy barking')
    >>> paraphrases("dog").held_out
    ('a barking dog', 'the bark of a dog')
    >>> paraphrases("ring_of_saturn")
    Paraphrases(names=('ring of saturn',), sentences=(), held_out=())
    """
    name = readable(class_name)
    wordings = WORDINGS.get(name.lower().replace(" ", "_"))
    if wordings is None:
        return Paraphrases((name,), (), ())
    names, sentences, held_out = (
        tuple(field.split(", ")) for field in wordings.split(" / ")
    )
    return Paraphrases((name, *names), sentences, held_out)


def fill(template, words):
    """Put words in a template.

    Arguments
    ---------
    template : str
        Text with exactly one ``{}``.
    words : str
        What takes its place.

    Returns
    -------
    str

    Raises
    ------
    UserError
        If the template has no place, or several.

    Example
    -------
    >>> fill("this is a sound of {}", "dog")
    'this is a sound of dog'
    """
    if template.count("{}") != 1:
        raise UserError(
            f"`template`: expected exactly one {{}} for the class but got "
            f"{template!r}; write for example {HELD_OUT_TEMPLATES[0]!r}."
        )
    return template.replace("{}", words)


def class_prompts(classes, template=HELD_OUT_TEMPLATES[0]):
    """One prompt for each class, as zero-shot classifiers compare them.

    Arguments
    ---------
    classes : sequence of str
        The names of the classes.
    template : str
        Text with one ``{}``; the default is the prompt of LMAC-ZS (arXiv
        2405.17615).

    Returns
    -------
    list of str
        In the order of the classes.

    Raises
    ------
    UserError
        If the template has not exactly one place, or two classes have one
        prompt.

    Example
    -------
    >>> class_prompts(["dog", "sea_waves"])
    ['this is a sound of dog', 'this is a sound of sea waves']
    """
    _check_classes(classes)
    return [fill(template, readable(name)) for name in classes]


def _check_classes(classes):
    """Two classes of one name could never be told apart by their prompts."""
    if isinstance(classes, str):
        raise ValueError(
            f"Expected a sequence of class names but got {classes!r}."
        )
    owner = {}
    for name in classes:
        words = readable(name).lower()
        if words in owner:
            raise UserError(
                f"`classes`: {owner[words]!r} and {name!r} have the same "
                "prompt; expected classes that differ in words. Remove one "
                "of them."
            )
        owner[words] = name


def prompt_table(classes, which="train"):
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
        If `which` is none of these.
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
    _check_classes(classes)
    return {name: _prompts(paraphrases(name), which) for name in classes}


def _prompts(wordings, which):
    names, sentences, held_out = wordings
    if which == "paraphrase":
        return list(held_out or names[:1])
    if which == "held_out":
        return [fill(template, names[0]) for template in HELD_OUT_TEMPLATES]
    filled = [fill(t, name) for name in names for t in TRAIN_TEMPLATES]
    return [*filled, *sentences]
