"""Decoders: any length, every frame, and the reference's own values."""

import pytest
import torch
from speechbrain.lobes.models.Cnn14 import Cnn14, CNN14PSI_stft

from speechbrain_lmac.classifiers.cnn14 import Cnn14Classifier
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import (
    MaskDecoder,
    ReferenceDecoder,
    build_decoder,
    mel_to_linear,
)
from speechbrain_lmac.utils.checks import UserError

FRONTEND = FrontEnd()


def hidden_maps(frames, scale=64, bands=80):
    """Maps of CNN14's geometry with 1/scale of its channels."""
    shapes = ((2048, 32), (1024, 32), (512, 16), (256, 8))
    return [
        torch.rand(1, c // scale, max(frames // s, 1), bands // s)
        for c, s in shapes
    ]


@pytest.mark.parametrize("frames", [32, 33, 63, 64, 100, 215, 431, 836])
@pytest.mark.parametrize("domain, bins", [("stft", 513), ("mel", 80)])
def test_covers_every_frame_of_any_length(frames, domain, bins):
    decoder = build_decoder(SlimCnn(n_classes=2), FRONTEND, domain)
    output = SlimCnn(n_classes=2)(torch.rand(1, frames, 80))
    logits = decoder(output.hidden, frames)
    assert logits.shape == (1, frames, bins)
    assert torch.isfinite(logits).all()


def test_reference_decoder_works_for_every_length():
    decoder = ReferenceDecoder(dim=32)
    for frames in range(32, 300):
        logits = decoder(hidden_maps(frames), frames)
        assert logits.shape == (1, frames, 513), frames


def test_reference_decoder_keeps_the_references_values():
    torch.manual_seed(0)
    decoder, hidden = ReferenceDecoder(dim=32), hidden_maps(431)
    theirs = CNN14PSI_stft(dim=32)
    theirs.load_state_dict(decoder.state_dict())  # a psi_model.ckpt's keys
    expected = theirs(hidden).squeeze(1)
    assert expected.shape[1] == 425
    torch.testing.assert_close(decoder(hidden, 431)[:, :425], expected)


def test_reference_decoder_loads_a_psi_checkpoint(tmp_path):
    theirs, ours = CNN14PSI_stft(dim=32), ReferenceDecoder(dim=32)
    torch.save(theirs.state_dict(), tmp_path / "psi_model.ckpt")
    ours.load_state_dict(torch.load(tmp_path / "psi_model.ckpt"))
    hidden = hidden_maps(431)
    torch.testing.assert_close(
        ours(hidden, 425), theirs(hidden).squeeze(1), rtol=0, atol=0
    )


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


def test_mel_to_linear_keeps_constants_and_order():
    spread = mel_to_linear(FRONTEND.mel_matrix)
    torch.testing.assert_close(torch.ones(80) @ spread, torch.ones(513))
    ramp = torch.arange(80.0) @ spread
    assert (ramp[1:] >= ramp[:-1] - 1e-4).all()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="2 strides for 1 maps"):
        MaskDecoder((8,), (8, 4))
    with pytest.raises(ValueError, match="powers of two"):
        MaskDecoder((8, 4), (4, 8))
    with pytest.raises(UserError, match="`mask_domain` is 'wav'"):
        build_decoder(SlimCnn(n_classes=2), FRONTEND, "wav")
