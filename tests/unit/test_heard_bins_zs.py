"""Bins that a CLAP model does not hear: no mask there, no part in a mean."""

from types import SimpleNamespace

import pytest
import torch
from speechbrain import Stage
from test_lmac_zs_brain import ToyEncoder, batch_of, brain_of, train_loss
from torch.testing import assert_close

from speechbrain_lmac.evaluation.methods import random_mask, under_protocol
from speechbrain_lmac.features import ClapFrontEnd
from speechbrain_lmac.interpreters.text_decoder import build_text_decoder

RATE = 48000


@pytest.fixture(scope="module")
def frontend():
    """That of the published CLAP models: 64 Slaney bands, 50 to 14000 Hz."""
    pytest.importorskip("transformers")
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
    mel = torch.as_tensor(extractor.mel_filters_slaney).float()
    return ClapFrontEnd(mel, torch.hann_window(1024), n_samples=RATE)


class Encoder(SimpleNamespace):
    """The geometry of an audio encoder."""

    hidden_channels, hidden_strides, embed_dim = (8, 4), (8, 4), 6


@pytest.fixture(scope="module")
def masks(frontend):
    torch.manual_seed(0)
    decoder = build_text_decoder(Encoder(), frontend, channels=(8, 4))
    hidden = torch.rand(2, 8, 12, 8), torch.rand(2, 4, 25, 16)
    logits = decoder(hidden, 101, torch.randn(2, 6), torch.rand(2))
    logits.sigmoid().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
    return logits.sigmoid().detach()


def test_where_clap_is_deaf(frontend):
    frequency = torch.linspace(0, RATE / 2, 513)
    heard = frontend.heard
    assert int(heard.sum()) == 297
    assert not heard[frequency < 50].any()
    assert not heard[frequency > 14000].any()
    assert heard[(frequency > 60) & (frequency < 13950)].all()


def test_the_mask_is_zero_there_and_open_elsewhere(frontend, masks):
    frequency = torch.linspace(0, RATE / 2, 513)
    assert masks.shape == (2, 101, 513)
    assert not masks[..., frequency > 14000].any()
    assert (masks[..., frontend.heard] > 0).all()


def test_the_parts_sum_to_the_input(frontend, masks):
    wavs = torch.randn(2, RATE)
    _, kept, rest = frontend.parts(masks, frontend(wavs), RATE)
    assert_close(kept + rest, wavs, atol=1e-4, rtol=0)
    # What the model does not hear is in the rest, and there alone.
    time = torch.arange(RATE).double() / RATE
    whistle = torch.sin(2 * torch.pi * 18000 * time).float().expand(2, -1)
    kept = frontend.listen(masks, frontend(whistle), RATE)
    assert kept[:, 1024:-1024].abs().max() < 1e-3


@pytest.mark.parametrize("size", [None, 1])
def test_the_brain_counts_what_is_heard(frontend, size):
    brain = brain_of(
        encoder=ToyEncoder(64), frontend=frontend, pairs_per_chunk=size
    )
    batch = batch_of(samples=RATE)
    brain.modules.decoder.head.bias.data.fill_(20.0)
    train_loss(brain, batch)
    # A mask that is open wherever it can be is open.
    assert float(brain.term_values["MM"][0]) == pytest.approx(1, abs=1e-3)
    scene, values = brain.compute_forward(batch, Stage.TRAIN)
    assert_close(values[0], torch.ones(len(values[0])), atol=1e-3, rtol=0)


def test_baselines_and_scores_count_what_is_heard(frontend):
    mask = torch.rand(1, 101, 513) * frontend.heard
    clips = SimpleNamespace(
        explanation=SimpleNamespace(mask=mask),
        heard=frontend.heard,
        clip_seeds=lambda: [1],
    )
    drawn = random_mask(clips)
    assert not drawn[..., ~frontend.heard].any()
    wanted = float(mask[..., frontend.heard].mean())
    found = float(drawn[..., frontend.heard].mean())
    assert found == pytest.approx(wanted, abs=0.02)
    other = under_protocol(torch.rand(1, 101, 513), "equal_mean", clips)
    found = float(other[..., frontend.heard].mean())
    assert found == pytest.approx(wanted, abs=1e-3)
