"""A decoder over maps of any grid: every frame, any length, no grid of dots."""

import pytest
import torch
from torch import nn

from speechbrain_lmac.classifiers.waveform import WaveformClassifier
from speechbrain_lmac.features import WaveformFrontEnd
from speechbrain_lmac.interpreters import build_decoder
from speechbrain_lmac.interpreters.grid_decoder import GridDecoder
from speechbrain_lmac.utils.checks import UserError

GRIDS = {
    "tokens": ((24, 24), (1, 1)),
    "image": ((16, 8), (3, 20)),
    "both": ((24, 8), (1, 5)),
}


def maps_of(channels, bands, cells=9):
    return [
        torch.randn(2, c, cells * (k + 1), b)
        for k, (c, b) in enumerate(zip(channels, bands, strict=True))
    ]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("cells, frames", [(1, 1), (1, 5), (9, 63), (40, 17)])
def test_covers_every_frame_of_any_grid(grid, cells, frames):
    decoder = GridDecoder(*GRIDS[grid], n_mels=21, spread=torch.rand(21, 33))
    logits = decoder(maps_of(*GRIDS[grid], cells), frames)
    assert logits.shape == (2, frames, 33)
    logits.square().sum().backward()
    for name, weight in decoder.named_parameters():
        assert weight.grad.isfinite().all() and weight.grad.any(), name


def test_a_batch_is_its_clips():
    decoder, maps = GridDecoder(*GRIDS["both"]), maps_of(*GRIDS["both"])
    single = [decoder([m[k : k + 1] for m in maps], 50) for k in range(2)]
    torch.testing.assert_close(decoder(maps, 50), torch.cat(single))


def test_maps_of_another_scale_make_the_same_mask():
    decoder, maps = GridDecoder(*GRIDS["both"]), maps_of(*GRIDS["both"])
    louder = decoder([100 * m for m in maps], 50)
    torch.testing.assert_close(decoder(maps, 50), louder, atol=1e-3, rtol=0)


def test_time_goes_with_time():
    """What changes in the maps' last fifth changes the mask there alone."""
    decoder = GridDecoder((24,), (1,))
    for module in decoder.modules():  # their statistics are those of the clip
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda x: x
    before = torch.randn(1, 24, 100, 1)
    after = before.clone()
    after[:, :, 80:] += 1
    with torch.no_grad():
        moved = (decoder([after], 1000) - decoder([before], 1000)).abs()
    assert moved[:, :650].max() < 1e-5 < moved[:, 800:].mean()


def test_a_large_transformer_s_maps_need_under_a_million():
    decoder = GridDecoder([768] * 8, [1] * 8)
    assert sum(p.numel() for p in decoder.parameters()) < 1e6


class Toy(WaveformClassifier):
    def logits(self, wavs):
        return self.network(wavs[:, None])


def toy(taps):
    net = nn.Sequential(
        *(nn.Conv1d(1, 8, 320, 160), nn.ReLU(), nn.AdaptiveAvgPool1d(1)),
        *(nn.Flatten(), nn.Linear(8, 3)),
    )
    return Toy(net, taps, 3, 16000)


def test_it_is_chosen_where_maps_have_no_strides():
    classifier = toy({"1": lambda x, n: (x, x[..., None])})
    decoder = build_decoder(classifier, WaveformFrontEnd())
    assert isinstance(decoder, GridDecoder)
    assert decoder(classifier(torch.randn(1, 8000)).hidden, 32).shape[2] == 513


def test_no_hidden_map_is_refused():
    with pytest.raises(UserError, match="layers"):
        build_decoder(toy({}), WaveformFrontEnd())
