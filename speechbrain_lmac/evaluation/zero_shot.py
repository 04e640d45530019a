"""What an evaluation must know of a zero-shot classifier: its prompts.

Authors
 * The speechbrain_lmac authors 2026
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.captions.prompts import fill, readable
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

FACTS_FILE = "zero_shot.json"


def prompts_of(classes, prompts=None):
    """The prompt of each class: its name in words, or what is given.

    Arguments
    ---------
    classes : sequence of str
        Names of the classes.
    prompts : dict of str to str or None
        Class -> prompt, for the classes whose prompt is another.

    Returns
    -------
    list of str
        In the order of the classes.

    Raises
    ------
    UserError
        If they are no mapping, a prompt is given for no class of the data, or
        one is no text.

    Example
    -------
    >>> prompts_of(["dog", "sea_waves"], {"dog": "barking dog"})
    ['barking dog', 'sea waves']
    """
    prompts = {} if prompts is None else prompts
    if not isinstance(prompts, Mapping):
        raise UserError(
            "`prompts`: expected a mapping of classes to their prompts, such "
            f"as {{dog: barking dog}}, found {prompts!r}. Classes that are not "
            "in it go by their names."
        )
    for name, prompt in prompts.items():
        if not isinstance(prompt, str) or not prompt.strip():
            raise UserError(
                f"`prompts`: expected a text for {name}, found {prompt!r}."
            )
    unknown = sorted(map(str, set(prompts) - set(classes)))
    if unknown:
        raise UserError(
            f"`prompts`: {', '.join(unknown)} is no class of the data; "
            f"expected some of {', '.join(classes)}."
        )
    return [str(prompts.get(name, readable(name))) for name in classes]


def spread(clips, count=None, key="max_clips"):
    """So many clips, spread over the set.

    Arguments
    ---------
    clips : list
        The set.
    count : int or None
        At least 1; None, or no less than there are, for all.
    key : str
        Hyperparameter that gave the number, for errors.

    Returns
    -------
    list

    Raises
    ------
    UserError
        If `count` is no number of clips.

    Example
    -------
    >>> spread(list("abcde"), 3), spread(["a", "b"])
    (['a', 'c', 'e'], ['a', 'b'])
    """
    if count is None:
        return list(clips)
    if not isinstance(count, int) or count < 1:
        raise UserError(
            f"`{key}`: expected a number of clips from 1 up, or null for all, "
            f"found {count!r}."
        )
    places = np.linspace(0, len(clips) - 1, min(count, len(clips)))
    return [clips[k] for k in places.round().astype(int)]


def tell_setting(folder, interpreter, names):
    """Print and write what the figures of an evaluation belong to.

    Arguments
    ---------
    folder : str or pathlib.Path
        Receives ``zero_shot.json``.
    interpreter : Interpreter
        Of a ``ZeroShotClassifier`` with its prompts.
    names : sequence of str
        Class of each prompt.

    Returns
    -------
    dict
        ``checkpoint`` (of the CLAP model), ``sample_rate`` (Hz), ``scale``
        (of similarities before the softmax), ``mask_domain``, ``templates``
        and ``prompts``: class -> texts as the text encoder reads them.
    """
    classifier = interpreter.classifier
    texts = {
        name: [fill(t, prompt) for t in classifier.templates]
        for name, prompt in zip(names, classifier.prompts, strict=True)
    }
    facts = {
        "checkpoint": str(classifier.encoder.source),
        "sample_rate": interpreter.frontend.sample_rate,
        "scale": round(float(classifier.encoder.logit_scale), 3),
        "mask_domain": interpreter.mask_domain,
        "templates": list(classifier.templates),
        "prompts": texts,
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    write_atomically(Path(folder) / FACTS_FILE, text.encode())
    logger.info(
        "CLAP %s, %d Hz, similarities times %s, %s masks; softmax over %d "
        "prompts: %s",
        facts["checkpoint"],
        facts["sample_rate"],
        facts["scale"],
        facts["mask_domain"],
        len(texts),
        "; ".join(repr(" / ".join(text)) for text in texts.values()),
    )
    return facts
