"""The text decoder: shapes, prompts, geometry of real encoders."""

from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
from speechbrain_lmac.interpreters.masking import decode_mask
from speechbrain_lmac.interpreters.text_decoder import (
    PromptedDecoder,
    TextMaskDecoder,
    build_text_decoder,
)

DIM = 6


def decoder_of(**options):
    settings = {"channels": (8, 6, 4), "n_mels": 20, "embed_dim": DIM}
    return TextMaskDecoder((8, 4), (8, 4), **{**settings, **options})


def hidden_of(clips=2):
    return torch.rand(clips, 8, 3, 2), torch.rand(clips, 4, 7, 5)


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def small_clap():
    clap = SmallClap(embed_dim=16, channels=(4, 4, 8, 8, 16))
    clap.learn_words(["dog barks", "rain falls", "a siren"])
    return clap.freeze()


def test_one_prompt_several_prompts_and_pairs_agree():
    decoder, hidden = decoder_of(), hidden_of()
    text, similarity = unit(2, 3, DIM), torch.rand(2, 3)
    together = decoder(hidden, 29, text, similarity)
    assert together.shape == (6, 29, 20)
    alone = [decoder(hidden, 29, text[:, k], similarity[:, k]) for k in (0, 2)]
    assert_close(together[[0, 3]], alone[0])
    assert_close(together[[2, 5]], alone[1])
    owner = torch.tensor([1, 0, 1])
    pairs = decoder(hidden, 29, text[owner, 1], similarity[owner, 1], owner)
    assert_close(pairs, together[[4, 1, 4]])


def test_skips_are_computed_once_a_clip():
    decoder, seen = decoder_of(), []
    for skip in decoder.skips:
        skip.register_forward_hook(lambda m, i, o: seen.append(len(i[0])))
    decoder(hidden_of(), 29, unit(2, 5, DIM), torch.rand(2, 5))
    assert seen == [2, 2]


@pytest.mark.parametrize("what", ["text", "similarity", "clip"])
def test_mask_depends_on(what):
    decoder, hidden = decoder_of(), list(hidden_of())
    text, similarity = unit(2, DIM), torch.rand(2)
    before = decoder(hidden, 29, text, similarity)
    if what == "text":
        text = unit(2, DIM)
    elif what == "similarity":
        similarity = similarity + 0.1
    else:
        hidden[0] = hidden[0] + 0.1
    after = decoder(hidden, 29, text, similarity)
    assert (before - after).abs().max() > 1e-4


def test_what_texts_share_is_taken_off():
    decoder, hidden = decoder_of(), hidden_of(4)
    shared, own = 10 * unit(DIM), unit(4, DIM)
    similarity = torch.zeros(4)
    own = own - own.mean(0)
    expected = decoder(hidden, 29, own, similarity)
    decoder.center_on(own + shared)
    assert_close(decoder.center, shared)
    found = decoder(hidden, 29, own + shared, similarity)
    assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert "center" in decoder.state_dict()


@pytest.mark.parametrize("frames", [1, 31, 33, 64, 100])
def test_any_length(frames):
    clap = small_clap()
    decoder = build_text_decoder(clap, clap.build_frontend(), channels=(8, 4))
    _, hidden = clap.embed(torch.rand(1, max(frames, 32), 80))
    logits = decoder(hidden, frames, unit(1, 16), torch.rand(1))
    assert logits.shape == (1, frames, 513)
    assert logits.isfinite().all()


def test_htsat_fits_and_is_small():
    widths = (256, 192, 128, 64, 32, 16)
    channels, strides = (768, 768, 384, 192, 96), (32, 32, 16, 8, 4)
    decoder = TextMaskDecoder(
        channels, strides, widths, n_mels=64, spread=torch.rand(64, 513)
    )
    assert sum(p.numel() for p in decoder.parameters()) < 10e6
    hidden = [
        torch.rand(1, c, -(-1001 // s), 64 // s)
        for c, s in zip(channels, strides, strict=True)
    ]
    with torch.no_grad():
        logits = decoder(hidden, 1001, unit(1, 2, 512), torch.rand(1, 2))
    assert logits.shape == (2, 1001, 513)


def test_gradients_reach_every_parameter():
    decoder = decoder_of()
    decoder(hidden_of(), 29, unit(2, 2, DIM), torch.rand(2, 2)).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name


def test_masks_on_bands():
    clap = small_clap()
    frontend = clap.build_frontend("mel")
    decoder = build_text_decoder(clap, frontend, channels=(8, 4))
    _, hidden = clap.embed(torch.rand(1, 32, 80))
    assert decoder(hidden, 32, unit(1, 16), torch.rand(1)).shape == (1, 32, 80)


def test_what_is_not_heard_is_closed():
    heard = torch.arange(20) > 4
    decoder = decoder_of(heard=heard)
    logits = decoder(hidden_of(), 29, unit(2, DIM), torch.rand(2))
    assert (logits[..., ~heard].sigmoid() == 0).all()
    assert logits[..., heard].isfinite().all()


# --- as a decoder of classes ---


@pytest.fixture
def prompted():
    clap = small_clap()
    classifier = ZeroShotClassifier(clap, ["dog barks", "rain", "a siren"])
    decoder = build_text_decoder(clap, clap.build_frontend(), channels=(8, 4))
    return PromptedDecoder(decoder, classifier)


def test_prompts_are_explained_by_number(prompted):
    classifier, target = prompted.classifier, torch.tensor([1, 0])
    output = classifier(torch.rand(2, 40, 80))
    text = classifier.text_embeddings[target]
    similarity = (output.embedding * text).sum(1)
    expected = prompted.decoder(output.hidden, 40, text, similarity).sigmoid()
    spectrum = SimpleNamespace(view=torch.zeros(2, 40, 80))
    assert_close(decode_mask(prompted, output, target, spectrum), expected)


def test_other_prompts_can_be_explained(prompted):
    output = prompted.classifier(torch.rand(2, 40, 80))
    text = unit(2, 3, 16)
    masks = prompted.prompted(output, 40, text)
    assert masks.shape == (6, 40, 513)
    assert 0 <= masks.min() and masks.max() <= 1
    assert_close(masks[1::3], prompted.prompted(output, 40, text[:, 1]))


def test_classifier_is_no_part_of_it(prompted):
    names = prompted.state_dict()
    assert names and all(name.startswith("decoder.") for name in names)
