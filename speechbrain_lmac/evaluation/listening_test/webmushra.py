"""The same test for webMUSHRA, the listening-test software of AudioLabs.

webMUSHRA (Schoeffler et al., "webMUSHRA - A comprehensive framework for
web-based listening tests", Journal of Open Research Software 6(1), 2018) reads
a YAML file from its folder ``configs/``. An item becomes two pages of the type
``mushra``, one per question, with the input as reference.
"""

import csv
import io
import shutil
from html import escape
from pathlib import Path

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.evaluation.listening_test.blinding import opaque_name
from speechbrain_lmac.evaluation.listening_test.study import (
    QUESTIONS,
    read_sounds,
    select_items,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

# Limits of its `strict` mode, which are those of BS.1534.
MAX_STIMULI = 12
MAX_SECONDS = 12.0


def export_webmushra(
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
    title="Listening test",
):
    """Write a listening test as a configuration of webMUSHRA.

    Copy the folder ``configs`` over that of a webMUSHRA installation and open
    ``?config=<study>.yaml`` there. Keep ``key.csv`` to yourself: it says which
    method stands behind the ``rating_stimulus`` of webMUSHRA's results. The
    page names no method, but webMUSHRA rates from 0 to 100 on its own scale
    and adds the reference, here the input, as a hidden stimulus to each page.

    Arguments
    ---------
    results_folder : str or pathlib.Path
        As for ``build``; equal arguments
        give the same items.
    out_folder : str or pathlib.Path
        Gets ``configs/<study>.yaml``, ``configs/resources/<study>/*.wav`` and
        ``key.csv``.
    methods, n_items, conditions, seed, high_anchor : object
        As for :func:`speechbrain_lmac.evaluation.listening_test.build`.
    overwrite : bool
        Replace an earlier export.
    correct_only, equal_energy, title : object
        As for :func:`speechbrain_lmac.evaluation.listening_test.build`.

    Returns
    -------
    config : pathlib.Path
        The YAML file.

    Raises
    ------
    UserError
        If sounds are missing, there are more than 12 stimuli, or an export is
        there and `overwrite` is false.
    """
    out_folder = Path(out_folder)
    items = select_items(
        results_folder,
        methods,
        n_items,
        conditions,
        seed,
        high_anchor,
        correct_only,
    )
    _check(out_folder, items, overwrite)
    codes = [s.code for item in items for s in item.stimuli]
    study = f"study-{opaque_name(seed, equal_energy, *codes)[1:9]}"
    resources = out_folder / "configs" / "resources" / study
    if resources.is_dir():
        shutil.rmtree(resources)
    resources.mkdir(parents=True)
    seconds = 0.0
    for item in items:
        sounds, rate = read_sounds(item, equal_energy)
        for code, sound in sounds.items():
            write_wav(resources / f"{code}.wav", sound, rate)
            seconds = max(seconds, len(sound) / rate)
    config = webmushra_config(items, study, title, seconds <= MAX_SECONDS)
    path = out_folder / "configs" / f"{study}.yaml"
    write_atomically(path, _yaml(config))
    write_atomically(out_folder / "key.csv", _key(items))
    return path


def _check(out_folder, items, overwrite):
    if (out_folder / "configs").exists() and not overwrite:
        raise UserError(
            f"{out_folder}: holds configs/ already; give another folder, or "
            "overwrite=True to replace an earlier export."
        )
    most = max(len(item.stimuli) for item in items)
    if most > MAX_STIMULI:
        raise UserError(
            f"webMUSHRA rates at most {MAX_STIMULI} stimuli of a page, got "
            f"{most} with the anchors; give fewer `methods`."
        )


def webmushra_config(items, study, title, strict=True):
    """Describe a test as webMUSHRA reads it.

    Arguments
    ---------
    items : list of Item
        The clips of the test.
    study : str
        Name of the test and of the folder of its sounds.
    title : str
        The heading.
    strict : bool
        Let webMUSHRA insist on the limits of BS.1534.

    Returns
    -------
    config : dict
        Plain values, to be written as YAML.
    """
    folder = f"configs/resources/{study}"
    trials = [
        [_page(item, question, folder, strict) for question in QUESTIONS]
        for item in items
    ]
    return {
        "testname": title,
        "testId": study,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": False,
        "remoteService": "service/write.php",
        "pages": [
            {
                "type": "generic",
                "id": "instructions",
                "name": escape(title),
                "content": INSTRUCTIONS,
            },
            {
                "type": "volume",
                "id": "volume",
                "name": "Set the loudness",
                "content": "Set a comfortable loudness and keep it.",
                "stimulus": f"{folder}/{items[0].input.code}.wav",
                "defaultVolume": 0.5,
            },
            # Items in random order; the questions of an item stay together.
            ["random", *trials],
            {
                "type": "finish",
                "name": "Thank you",
                "content": "Thank you for taking part.",
                "showResults": False,
                "writeResults": True,
                "questionnaire": [
                    {
                        "type": "text",
                        "label": "Your code (not your name)",
                        "name": "participant",
                    }
                ],
            },
        ],
    }


INSTRUCTIONS = (
    "A program has listened to short recordings and named what it hears. "
    "Several methods try to let you hear which part of a recording made it "
    "decide. The reference is the recording; the conditions are the "
    "explanations of the methods. Rate every explanation; the question stands "
    "on each page, and the scale goes from its lowest to its best answer. "
    "Use headphones in a quiet place if you can."
)


def _page(item, question, folder, strict):
    text, low, high = QUESTIONS[question]
    return {
        "type": "mushra",
        "id": f"{item.code}_{question}",
        "name": f"The program hears: {escape(item.label)}",
        "content": f"{escape(text)} (0: {low}, 100: {high})",
        "showWaveform": False,
        "enableLooping": True,
        "strict": strict,
        "reference": f"{folder}/{item.input.code}.wav",
        "createAnchor35": False,
        "createAnchor70": False,
        "randomize": True,
        "showConditionNames": False,
        # The keys stand in the page and in the results: opaque, too.
        "stimuli": {s.code: f"{folder}/{s.code}.wav" for s in item.stimuli},
    }


def _yaml(config):
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 4096
    buffer = io.StringIO()
    yaml.dump(config, buffer)
    return buffer.getvalue()


def _key(items):
    """Which method stands behind which stimulus, as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ("item", "clip", "condition", "label", "rating_stimulus", "method")
    )
    for item in items:
        facts = (item.code, item.clip, item.condition, item.label)
        writer.writerow((*facts, "reference", "input"))
        for stimulus in item.stimuli:
            writer.writerow((*facts, stimulus.code, stimulus.method))
    return buffer.getvalue()
