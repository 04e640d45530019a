"""The published objective, as its recipe file sets it: nothing of ours."""

from pathlib import Path

import pytest
import torch
from speechbrain import Stage
from test_lmac_zs_brain import CAPTIONS, DEFAULTS, batch_of, brain_of
from torch.testing import assert_close

from speechbrain_lmac.training import losses
from speechbrain_lmac.utils.hparams import read_tree

HPARAMS = Path(__file__).parents[2] / "recipes/CLAP_ZS/hparams"


@pytest.fixture(scope="module")
def settings():
    """What the file says of all that the brain reads."""
    tree = read_tree(HPARAMS / "lmac_zs_small_published.yaml")
    names = set(DEFAULTS)
    return {name: tree[name] for name in names}


def published(settings, captions=CAPTIONS, **changes):
    """The brain of the file, its first step's scene and values."""
    torch.manual_seed(2)
    brain = brain_of(**{**settings, **changes})
    batch = batch_of()
    batch.captions = list(captions)
    brain.on_stage_start(Stage.TRAIN)
    return brain, batch, brain.compute_forward(batch, Stage.TRAIN)


def test_the_file_is_the_published_form(settings):
    assert settings["contamination"] is None
    brain, batch, (scene, values) = published(settings)
    loss = brain.compute_objectives((scene, values), batch, Stage.TRAIN)
    owner, prompt, _ = scene.pairs()
    assert len(owner) == 16  # all pairs
    after = (values[1] * scene.bank[prompt]).sum(1)
    change = (scene.similarity[owner, prompt] - after).abs()
    assert_close(loss, change.mean() + 0.1 * values[0].mean())
    assert set(brain.term_values) == {"l_sim", "l1", "MM", "guided"}


def test_a_class_that_is_in_a_batch_twice_is_no_other(settings):
    captions = [CAPTIONS[k] for k in (0, 1, 0, 2)]
    brain, batch, (scene, values) = published(settings, captions, l_out_w=0.5)
    expected = torch.eye(4, dtype=torch.bool)
    expected[0, 2] = expected[2, 0] = True
    assert torch.equal(scene.same, expected)
    terms = brain.terms((scene, values), batch, Stage.TRAIN)
    _, prompt, _ = scene.pairs()
    logits = brain.modules.encoder.logit_scale * values[2] @ scene.bank.T
    rest = losses.prompt_mask_out(logits, prompt, scene.same)
    assert_close(terms["l_out"], rest.mean())
    own = scene.same[prompt]
    by_hand = -torch.log1p(-(logits.softmax(1) * own).sum(1))
    assert_close(rest, by_hand, rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_class_has_no_mask_out(settings):
    brain, batch, prediction = published(
        settings, [CAPTIONS[0]] * 4, l_out_w=0.5
    )
    brain.compute_objectives(prediction, batch, Stage.TRAIN).backward()
    assert float(brain.term_values["l_out"][0]) == 0
    for parameter in brain.modules.decoder.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
