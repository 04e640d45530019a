"""The page of a listening test: one HTML file and the sounds beside it.

The page opens from disk and from any static server, asks the network for
nothing, and keeps the ratings in the listener's browser. The sounds are FLAC:
compressed without loss, so that no codec is rated, and played by every
browser.
"""

import base64
import hashlib
import io
import json
import re
import shutil
from html import escape
from pathlib import Path

import soundfile as sf

from speechbrain_lmac.evaluation.listening_test.blinding import conceal
from speechbrain_lmac.evaluation.listening_test.study import (
    QUESTIONS,
    RATINGS,
    read_sounds,
    select_items,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

STATIC = Path(__file__).with_name("static")
SOUNDS = "sounds"
# What a rating takes besides listening, for the time that is announced.
SECONDS_PER_RATING = 4


def build(
    results_folder,
    out_folder,
    methods,
    n_items=10,
    conditions=None,
    seed=0,
    high_anchor="auto",
    overwrite=False,
    *,
    correct_only=True,
    equal_energy=False,
    training=True,
    title="Listening test",
):
    """Write the page of a listening test.

    Each item plays the input and, in an order that depends on participant and
    item alone, the methods' explanations, a random mask's and the ideal one's
    (the hidden anchors). Both questions of the papers have a slider per
    explanation.

    Arguments
    ---------
    results_folder : str or pathlib.Path
        Output folder of an evaluation of these methods and of ``random``, with
        ``examples/``.
    out_folder : str or pathlib.Path
        Gets ``index.html`` and ``sounds/``; hand out or serve all of it.
    methods : sequence of str
        Whose explanations are rated.
    n_items : int or None
        How many clips; None for all that there are.
    conditions : sequence of str, optional
        Folders of ``examples/``; default: all.
    seed : int
        Chooses the clips; the orders depend on it as well.
    high_anchor : str
        "auto", "ideal" or "target", see
        :func:`speechbrain_lmac.evaluation.listening_test.study.select_items`.
    overwrite : bool
        Replace a page and its sounds; other files are left alone.
    correct_only : bool
        Leave out clips that the classifier gets wrong.
    equal_energy : bool
        Bring every explanation to the energy of the input.
    training : bool
        Begin with one further clip, if there is one, whose ratings do not
        count.
    title : str
        The heading.

    Returns
    -------
    page : pathlib.Path
        ``index.html``.

    Raises
    ------
    UserError
        If sounds are missing, or a page is there and `overwrite` is false.
    """
    out_folder = Path(out_folder)
    page = out_folder / "index.html"
    _check_free(out_folder, overwrite)
    choice = (methods, conditions, seed, high_anchor, correct_only)
    items = _select(results_folder, n_items, training, choice)
    n_test = len(items) if n_items is None else n_items
    sounds, seconds = _encode(items, equal_energy)
    if (out_folder / SOUNDS).is_dir():
        shutil.rmtree(out_folder / SOUNDS)
    (out_folder / SOUNDS).mkdir(parents=True)
    for code, data in sounds.items():
        write_atomically(out_folder / SOUNDS / f"{code}.flac", data)
    study = describe_study(items[:n_test], items[n_test:], sounds, seed)
    study.update(title=title, minutes=_minutes(seconds, items[:n_test]))
    write_atomically(page, page_html(study))
    return page


def _select(results_folder, n_items, training, choice):
    """The items of the test and, behind them, at most one for training."""
    methods, conditions, seed, high_anchor, correct_only = choice

    def select(number):
        return select_items(
            results_folder,
            methods,
            number,
            conditions,
            seed,
            high_anchor,
            correct_only,
        )

    if n_items is None or not training:
        return select(n_items)
    # Whoever asks for too many items must hear so: the second call tells.
    every = select(None)
    if len(every) <= n_items:
        return select(n_items)
    return every[: n_items + 1]


def _check_free(out_folder, overwrite):
    taken = [n for n in ("index.html", SOUNDS) if (out_folder / n).exists()]
    if taken and not overwrite:
        raise UserError(
            f"{out_folder}: holds {' and '.join(taken)} already; give another "
            "folder, or overwrite=True to replace them. A new page does not "
            "continue the tests that listeners have begun on the old one."
        )


def _encode(items, equal_energy):
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


def _minutes(seconds, items):
    """About how long a test takes, in minutes."""
    total = sum(
        # The input and every explanation are heard twice, say.
        2 * (len(item.stimuli) + 1) * seconds[item.code]
        + len(item.stimuli) * len(QUESTIONS) * SECONDS_PER_RATING
        for item in items
    )
    return max(1, round(total / 60))


def describe_study(items, training, sounds, seed):
    """Everything that the page's script knows, with the methods concealed.

    Arguments
    ---------
    items : list of Item
        The clips of the test.
    training : list of Item
        None or one.
    sounds : dict
        Code of a stimulus -> bytes of its file.
    seed : int
        Of the orders.

    Returns
    -------
    study : dict
        To be written as JSON. Its ``study`` is a code that changes with the
        seed, the methods and the sounds.
    """
    digest = hashlib.sha256(str(seed).encode())
    for item in (*items, *training):
        for stimulus in (item.input, *item.stimuli):
            digest.update(f"\0{stimulus.code}\0{stimulus.method}\0".encode())
            digest.update(sounds[stimulus.code])
    study = f"study-{digest.hexdigest()[:8]}"

    def described(item):
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


def page_html(study):
    """Make the page.

    Arguments
    ---------
    study : dict
        Of :func:`describe_study`, with a title and the minutes that it takes.

    Returns
    -------
    html : str
    """
    style, script = (
        (STATIC / name).read_text(encoding="utf-8")
        for name in ("study.css", "study.js")
    )
    # A "<" could end the script element that holds the description.
    data = json.dumps(study, ensure_ascii=False).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; media-src 'self' file:; img-src data:"
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
    return re.sub("%([A-Z]+)%", lambda found: fields[found[1]], html)


def _hash(text):
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
