"""Repeated seeds or folds: mean and deviation of each figure over them.

Authors
 * The speechbrain_lmac authors 2026
"""

import statistics
from pathlib import Path

import pandas

from speechbrain_lmac.metrics.table import METRICS
from speechbrain_lmac.utils.files import write_atomically

#: What tells one row of a table from another.
ROW_KEYS = ("dataset", "condition", "mask_domain", "protocol", "method")


def seed_rows(found, unit="seed"):
    """One row per method, condition and protocol, over all seeds.

    Arguments
    ---------
    found : dict of int to list of dict
        The rows of each seed.
    unit : str
        What the numbers are: seed, or fold.

    Returns
    -------
    list of dict
        ``ROW_KEYS``, ``n_seeds`` and, for each metric NAME that every seed
        has, its mean ``NAME`` and its sample standard deviation ``NAME_sd``
        (None for one seed).

    Example
    -------
    >>> row = {"condition": "clean", "method": "lmac"}
    >>> found = {1: [{**row, "FF": 0.5}], 2: [{**row, "FF": 0.7}]}
    >>> [r] = seed_rows(found)
    >>> r["n_seeds"], round(r["FF"], 2), round(r["FF_sd"], 3)
    (2, 0.6, 0.141)
    """
    groups = {}
    for rows in found.values():
        for row in rows:
            key = tuple(row.get(name) for name in ROW_KEYS)
            groups.setdefault(key, []).append(row)
    summed = []
    for key, group in groups.items():
        row = dict(zip(ROW_KEYS, key, strict=True))
        row[f"n_{unit}s"] = len(group)
        for name in ("accuracy", *METRICS):
            values = [r[name] for r in group if r.get(name) is not None]
            if len(values) == len(group):
                row[name] = statistics.fmean(values)
                row[f"{name}_sd"] = (
                    statistics.stdev(values) if len(values) > 1 else None
                )
        summed.append(row)
    return summed


def write_seeds(found, folder, unit="seed"):
    """Write ``seeds.csv`` (full precision) and ``seeds.md`` (mean ± sd).

    Arguments
    ---------
    found : dict of int to list of dict
        The rows of each seed.
    folder : str or pathlib.Path
        Made if it is missing.
    unit : str
        What the numbers are: seed, or fold, for ``folds.csv``, ``folds.md``.

    Returns
    -------
    list of dict
        Of :func:`seed_rows`.
    """
    rows, folder = seed_rows(found, unit), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = pandas.DataFrame(rows).to_csv(index=False)
    write_atomically(folder / f"{unit}s.csv", text.encode())
    lines = [
        f"# Mean and standard deviation over {unit}s",
        "",
        f"{unit.title()}s: {', '.join(str(seed) for seed in found)}.",
    ]
    titles = {}
    for row in rows:
        title = ", ".join(str(row[k]) for k in ROW_KEYS[:-1] if row[k])
        titles.setdefault(title, []).append(row)
    for title, group in titles.items():
        lines += ["", f"## {title}", "", *_accuracy(group[0]), *_table(group)]
    text = "\n".join(lines) + "\n"
    write_atomically(folder / f"{unit}s.md", text.encode())
    return rows


def _accuracy(row):
    """How often the classifier is right, which no method changes."""
    mean, spread = row.get("accuracy"), row.get("accuracy_sd")
    if mean is None:
        return []
    text = f"{mean:.3f}" + ("" if spread is None else f" ± {spread:.3f}")
    return [f"Classifier accuracy {text}.", ""]


def _table(group):
    """Markdown lines of the rows of one condition and protocol."""
    found = set().union(*group)
    metrics = [m for m in METRICS.values() if m.name in found]
    lines = [
        "| method | " + " | ".join(m.title for m in metrics) + " |",
        "|---" * (len(metrics) + 1) + "|",
    ]
    for row in group:
        cells = [_cell(row, metric) for metric in metrics]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
    return lines


def _cell(row, metric):
    """``82.5 ± 1.2``; one seed has no spread, no value no cell."""
    if metric.name not in row:
        return ""
    text = f"{row[metric.name]:.{metric.digits}f}"
    spread = row[f"{metric.name}_sd"]
    return text if spread is None else f"{text} ± {spread:.{metric.digits}f}"
