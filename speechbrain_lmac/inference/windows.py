"""Long recordings: explained in overlapping windows that fade into each other.

Every window is explained as if it were a file of its own, at a peak of 1, and
put back at its own level. A classifier pools over all that it hears, and was
trained on clips of seconds: over minutes, its one decision would say little.

Authors
 * The speechbrain_lmac authors 2026
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from speechbrain_lmac.data.mixtures import peak_normalize
from speechbrain_lmac.inference.clips import Said, of_clip, to_cpu
from speechbrain_lmac.inference.explanation import Explanation, Window

#: Seconds of a window: what CLAP models take, and at most twice the clips of
#: the usual data sets; longer sounds are explained in several windows.
WINDOW_SECONDS = 10.0
#: Seconds over which one window's explanation fades into the next one's.
OVERLAP_SECONDS = 1.0
#: Most frames of the reduced mask of a long recording.
GRID_FRAMES = 1000


class Plan(NamedTuple):
    """Where the windows of a recording lie.

    Attributes
    ----------
    starts : list of int
        First sample of each window; the last window ends with the recording.
    size, fade : int
        Samples of a window, and of the fade between two of them.
    """

    starts: list
    size: int
    fade: int

    def weights(self, k):
        """Share of window ``k`` in each of its samples; they sum to one.

        Two windows fade where they overlap, in the middle of it.

        Returns
        -------
        torch.Tensor
            Shape (size,), in [0, 1].

        Example
        -------
        >>> plan = Plan([0, 4], 6, 2)
        >>> plan.weights(0)[4:] + plan.weights(1)[:2]
        tensor([1., 1.])
        """
        weights = torch.ones(self.size)
        phase = (torch.arange(self.fade) + 0.5) / self.fade
        rising = 0.5 - 0.5 * torch.cos(torch.pi * phase)
        if k > 0:
            begin = self._seam(k - 1) - self.starts[k]
            weights[:begin] = 0
            weights[begin : begin + self.fade] = rising
        if k < len(self.starts) - 1:
            begin = self._seam(k) - self.starts[k]
            weights[begin : begin + self.fade] *= 1 - rising
            weights[begin + self.fade :] = 0
        return weights

    def _seam(self, k):
        """First sample of the fade from window ``k`` to the next."""
        overlapped = self.starts[k + 1] + self.starts[k] + self.size
        return (overlapped - self.fade) // 2


def plan_windows(num_samples, size, fade):
    """Windows that cover a recording.

    Arguments
    ---------
    num_samples : int
        Of the recording, more than ``size``.
    size, fade : int
        Samples of a window, and of the fade: at most a third of it.

    Returns
    -------
    Plan

    Example
    -------
    >>> plan_windows(21, 9, 3).starts
    [0, 6, 12]
    >>> plan_windows(22, 9, 3).starts
    [0, 6, 12, 13]
    """
    if not 0 < 3 * fade <= size < num_samples:
        raise ValueError(
            "Expected a fade of at most a third of a window, and windows "
            f"shorter than the recording, but got {fade}, {size} and "
            f"{num_samples}"
        )
    last = num_samples - size
    return Plan([*range(0, last, size - fade), last], size, fade)


def explain_long(explainer, wav, request, plan, source=None):
    """Explain a recording in windows.

    Memory beyond that of the recording and the returned waveforms does not
    depend on its length.

    Arguments
    ---------
    explainer : ClipExplainer
        Explains the windows.
    wav : torch.Tensor
        The recording, shape (samples,), peak 1.
    request : Request
        Which classes. Without ``classes`` each window explains its own
        decision, unless masks depend on the class and more than one is asked
        for: then those that are most probable on average.
    plan : Plan
        The windows.
    source : str or None
        The file.

    Returns
    -------
    list of Explanation
        By class. Probabilities are means over the windows.
    """
    if explainer.depends and request.classes is None and request.top_k > 1:
        request = request._replace(
            classes=_most_probable(explainer, wav, plan, request.top_k)
        )
    inner = request if request.classes else request._replace(top_k=1)
    mix, k = None, 0
    for group in _groups(explainer, wav, plan):
        found = to_cpu(explainer.analyse(group, inner))
        mix = mix or _Mix(explainer, len(wav), plan, found)
        for i in range(len(group)):
            mix.add(k, found, i)
            k += 1
    return mix.explanations(wav, request, source)


def explain_each(explainer, request, clips, sources, size, fade):
    """Explain clips of any lengths: those of equal length together.

    Nothing is padded, so that a clip's explanation does not depend on the
    others of its batch.

    Arguments
    ---------
    explainer : ClipExplainer
        Explains.
    request : Request
        Which classes.
    clips : list of torch.Tensor
        Each (samples,), of any level.
    sources : list of (str or None)
        Their files.
    size, fade : int
        Samples of a window, at most, and of the fade between two.

    Returns
    -------
    list
        For each clip an Explanation, or a list of them if several classes
        are asked for.
    """
    size = min(size, explainer.frontend.n_samples or size)
    fade = max(1, min(fade, size // 3))

    def explain(group):
        wavs = [clips[i] for i in group]
        files = [sources[i] for i in group]
        if len(wavs[0]) > size:
            wav = _normalized(wavs[0].cpu())
            plan = plan_windows(len(wav), size, fade)
            return [explain_long(explainer, wav, request, plan, *files)]
        found = explainer.analyse(torch.stack(wavs), request)
        return explainer.explanations(found, files)

    groups = _equal_lengths(explainer, clips, size)
    made = in_parallel(explain, groups, explainer.parallel)
    done = {
        i: explained
        for group, some in zip(groups, made, strict=True)
        for i, explained in zip(group, some, strict=True)
    }
    pick = list if request.several() else (lambda made: made[0])
    return [pick(done[i]) for i in range(len(clips))]


def _equal_lengths(explainer, clips, size):
    """Numbers of the clips that are explained together; long ones alone.

    Groups are small enough for every core to have one.
    """
    cores = torch.get_num_threads() if explainer.parallel else 1
    by_length = {}
    for i, clip in enumerate(clips):
        by_length.setdefault(len(clip), []).append(i)
    groups = []
    for n, indices in by_length.items():
        share = -(-len(indices) // cores)
        step = min(explainer.group_size(n), share) if n <= size else 1
        groups += [
            indices[first : first + step]
            for first in range(0, len(indices), step)
        ]
    return groups


def in_parallel(function, groups, parallel=True):
    """Apply a function to groups, on the CPU one to a core.

    The tensors of a few clips are too small to keep several cores busy;
    groups of their own do.

    Arguments
    ---------
    function : callable
        Of a group.
    groups : list
        The groups.
    parallel : bool
        False computes one after the other.

    Returns
    -------
    list
        In the order of the groups.

    Example
    -------
    >>> in_parallel(sum, [[1, 2], [3]])
    [3, 3]
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(groups))
    if not parallel or workers < 2:
        return [function(group) for group in groups]
    try:
        with ThreadPoolExecutor(
            workers, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            return list(pool.map(function, groups))
    finally:
        torch.set_num_threads(threads)


def _normalized(wav):
    """A recording at a peak of 1; not copied if it is there already."""
    low, high = wav.aminmax()
    at_peak = max(-low, high) == 1
    return wav if at_peak else peak_normalize(wav)


def _groups(explainer, wav, plan):
    """Windows in groups that pass through the networks together."""
    size = explainer.group_size(plan.size)
    for first in range(0, len(plan.starts), size):
        starts = plan.starts[first : first + size]
        yield torch.stack([wav[s : s + plan.size] for s in starts])


def _most_probable(explainer, wav, plan, top_k):
    """Classes of the largest probability on average over the windows."""
    probs = [
        explainer.classify(group).probs.cpu()
        for group in _groups(explainer, wav, plan)
    ]
    return torch.cat(probs).mean(0).topk(top_k).indices.tolist()


def _mean(said):
    """Mean of what was said of several windows."""
    if said[0] is None:
        return None
    return Said(
        *(
            None if field[0] is None else torch.stack(field).mean(0)
            for field in zip(*said, strict=True)
        )
    )


class _Mix:
    """Sums windows up to the explanations of a recording."""

    def __init__(self, explainer, num_samples, plan, found):
        self.explainer, self.plan = explainer, plan
        columns, bins = len(found.parts), found.view.shape[2]
        self.kept = torch.zeros(columns, num_samples)
        self.rest = torch.zeros(columns, num_samples)
        self.hop = explainer.frontend.hop_samples
        cells = min(GRID_FRAMES, num_samples // self.hop + 1)
        self.cell = num_samples / cells
        self.mask = torch.zeros(columns, cells, bins)
        self.view = torch.zeros(cells, bins)
        self.share = torch.zeros(cells, 1)
        self.said, self.parts, self.windows = [], [], []

    def add(self, k, found, i):
        """Add window ``k``, clip ``i`` of an analysis."""
        start, weights = self.plan.starts[k], self.plan.weights(k)
        part = slice(start, start + self.plan.size)
        level = weights * found.peaks[i]
        for column, made in enumerate(found.parts):
            self.kept[column, part] += level * made.kept[i]
            self.rest[column, part] += level * made.rest[i]
        self._reduce(start, weights, found, i)
        said = of_clip(found.said, i)
        parts = [
            [of_clip(x, i) for x in (p.said_in, p.said_out, p.said_heard)]
            for p in found.parts
        ]
        self.said.append(said)
        self.parts.append(parts)
        self.windows.append([p.mask[i].mean().item() for p in found.parts])

    def _reduce(self, start, weights, found, i):
        """Sum masks and spectra up on the coarser grid of the recording."""
        frames = torch.arange(found.view.shape[1]) * self.hop
        share = weights[frames.clamp_max(self.plan.size - 1)][:, None]
        cells = ((start + frames) / self.cell).long()
        cells = cells.clamp_max(len(self.view) - 1)
        view = (found.view[i].expm1() * found.peaks[i]).log1p()
        self.view.index_add_(0, cells, share * view)
        self.share.index_add_(0, cells, share)
        for column, made in enumerate(found.parts):
            self.mask[column].index_add_(0, cells, share * made.mask[i])

    def explanations(self, wav, request, source):
        """One explanation for each class."""
        mean = _mean(self.said)
        share = self.share.clamp_min(1e-6)
        targets = request.classes or mean.probs.topk(request.top_k).indices
        made = []
        for k, target in enumerate(map(int, targets)):
            column = k if self.explainer.depends else 0
            made.append(
                Explanation(
                    self.kept[column],
                    self.rest[column],
                    wav,
                    mask=(self.mask[column] / share).clamp(0, 1),
                    spectrogram=self.view / share,
                    label=self.explainer.names[target],
                    class_index=target,
                    top=self.explainer.top(mean.probs),
                    is_decision=target == mean.probs.argmax().item(),
                    mask_hop_samples=self.cell,
                    source=source,
                    windows=self._windows(request, target, column),
                    **self.explainer.numbers(
                        mean,
                        [_mean(x) for x in self._columns(column)],
                        target,
                    ),
                    **self.explainer.described(),
                )
            )
        return made

    def _columns(self, column):
        """What was said of all windows: masked-in, masked-out, heard."""
        return zip(*(parts[column] for parts in self.parts), strict=True)

    def _windows(self, request, target, column):
        windows = []
        rate = self.explainer.frontend.sample_rate
        own = request.classes is None and request.top_k == 1
        for start, said, parts, means in zip(
            self.plan.starts, self.said, self.parts, self.windows, strict=True
        ):
            decision = said.probs.argmax().item()
            label = decision if own else target
            numbers = self.explainer.numbers(said, parts[column], label)
            windows.append(
                Window(
                    start / rate,
                    (start + self.plan.size) / rate,
                    self.explainer.names[decision],
                    self.explainer.names[label],
                    numbers["probability"],
                    numbers["probability_masked_in"],
                    numbers["probability_masked_out"],
                    means[column],
                )
            )
        return windows
