"""Long recordings: explained in overlapping windows that fade into each other.

Every window is explained as if it were a file of its own, and put back at its
own level. A classifier pools over all that it hears, and was
trained on clips of seconds: over minutes, its one decision would say little.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from speechbrain_lmac.classifiers.labels import decision_facts
from speechbrain_lmac.data.mixtures import peak_normalize
from speechbrain_lmac.inference.clips import Analysis, ClipExplainer
from speechbrain_lmac.inference.events import with_events
from speechbrain_lmac.inference.explanation import Explanation, Window
from speechbrain_lmac.inference.request import Clip, Request

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

    starts: list[int]
    size: int
    fade: int

    def weights(self, k: int) -> torch.Tensor:
        """Share (size,) of window ``k`` in each of its samples, in [0, 1].

        Two windows fade where they overlap, in the middle of it; the shares
        of all windows sum to one.

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


def plan_windows(num_samples: int, size: int, fade: int) -> Plan:
    """Windows that cover a recording of more than ``size`` samples.

    Example
    -------
    >>> plan_windows(21, 9, 3).starts
    [0, 6, 12]
    >>> plan_windows(22, 9, 3).starts
    [0, 6, 12, 13]
    """
    last = num_samples - size
    return Plan([*range(0, last, size - fade), last], size, fade)


def explain_each(
    explainer: ClipExplainer,
    request: Request,
    clips: list[Clip],
    size: int,
    fade: int,
) -> list:
    """Explain clips of any lengths: those of equal length together.

    Nothing is padded, so that a clip's explanation does not depend on the
    others of its batch.

    Arguments
    ---------
    explainer : ClipExplainer
        Explains.
    request : Request
        Which classes.
    clips : list of Clip
        Of any lengths and levels.
    size, fade : int
        Samples of a window, at most, and of the fade between two.

    Returns
    -------
    list
        For each clip an Explanation, or a list of them if several classes
        are asked for.
    """

    def explain(group):
        made = explanations(group)
        if request.events:
            made = [with_events(explainer, each, size) for each in made]
        return made

    def explanations(group):
        chosen = [clips[i] for i in group]
        if len(chosen[0].wav) > size:
            plan = plan_windows(len(chosen[0].wav), size, fade)
            return [_explain_long(explainer, chosen[0], request, plan)]
        wavs = torch.stack([clip.wav for clip in chosen])
        found = explainer.analyse(wavs, request)
        return explainer.explanations(found, chosen, request.against)

    groups = _equal_lengths(explainer, clips, size)
    done: dict[int, list[Explanation]] = {}
    made = in_parallel(explain, groups, explainer.parallel)
    for group, explained in zip(groups, made, strict=True):
        done |= zip(group, explained, strict=True)
    several = request.several()
    return [done[i] if several else done[i][0] for i in range(len(clips))]


def _equal_lengths(explainer, clips, size):
    """Numbers of the clips that are explained together; long ones alone.

    Groups are small enough for every core to have one.
    """
    cores = torch.get_num_threads() if explainer.parallel else 1
    by_length = {}
    for i, clip in enumerate(clips):
        by_length.setdefault(len(clip.wav), []).append(i)
    groups = []
    for n, indices in by_length.items():
        share = -(-len(indices) // cores)
        step = min(explainer.group_size(n), share) if n <= size else 1
        starts = range(0, len(indices), step)
        groups += [indices[first : first + step] for first in starts]
    return groups


def in_parallel(
    function: Callable[[Any], Any], groups: list, parallel: bool = True
) -> list:
    """Apply a function to groups, on the CPU one to a core.

    The tensors of a few clips are too small to keep several cores busy;
    groups of their own do.

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


def _normalised(wav):
    """A recording at a peak of 1; not copied if it is there already."""
    low, high = wav.aminmax()
    return wav if max(-low, high) == 1 else peak_normalize(wav)


def _explain_long(explainer, clip, request, plan):
    """Explain a recording in windows.

    Without ``classes`` each window explains its own decision, unless masks
    depend on the class and more than one is asked for: then those that are
    most probable on average. Memory beyond that of the recording and the
    returned waveforms does not depend on its length.
    """
    wav = clip.wav.cpu()
    if explainer.at_peak:
        wav = _normalised(wav)
    size = explainer.group_size(plan.size)
    first = range(0, len(plan.starts), size)
    groups = [plan.starts[k : k + size] for k in first]

    def windows(starts):
        return torch.stack([wav[s : s + plan.size] for s in starts])

    if explainer.depends and request.classes is None and request.top_k > 1:
        answers = [explainer.classify(windows(g)).cpu() for g in groups]
        best = request.choose(torch.cat(answers)[:, 0].mean(0, keepdim=True))
        request = request._replace(classes=best[0].tolist())
    each = request if request.classes else request._replace(top_k=1)
    mix = _Mix(explainer, plan, len(wav))
    for k, group in enumerate(groups):
        if request.progress:
            request.progress(k / len(groups))
        found = explainer.analyse(windows(group), each).cpu()
        for i in range(len(group)):
            mix.add(found, i)
    return mix.explanations(clip._replace(wav=wav), request)


class _Mix:
    """Sums windows up to the explanations of a recording."""

    def __init__(self, explainer, plan, num_samples):
        self.explainer, self.plan, self.samples = explainer, plan, num_samples
        hop = explainer.frontend.hop_samples
        self.cells = min(GRID_FRAMES, num_samples // hop + 1)
        self.cell = num_samples / self.cells
        # By window: answers (columns, kinds, 2, classes), and mask means.
        self.answers, self.means = [], []
        self.forwards = torch.zeros(())

    def add(self, found: Analysis, i: int) -> None:
        """Add the next window, clip ``i`` of an analysis."""
        columns, frames, bins = found.masks.shape[1:]
        if not self.answers:
            self.sounds = torch.zeros(columns, 2, self.samples)
            self.masks = torch.zeros(columns, self.cells, bins)
            self.view = torch.zeros(self.cells, bins)
            self.share = torch.zeros(self.cells, 1)
        k = len(self.answers)
        start, weights = self.plan.starts[k], self.plan.weights(k)
        level = weights * found.peaks[i]
        self.sounds[:, :, start : start + self.plan.size] += (
            level * found.sounds[i]
        )
        # Masks and spectra, on the coarser grid of the recording.
        places = torch.arange(frames) * self.explainer.frontend.hop_samples
        share = weights[places.clamp_max(self.plan.size - 1)][:, None]
        cells = ((start + places) / self.cell).long().clamp_max(self.cells - 1)
        view = (found.view[i].expm1() * found.peaks[i]).log1p()
        self.view.index_add_(0, cells, share * view)
        self.share.index_add_(0, cells, share)
        self.masks.index_add_(1, cells, share * found.masks[i])
        self.answers.append(found.answers[i])
        self.forwards = self.forwards + found.forwards
        self.means.append(list(map(self.explainer.mask_mean, found.masks[i])))

    def explanations(self, clip: Clip, request: Request) -> list[Explanation]:
        """One explanation for each class."""
        mean = torch.stack(self.answers).mean(0)
        share = self.share.clamp_min(1e-6)
        targets = request.choose(mean[0, 0, :1])[0]
        made = []
        for k, target in enumerate(map(int, targets)):
            column = k if self.explainer.depends else 0
            mask = (self.masks[column] / share).clamp(0, 1)
            made.append(
                Explanation(
                    self.sounds[column, 0],
                    self.sounds[column, 1],
                    clip.wav,
                    mask=mask,
                    mask_mean=self.explainer.mask_mean(mask),
                    spectrogram=self.view / share,
                    mask_hop_samples=self.cell,
                    source=clip.source,
                    warning=clip.note,
                    windows=list(self._windows(request, target, column)),
                    **self._facts(
                        mean[column], target, column, request.against
                    ),
                )
            )
        return made

    def _facts(self, mean, target, column, against):
        """What is said of a class; what a window decides for, the whole does.

        That is of several labels: in the mean over minutes, short sounds would
        be lost.
        """
        explainer = self.explainer
        cost = self.forwards[column].item()
        facts = explainer.facts(mean, target, cost, against)
        surest = torch.stack(self.answers).amax(0)[column, :3, 0]
        own = decision_facts(explainer.classifier, surest, explainer.names)
        if own:
            facts["is_decision"] = facts["label"] in own["decisions"]
        return {**facts, **own}

    def _windows(self, request, target, column):
        rate, names = self.explainer.frontend.sample_rate, self.explainer.names
        own = request.classes is None and request.top_k == 1
        for start, answers, means in zip(
            self.plan.starts, self.answers, self.means, strict=True
        ):
            decision = answers[column, 0, 0].argmax().item()
            chosen = request.choose(answers[column, 0, :1])[0, 0].item()
            label = chosen if own else target
            facts = self.explainer.facts(answers[column], label)
            shown = ("probability", "probability_masked_in")
            yield Window(
                start / rate,
                (start + self.plan.size) / rate,
                names[decision],
                names[label],
                *(facts[name] for name in (*shown, "probability_masked_out")),
                means[column],
                facts.get("decisions"),
            )
