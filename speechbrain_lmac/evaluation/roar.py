"""Remove and retrain (ROAR): whether a mask finds what a classifier needs.

Hooker et al., "A benchmark for interpretability methods in deep neural
networks", NeurIPS 2019. The bins that a method ranks highest are removed from
the training AND the test clips, and a classifier is trained from scratch on
what is left. The retrained classifier has seen removed bins, so that its
accuracy falls for want of information and not for strangeness of the input:
the better the method, the faster it falls. Random removal is the baseline. A
method whose curve lies above it may still look at the right place: the shape
of what it removes can itself name the class (Rong et al., ICML 2022).
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas
import torch
import torch.nn.functional as F
from scipy.integrate import trapezoid
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.reinitialize import reinitialize
from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.data.mixtures import fit_length
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.conditions import ConditionClip
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.evaluation.randomization import (
    check_sanity_methods,
    print_table,
)
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.metrics.curves import bin_ranks
from speechbrain_lmac.report import build_roar_figure, save_figure
from speechbrain_lmac.utils.checks import UserError

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


class RoarPoint(NamedTuple):
    """Test accuracy after a share of the bins was removed."""

    share: float  # of the bins of each clip, in [0, 1)
    accuracy: float
    low: float  # with its 95 % Wilson interval (Wilson, JASA 1927)
    high: float


class LabelledFeatures(NamedTuple):
    """Clips as a classifier reads them."""

    features: Tensor  # log1p mel magnitudes, (clips, frames, bands)
    labels: Tensor  # class indices, int64, (clips,)


def check_roar(shares: Sequence[float], epochs: int) -> list[float]:
    """The shares in rising order, with 0; both must make sense.

    >>> check_roar([0.5, 0.1], epochs=25)
    [0.0, 0.1, 0.5]
    """
    if not all(0 <= s < 1 for s in shares) or not set(shares) - {0}:
        raise UserError(
            "`roar_shares`: expected shares of the bins to remove, from 0 to "
            f"below 1 (0.1 is 10 %), found {list(shares)}."
        )
    if epochs < 1:
        raise UserError(f"`roar_epochs`: expected 1 or more, found {epochs}.")
    return sorted({0.0, *map(float, shares)})


def remove_top(
    features: Tensor, ranks: Tensor, share: float, fill: Tensor
) -> Tensor:
    """Replace the highest ranked share of each clip's bins.

    Features and ranks (clips, frames, bands), 0 the first to go; what takes
    their place is (bands,).

    >>> x, ranks = torch.tensor([[[5.0, 6.0]]]), torch.tensor([[[1, 0]]])
    >>> remove_top(x, ranks, 0.5, torch.zeros(2)).tolist()
    [[[5.0, 0.0]]]
    """
    count = round(share * features[0].numel())
    return torch.where(ranks < count, fill, features)


def retrain(
    classifier: AudioClassifier,
    train: LabelledFeatures,
    epochs: int = 25,
    seed: int = 1234,
    lr: float = 3e-3,
    batch_size: int = 24,
) -> AudioClassifier:
    """Train a classifier of the same architecture from scratch; frozen.

    AdamW with a cosine schedule after a short warm-up, label smoothing 0.05,
    on excerpts of half a clip's frames. On CPU the same seed gives the same
    classifier, bit by bit.
    """
    device = train.features.device
    model = copy.deepcopy(classifier).cpu()
    model.frozen = False
    model.requires_grad_(True).train()
    reinitialize(model, seed)
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.05)
    steps = epochs * math.ceil(len(train.labels) / batch_size)
    warmup = max(1, round(0.06 * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warmup, (1 + math.cos(math.pi * step / steps)) / 2
        ),
    )
    soft = F.one_hot(train.labels, model.n_classes).float()
    soft = soft.lerp(torch.full_like(soft, 1 / model.n_classes), 0.05)
    frames = train.features.shape[1]
    excerpt = min(frames, max(model.min_frames, frames // 2))
    generator = torch.Generator().manual_seed(seed)
    # Dropout draws from the global generators.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        torch.manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(train.labels), generator=generator)
            for chosen in order.to(device).split(batch_size):
                room = frames - excerpt + 1
                start = torch.randint(room, (), generator=generator)
                x = train.features[chosen, start : start + excerpt]
                loss = model.evidence_loss(model(x).logits, soft[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return model.freeze()


def remove_and_retrain(
    classifier: AudioClassifier,
    parts: Sequence[LabelledFeatures],
    ranks: Sequence[Tensor],
    share: float,
    *training: Any,
    **options: Any,
) -> RoarPoint:
    """Test accuracy after the same share went from training and test clips.

    ``parts`` and ``ranks`` are of the training and of the test clips. A
    removed bin takes its band's mean over the *training set*. A clip's own
    mean would hand the clip's spectrum, which names many sounds, to the
    retrained classifier however much is removed.
    """
    fill = parts[0].features.mean((0, 1))
    train, test = (
        LabelledFeatures(remove_top(part.features, r, share, fill), part.labels)
        for part, r in zip(parts, ranks, strict=True)
    )
    model = retrain(classifier, train, *training, **options)
    with torch.no_grad():
        outputs = [model(x) for x in test.features.split(24)]
    probs = torch.cat([model.probabilities(output) for output in outputs])
    correct = int(
        model.decides(probs, F.one_hot(test.labels, probs.shape[1]) > 0).sum()
    )
    n = len(test.labels)
    interval = binomtest(correct, n).proportion_ci(method="wilson")
    return RoarPoint(share, correct / n, interval.low, interval.high)


class Roar:
    """ROAR of several methods on the clips of an interpreter.

    Arguments
    ---------
    interpreter : Interpreter
        Its masks are tested, and its classifier's architecture is trained
        from scratch.
    train_clips, test_clips : sequence of ConditionClip
        Cut, or padded with silence, to the length of most of them: what
        differs between two trainings must not be how long clips are.
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
        interpreter: Interpreter,
        train_clips: Sequence[ConditionClip],
        test_clips: Sequence[ConditionClip],
        epochs: int = 25,
        seed: int = 1234,
        batch_size: int = 16,
        device: str | None = "cpu",
    ) -> None:
        self.frontend, self.classifier, self.decoder = (
            part.to(device).eval() for part in interpreter[:3]
        )
        self.clips = (list(train_clips), list(test_clips))
        self.length = statistics.mode(
            clip.num_samples for part in self.clips for clip in part
        )
        self.epochs = epochs
        self.seed = seed
        self.batch_size = batch_size
        self.device = device
        index = {name: k for k, name in enumerate(interpreter.names)}
        self.parts = [
            LabelledFeatures(
                torch.cat(
                    [b.explanation.features for b in self._batches(part)]
                ),
                torch.tensor(
                    [index[labels_of(c.class_string)[0]] for c in part],
                    device=device,
                ),
            )
            for part in self.clips
        ]

    def run(
        self,
        methods: Sequence[str],
        shares: Sequence[float] = SHARES,
        progressbar: bool = True,
    ) -> dict[str, list[RoarPoint]]:
        """The curve of each method, and of random removal.

        Share 0 is added, and trained once for all.
        """
        check_sanity_methods(methods)
        shares = check_roar(shares, self.epochs)[1:]
        names = [*methods, "random"]
        curves: dict[str, list[RoarPoint]] = {}
        with tqdm(
            total=1 + len(names) * len(shares),
            desc="retraining",
            disable=not progressbar,
        ) as bar:

            def point(ranks, share):
                bar.update()
                return remove_and_retrain(
                    *(self.classifier, self.parts, ranks, share),
                    *(self.epochs, self.seed),
                )

            whole = None
            for name in names:
                ranks = [self._ranks(name, part) for part in self.clips]
                whole = whole or point(ranks, 0.0)
                curves[name] = [whole, *(point(ranks, s) for s in shares)]
        return curves

    def _batches(self, clips):
        """The clips in batches, explained."""
        for start in range(0, len(clips), self.batch_size):
            chosen = clips[start : start + self.batch_size]
            wavs = [fit_length(c.make().mixture, self.length) for c in chosen]
            wavs = torch.stack(wavs).to(self.device)
            parts = (self.frontend, self.classifier, self.decoder)
            yield make_batch(wavs, [c.id for c in chosen], *parts, self.seed)

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


def run_roar(
    roar: Roar,
    output_folder: str | Path,
    methods: Sequence[str],
    shares: Sequence[float] = SHARES,
    progressbar: bool = True,
) -> pandas.DataFrame:
    """Run ROAR; write ``roar.csv`` and ``roar.png``, and print the tables.

    Arguments
    ---------
    roar : Roar
        Holds the clips.
    output_folder : str or pathlib.Path
        Created if need be.
    methods : sequence of str
        ``lmac`` and attribution methods; random removal is added.
    shares : sequence of float
        Shares of the bins to remove; 0 is added.
    progressbar : bool
        Show one.

    Returns
    -------
    pandas.DataFrame
        As of :func:`save_roar`.

    Raises
    ------
    UserError
        If a method is unknown, or the shares make no sense.
    """
    curves = roar.run(methods, shares, progressbar)
    folder, n_clips = Path(output_folder), len(roar.clips[1])
    frame = save_roar(folder, curves, n_clips)
    save_figure(build_roar_figure(curves), folder / "roar.png")
    print(f"\nROAR: accuracy by share of bins removed, {n_clips} clips")
    print_table(frame, "share", "accuracy", list(curves))
    print("\nArea under the curve, lower is better")
    area = frame.drop_duplicates("method").assign(share="area")
    print_table(area, "share", "area", list(curves))
    print(f"\nIn {folder}: roar.csv, roar.png")
    return frame


def save_roar(
    folder: Path, curves: Mapping[str, Sequence[RoarPoint]], n_clips: int
) -> pandas.DataFrame:
    """Write ``roar.csv``: accuracy by method and share, and the area.

    The area under a method's curve is divided by the range of the shares: a
    mean accuracy, the lower the better the method.
    """
    rows = []
    for method, points in curves.items():
        shares = [point.share for point in points]
        accuracy = [point.accuracy for point in points]
        area = trapezoid(accuracy, shares) / (shares[-1] - shares[0])
        facts = {"area": float(area), "n_clips": n_clips}
        rows += [{"method": method, **p._asdict(), **facts} for p in points]
    frame = pandas.DataFrame(rows)
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "roar.csv", index=False)
    return frame
