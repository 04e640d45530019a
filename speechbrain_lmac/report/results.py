"""All that an evaluation tells people, made from its per-clip values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.metrics.stats import ClipStats
from speechbrain_lmac.report.columns import Row
from speechbrain_lmac.report.descriptors import write_descriptors
from speechbrain_lmac.report.figures.bars import build_bars_figure
from speechbrain_lmac.report.figures.plots import build_curves_figure
from speechbrain_lmac.report.figures.style import save_figure
from speechbrain_lmac.report.page.page import build_report
from speechbrain_lmac.report.tables import (
    format_screen,
    row_from_summaries,
    write_csv,
    write_latex,
    write_markdown,
)

logger = get_logger(__name__)


def row_of(facts: Row, scores: ClipStats) -> dict[str, object]:
    """The row of a method under a condition and a protocol.

    Arguments
    ---------
    facts : dict
        dataset, condition, mask_domain, method, protocol, n_clips.
    scores : ClipStats
        Per-clip values, with ``accuracy``, ``empty_mask`` and ``nan_mask``.

    Returns
    -------
    dict
        As :func:`row_from_summaries`; ``n_empty_masks`` and ``n_nan_masks``
        count the masks that explain nothing.
    """
    summaries = scores.summaries()
    accuracy = summaries.pop("accuracy").mean
    counts = {}
    for name in ("empty_mask", "nan_mask"):
        if summaries.pop(name, None) is not None:
            counts[f"n_{name}s"] = int(scores.values(name).sum())
    return row_from_summaries(
        {**facts, "accuracy": accuracy, **counts}, summaries
    )


def write_results(
    rows: Sequence[Row],
    comparisons: Sequence[Row],
    evaluated: Mapping[str, Mapping[str, ClipStats]],
    folder: str | os.PathLike,
    title: str,
) -> None:
    """Write every table and figure of an evaluation and its page; show one.

    The page is made of what then lies in the folder, ``examples/`` included.

    Arguments
    ---------
    rows : sequence of dict
        Of :func:`row_of`.
    comparisons : sequence of dict
        Of :func:`speechbrain_lmac.metrics.comparison.compare_with`.
    evaluated : dict of str to dict of str to ClipStats
        Per-clip values by condition and row, for the curves.
    folder : str or pathlib.Path
        Where to.
    title : str
        Heads the tables.
    """
    from pandas import DataFrame

    folder = Path(folder)
    write_csv(rows, folder / "results.csv")
    write_markdown(rows, folder / "results.md", title, comparisons)
    write_latex(rows, folder / "results.tex", title, comparisons)
    if comparisons:
        DataFrame(comparisons).to_csv(folder / "comparisons.csv", index=False)
    _write_figures(rows, evaluated, folder / "figures")
    write_descriptors(folder)
    build_report(folder)
    print(format_screen(rows))
    logger.info("Results in %s", folder)


def _write_figures(
    rows: Sequence[Row],
    evaluated: Mapping[str, Mapping[str, ClipStats]],
    folder: Path,
) -> None:
    """Bars of the metrics per protocol, curves per condition."""
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        chosen = [row for row in rows if row["protocol"] == protocol]
        figure = build_bars_figure(chosen)
        save_figure(figure, folder / f"metrics_{protocol}.png")
    for condition, stats in evaluated.items():
        curves = _curves_of(stats)
        if curves:
            figure = build_curves_figure(curves)
            save_figure(figure, folder / f"curves_{condition}.png")


def _curves_of(
    stats: Mapping[str, ClipStats],
) -> dict[str, dict[str, np.ndarray]]:
    """Per method ``insertion`` and ``deletion``, (clips, steps + 1) each.

    The published protocol's per-clip values hold the curves of all.
    """
    curves = {}
    for method, scores in stats.items():
        ways = {}
        for way in ("insertion", "deletion"):
            names = [
                name
                for name in scores.names
                if name.startswith(f"{way}_") and name != f"{way}_auc"
            ]
            if names and "@" not in method:
                ways[way] = np.stack([scores.by_clip(n) for n in names], 1)
        if ways:
            curves[method] = ways
    return curves
