"""The page of a listening test: one HTML file and the sounds beside it.

The page opens from disk and from any static server, asks the network for
nothing, and keeps the ratings in the listener's browser. The sounds are FLAC:
compressed without loss, so that no codec is rated, and played by every
browser.

The same test can be written for webMUSHRA, the software of AudioLabs
(Schoeffler et al., "webMUSHRA - A comprehensive framework for web-based
listening tests", Journal of Open Research Software 6(1), 2018), which reads a
YAML file from its folder ``configs/``. An item becomes two pages of the type
``mushra``, one per question, with the input as reference.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile as sf
import yaml
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.evaluation.listening_test.blinding import conceal
from speechbrain_lmac.evaluation.listening_test.study import (
    QUESTIONS,
    RATINGS,
    Item,
    read_sounds,
    select_items,
)
from speechbrain_lmac.report.page.page import source_hash
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

logger = get_logger(__name__)

STATIC = Path(__file__).with_name("static")
SOUNDS = "sounds"
# What a rating takes besides listening, for the time that is announced.
SECONDS_PER_RATING = 4


def build(
    results_folder: str | Path,
    out_folder: str | Path,
    methods: Sequence[str],
    n_items: int = 10,
    seed: int = 0,
    *,
    overwrite: bool = False,
    equal_energy: bool = False,
    title: str = "Listening test",
    **selection: Any,
) -> Path:
    """Make a listening test from the sounds of an evaluation.

    A listener hears for each item the input and, in an order that depends on
    participant and item alone, the methods' explanations, a random mask's and
    the ideal one's (the hidden anchors). Both questions of the papers have a
    slider per explanation. The test begins with one further clip, if there is
    one, whose ratings do not count.

    Arguments
    ---------
    results_folder : str or pathlib.Path
        Output folder of an evaluation of these methods and of ``random``, with
        ``examples/``.
    out_folder : str or pathlib.Path
        Gets ``index.html`` and ``sounds/``; hand out or serve all of it.
    methods : sequence of str
        Whose explanations are rated.
    n_items : int
        How many clips; fewer, with a warning, if there are no more.
    seed : int
        Chooses the clips; the orders depend on it as well.
    overwrite : bool
        Replace a page and its sounds; other files are left alone.
    equal_energy : bool
        Bring every explanation to the energy of the input.
    title : str
        The heading.
    **selection : dict
        ``conditions``, ``high_anchor`` and ``correct_only`` of
        :func:`speechbrain_lmac.evaluation.listening_test.study.select_items`.

    Returns
    -------
    pathlib.Path
        ``index.html``.

    Raises
    ------
    UserError
        If sounds are missing, or a page is there and `overwrite` is false.
    """
    out_folder = Path(out_folder)
    page, sounds_folder = out_folder / "index.html", out_folder / SOUNDS
    if not overwrite and (page.exists() or sounds_folder.exists()):
        raise UserError(
            f"{out_folder}: there is a listening test already. Give another "
            "folder, or `overwrite` to replace it; tests that listeners have "
            "begun on the old page cannot be continued."
        )
    items = _choose(results_folder, methods, n_items, seed, 1, **selection)
    sounds, seconds = _encode(items, equal_energy)
    if sounds_folder.is_dir():
        shutil.rmtree(sounds_folder)
    for code, data in sounds.items():
        write_atomically(sounds_folder / f"{code}.flac", data)
    test, training = items[:n_items], items[n_items:]
    study = _describe_study(test, training, sounds, seed)
    study.update(title=title, minutes=_minutes(seconds, test))
    write_atomically(page, _page_html(study))
    return page


def _choose(
    results_folder: str | Path,
    methods: Sequence[str],
    n_items: int,
    seed: int,
    more: int = 0,
    **selection: Any,
) -> list[Item]:
    """Up to `n_items` items and `more`; too few of them are warned of."""
    items = select_items(
        results_folder, methods, n_items + more, seed=seed, **selection
    )
    if len(items) < n_items:
        logger.warning(
            "%s: %d clips have all sounds, so the test has %d in place of %d; "
            "for more, evaluate with more examples, or see `correct_only`",
            *(results_folder, len(items), len(items), n_items),
        )
    return items


def _encode(
    items: list[Item], equal_energy: bool
) -> tuple[dict[str, bytes], dict[str, float]]:
    """FLAC files by the stimulus's code, and the seconds of each item."""
    encoded, seconds = {}, {}
    for item in items:
        sounds, rate = read_sounds(item, equal_energy)
        for code, sound in sounds.items():
            buffer = io.BytesIO()
            sf.write(buffer, sound.numpy(), rate, "PCM_16", format="FLAC")
            encoded[code] = buffer.getvalue()
            seconds[item.code] = len(sound) / rate
    return encoded, seconds


def _minutes(seconds: dict[str, float], items: list[Item]) -> int:
    """About how long a test takes, in minutes."""
    total = sum(
        # The input and every explanation are heard twice, say.
        2 * (len(item.stimuli) + 1) * seconds[item.code]
        + len(item.stimuli) * len(QUESTIONS) * SECONDS_PER_RATING
        for item in items
    )
    return max(1, round(total / 60))


def _describe_study(
    items: list[Item],
    training: list[Item],
    sounds: dict[str, bytes],
    seed: int,
) -> dict[str, Any]:
    """All that the page's script knows, for JSON, with the methods concealed.

    Its ``study`` is a code that changes with seed, methods and sounds.
    """
    digest = hashlib.sha256(str(seed).encode())
    for item in (*items, *training):
        for stimulus in (item.input, *item.stimuli):
            digest.update(f"\0{stimulus.code}\0{stimulus.method}\0".encode())
            digest.update(sounds[stimulus.code])
    study = f"study-{digest.hexdigest()[:8]}"

    def described(item: Item) -> dict[str, Any]:
        return {
            "item": item.code,
            "clip": item.clip,
            "condition": item.condition,
            "label": item.label,
            "input": item.input.code,
            "stimuli": {
                s.code: conceal(s.method, study, s.code) for s in item.stimuli
            },
        }

    return {
        "study": study,
        "seed": seed,
        "ratings": RATINGS,
        "questions": [
            {"code": code, "text": text, "low": low, "high": high}
            for code, (text, low, high) in QUESTIONS.items()
        ],
        "items": [described(item) for item in items],
        "training": [described(item) for item in training],
    }


def _page_html(study: dict[str, Any]) -> str:
    """The page of a study, which has a title and the minutes that it takes."""
    style, script = (
        (STATIC / name).read_text(encoding="utf-8")
        for name in ("study.css", "study.js")
    )
    # A "<" could end the script element that holds the description.
    data = json.dumps(study, ensure_ascii=False).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; style-src '{source_hash(style)}'; "
        f"script-src '{source_hash(script)}'; "
        "media-src 'self' file:; img-src data:"
    )
    fields = {
        "TITLE": escape(study["title"]),
        "POLICY": policy,
        "STYLE": style,
        "STUDY": data,
        "SCRIPT": script,
    }
    html = (STATIC / "study.html").read_text(encoding="utf-8")
    # In one pass: nothing that is put in is searched again.
    return re.sub("%([A-Z]+)%", lambda match: fields[match[1]], html)


def export_webmushra(
    results_folder: str | Path,
    out_folder: str | Path,
    methods: Sequence[str],
    n_items: int = 10,
    seed: int = 0,
    *,
    overwrite: bool = False,
    equal_energy: bool = False,
    title: str = "Listening test",
    **selection: Any,
) -> Path:
    """Write a listening test as a configuration of webMUSHRA.

    Copy the folder ``configs`` over that of a webMUSHRA installation and open
    ``?config=study.yaml`` there. Keep ``key.csv`` to yourself: it says which
    method stands behind the ``rating_stimulus`` of webMUSHRA's results. The
    page names no method, but webMUSHRA rates from 0 to 100 on its own scale
    and adds the reference, here the input, as a hidden stimulus to each page.

    Arguments, errors and items are those of
    :func:`speechbrain_lmac.evaluation.listening_test.build`; returns
    ``configs/study.yaml``, beside whose ``resources/study/`` the sounds are.
    """
    configs = Path(out_folder) / "configs"
    if configs.exists() and not overwrite:
        raise UserError(
            f"{configs}: there is a test already. Give another folder, or "
            "`overwrite` to replace it."
        )
    items = _choose(results_folder, methods, n_items, seed, **selection)
    text = (STATIC / "webmushra.yaml").read_text(encoding="utf-8")
    config, key = yaml.safe_load(text), []
    folder = configs / "resources" / "study"
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        sounds, rate = read_sounds(item, equal_energy)
        for code, sound in sounds.items():
            write_wav(folder / f"{code}.wav", sound, rate)
        facts = (item.code, item.clip, item.condition, item.label)
        key += [(*facts, s.code, s.method) for s in item.stimuli]
    config["testname"] = config["pages"][0]["name"] = escape(title)
    config["pages"][1]["stimulus"] = _place(items[0].input.code)
    # Items in random order; the questions of an item stay together.
    common = config["pages"][2].pop()
    config["pages"][2] += [
        [_webmushra_page(item, question, common) for question in QUESTIONS]
        for item in items
    ]
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_atomically(configs / "study.yaml", text)
    names = ("item", "clip", "condition", "label", "rating_stimulus", "method")
    table = pd.DataFrame(key, columns=names).to_csv(index=False)
    write_atomically(Path(out_folder) / "key.csv", table)
    return configs / "study.yaml"


def _place(code: str) -> str:
    return f"configs/resources/study/{code}.wav"


def _webmushra_page(
    item: Item, question: str, common: dict[str, Any]
) -> dict[str, Any]:
    text, low, high = QUESTIONS[question]
    return {
        **common,
        "id": f"{item.code}_{question}",
        "name": f"The program hears: {escape(item.label)}",
        "content": f"{escape(text)} (0: {low}, 100: {high})",
        "reference": _place(item.input.code),
        # The keys stand in the page and in the results: opaque, too.
        "stimuli": {s.code: _place(s.code) for s in item.stimuli},
    }
