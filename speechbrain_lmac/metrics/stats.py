"""Statistics over clips: means, bootstrap intervals, undefined values, CSV.

Metrics give one value per clip; this module gathers them and says how sure
their means are. NaN marks an undefined value: it is left out of every mean
and counted. Infinite values are kept, they make the mean infinite.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechbrain_lmac.utils.checks import UserError

# Values drawn at a time: bounds the temporary memory to about 64 MB.
CHUNK_VALUES = 2**22


class Summary(NamedTuple):
    """Mean of a metric over clips with its confidence interval.

    Arguments
    ---------
    mean : float
        Mean of the defined values.
    low : float
        Lower end of the interval of the mean.
    high : float
        Upper end of the interval of the mean.
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


def summarize(values, n_boot=2000, seed=0, confidence=0.95):
    """Mean of per-clip values with a percentile bootstrap interval.

    Clips are drawn with replacement `n_boot` times; the interval lies between
    the quantiles of the resampled means (Efron and Tibshirani, "An
    introduction to the bootstrap", 1993, chapter 13). It assumes that clips
    are independent.

    Arguments
    ---------
    values : array-like
        Values, one per clip, (clips,); NaN is undefined.
    n_boot : int
        Number of resamples.
    seed : int
        Seed of the resampling; the same seed gives the same interval.
    confidence : float
        Coverage of the interval, in (0, 1).

    Returns
    -------
    Summary
        Without defined values mean, low and high are NaN; with one value they
        equal it. With infinite values low and high are NaN.

    Raises
    ------
    ValueError
        If `values` is not one-dimensional, `n_boot` < 1 or `confidence`
        lies outside (0, 1).

    Example
    -------
    >>> summary = summarize([0.0, 100.0, 100.0, float("nan")])
    >>> round(summary.mean, 2), summary.n, summary.n_undefined
    (66.67, 3, 1)
    """
    if n_boot < 1:
        raise ValueError(f"Expected `n_boot` >= 1 but got {n_boot}.")
    if not 0 < confidence < 1:
        raise ValueError(f"Expected `confidence` in (0, 1), got {confidence}.")
    values = _as_vector(values, "values")
    # Sorted, so that the order of the clips moves no interval.
    defined = np.sort(values[~np.isnan(values)])
    n, n_undefined = len(defined), len(values) - len(defined)
    mean = _mean(values)
    if n < 2:
        return Summary(mean, mean, mean, n, n_undefined)
    if not np.isfinite(defined).all():
        return Summary(mean, np.nan, np.nan, n, n_undefined)
    tail = (1 - confidence) / 2
    means = _resampled_means(defined, n_boot, seed)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Summary(mean, float(low), float(high), n, n_undefined)


class ClipStats:
    """Gathers the metrics of each clip.

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

    def __init__(self):
        self.ids = []
        self._known = set()
        self._values = {}

    def __len__(self):
        return len(self.ids)

    def __contains__(self, clip):
        return clip in self._known

    @property
    def names(self):
        """Names of the metrics, in the order of their first appearance."""
        return list(self._values)

    def append(self, ids, values=None, **named):
        """Add the values of a batch of clips.

        Arguments
        ---------
        ids : list of str
            The clips, each known once only. Several mixtures of a clip need
            ids of their own.
        values : dict, optional
            Name of a metric -> tensor, array or list of (batch,) values.
        **named : torch.Tensor
            The same as keyword arguments.

        Raises
        ------
        ValueError
            If an id comes twice, the number of values is not that of the ids
            or the metrics differ from those of earlier batches.
        """
        ids = _as_ids(ids)
        values = {**(values or {}), **named}
        self._check(ids, values)
        columns = {
            name: _as_vector(column, name) for name, column in values.items()
        }
        for name, column in columns.items():
            if len(column) != len(ids):
                raise ValueError(
                    f"Expected {len(ids)} values of `{name}`, one per id, but "
                    f"got {len(column)}."
                )
        for name, column in columns.items():
            self._values.setdefault(name, []).extend(column.tolist())
        self.ids.extend(ids)
        self._known.update(ids)

    def _check(self, ids, values):
        if self.ids and set(values) != set(self._values):
            raise ValueError(
                f"Expected the metrics {', '.join(self.names)} but got "
                f"{', '.join(values)}."
            )
        if not values or "id" in values:
            raise ValueError(
                "Expected at least one metric, none named `id`, but got "
                f"{list(values)}."
            )
        repeated = self._known.intersection(ids)
        if repeated or len(set(ids)) != len(ids):
            first = next(i for i in ids if i in repeated or ids.count(i) > 1)
            raise ValueError(
                f"Expected each clip once but got {first!r} twice; give "
                "variants of a clip ids of their own."
            )

    def values(self, name):
        """Return the values of a metric, float64 (clips,), in id order."""
        if name not in self._values:
            raise ValueError(
                f"Expected one of the metrics {', '.join(self.names)} but got "
                f"{name!r}."
            )
        return np.array(self._values[name], dtype=np.float64)

    def summary(self, name, n_boot=2000, seed=0, confidence=0.95):
        """Return the :class:`Summary` of a metric, see :func:`summarize`."""
        return summarize(self.values(name), n_boot, seed, confidence)

    def summaries(self, n_boot=2000, seed=0, confidence=0.95):
        """Return the :class:`Summary` of each metric by name."""
        return {
            name: self.summary(name, n_boot, seed, confidence)
            for name in self.names
        }

    def means(self):
        """Return the mean of each metric by name, as plain floats.

        SpeechBrain stores such values beside a checkpoint and takes no
        tensors there. NaN values are left out; a metric without any defined
        value has NaN.
        """
        return {name: _mean(self.values(name)) for name in self.names}

    def rows(self):
        """Return one dict per clip: its "id" and each metric's float."""
        columns = self._values.values()
        return [
            {"id": clip, **dict(zip(self._values, row, strict=True))}
            for clip, *row in zip(self.ids, *columns, strict=True)
        ]

    def to_csv(self, path):
        """Write one line per clip; NaN is an empty field.

        The file appears at once and whole, so that an interrupted run leaves
        no half file behind.

        Arguments
        ---------
        path : str or pathlib.Path
            The CSV file; missing folders are made.
        """
        import pandas as pd

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame({"id": self.ids, **self._values})
        partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        frame.to_csv(partial, index=False)
        os.replace(partial, path)

    @classmethod
    def from_csv(cls, path):
        """Read a file of :meth:`to_csv`; values come back to the last bit.

        Arguments
        ---------
        path : str or pathlib.Path
            The CSV file.

        Returns
        -------
        ClipStats
            The clips and metrics of the file.

        Raises
        ------
        UserError
            If the file is missing or is no table of per-clip values.
        """
        frame = _read_table(path)
        stats = cls()
        try:
            # Python's float parser, unlike that of pandas, is exact.
            columns = {
                name: [float(v) if v else np.nan for v in frame[name]]
                for name in frame.columns.drop("id")
            }
            stats.append(frame["id"].tolist(), columns)
        except ValueError as error:
            raise UserError(
                f"{path}: expected a table of per-clip values: {error} "
                "Delete the file and evaluate again."
            ) from error
        return stats


def _read_table(path):
    """Read a CSV file with a column `id`, every field as a string."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; evaluate first.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(
            f"{path}: expected a table of per-clip values: {error} "
            "Delete the file and evaluate again."
        ) from error
    if "id" not in frame.columns:
        raise UserError(
            f"{path}: expected a column `id`, found "
            f"{', '.join(frame.columns)}; is it a file of per-clip values?"
        )
    return frame


def _resampled_means(values, n_boot, seed):
    """Means of `n_boot` resamples with replacement, (n_boot,)."""
    generator = np.random.default_rng(seed)
    n = len(values)
    step = max(1, CHUNK_VALUES // n)
    sizes = [min(step, n_boot - start) for start in range(0, n_boot, step)]
    return np.concatenate(
        [
            values[generator.integers(n, size=(size, n))].mean(axis=1)
            for size in sizes
        ]
    )


def _mean(values):
    # Sorted, so that the order of the clips moves no interval.
    defined = np.sort(values[~np.isnan(values)])
    if not len(defined):
        return float("nan")
    # +inf and -inf together have no mean: NaN, without a warning.
    with np.errstate(invalid="ignore"):
        return float(defined.mean())


def _as_ids(ids):
    if isinstance(ids, str):
        raise ValueError(f"Expected a list of ids but got the string {ids!r}.")
    return [str(clip) for clip in ids]


def _as_vector(values, name):
    """Return tensor, array or list as float64 (clips,)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"Expected `{name}` of shape (clips,) but got {values.shape}."
        )
    return values
