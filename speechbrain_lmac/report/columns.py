"""Results for people: tables, figures, sounds and one page to listen to.

The modules of this room read statistics, arrays and files; they run no model.

 * :mod:`speechbrain_lmac.report.tables`: CSV, Markdown and terminal tables;
 * :mod:`speechbrain_lmac.report.significance`: the marks of paired tests;
 * :mod:`speechbrain_lmac.report.latex`: tables for a paper;
 * :mod:`speechbrain_lmac.report.figures.plots`: the figures of an evaluation;
 * ``explanation``: one picture per explanation;
 * :mod:`speechbrain_lmac.report.sounds`: the sound files of one explanation;
 * :mod:`speechbrain_lmac.report.page.page`: a self-contained HTML page.

Here stands what they share: the metrics, and how a row of results reads.

A row is a plain dict. It holds ``dataset``, ``condition``, ``mask_domain``,
``method``, ``n_clips``, ``accuracy`` and, for each metric NAME, the mean
``NAME``, its 95 % interval ``NAME_low`` and ``NAME_high``, and
``NAME_undefined``, the number of clips where the metric has no value. A metric
that does not apply to a condition (the sources of a mixture on clean clips) is
None everywhere, which the CSV shows as blank cells.

The metrics are those of L-MAC (Paissan et al., ICML 2024, arXiv 2403.13086);
names that end in ``_wav`` are the same metrics measured on the resynthesised
sound instead of the masked spectrogram.
"""

import math

from speechbrain_lmac.metrics.comparison import UNRANKED
from speechbrain_lmac.metrics.table import METRICS

META = (
    "dataset",
    "condition",
    "mask_domain",
    "method",
    "n_clips",
    "accuracy",
)  # fmt: skip
SUFFIXES = ("", "_low", "_high", "_undefined")

# What readable tables and figures call a method; in the order of L-MAC's
# tables, which end with the methods that are new.
METHOD_LABELS = {
    "saliency": "Saliency",
    "smoothgrad": "SmoothGrad",
    "ig": "Integrated Gradients",
    "gradcam": "GradCAM",
    "gradcampp": "GradCAM++",
    "guided_gradcam": "Guided GradCAM",
    "guided_backprop": "Guided Backprop",
    "l2i": "L2I",
    "shap": "GradientSHAP",
    "lmac": "L-MAC",
    "lmac_ft": "L-MAC fine-tuned",
    "lmac_zs": "LMAC-ZS",
    "all_ones": "All ones",
    "random": "Random",
    "ideal": "Ideal ratio mask",
}
OURS = ("lmac", "lmac_ft", "lmac_zs")
#: Those that figures draw heavier than the others.
MAIN = ("lmac", "lmac_zs")
YARDSTICKS = ("all_ones", "random", "ideal")
CONDITION_LABELS = {
    "clean": "Clean",
    "mixtures": "Mixtures",
    "white_noise": "White noise",
    "speech": "Speech",
    "wham": "WHAM! noise",
}
PROTOCOL_LABELS = {
    "published": "masks as each method makes them",
    "equal_mean": "masks brought to the mean of L-MAC's",
    "loudness": "explanations brought to the clip's energy",
}

BOLD_LEGEND = (
    "Cells: mean over clips [95 % interval]. Bold: the best mean of the "
    "column; all ones and the ideal ratio mask are yardsticks and never bold. "
    "Where intervals overlap, the order of two methods may be chance."
)


def method_label(name):
    """What readable tables and figures call a method.

    Arguments
    ---------
    name : str
        As in the column ``method``.

    Returns
    -------
    label : str
        The name itself if it is not known.

    Example
    -------
    >>> method_label("gradcampp"), method_label("mine")
    ('GradCAM++', 'mine')
    """
    return METHOD_LABELS.get(str(name), str(name))


def condition_label(name):
    """What figures and tables for papers call a condition.

    Example
    -------
    >>> condition_label("white_noise"), condition_label("rain")
    ('White noise', 'rain')
    """
    return CONDITION_LABELS.get(str(name), str(name))


def group_rows(rows):
    """Split rows by data set, condition, mask domain and protocol, in order.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`row_from_summaries`.

    Returns
    -------
    groups : list of list of dict
    """
    groups = {}
    for row in rows:
        names = ("dataset", "condition", "mask_domain", "protocol")
        key = tuple(row.get(name) for name in names)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def best_rows(rows, metric):
    """Find the rows that share the best mean of a metric.

    Values are compared as they are printed, so that equal figures are always
    marked alike. One ranked row alone is not "best": there is no comparison.

    Arguments
    ---------
    rows : list of dict
        The rows of one condition.
    metric : Metric
        The column.

    Returns
    -------
    best : set of int
        Positions in ``rows``; empty for a metric without a direction.

    Example
    -------
    >>> rows = [{"method": "a", "AD": 5.01}, {"method": "b", "AD": 4.99},
    ...     {"method": "c", "AD": 9.0}, {"method": "all_ones", "AD": 0.0}]
    >>> sorted(best_rows(rows, METRICS["AD"]))
    [0, 1]
    """
    values = {}
    for position, row in enumerate(rows):
        method = str(row.get("method", "")).strip().lower()
        if method.replace("-", "_").replace(" ", "_") in UNRANKED:
            continue
        value = _number(row.get(metric.name))
        if math.isfinite(value):
            values[position] = round(value, metric.digits)
    if metric.direction == 0 or len(values) < 2:
        return set()
    best = max(metric.direction * value for value in values.values())
    return {
        position
        for position, value in values.items()
        if metric.direction * value == best
    }


def cell(row, metric):
    """Format a metric of one row for people.

    Arguments
    ---------
    row : dict
        A row of :func:`row_from_summaries`.
    metric : Metric
        The column.

    Returns
    -------
    mean, interval, undefined : str
        For example "0.47", "[0.40, 0.52]" and "3 undefined"; all empty if the
        metric does not apply; "undefined", "" and "80 clips" if no clip has
        a value.

    Example
    -------
    >>> row = {"SPS": 0.468, "SPS_low": 0.4, "SPS_high": 0.52,
    ...     "SPS_undefined": 3}
    >>> cell(row, METRICS["SPS"])
    ('0.47', '[0.40, 0.52]', '3 undefined')
    """
    mean, low, high, count = (
        _number(row.get(metric.name + suffix)) for suffix in SUFFIXES
    )
    count = 0 if math.isnan(count) else int(count)
    undefined = f"{count} undefined" if count else ""
    if math.isnan(mean):
        return ("undefined", "", f"{count} clips") if count else ("", "", "")
    interval = ""
    if not (math.isnan(low) or math.isnan(high)):
        interval = f"[{low:.{metric.digits}f}, {high:.{metric.digits}f}]"
    return f"{mean:.{metric.digits}f}", interval, undefined


def present_metrics(rows, metrics=None):
    """List the metrics that have something to show in at least one row.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`row_from_summaries`.
    metrics : iterable of Metric or None
        The columns to choose from; None for all.

    Returns
    -------
    present : list of Metric
    """
    metrics = METRICS.values() if metrics is None else metrics
    return [m for m in metrics if any(cell(row, m)[0] for row in rows)]


def group_title(group):
    """Name the data set, the condition and the mask domain of a group.

    Arguments
    ---------
    group : list of dict
        The rows of one condition.

    Returns
    -------
    title : str
    """
    row = group[0]
    dataset, condition = row.get("dataset", ""), row.get("condition", "")
    title = f"{dataset}, {condition}, {row.get('mask_domain', '')} mask"
    protocol = row.get("protocol") or "published"
    return title if protocol == "published" else f"{title}, {protocol}"


def group_facts(group):
    """State the number of clips and the accuracy behind a group of rows.

    Arguments
    ---------
    group : list of dict
        The rows of one condition.

    Returns
    -------
    facts : str
        One value if all methods share it, else one value per method; and
        the masks that explain nothing, counted for each method.
    """
    clips = _shared(group, "n_clips", lambda value: str(value))
    accuracy = _shared(group, "accuracy", lambda v: f"{_number(v):.3f}")
    known = max((row.get("n_trained") or 0 for row in group), default=0)
    clips += " clips"
    rows = {row.get("n_rows") or row.get("n_clips") for row in group}
    if rows != {row.get("n_clips") for row in group}:
        clips += f" in {max(rows)} mixtures"
    clips += f", {known} of them trained on" if known else ""
    facts = f"{clips}; classifier accuracy {accuracy}"
    for row in group:
        for name, what in (("n_empty_masks", "zeros"), ("n_nan_masks", "NaN")):
            if row.get(name):
                facts += (
                    f"; {row.get('method', '')}: {row[name]} masks of all "
                    f"{what}"
                )
    return facts


def _shared(group, key, show):
    texts = [show(row.get(key)) for row in group]
    if len(set(texts)) == 1:
        return texts[0]
    return ", ".join(
        f"{text} ({row.get('method', '')})"
        for text, row in zip(texts, group, strict=True)
    )


def _number(value):
    return float("nan") if value is None or value == "" else float(value)
