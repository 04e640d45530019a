"""Remove and retrain (ROAR): whether a mask finds what a classifier needs.

Hooker et al., "A benchmark for interpretability methods in deep neural
networks", NeurIPS 2019. The bins that a method ranks highest are removed from
the training AND the test clips, and a classifier is trained from scratch on
what is left. The retrained classifier has seen removed bins, so that its
accuracy falls for want of information and not for strangeness of the input:
the better the method, the faster it falls. Random removal is the baseline. A
method whose curve lies above it may still look at the right place: the shape
of what it removes can itself name the class (Rong et al., ICML 2022).

Authors
 * The speechbrain_lmac authors 2026
"""

import math
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
import torch
from tqdm import tqdm

from speechbrain_lmac.data.mixtures import fit_length
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.evaluation.randomization import (
    CHECKED_METHODS,
    check_names,
)
from speechbrain_lmac.evaluation.retraining import (
    LabelledFeatures,
    count_correct,
    retrain,
)
from speechbrain_lmac.metrics.curves import bin_ranks
from speechbrain_lmac.utils.checks import UserError, check_same_shape

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)

#: Of the normal distribution, for 95 % intervals.
Z95 = 1.959963984540054


class RoarPoint(NamedTuple):
    """Test accuracy after a share of the bins was removed.

    Attributes
    ----------
    share : float
        Share of the bins removed from each clip, in [0, 1).
    accuracy, low, high : float
        With its 95 % Wilson interval, 0 to 1.
    """

    share: float
    accuracy: float
    low: float
    high: float


def remove_top(features, ranks, share, fill):
    """Replace the highest ranked share of each clip's bins.

    Arguments
    ---------
    features : torch.Tensor
        Shape (clips, frames, bands).
    ranks : torch.Tensor
        0 for the bin to go first, same shape.
    share : float
        In [0, 1].
    fill : torch.Tensor
        What takes their place, shape (bands,).

    Returns
    -------
    torch.Tensor
        Same shape.

    Example
    -------
    >>> x, ranks = torch.tensor([[[5.0, 6.0]]]), torch.tensor([[[1, 0]]])
    >>> remove_top(x, ranks, 0.5, torch.zeros(2)).tolist()
    [[[5.0, 0.0]]]
    """
    check_same_shape(features, ranks, ("features", "ranks"))
    count = round(share * features[0].numel())
    return torch.where(ranks < count, fill, features)


def wilson(correct, n, z=Z95):
    """Wilson's interval of a proportion (Wilson, JASA 1927).

    Arguments
    ---------
    correct : int
        Successes.
    n : int
        Trials, at least 1.
    z : float
        Quantile of the normal distribution: 1.96 for 95 %.

    Returns
    -------
    tuple of float
        Lower and upper end, in [0, 1].

    Example
    -------
    >>> [round(end, 4) for end in wilson(9, 10)]
    [0.5958, 0.9821]
    """
    p, spread = correct / n, z * z / n
    centre = (p + spread / 2) / (1 + spread)
    half = math.sqrt(p * (1 - p) / n + spread / (4 * n)) * z / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def remove_and_retrain(
    classifier, train, test, train_ranks, test_ranks, share, **training
):
    """Test accuracy after the same share went from training and test clips.

    A removed bin takes its band's mean over the *training set*. A clip's own
    mean would hand the clip's spectrum, which names many sounds, to the
    retrained classifier however much is removed.

    Arguments
    ---------
    classifier : AudioClassifier
        Tells the architecture.
    train, test : LabelledFeatures
        The whole clips.
    train_ranks, test_ranks : torch.Tensor
        Rank of each bin, 0 for the first to go; shapes of the features.
    share : float
        Share of each clip's bins to remove, in [0, 1).
    **training
        Of :func:`retrain`.

    Returns
    -------
    RoarPoint
    """
    fill = train.features.mean((0, 1))
    model = retrain(
        classifier,
        train._replace(
            features=remove_top(train.features, train_ranks, share, fill)
        ),
        **training,
    )
    correct = count_correct(
        model,
        test._replace(
            features=remove_top(test.features, test_ranks, share, fill)
        ),
    )
    n = len(test.labels)
    return RoarPoint(share, correct / n, *wilson(correct, n))


def check_shares(shares, key="roar_shares"):
    """The shares in rising order, with 0; they must lie in [0, 1).

    Example
    -------
    >>> check_shares([0.5, 0.1])
    [0.0, 0.1, 0.5]
    """
    wrong = [s for s in shares if not 0 <= s < 1]
    if wrong or not set(shares) - {0}:
        raise UserError(
            f"`{key}`: expected shares of the bins to remove, from 0 to below "
            f"1 (0.1 is 10 %), but got {list(shares)}."
        )
    return sorted({0.0, *map(float, shares)})


def check_epochs(epochs, key="roar_epochs"):
    """Refuse a number of epochs that is none.

    Example
    -------
    >>> check_epochs(25)
    """
    if not isinstance(epochs, int) or epochs < 1:
        raise UserError(
            f"`{key}`: expected a whole number of epochs, 1 or more, but got "
            f"{epochs!r}."
        )


class Roar:
    """ROAR of several methods on the clips of an interpreter.

    Arguments
    ---------
    frontend, classifier, decoder : torch.nn.Module
        The interpreter: its masks are tested, and its classifier's
        architecture is trained from scratch.
    train_clips, test_clips : list of ConditionClip
        Cut, or padded with silence, to the length of most of them: what
        differs between two trainings must not be how long clips are.
    labels : dict of str to int
        Index of each class name.
    epochs : int
        Of each training.
    seed : int
        The same for all trainings, so that they differ in the removed bins
        alone.
    batch_size : int
        Clips that are explained together.
    device : str
        Where to compute.
    """

    def __init__(
        self,
        frontend,
        classifier,
        decoder,
        train_clips,
        test_clips,
        labels,
        epochs=25,
        seed=1234,
        batch_size=16,
        device="cpu",
    ):
        check_epochs(epochs)
        parts = [m.to(device).eval() for m in (frontend, classifier, decoder)]
        self.frontend, self.classifier, self.decoder = parts
        self.clips = (list(train_clips), list(test_clips))
        self.length = statistics.mode(
            clip.num_samples for part in self.clips for clip in part
        )
        self.epochs = epochs
        self.seed = seed
        self.batch_size = batch_size
        self.device = device
        self.train, self.test = (
            LabelledFeatures(
                torch.cat(
                    [b.explanation.features for b in self._batches(part)]
                ),
                torch.tensor(
                    [labels[c.class_string] for c in part], device=device
                ),
            )
            for part in self.clips
        )

    def run(self, methods, shares=SHARES, progressbar=True):
        """The curve of each method, and of random removal.

        Arguments
        ---------
        methods : sequence of str
            Some of ``CHECKED_METHODS``; ``random`` is added.
        shares : sequence of float
            Shares of the bins to remove; 0 is added, and trained once for
            all.
        progressbar : bool
            Show one.

        Returns
        -------
        dict of str to list of RoarPoint
        """
        check_names(methods, CHECKED_METHODS, "sanity_methods")
        shares = check_shares(shares)[1:]
        names = [*methods, "random"]
        with tqdm(
            total=1 + len(names) * len(shares),
            desc="retraining",
            disable=not progressbar,
        ) as bar:
            whole, curves = None, {}
            for name in names:
                ranks = [self._ranks(name, part) for part in self.clips]
                for share in shares if whole else [0.0, *shares]:
                    point = remove_and_retrain(
                        self.classifier,
                        self.train,
                        self.test,
                        *ranks,
                        share,
                        epochs=self.epochs,
                        seed=self.seed,
                    )
                    whole = whole or point
                    curves.setdefault(name, [whole])
                    if share:
                        curves[name].append(point)
                    bar.update()
        return curves

    def _batches(self, clips):
        """The clips in batches, explained."""
        for start in range(0, len(clips), self.batch_size):
            chosen = clips[start : start + self.batch_size]
            wavs = [fit_length(c.make().mixture, self.length) for c in chosen]
            yield make_batch(
                torch.stack(wavs).to(self.device),
                [clip.id for clip in chosen],
                self.frontend,
                self.classifier,
                self.decoder,
                self.seed,
            )

    @torch.no_grad()
    def _ranks(self, name, clips):
        """Order of removal by a method's masks, int32 on the device."""
        method = None
        if name != "random":
            method = build_methods([name], self.classifier, self.frontend)[name]
        ranks = []
        for batch in self._batches(clips):
            if method is None:
                mask = torch.ones_like(batch.explanation.features)
            else:
                # An undefined mask finds nothing: its clip is left to chance.
                mask = method(batch).nan_to_num(0.0)
                mask = self.frontend.on_bands(mask)
            ranks.append(bin_ranks(mask, batch.clip_seeds()).int())
        return torch.cat(ranks).to(self.device)


def save_roar(folder, curves, n_clips):
    """Write ``roar.csv``: accuracy by method and share, and the area.

    Arguments
    ---------
    folder : str or pathlib.Path
        Created if need be.
    curves : dict of str to list of RoarPoint
        By method.
    n_clips : int
        Number of test clips.

    Returns
    -------
    pandas.DataFrame
        method, share, accuracy, low, high, area, n_clips. The area under a
        method's curve is divided by the range of the shares: a mean accuracy,
        the lower the better the method.
    """
    rows = []
    for method, points in curves.items():
        shares = np.array([p.share for p in points])
        accuracy = np.array([p.accuracy for p in points])
        widths = np.diff(shares)
        middles = (accuracy[1:] + accuracy[:-1]) / 2
        area = float((widths * middles).sum() / widths.sum())
        rows += [
            {"method": method, **p._asdict(), "area": area, "n_clips": n_clips}
            for p in points
        ]
    frame = pandas.DataFrame(rows)
    Path(folder).mkdir(parents=True, exist_ok=True)
    frame.to_csv(Path(folder) / "roar.csv", index=False)
    return frame
