"""Statistics over clips: means, bootstrap intervals, undefined values, CSV.

Metrics give a value for each row of a table: a clip, or one of a clip's
mixtures. The rows of a clip depend on each other, so clips are what intervals
are drawn from. NaN marks an undefined value: it is left out of every mean and
counted. Infinite values are kept, they make the mean infinite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

Values = NDArray[np.float64]

#: Resamples of an interval.
N_BOOT = 2000
#: Values drawn at a time: bounds the temporary memory to about 64 MB.
CHUNK_VALUES = 2**22
_NOT_METRICS = ("id", "clip")


class Summary(NamedTuple):
    """Mean of a metric with its 95 % interval.

    Attributes
    ----------
    mean : float
        Mean of the defined values.
    low, high : float
        Ends of the interval of the mean.
    n : int
        Number of defined values.
    n_undefined : int
        Number of NaN values, which the mean leaves out.
    """

    mean: float
    low: float
    high: float
    n: int
    n_undefined: int


def summarize(
    values: ArrayLike,
    clips: Sequence[str] | None = None,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Summary:
    """Mean of values with its 95 % percentile bootstrap interval.

    Clips are drawn with replacement, each with all of its values; the interval
    lies between the quantiles of the resampled means (Efron and Tibshirani,
    "An introduction to the bootstrap", 1993, chapter 13). It assumes that
    clips are independent, the values of one clip need not be.

    Arguments
    ---------
    values : array-like
        Shape (rows,); NaN is undefined.
    clips : sequence of str or None
        The clip of each value; None if each is of its own.
    n_boot : int
        Number of resamples.
    seed : int
        Of the resampling; the same seed gives the same interval.

    Returns
    -------
    Summary
        Without defined values mean, low and high are NaN; with values of one
        clip they equal the mean. With infinite values low and high are NaN.

    Raises
    ------
    ValueError
        If `values` is not one-dimensional.

    Example
    -------
    >>> summary = summarize([0.0, 100.0, 100.0, float("nan")])
    >>> round(summary.mean, 2), summary.n, summary.n_undefined
    (66.67, 3, 1)
    """
    column = _as_vector(values, "values")
    n_undefined = int(np.isnan(column).sum())
    counts = (len(column) - n_undefined, n_undefined)
    mean = _mean(column)
    sums, sizes = _sums_by_clip(column, clips)
    if len(sums) < 2:
        return Summary(mean, mean, mean, *counts)
    if not np.isfinite(sums).all():
        return Summary(mean, np.nan, np.nan, *counts)
    ends = bootstrap(
        (sums, sizes),
        lambda s, n, axis: s.sum(axis) / n.sum(axis),
        paired=True,
        n_resamples=n_boot,
        batch=max(1, CHUNK_VALUES // len(sums)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Summary(mean, float(ends.low), float(ends.high), *counts)


def mean_by_clip(values: ArrayLike, clips: Sequence[str]) -> Values:
    """Mean of each clip's defined values, in the clips' order of appearance.

    >>> mean_by_clip([1.0, 3.0, float("nan"), 5.0], ["a", "a", "b", "b"])
    array([2., 5.])
    """
    owner = pd.factorize(np.asarray(clips, dtype=object))[0]
    means = pd.Series(_as_vector(values, "values")).groupby(owner).mean()
    return np.asarray(means, dtype=np.float64)


class ClipStats:
    """Gathers the metrics of each clip, or of each mixture of a clip.

    Attributes
    ----------
    ids : list of str
        Of the rows.
    clips : list of str
        The clip of each row; rows of one clip depend on each other.

    Example
    -------
    >>> import torch
    >>> stats = ClipStats()
    >>> stats.append(["a", "b"], {"AI": torch.tensor([0.0, 100.0])})
    >>> stats.append(["c"], {"AI": torch.tensor([float("nan")])})
    >>> stats.names, len(stats), stats.means()
    (['AI'], 3, {'AI': 50.0})
    >>> stats.summary("AI").n_undefined
    1
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.clips: list[str] = []
        self._known: set[str] = set()
        self._values: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, row: str) -> bool:
        return row in self._known

    @property
    def names(self) -> list[str]:
        """Names of the metrics, in the order of their first appearance."""
        return list(self._values)

    @property
    def n_clips(self) -> int:
        """Number of clips; mixtures of one clip count once."""
        return len(set(self.clips))

    def append(
        self,
        ids: Sequence[str],
        values: Mapping[str, Any],
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add the values of a batch.

        Arguments
        ---------
        ids : sequence of str
            Of the rows, each known once only.
        values : dict
            Name of a metric -> tensor, array or list of (batch,) values.
        clips : sequence of str or None
            The clip of each row; None for the rows' own ids.

        Raises
        ------
        ValueError
            If an id comes twice, the number of values is not that of the ids
            or the metrics differ from those of earlier batches.
        """
        ids = [str(row) for row in ids]
        self._check(ids, values)
        columns = {k: _as_vector(column, k) for k, column in values.items()}
        for name, column in columns.items():
            if len(column) != len(ids):
                raise ValueError(
                    f"Expected {len(ids)} values of `{name}`, one per id, but "
                    f"got {len(column)}."
                )
        for name, column in columns.items():
            self._values.setdefault(name, []).extend(column.tolist())
        self.ids.extend(ids)
        self.clips.extend(ids if clips is None else map(str, clips))
        self._known.update(ids)

    def _check(self, ids: list[str], values: Mapping[str, Any]) -> None:
        if self.ids and set(values) != set(self._values):
            raise ValueError(
                f"Expected the metrics {', '.join(self.names)} but got "
                f"{', '.join(values)}."
            )
        if not values or set(_NOT_METRICS) & set(values):
            raise ValueError(
                "Expected at least one metric, none named `id` or `clip`, but "
                f"got {list(values)}."
            )
        repeated = self._known.intersection(ids)
        if repeated or len(set(ids)) != len(ids):
            first = next(i for i in ids if i in repeated or ids.count(i) > 1)
            raise ValueError(
                f"Expected each row once but got {first!r} twice; give "
                "variants of a clip ids of their own."
            )

    def values(self, name: str) -> Values:
        """Values of a metric, shape (rows,), in the order of the ids."""
        return np.array(self._values[name], dtype=np.float64)

    def by_clip(self, name: str) -> Values:
        """Mean of a metric over the rows of each clip, shape (clips,)."""
        return mean_by_clip(self.values(name), self.clips)

    def summary(self, name: str) -> Summary:
        """The :class:`Summary` of a metric, see :func:`summarize`."""
        return summarize(self.values(name), self.clips)

    def summaries(self) -> dict[str, Summary]:
        """The :class:`Summary` of each metric by name."""
        return {name: self.summary(name) for name in self.names}

    def means(self) -> dict[str, float]:
        """The mean of each metric by name, as plain floats.

        SpeechBrain stores such values beside a checkpoint and takes no
        tensors there. NaN values are left out; a metric without any defined
        value has NaN.
        """
        return {name: _mean(self.values(name)) for name in self.names}

    def rows(self) -> list[dict[str, Any]]:
        """One dict per row: its "id", its "clip" and each metric's float."""
        columns = {"id": self.ids, "clip": self.clips, **self._values}
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> ClipStats:
        """Of :meth:`rows` of one or several, in their order."""
        stats = cls()
        if rows:
            names = [name for name in rows[0] if name not in _NOT_METRICS]
            stats.append(
                [row["id"] for row in rows],
                {name: [row[name] for row in rows] for name in names},
                [row["clip"] for row in rows],
            )
        return stats

    def to_csv(self, path: str | Path) -> None:
        """Write a line per row, whole or not at all; NaN is an empty field.

        The column `clip` is there if it says more than `id`.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        own = {} if self.clips == self.ids else {"clip": self.clips}
        frame = pd.DataFrame({"id": self.ids, **own, **self._values})
        write_atomically(path, frame.to_csv(index=False).encode())

    @classmethod
    def from_csv(cls, path: str | Path) -> ClipStats:
        """Read a file of :meth:`to_csv`; values come back to the last bit.

        Raises a UserError if it is missing or no table of per-clip values.
        """
        stats = cls()
        try:
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
            clips = frame["clip"].tolist() if "clip" in frame else None
            # Python's float parser, unlike that of pandas, is exact.
            columns = {
                name: [float(v) if v else np.nan for v in frame[name]]
                for name in frame.columns
                if name not in _NOT_METRICS
            }
            stats.append(frame["id"].tolist(), columns, clips)
        # Pandas' own errors are ValueErrors.
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path}: expected a table of per-clip values ({error}); "
                "delete it and evaluate again."
            ) from error
        return stats


def _sums_by_clip(values, clips):
    """Sum and number of each clip's defined values, both (clips,).

    Sorted, so that the order of the clips moves no interval.
    """
    defined = ~np.isnan(values)
    if clips is None:
        sums = np.sort(values[defined])
        return sums, np.ones(len(sums))
    owner = pd.factorize(np.asarray(clips, dtype=object)[defined])[0]
    with np.errstate(invalid="ignore"):  # infinities of both signs
        sums = np.bincount(owner, values[defined])
    sizes = np.bincount(owner).astype(np.float64)
    order = np.lexsort((sizes, sums))
    return sums[order], sizes[order]


def _mean(values):
    defined = np.sort(values[~np.isnan(values)])
    if not len(defined):
        return float("nan")
    # +inf and -inf together have no mean: NaN, without a warning.
    with np.errstate(invalid="ignore"):
        return float(defined.mean())


def _as_vector(values, name):
    """Tensor, array or list as float64 (rows,)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"Expected `{name}` of shape (clips,) but got {values.shape}."
        )
    return values
