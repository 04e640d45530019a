"""The model card of a package: what it is, what for, how well, from what."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.table import SPECTRA
from speechbrain_lmac.report.columns import cell, method_label, present_metrics
from speechbrain_lmac.report.render import render

#: What the built-in data set is called.
SYNTHETIC = "synthetic sounds, made by speechbrain_lmac"


def write_card(
    folder: Path, config: Mapping[str, Any], interpreter: Interpreter
) -> None:
    """Write a package's README.md, with the hub's front matter.

    The figures are those of the evaluation in the output folder of the
    training, or else of the training's own test.
    """
    run = Path(interpreter.hparams.get("output_folder") or os.devnull)
    evaluated = _rows(run / "evaluation/results.csv", config["method"])
    tested = _rows(run / "interpretations/results.csv", config["method"])
    rows, dataset = evaluated or tested, config["data"].get("dataset")
    if rows and dataset != SYNTHETIC:
        dataset = rows[0].get("dataset")
    text = render(
        "card.md.j2",
        config=config,
        name=method_label(config["method"]),
        model=(config.get("classifier") or config["encoder"])["class"],
        frontend=interpreter.frontend,
        dataset=dataset,
        known=dataset not in (None, SYNTHETIC),
        rows=rows,
        own_test=not evaluated,
        metrics=present_metrics(rows, SPECTRA),
        cell=cell,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _rows(path, method):
    """A method's own rows of a ``results.csv``; none if there is no file."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # What is evaluated has the name of its family there.
    names = [row["method"] for row in rows]
    name = method if method in names else method.removesuffix("_ft")
    return [row for row in rows if row["method"] == name]
