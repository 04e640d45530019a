"""Cascading model randomisation as a whole: measured, written, drawn, printed.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

import pandas

from speechbrain_lmac.evaluation.randomization import cascading_randomization
from speechbrain_lmac.metrics.stats import ClipStats


def run_randomization(
    interpreter, clips, output_folder, methods, *, seed=1234, **options
):
    """Masks under a classifier that loses its training layer by layer.

    Writes ``randomization.csv``, ``randomization_<method>.csv`` and
    ``randomization.png`` and prints the tables.

    Arguments
    ---------
    interpreter : Interpreter
        Of a closed set's classifier or of a zero-shot one.
    clips : list of ConditionClip
        What is explained.
    output_folder : str or pathlib.Path
        Created if need be.
    methods : sequence of str
        As for ``cascading_randomization``.
    seed : int
        Of the new weights and of methods that draw.
    **options
        Of that function: ``batch_size``, ``attribution``, ``device``,
        ``progressbar``.

    Returns
    -------
    pandas.DataFrame
        As of :func:`save_randomization`.
    """
    from speechbrain_lmac.report import build_randomization_figure, save_figure

    results = cascading_randomization(
        interpreter.frontend,
        interpreter.classifier,
        interpreter.decoder,
        methods,
        clips,
        seed=seed,
        **options,
    )
    folder = Path(output_folder)
    frame = save_randomization(folder, [clip.id for clip in clips], results)
    columns = ["block", "SSIM", "SSIM_low", "SSIM_high"]
    ssim = {
        method: list(part[columns].itertuples(index=False, name=None))
        for method, part in frame.groupby("method", sort=False)
    }
    figure = build_randomization_figure(ssim)
    save_figure(figure, folder / "randomization.png")
    for measure in ("SSIM", "Spearman"):
        print(f"\n{measure} with the original mask, {len(clips)} clips")
        print_table(frame, "block", measure, methods)
    print(f"\nIn {folder}: randomization.csv, randomization.png")
    return frame


def save_randomization(folder, ids, results):
    """Write what :func:`cascading_randomization` found.

    ``randomization_<method>.csv`` has a row per clip, ``randomization.csv``
    the means over clips with their 95 % bootstrap intervals.

    Arguments
    ---------
    folder : str or pathlib.Path
        Created if need be.
    ids : list of str
        The clips, in the order of the values.
    results : dict of str to list of BlockSimilarity
        By method.

    Returns
    -------
    pandas.DataFrame
        The table of means: method, block, and for SSIM and Spearman the mean,
        ``_low``, ``_high`` and ``_undefined``.
    """
    folder, rows = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for method, found in results.items():
        stats = ClipStats()
        columns = {f"SSIM_{b.block}": b.ssim for b in found}
        columns |= {f"Spearman_{b.block}": b.spearman for b in found}
        stats.append(ids, columns)
        stats.to_csv(folder / f"randomization_{method}.csv")
        for block in (b.block for b in found):
            row = {"method": method, "block": block, "n_clips": len(ids)}
            for measure in ("SSIM", "Spearman"):
                summary = stats.summary(f"{measure}_{block}")
                row[measure] = summary.mean
                row[f"{measure}_low"] = summary.low
                row[f"{measure}_high"] = summary.high
                row[f"{measure}_undefined"] = summary.n_undefined
            rows.append(row)
    frame = pandas.DataFrame(rows)
    frame.to_csv(folder / "randomization.csv", index=False)
    return frame


def print_table(frame, rows, values, methods):
    """Print one column per method, in the order of the run.

    Arguments
    ---------
    frame : pandas.DataFrame
        With a column ``method``.
    rows, values : str
        Columns that name the lines and hold the figures.
    methods : sequence of str
        The columns of the table.

    Example
    -------
    >>> frame = pandas.DataFrame(
    ...     {"method": ["b", "a"], "block": ["x", "x"], "SSIM": [0.25, 1.0]}
    ... )
    >>> print_table(frame, "block", "SSIM", ["a", "b"])
          a     b
    x 1.000 0.250
    """
    table = frame.groupby([rows, "method"], sort=False)[values].first()
    table = table.unstack("method").loc[frame[rows].unique(), list(methods)]
    table = table.rename_axis(index=None, columns=None)
    print(table.to_string(float_format="{:.3f}".format))
