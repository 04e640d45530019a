"""The same test for webMUSHRA, the listening-test software of AudioLabs.

webMUSHRA (Schoeffler et al., "webMUSHRA - A comprehensive framework for
web-based listening tests", Journal of Open Research Software 6(1), 2018) reads
a YAML file from its folder ``configs/``. An item becomes two pages of the type
``mushra``, one per question, with the input as reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.evaluation.listening_test.page import STATIC, choose
from speechbrain_lmac.evaluation.listening_test.study import (
    QUESTIONS,
    Item,
    read_sounds,
)
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically


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
    items = choose(results_folder, methods, n_items, seed, **selection)
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
    config["pages"][2] += [[_page(i, q) for q in QUESTIONS] for i in items]
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_atomically(configs / "study.yaml", text)
    names = ("item", "clip", "condition", "label", "rating_stimulus", "method")
    table = pd.DataFrame(key, columns=names).to_csv(index=False)
    write_atomically(Path(out_folder) / "key.csv", table)
    return configs / "study.yaml"


def _place(code: str) -> str:
    return f"configs/resources/study/{code}.wav"


def _page(item: Item, question: str) -> dict[str, Any]:
    text, low, high = QUESTIONS[question]
    return {
        "type": "mushra",
        "id": f"{item.code}_{question}",
        "name": f"The program hears: {escape(item.label)}",
        "content": f"{escape(text)} (0: {low}, 100: {high})",
        "enableLooping": True,
        "strict": False,  # it refuses more than 12 stimuli or seconds
        "reference": _place(item.input.code),
        "createAnchor35": False,
        "createAnchor70": False,
        "randomize": True,
        "showConditionNames": False,
        # The keys stand in the page and in the results: opaque, too.
        "stimuli": {s.code: _place(s.code) for s in item.stimuli},
    }
