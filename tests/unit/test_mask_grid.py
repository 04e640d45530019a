"""Masks show the sound, not the grid of the decoder's cells."""

import pytest
import torch
import torch.nn.functional as F

from speechbrain_lmac.classifiers import SlimCnn
from speechbrain_lmac.interpreters.decoders import MaskDecoder
from speechbrain_lmac.interpreters.text_decoder import TextMaskDecoder

PERIODS = (2, 4, 8)  # frames and bands of the decoder's cells
FRAMES = BANDS = 128


def grid(masks, period, dim):
    """Energy at the period of a cell over that at the frequencies beside it.

    Of masks (batch, frames, bands), along one axis and averaged over the
    other: 1 where nothing is special about the period.
    """
    size = masks.shape[dim]
    window = torch.hann_window(size).view([-1, 1][:: 1 if dim == 1 else -1])
    lines = (masks - masks.mean((1, 2), keepdim=True)) * window
    energy = torch.fft.rfft(lines, dim=dim).abs().square().mean((0, 3 - dim))
    at = size // period
    # The window smears a line over its neighbours: those come not in.
    beside = [*range(at - 8, at - 2), *range(at + 3, at + 9)]
    beside = [k for k in beside if 1 < k < len(energy)]
    return (energy[at] / energy[beside].median()).item()


class Transposed(TextMaskDecoder):
    """The negative control: up by transposed convolutions."""

    up = MaskDecoder.up


def build(kind, classifier):
    return kind(
        classifier.hidden_channels,
        classifier.hidden_strides,
        channels=(16, 12, 8, 4),
        n_mels=BANDS,
        embed_dim=4,
    )


def masks_of(decoder, hidden, target):
    text = torch.eye(4)[target]
    similarity = torch.full(target.shape, 0.5)
    return decoder(hidden, FRAMES, text, similarity).sigmoid()


def train(decoder, hidden, steps):
    """Masks after a short training towards spots of any place and size."""
    generator = torch.Generator().manual_seed(0)
    spots = torch.rand(4, 1, FRAMES, BANDS, generator=generator)
    spots = (F.avg_pool2d(spots, 9, 1, 4)[:, 0] > 0.5).float()
    target = torch.arange(4)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(steps):
        masks = masks_of(decoder, hidden, target)
        optimizer.zero_grad()
        F.binary_cross_entropy(masks, spots).backward()
        optimizer.step()
    return masks_of(decoder, hidden, target).detach()


@pytest.mark.parametrize("steps", [0, 15])
def test_masks_have_no_grid(steps):
    torch.manual_seed(0)
    classifier = SlimCnn(4, BANDS, (8, 16, 16)).freeze()
    features = F.avg_pool2d(torch.rand(4, 1, FRAMES, BANDS), 5, 1, 2)[:, 0]
    hidden = classifier(4 * features).hidden

    def worst(decoder):
        masks = train(decoder, hidden, steps)
        return max(grid(masks, p, dim) for p in PERIODS for dim in (1, 2))

    assert worst(build(TextMaskDecoder, classifier)) < 4
    assert worst(build(Transposed, classifier)) > 100


def test_equal_cells_give_an_equal_mask():
    """Hidden maps of equal cells: nothing in the mask tells bins apart."""
    classifier = SlimCnn(4, BANDS, (8, 16, 16))
    decoder = build(TextMaskDecoder, classifier)
    hidden = [
        torch.rand(1, channels, 1, 1).expand(-1, -1, FRAMES // s, BANDS // s)
        for channels, s in zip(
            classifier.hidden_channels, classifier.hidden_strides, strict=True
        )
    ]
    with torch.no_grad():
        (mask,) = masks_of(decoder, hidden, torch.tensor([1]))
    inner = mask[32:-32, 32:-32]  # zeros beyond the edges reach into a mask
    torch.testing.assert_close(inner, inner[:1, :1].expand_as(inner))
