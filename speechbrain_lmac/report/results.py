"""All that an evaluation tells people, made from its per-clip values.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_lmac.report.figures.bars import save_bars_figure
from speechbrain_lmac.report.figures.plots import save_curves_figure
from speechbrain_lmac.report.latex import write_latex
from speechbrain_lmac.report.page.page import build_report
from speechbrain_lmac.report.tables import (
    format_screen,
    row_from_summaries,
    write_csv,
    write_markdown,
)

logger = get_logger(__name__)


def row_of(facts, scores):
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


def write_results(rows, comparisons, evaluated, folder, title):
    """Write every table and figure of an evaluation, and show one.

    The page is made of what then lies in the folder, ``examples/`` included.

    Arguments
    ---------
    rows : list of dict
        Of :func:`row_of`.
    comparisons : list of dict
        Of :func:`speechbrain_lmac.metrics.comparison.compare_with_lmac`.
    evaluated : dict of str to (dict of str to ClipStats)
        Per-clip values by condition and row, for the curves.
    folder : str or pathlib.Path
        Where to.
    title : str
        Heads the tables and the page.
    """
    folder = Path(folder)
    write_csv(rows, folder / "results.csv")
    write_markdown(rows, folder / "results.md", title, comparisons=comparisons)
    write_latex(rows, folder / "results.tex", title, comparisons=comparisons)
    if comparisons:
        write_csv_table(comparisons, folder / "comparisons.csv")
    write_figures(rows, evaluated, folder / "figures")
    build_report(folder, title=title)
    print(format_screen(rows))
    logger.info("Results in %s", folder)


def write_csv_table(rows, path):
    """Plain rows as CSV."""
    import pandas

    pandas.DataFrame(rows).to_csv(path, index=False)


def write_figures(rows, evaluated, folder):
    """Bars of the metrics per protocol, curves per condition."""
    folder.mkdir(parents=True, exist_ok=True)
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        chosen = [row for row in rows if row["protocol"] == protocol]
        save_bars_figure(folder / f"metrics_{protocol}.png", chosen)
    for condition, stats in evaluated.items():
        curves = curves_of(stats)
        if curves:
            save_curves_figure(folder / f"curves_{condition}.png", curves)


def curves_of(stats):
    """Insertion and deletion curves from the columns of per-clip values.

    Arguments
    ---------
    stats : dict of str to ClipStats
        By row; the published protocol's hold the curves of every protocol.

    Returns
    -------
    dict of str to dict
        Per method ``insertion`` and ``deletion``, (clips, steps + 1) each;
        methods without curves are left out.
    """
    import numpy as np

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
