"""The prompts of a zero-shot classifier, and what its figures belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.captions.prompts import fill, readable
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

FACTS_FILE = "zero_shot.json"


def prompts_of(
    classes: Sequence[str], prompts: Mapping[str, str] | None = None
) -> list[str]:
    """The prompt of each class: its name in words, or what is given.

    Raises a UserError if what is given is no mapping of classes to texts.

    >>> prompts_of(["dog", "sea_waves"], {"dog": "barking dog"})
    ['barking dog', 'sea waves']
    """
    given = {} if prompts is None else prompts
    known = isinstance(given, Mapping) and set(given) <= set(classes)
    if not known or not all(
        isinstance(text, str) and text.strip() for text in given.values()
    ):
        raise UserError(
            f"`prompts`: expected a text for some of {', '.join(classes)}, "
            f"such as {{dog: barking dog}}, found {given!r}."
        )
    return [given.get(name, readable(name)) for name in classes]


def write_setting(
    folder: str | Path, interpreter: Interpreter, names: Sequence[str]
) -> dict[str, Any]:
    """Log and write what the figures of a zero-shot evaluation belong to.

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
    classifier: Any = interpreter.classifier
    facts = {
        "checkpoint": str(classifier.encoder.source),
        "sample_rate": interpreter.frontend.sample_rate,
        "scale": round(float(classifier.encoder.logit_scale), 3),
        "mask_domain": interpreter.mask_domain,
        "templates": list(classifier.templates),
        "prompts": {
            name: [fill(t, prompt) for t in classifier.templates]
            for name, prompt in zip(names, classifier.prompts, strict=True)
        },
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    write_atomically(Path(folder) / FACTS_FILE, text)
    logger.info(
        "CLAP %s, %d Hz, similarities times %s, %s masks; softmax over %d "
        "prompts: %s",
        *(facts["checkpoint"], facts["sample_rate"], facts["scale"]),
        *(facts["mask_domain"], len(names)),
        "; ".join(repr(" / ".join(t)) for t in facts["prompts"].values()),
    )
    return facts
