"""What tables and figures call things, and how a figure reads.

A row of results is a plain dict. It holds ``dataset``, ``condition``,
``mask_domain``, ``method``, ``n_clips``, ``accuracy`` and, for each metric
NAME, the mean ``NAME``, its 95 % interval ``NAME_low`` and ``NAME_high``, and
``NAME_undefined``, the number of clips where the metric has no value. A metric
that does not apply to a condition (the sources of a mixture on clean clips) is
None everywhere, which the CSV shows as blank cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from speechbrain_lmac.metrics.comparison import UNRANKED
from speechbrain_lmac.metrics.table import TABLES, Metric

Row = Mapping[str, Any]

META = ("dataset", "condition", "mask_domain", "method", "n_clips",
        "accuracy")  # fmt: skip
SUFFIXES = ("", "_low", "_high", "_undefined")


class Method(NamedTuple):
    """What people read of a method, and how figures draw it."""

    label: str
    role: str  # "main" (drawn heavier), "ours", "baseline" or "yardstick"
    color: str
    line: str
    marker: str


#: In the order of L-MAC's tables. Any two colours differ for protanopes and
#: deuteranopes, too (by 11 in CIELAB or more, under the model of Machado et
#: al. 2009); lines and markers tell apart what an eye or a printer does not.
METHODS = {
    "saliency": Method("Saliency", "baseline", "#56b4e9", "-", "v"),
    "smoothgrad": Method("SmoothGrad", "baseline", "#332288", "--", "^"),
    "ig": Method("Integrated Gradients", "baseline", "#ddcc77", "-", "<"),
    "gradcam": Method("GradCAM", "baseline", "#0c7bdc", "-", "X"),
    "gradcampp": Method("GradCAM++", "baseline", "#222255", "-.", "d"),
    "guided_gradcam": Method("Guided GradCAM", "baseline", "#666633", ":", ">"),
    "guided_backprop": Method(
        "Guided Backprop", "baseline", "#663333", "--", "p"
    ),
    "l2i": Method("L2I", "baseline", "#009e73", "-.", "P"),
    "shap": Method("GradientSHAP", "baseline", "#8073ac", "-.", "h"),
    "rise": Method("RISE", "baseline", "#999955", "-", "H"),
    "occlusion": Method("Occlusion", "baseline", "#3355ee", ":", "x"),
    "linear": Method("Linear", "baseline", "#ccdd55", ":", "|"),
    "kernel_shap": Method("KernelSHAP", "baseline", "#225599", "--", "_"),
    "forest": Method("Random forest", "baseline", "#552200", "-.", "8"),
    "wam": Method("WAM", "baseline", "#1111bb", "--", "+"),
    "mask": Method("Optimised mask", "ours", "#1111ee", "-.", "4"),
    "lmac": Method("L-MAC", "main", "#d55e00", "-", "o"),
    "lmac_ft": Method("L-MAC fine-tuned", "ours", "#e69f00", "-", "s"),
    "lmac_td": Method("LMAC-TD", "main", "#000055", "-", "3"),
    "lmac_zs": Method("LMAC-ZS", "main", "#882255", "-", "D"),
    "all_ones": Method("All ones", "yardstick", "#b8bcc4", ":", "1"),
    "random": Method("Random", "yardstick", "#7a7f89", "--", "2"),
    "ideal": Method("Ideal ratio mask", "yardstick", "#22252b", ":", "*"),
}
CONDITIONS = {
    "clean": "Clean",
    "mixtures": "Mixtures",
    "white_noise": "White noise",
    "speech": "Speech",
    "wham": "WHAM! noise",
    "pairs": "Mixtures at 0 dB",
    "named": "Mixtures at 0 dB, the class by name",
    "placed": "Placed events",
}
PROTOCOLS = {
    "published": "masks as each method makes them",
    "equal_mean": "masks brought to the mean of the interpreter's",
    "equal_area": "the top half of the bins of each mask",
    "loudness": "explanations brought to the clip's energy",
}

ALPHA = 0.05
MARKS = {
    "*": "{} is significantly better than this method",
    "+": "{} is significantly worse than this method",
}
MARK_TEST = (
    f"paired Wilcoxon signed-rank test on the clips, p < {ALPHA} after Holm's "
    "correction over the methods and metrics of a condition"
)
BOLD = (
    "Bold: the best mean of the column; all ones and the ideal ratio mask are "
    "yardsticks and never bold. Where intervals overlap, the order of two "
    "methods may be chance."
)


def method_label(name: object) -> str:
    """What people read of a method; its name if it is not known.

    Example
    -------
    >>> method_label("gradcampp"), method_label("mine")
    ('GradCAM++', 'mine')
    """
    method = METHODS.get(str(name))
    return method.label if method else str(name)


def method_cost(name: object, forwards: float | None) -> str:
    """A method, and what the classifier took for its mask, if it did.

    Example
    -------
    >>> method_cost("lmac", None), method_cost("ig", 50)
    ('L-MAC', 'Integrated Gradients: 50 classifier forwards')
    """
    asked = f": {forwards:.0f} classifier forwards" if forwards else ""
    return method_label(name) + asked


def condition_label(name: object) -> str:
    """What people read of a condition.

    Example
    -------
    >>> condition_label("white_noise"), condition_label("rain")
    ('White noise', 'rain')
    """
    return CONDITIONS.get(str(name), str(name))


def in_order(methods: Iterable[str]) -> list[str]:
    """Methods as figures list them: L-MAC, baselines, unknown, yardsticks.

    Example
    -------
    >>> in_order(["random", "mine", "ig", "lmac"])
    ['lmac', 'ig', 'mine', 'random']
    """
    roles = ["main", "ours", "baseline", "yardstick"]
    given = dict.fromkeys(methods)
    known = [name for name in METHODS if name in given]
    names = dict.fromkeys([*known, *given])
    return sorted(names, key=lambda name: roles.index(role_of(name)))


def role_of(name: str) -> str:
    """Role of a method; one that is not known is a baseline."""
    return METHODS[name].role if name in METHODS else "baseline"


class Cell(NamedTuple):
    """A metric of a row as people read it."""

    mean: str = ""  # "undefined" if no clip has a value; may not apply
    interval: str = ""  # "[0.40, 0.52]"
    undefined: str = ""  # "3 undefined", or "80 clips" if it is all of them
    best: bool = False  # of its column
    mark: str = ""  # key of MARKS


class Table(NamedTuple):
    """Some metrics of all methods under one condition."""

    rows: list[Row]  # the methods
    caption: str  # what kind of metrics
    metrics: list[Metric]  # the columns
    cells: list[tuple[Cell, ...]]  # of each row

    @property
    def methods(self) -> list[str]:
        """Name of the method of each row."""
        return [str(row.get("method", "")) for row in self.rows]

    @property
    def protocol(self) -> str:
        """How masks were scored; one of ``PROTOCOLS``."""
        return _protocol(self.rows[0])

    @property
    def title(self) -> str:
        """Data set, condition, mask domain, and an unusual protocol."""
        dataset, condition, domain, protocol = _group(self.rows[0])
        title = f"{dataset}, {condition}, {domain} mask"
        return title + f", {protocol}" * (protocol != "published")

    @property
    def lines(self) -> list[tuple[str, tuple[Cell, ...]]]:
        """Label and cells of each method."""
        labels = map(method_label, self.methods)
        return list(zip(labels, self.cells, strict=True))

    @property
    def parts(self) -> list[list[tuple[str, tuple[Cell, ...]]]]:
        """Lines of the baselines, then of ours, then of the yardsticks."""
        lines = dict(zip(self.methods, self.lines, strict=True))
        parts: dict[str, list] = {"baseline": [], "main": [], "yardstick": []}
        for name in in_order(lines):
            role = role_of(name)
            parts["main" if role == "ours" else role].append(lines[name])
        return [part for part in parts.values() if part]

    @property
    def marks(self) -> set[str]:
        """Those that are in the table."""
        return {cell.mark for cells in self.cells for cell in cells}

    @property
    def undefined(self) -> bool:
        """Whether a metric has no value on some clips."""
        return any(cell.undefined for cells in self.cells for cell in cells)

    @property
    def facts(self) -> str:
        """Clips and accuracy behind the rows; masks that explain nothing."""
        clips = _shared(self.rows, "n_clips", str)
        accuracy = _shared(
            self.rows, "accuracy", lambda v: f"{as_number(v):.3f}"
        )
        clips += " clips"
        n_rows = max(row.get("n_rows") or 0 for row in self.rows)
        if n_rows > max(row.get("n_clips") or 0 for row in self.rows):
            clips += f" in {n_rows} mixtures"
        trained = max(row.get("n_trained") or 0 for row in self.rows)
        clips += f", {trained} of them trained on" if trained else ""
        facts = [clips, f"classifier accuracy {accuracy}"]
        nothing = (("n_empty_masks", "zeros"), ("n_nan_masks", "NaN"))
        facts += [
            f"{row.get('method', '')}: {row[name]} masks of all {what}"
            for row in self.rows
            for name, what in nothing
            if row.get(name)
        ]
        return "; ".join(facts)


def result_tables(
    rows: Iterable[Row], comparisons: Iterable[Row] = ()
) -> Iterator[Table]:
    """Format rows of results: condition by condition, kind by kind.

    Arguments
    ---------
    rows : iterable of dict
        Of :func:`speechbrain_lmac.report.tables.row_from_summaries`.
    comparisons : iterable of dict
        Of :func:`speechbrain_lmac.metrics.comparison.compare_with`, for
        the marks; as made, or as read back from CSV.

    Yields
    ------
    Table
        Those with at least one value.

    Example
    -------
    >>> row = {"condition": "clean", "method": "lmac", "AI": 50.0}
    >>> [table] = result_tables([row])
    >>> [(label, [cell.mean for cell in cells]) for label, cells in table.lines]
    [('L-MAC', ['50.0'])]
    """
    marks = _significant(comparisons)
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(_group(row), []).append(row)
    for group in groups.values():
        for caption, metrics in TABLES:
            shown = present_metrics(group, metrics)
            if shown:
                columns = [_column(group, metric, marks) for metric in shown]
                cells = list(zip(*columns, strict=True))
                yield Table(group, caption, shown, cells)


def present_metrics(
    rows: Iterable[Row], metrics: Iterable[Metric]
) -> list[Metric]:
    """Those with something to show in at least one row."""
    rows = list(rows)
    return [m for m in metrics if any(cell(row, m).mean for row in rows)]


def as_number(value: Any) -> float:
    """A value of a row, NaN for a blank cell."""
    return math.nan if value is None or value == "" else float(value)


def _group(row: Row) -> tuple:
    names = ("dataset", "condition", "mask_domain")
    return (*(row.get(name, "") for name in names), _protocol(row))


def _protocol(row: Row) -> str:
    return row.get("protocol") or "published"


def _shared(rows: list[Row], key: str, show: Any) -> str:
    """One text if all methods share it, else one per method."""
    texts = [show(row.get(key)) for row in rows]
    if len(set(texts)) == 1:
        return texts[0]
    return ", ".join(
        f"{text} ({row.get('method', '')})"
        for text, row in zip(texts, rows, strict=True)
    )


def _column(rows: list[Row], metric: Metric, marks: dict) -> list[Cell]:
    best = _best(rows, metric)
    return [
        cell(row, metric)._replace(
            best=k in best,
            mark=marks.get((*_group(row), row.get("method"), metric.name), ""),
        )
        for k, row in enumerate(rows)
    ]


def cell(row: Row, metric: Metric) -> Cell:
    """A metric of a row as people read it.

    Example
    -------
    >>> from speechbrain_lmac.metrics.table import METRICS
    >>> row = {"AI": 46.8, "AI_low": 40.0, "AI_high": 52.0, "AI_undefined": 3}
    >>> cell(row, METRICS["AI"])[:3]
    ('46.8', '[40.0, 52.0]', '3 undefined')
    """
    mean, low, high, count = (
        as_number(row.get(metric.name + suffix)) for suffix in SUFFIXES
    )
    n = 0 if math.isnan(count) else int(count)
    if math.isnan(mean):
        return Cell("undefined", "", f"{n} clips") if n else Cell()
    interval = f"[{low:.{metric.digits}f}, {high:.{metric.digits}f}]"
    return Cell(
        f"{mean:.{metric.digits}f}",
        "" if math.isnan(low) or math.isnan(high) else interval,
        f"{n} undefined" if n else "",
    )


def _best(rows: list[Row], metric: Metric) -> set[int]:
    """Rows that share the best mean as it is printed; one alone is not best."""
    means = [as_number(row.get(metric.name)) for row in rows]
    values = {
        k: metric.direction * round(mean, metric.digits)
        for k, mean in enumerate(means)
        if math.isfinite(mean) and rows[k].get("method") not in UNRANKED
    }
    if not metric.direction or len(values) < 2:
        return set()
    return {k for k, value in values.items() if value == max(values.values())}


def _significant(comparisons: Iterable[Row]) -> dict[tuple, str]:
    """Where two methods differ by more than chance."""
    marks = {}
    for row in comparisons:
        difference = as_number(row.get("difference"))
        # False for an undefined p or difference, too.
        if as_number(row.get("p_holm")) < ALPHA and abs(difference) > 0:
            key = (*_group(row), row.get("method"), row.get("metric"))
            marks[key] = "*" if difference > 0 else "+"
    return marks


def class_text(facts: Mapping[str, Any]) -> str:
    """What facts explain, in words.

    Example
    -------
    >>> class_text({"label": "dog", "against": {"label": "rain"}})
    'dog and not rain'
    """
    other = facts.get("against")
    label = facts.get("label") or ""
    return f"{label} and not {other['label']}" if other else label


def probability_texts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the classifier says of input, explanation and rest, in words.

    Example
    -------
    >>> facts = {"probability": 0.6, "against": {"probability": 0.25}}
    >>> list(probability_texts(facts))
    [('p', '0.60 against 0.25')]
    """
    for name, key in (
        ("similarity", "similarity"),  # zero-shot
        ("p", "probability"),
        ("masked-in", "probability_masked_in"),
        ("masked-out", "probability_masked_out"),
    ):
        if key in facts:
            text = "-" if facts[key] is None else f"{facts[key]:.2f}"
            if key in (other := facts.get("against") or {}):
                text += f" against {other[key]:.2f}"
            yield name, text
