"""A mask of one clip, optimised by L-MAC's objective: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from speechbrain_lmac.attribution.base import Clips, Draws, clip_generators
from speechbrain_lmac.attribution.grid import Grid

#: Of the changed copies: range of their loudness and of their equaliser in dB,
#: share of their bands that are silent, and noise, at most, over the clip's
#: mean amplitude.
JITTER_DB, BLANKED, NOISE = 20.0, 0.25, 0.1
#: Steps between two looks at whether a clip still gains, and the share of its
#: loss that it must gain.
PATIENCE, LEAST_GAIN = 10, 0.01


def optimised_mask(
    clips: Clips,
    target: Tensor,
    generator: Draws = None,
    n_steps: int = 60,
    n_copies: int = 2,
    cell_s: float = 0.0465,
    n_bands: int = 8,
    out_w: float = 3.0,
    smoothness: float = 6.0,
    sparsity: float = 0.8,
    lr: float = 0.3,
) -> Tensor:
    """L-MAC's objective, minimised over a smooth mask of each clip.

    The mask is a gain per cell of a coarse grid, upsampled; Adam minimises

        E(kept) + out_w R(rest) + smoothness TV + sparsity area

    with the classifier's ``evidence_loss`` E and saturating ``rest_loss`` R,
    the mean differences TV of neighbouring cells and the mean gain (area).
    Each step sees other copies of the clip: louder or quieter, through an
    equaliser, with silent bands, in noise. A mask that convinces the classifier
    in all of them is no attack on one; another classifier believes it more
    often.

    Arguments
    ---------
    clips : Clips
        What is explained.
    target : torch.Tensor
        Classes, int64 (batch,).
    generator : torch.Generator or sequence of int or None
        As for every method.
    n_steps : int
        Steps at most; a clip that gains nothing more stops before.
    n_copies : int
        Changed copies of the clip in a step; two inputs each.
    cell_s : float
        Seconds of a cell.
    n_bands : int
        Bands of cells over the front end's mel bands.
    out_w, smoothness, sparsity : float
        Weights of the terms.
    lr : float
        Learning rate of the cells' logits.

    Returns
    -------
    torch.Tensor
        Masks of the view's shape, in [0, 1].

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> frontend = FrontEnd()
    >>> classifier = SlimCnn(n_classes=3).freeze()
    >>> clips = Clips(frontend, classifier, frontend(torch.randn(1, 8000)))
    >>> optimised_mask(clips, torch.tensor([1]), n_steps=2).shape
    torch.Size([1, 44, 513])
    """
    grid = Grid(clips, cell_s, n_bands)
    jitter = Jitter(grid, clip_generators(generator, len(target)))
    output = clips.forward(clips.view)
    probs = clips.classifier.probabilities(output).detach()
    with torch.enable_grad():
        logits = grid.amplitude.new_zeros(len(target), *grid.shape)
        stop = Stop(logits.requires_grad_())
        # Where nothing pulls, Adam would make a step of float32's last digits:
        # they depend on the batch.
        optimizer = torch.optim.Adam([logits], lr, (0.9, 0.99), eps=1e-5)
        for _ in range(n_steps):
            cells = logits.sigmoid()
            bands = grid.bands(cells)
            changed = jitter(n_copies)
            both = torch.cat([bands, 1 - bands]).unflatten(0, (2, 1, -1))
            gains = grid.on_bins((both * changed).flatten(0, 2))
            floor = jitter.noise(n_copies).repeat(2, 1, 1)
            scores = clips.forward(grid.views(gains, floor)).logits
            losses = decision_losses(clips, scores, target, probs, out_w)
            losses = losses + smoothness * roughness(cells)
            losses = losses + sparsity * bands.mean((1, 2))
            (logits.grad,) = torch.autograd.grad(losses.sum(), logits)
            optimizer.step()
            if stop(losses.detach()):
                break
    return grid.masks(grid.gains(stop.values().sigmoid()))


def decision_losses(
    clips: Clips, scores: Tensor, target: Tensor, probs: Tensor, out_w: float
) -> Tensor:
    """What a mask loses and leaves of each clip's class, (batch,), in nats.

    ``scores`` are logits of the kept parts and of the rests, copy by copy.
    """
    classifier, clip_losses = clips.classifier, []
    batch = len(target)
    for k, y in enumerate(target.split(1)):
        kept, rest = scores[k::batch].chunk(2)
        y, p = y.expand(len(kept)), probs[k].expand(len(kept), -1)
        left = classifier.rest_loss(rest, y, "saturating", p)
        clip_losses.append(classifier.evidence_loss(kept, y) + out_w * left)
    return torch.stack(clip_losses)


def roughness(cells: Tensor) -> Tensor:
    """Mean absolute differences of neighbours in time and in bands, (n,).

    >>> roughness(torch.tensor([[[0.0, 1.0], [0.0, 0.5]]]))
    tensor([1.])
    """
    ways = [cells.diff(dim=dim).abs() for dim in (1, 2)]
    found = [way.mean((1, 2)) for way in ways if way.numel()]
    return torch.stack(found).sum(0) if found else cells.sum((1, 2)) * 0


class Jitter:
    """Draws of each clip's own generator: the same in any batch."""

    def __init__(self, grid: Grid, generators: Sequence[torch.Generator]):
        self.grid, self.generators = grid, generators
        shape = grid.amplitude.shape[1:]
        self.floor = self._draw(*shape)
        self.floor *= grid.amplitude.mean((1, 2), keepdim=True)

    def _draw(self, *shape: int) -> Tensor:
        draws = [torch.rand(shape, generator=g) for g in self.generators]
        return torch.stack(draws).to(self.grid.amplitude)

    def __call__(self, n_copies: int) -> Tensor:
        """Gains (copies, batch, 1, bands): loudness, equaliser, silence."""
        level = self._draw(n_copies, 1, 1) + self._draw(n_copies, 1, 10) - 1
        heard = self._draw(n_copies, 1, 10) >= BLANKED
        gains = (10 ** (JITTER_DB * level / 20) * heard).transpose(0, 1)
        size = 1, self.grid.frontend.n_mels
        wide = F.interpolate(gains.flatten(0, 1)[:, None], size)[:, 0]
        return wide.unflatten(0, (n_copies, -1))

    def noise(self, n_copies: int) -> Tensor:
        """Amplitudes (copies * batch, frames, bins): one noise, turned."""
        frames = self.floor.shape[1]
        turns = (self._draw(n_copies) * frames).long().T.tolist()
        levels = (NOISE * self._draw(n_copies)).T[..., None, None]
        return torch.cat(
            [
                scale
                * torch.stack(
                    [
                        clip.roll(turn, 0)
                        for clip, turn in zip(self.floor, row, strict=True)
                    ]
                )
                for row, scale in zip(turns, levels, strict=True)
            ]
        )


class Stop:
    """Keeps each clip's values of the step at which it gained no more."""

    def __init__(self, current: Tensor):
        self.current, self.kept = current, current.detach().clone()
        self.done = torch.zeros(len(current), dtype=torch.bool)
        self.best = torch.full((len(current),), float("inf"))
        self.seen: list[Tensor] = []

    def __call__(self, losses: Tensor) -> bool:
        """Takes a step's losses (batch,); whether no clip gains any more."""
        self.seen.append(losses.cpu())
        if len(self.seen) % PATIENCE:
            return False
        mean = torch.stack(self.seen[-PATIENCE:]).mean(0)
        still = mean < self.best * (1 - LEAST_GAIN)
        ends = ~still & ~self.done
        self.kept[ends] = self.current.detach()[ends]
        self.best = torch.minimum(self.best, mean)
        self.done |= ends
        return bool(self.done.all())

    def values(self) -> Tensor:
        """Of each clip: where it stopped, or the last."""
        done = self.done.to(self.kept.device)[:, None, None]
        return torch.where(done, self.kept, self.current.detach())
