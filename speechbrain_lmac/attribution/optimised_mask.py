"""A mask of one clip, optimised by L-MAC's objective: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechbrain_lmac.attribution.base import Clips, Draws, clip_generators
from speechbrain_lmac.attribution.grid import CELL_S, N_BANDS, Grid


def optimised_mask(
    clips: Clips,
    target: Tensor,
    generator: Draws = None,
    cell_s: float = CELL_S,
    n_bands: int = N_BANDS,
    n_steps: int = 60,
    n_copies: int = 4,
    lr: float = 0.3,
    out_w: float = 1.0,
    smoothness: float = 2.0,
    sparsity: float = 0.3,
    energy: float = 0.1,
) -> Tensor:
    """L-MAC's objective, minimised over a smooth mask of each clip.

    A gain per cell of a coarse grid, upsampled; Adam for some steps on

        CE(kept, y) - out_w log(1 - p_y(rest)) + smoothness |differences of
        neighbours| + sparsity |gains| + energy |energy kept|

    where each step sees other copies of the clip: louder or quieter, through
    an equaliser, in noise, with bands that are silent. A mask that convinces
    the classifier in all of them is one that another classifier believes, too.
    """
    generators = clip_generators(generator, len(target))
    grid = Grid(clips, cell_s, n_bands)
    with torch.inference_mode(False), torch.enable_grad():
        classifier = clips.classifier
        probs = classifier.probabilities(clips.forward(clips.view)).detach()
        cells = torch.zeros(len(target), *grid.shape, device=target.device)
        cells = cells.to(clips.view.dtype).requires_grad_()
        optimizer = torch.optim.Adam([cells], lr=lr, betas=(0.9, 0.99))
        loudness = grid.amplitude.square()
        loudness = loudness / loudness.sum((1, 2), keepdim=True).clamp_min(
            1e-12
        )
        y, p = target.repeat(n_copies), probs.repeat(n_copies, 1)
        for _ in range(n_steps):
            gains = grid.gains(cells.sigmoid())
            copies = jittered(grid, n_copies, generators)
            kept = gains.repeat(n_copies, 1, 1) * copies
            compress = clips.frontend.compress
            inputs = compress(torch.cat([kept, copies - kept]))
            kept_out, rest_out = clips.forward(inputs).logits.chunk(2)
            # The losses are means over rows: a clip's own gradient is that
            # times the clips, whatever its batch.
            loss = classifier.evidence_loss(kept_out, y)
            loss = loss + out_w * classifier.rest_loss(
                rest_out, y, "saturating", p
            )
            loss = loss * len(target)
            values = cells.sigmoid()
            loss = loss + smoothness * (
                values.diff(dim=1).abs().mean((1, 2)).sum()
                + values.diff(dim=2).abs().mean((1, 2)).sum()
            )
            loss = loss + sparsity * gains.mean((1, 2)).sum()
            loss = loss + energy * (gains * loudness).sum()
            optimizer.zero_grad()
            (cells.grad,) = torch.autograd.grad(loss, cells)
            optimizer.step()
        return grid.masks(grid.gains(cells.detach().sigmoid()))


def jittered(
    grid: Grid, n_copies: int, generators: Sequence[torch.Generator]
) -> Tensor:
    """Amplitudes of changed copies of the clips, copy by copy."""
    copies = []
    for _ in range(n_copies):
        for clip, draw in zip(grid.amplitude, generators, strict=True):
            # dB: of the whole, and of ten bands, at random +-6.
            level = (torch.rand(1, 10, generator=draw) - 0.5) * 12
            level = level + (torch.rand(1, generator=draw) - 0.5) * 12
            blanked = torch.rand(1, 10, generator=draw) > 0.1
            equaliser = grid.gains((10 ** (level / 20) * blanked)[:, None])
            floor = torch.rand(1, generator=draw) * 0.02 * clip.mean()
            noise = torch.rand(clip.shape, generator=draw)
            copies.append(clip * equaliser[0] + floor * noise)
    return torch.stack(copies)
