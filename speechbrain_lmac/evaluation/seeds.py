"""Repeated seeds or folds: mean and deviation of each figure over them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from speechbrain_lmac.interpreters.loading import (
    INFO_FILE,
    TRAINED_METHODS,
    read_info,
)
from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.report.render import markdown_table
from speechbrain_lmac.utils.files import write_atomically

Row = dict[str, Any]

#: What tells one row of a table from another.
ROW_KEYS = ("dataset", "condition", "mask_domain", "protocol", "method")


def seed_overrides(
    hparams: Mapping[str, Any], overrides: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Overrides of the evaluation of each of ``seeds``; else those given.

    Arguments
    ---------
    hparams : dict
        With ``seeds``, ``interpreter`` and ``output_folder``.
    overrides : dict
        Of the command line.

    Returns
    -------
    list of dict
        For an interpreter ``results/lmac_small/1234`` and seed 1235 that of
        ``results/lmac_small/1235``, and in the same way its output folder.

    Raises
    ------
    UserError
        If the interpreter of a seed is missing.
    """
    if not hparams["seeds"]:
        return [dict(overrides)]
    runs = []
    for seed in hparams["seeds"]:
        changes = {**overrides, "seed": seed}
        for key in (
            "interpreter",
            *(f"{name}_folder" for name in TRAINED_METHODS),
        ):
            if overrides.get(key) or key == "interpreter":
                changes[key] = str(_seed_folder(hparams[key], seed))
        read_info(changes["interpreter"], "seeds")
        if overrides.get("output_folder"):
            changes["output_folder"] = f"{overrides['output_folder']}/{seed}"
        runs.append(changes)
    return runs


def seeds_folder(
    hparams: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Path:
    """Where the table over all ``seeds`` goes."""
    chosen = overrides.get("output_folder")
    return Path(chosen or _seed_folder(hparams["interpreter"], "evaluation"))


def _seed_folder(folder, seed):
    """Folder of a seed, from an experiment's or that of another seed."""
    folder = Path(folder)
    if (folder / INFO_FILE).is_file():
        folder = folder.parent
    return folder / str(seed)


def write_seeds(
    found: Mapping[int, Sequence[Row]], folder: str | Path, unit: str = "seed"
) -> list[Row]:
    """Write ``seeds.csv`` (full precision) and ``seeds.md`` (mean ± sd).

    Arguments
    ---------
    found : dict of int to list of dict
        The rows of each seed, as :func:`speechbrain_lmac.evaluation.evaluate`
        returns them.
    folder : str or pathlib.Path
        Made if it is missing.
    unit : str
        What the numbers are: seed, or fold, for ``folds.csv``, ``folds.md``.

    Returns
    -------
    list of dict
        ``ROW_KEYS``, ``n_seeds`` and, for each metric NAME that every seed
        has, its mean ``NAME`` and its sample standard deviation ``NAME_sd``
        (None for one seed).
    """
    rows = seed_rows(found, unit)
    text = pandas.DataFrame(rows).to_csv(index=False)
    write_atomically(Path(folder) / f"{unit}s.csv", text)
    lines = [
        f"# Mean and standard deviation over {unit}s",
        "",
        f"{unit.title()}s: {', '.join(str(seed) for seed in found)}.",
    ]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        title = ", ".join(str(row[k]) for k in ROW_KEYS[:-1] if row[k])
        groups.setdefault(title, []).append(row)
    for title, group in groups.items():
        lines += ["", f"## {title}", ""]
        accuracy = _cell(group[0], "accuracy", 3)
        lines += [f"Classifier accuracy {accuracy}.", ""] if accuracy else []
        lines += _table(group)
    write_atomically(Path(folder) / f"{unit}s.md", "\n".join(lines) + "\n")
    return rows


def seed_rows(
    found: Mapping[int, Sequence[Row]], unit: str = "seed"
) -> list[Row]:
    """One row per method, condition and protocol, over all seeds.

    >>> row = {"condition": "clean", "method": "lmac"}
    >>> found = {1: [{**row, "FF": 0.5}], 2: [{**row, "FF": 0.7}]}
    >>> [r] = seed_rows(found)
    >>> r["n_seeds"], round(r["FF"], 2), round(r["FF_sd"], 3)
    (2, 0.6, 0.141)
    """
    groups: dict[tuple, list[Row]] = {}
    for rows in found.values():
        for row in rows:
            key = tuple(row.get(name) for name in ROW_KEYS)
            groups.setdefault(key, []).append(row)
    summed = []
    for key, group in groups.items():
        sums: Row = dict(zip(ROW_KEYS, key, strict=True))
        sums[f"n_{unit}s"] = len(group)
        for name in ("accuracy", *METRICS):
            values = [r[name] for r in group if r.get(name) is not None]
            if len(values) == len(group):
                sums[name] = statistics.fmean(values)
                spread = statistics.stdev(values) if values[1:] else None
                sums[f"{name}_sd"] = spread
        summed.append(sums)
    return summed


def _table(group):
    """Markdown lines of the rows of one condition and protocol."""
    metrics = [m for m in METRICS.values() if any(m.name in r for r in group)]
    lines = [
        [row["method"], *(_cell(row, m.name, m.digits) for m in metrics)]
        for row in group
    ]
    return markdown_table(["method", *(m.title for m in metrics)], lines)


def _cell(row, name, digits):
    """``82.5 ± 1.2``; one seed has no spread, no value no cell."""
    if name not in row:
        return ""
    spread = row[f"{name}_sd"]
    text = f"{row[name]:.{digits}f}"
    return text if spread is None else f"{text} ± {spread:.{digits}f}"
