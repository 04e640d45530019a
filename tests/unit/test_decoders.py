"""Decoders: any length, every frame, and the reference's own values."""

import pytest
import torch
from speechbrain.lobes.models.Cnn14 import Cnn14, CNN14PSI_stft

from speechbrain_lmac.classifiers.cnn14 import Cnn14Classifier
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd, build_frontend
from speechbrain_lmac.interpreters.decoders import (
    MaskDecoder,
    ReferenceDecoder,
    build_decoder,
)

FRONTEND = FrontEnd()


def hidden_maps(frames, scale=64, bands=80):
    """Maps of CNN14's geometry with 1/scale of its channels."""
    shapes = ((2048, 32), (1024, 32), (512, 16), (256, 8))
    return [
        torch.rand(1, c // scale, max(frames // s, 1), bands // s)
        for c, s in shapes
    ]


@pytest.mark.parametrize("frames", [32, 33, 63, 100, 431])
@pytest.mark.parametrize("domain, bins", [("stft", 513), ("mel", 80)])
def test_covers_every_frame_of_any_length(frames, domain, bins):
    decoder = build_decoder(SlimCnn(n_classes=2), build_frontend(domain))
    output = SlimCnn(n_classes=2)(torch.rand(1, frames, 80))
    logits = decoder(output.hidden, frames)
    assert logits.shape == (1, frames, bins)
    assert torch.isfinite(logits).all()


def test_reference_decoder_works_for_every_length():
    decoder = ReferenceDecoder(dim=32)
    for frames in range(32, 300):
        logits = decoder(hidden_maps(frames), frames)
        assert logits.shape == (1, frames, 513), frames


def test_reference_decoder_loads_a_psi_checkpoint_and_keeps_its_values():
    theirs, ours = CNN14PSI_stft(dim=32), ReferenceDecoder(dim=32)
    ours.load_state_dict(theirs.state_dict())  # a psi_model.ckpt's keys
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    hidden = hidden_maps(431)
    expected = theirs(hidden).squeeze(1)
    assert expected.shape[1] == 425
    torch.testing.assert_close(ours(hidden, 431)[:, :425], expected)


def test_sizes_promised():
    def size(module):
        return sum(p.numel() for p in module.parameters())

    cnn14 = Cnn14Classifier(
        Cnn14(80, 2048, return_reps=True), torch.nn.Linear(2048, 50)
    )
    big = build_decoder(cnn14, FRONTEND, channels=[256, 256, 160, 64, 32, 16])
    slim = SlimCnn(n_classes=10)
    small = build_decoder(slim, FRONTEND, channels=[96, 64, 48, 32, 16])
    assert size(big) <= 6e6
    assert 0.2e6 <= size(small) <= 0.5e6
    assert 0.35e6 <= size(slim) <= 0.45e6


def test_a_batch_is_its_clips():
    slim = SlimCnn(n_classes=2).eval()
    decoder = build_decoder(slim, FRONTEND)
    features = torch.rand(3, 100, 80)
    whole = decoder(slim(features).hidden, 100)
    single = [decoder(slim(f[None]).hidden, 100) for f in features]
    torch.testing.assert_close(whole, torch.cat(single), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("strides", [(4, 8), (6, 3)])
def test_strides_are_descending_powers_of_two(strides):
    with pytest.raises(ValueError, match="powers of two"):
        MaskDecoder((8, 4), strides)
