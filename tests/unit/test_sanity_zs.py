"""Cascading randomisation of CLAP models: the audio side, and no text."""

import copy
import importlib.util

import numpy as np
import pandas
import pytest
import torch
from data_toys import clean_clips
from test_sanity import check_cascade
from zs_toys import PROMPTS, tones, zs_interpreter

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.reinitialize import reinitialize
from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.clips import spread
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.evaluation.randomization import (
    blocks,
    cascading_randomization,
    randomize_cascade,
    run_randomization,
)
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.utils.checks import UserError

BLOCKS = {
    "small": "linear conv3 conv2 conv1 norm0",
    "hf": "projection norm stage2 stage1 patch_embed batch_norm",
}
TABLE = "relative_position_bias_table"


def learned(classifier):
    """Every weight of the audio side away from what an initialisation gives."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in classifier.blocks().values():
            for tensor in audio_tensors(block):
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.add_(0.3 * noise.to(tensor) + 0.1)
    return classifier


def audio_tensors(block):
    """What training changes: weights and running statistics, no geometry."""
    buffers = [b for n, b in block.named_buffers() if "running_" in n]
    return [*block.parameters(), *buffers]


@pytest.fixture(scope="module")
def small():
    toy = zs_interpreter()
    learned(toy.classifier)
    return toy


@pytest.fixture(scope="module")
def hf(clap_folder):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    toy = zs_interpreter(HfClap(clap_folder))
    learned(toy.classifier)
    return toy


@pytest.fixture(params=list(BLOCKS))
def toy(request):
    return request.getfixturevalue(request.param)


def make_clips(toy):
    """A clip a prompt."""
    rate, pitches = toy.frontend.sample_rate, (300, 1500, 5000)
    waves = (tones(pitch, 1, 8000, rate)[0] for pitch in pitches)
    return clean_clips(dict(zip(PROMPTS, waves, strict=True)))


# --- blocks ---


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_go_from_the_output_down(request, name):
    found = blocks(request.getfixturevalue(name).classifier)
    assert list(found) == BLOCKS[name].split()


def test_a_weight_of_neither_side_is_refused(small):
    classifier = copy.deepcopy(small.classifier)
    classifier.encoder.text_gate = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(ValueError, match="encoder.text_gate"):
        blocks(classifier)


def test_the_audio_side_goes_and_the_text_side_stays(toy):
    classifier = toy.classifier
    text = {
        name: tensor
        for name, tensor in classifier.state_dict().items()
        if name.startswith(classifier.outside_blocks())
    }
    embeddings = classifier.encoder.encode_text(PROMPTS)
    assert len(text) > 5
    for model in check_cascade(classifier, audio_tensors):
        state = model.state_dict()
        assert all(torch.equal(state[n], t) for n, t in text.items())
        assert torch.equal(model.text_embeddings, classifier.text_embeddings)
        assert torch.equal(model.encoder.encode_text(PROMPTS), embeddings)


def test_a_copy_computes_with_its_own_weights(hf):
    """Hidden maps change from the randomised stage on, not before."""
    wavs = torch.stack([c.make().mixture for c in make_clips(hf)])
    features = hf.frontend.features(wavs)
    original = hf.classifier(features)
    # Deepest first: the last two are of stage 1 and of the patch embedding.
    changed = dict.fromkeys(("projection", "norm"), [False, False, False])
    changed |= {"stage2": [True, False, False], "stage1": [True, True, False]}
    changed |= dict.fromkeys(("patch_embed", "batch_norm"), [True, True, True])
    previous = original
    for name, model in randomize_cascade(hf.classifier, seed=1):
        output = model(features)
        assert [
            not torch.equal(a, b)
            for a, b in zip(output.hidden, original.hidden, strict=True)
        ] == changed[name]
        assert not torch.allclose(output.embedding, previous.embedding)
        previous = output
    torch.testing.assert_close(hf.classifier(features).logits, original.logits)


# --- weights that no layer draws ---


def test_swins_table_is_drawn_as_in_swin():
    """Truncated normal of deviation 0.02 (and not the zeros it began with)."""
    module = torch.nn.Module()
    setattr(module, TABLE, torch.nn.Parameter(torch.ones(529, 24)))
    reinitialize(module, seed=3)
    table = getattr(module, TABLE).detach().clone()
    assert table.std().item() == pytest.approx(0.02, rel=0.03)
    assert abs(table.mean().item()) < 1e-3
    reinitialize(module, seed=3)
    assert torch.equal(getattr(module, TABLE), table)
    reinitialize(module, seed=4)
    assert not torch.equal(getattr(module, TABLE), table)


def test_other_bare_weights_are_still_refused():
    module = torch.nn.Sequential(torch.nn.Module())
    setattr(module[0], TABLE, torch.nn.Parameter(torch.ones(3, 2)))
    module[0].absolute_pos_embed = torch.nn.Parameter(torch.ones(1, 4))
    with pytest.raises(ValueError, match="0.absolute_pos_embed;"):
        reinitialize(module, seed=0)


# --- the prompt ---


def deciding_otherwise(toy, wavs):
    """A seed whose last model decides otherwise on some clip.

    With that model and both outputs, so that a test that the prompt stays can
    fail.
    """
    parts = (toy.frontend, toy.classifier, toy.decoder)
    original = explain(wavs, *parts)
    for seed in range(20):
        *_, (_, model) = randomize_cascade(toy.classifier, seed)
        own = explain(wavs, toy.frontend, model, toy.decoder)
        decisions = (m.output.logits.argmax(1) for m in (own, original))
        if not torch.equal(*decisions):
            return seed, model, own, original
    raise AssertionError("every randomised model decides as the original")


def test_the_prompt_stays_and_maps_and_similarity_change(toy):
    wavs = torch.stack([c.make().mixture for c in make_clips(toy)])
    _, model, own, original = deciding_otherwise(toy, wavs)
    batch = make_batch(
        wavs, PROMPTS, toy.frontend, model, toy.decoder, 0, original.target
    )
    output = batch.explanation.output
    text = toy.classifier.text_embeddings[original.target]
    assert torch.equal(batch.target, original.target)
    # Hidden maps and similarity are the randomised model's.
    for new, old in zip(output.hidden, original.output.hidden, strict=True):
        assert not torch.allclose(new, old)
    assert torch.equal(output.embedding, own.output.embedding)
    similarity = (output.embedding * text).sum(1)
    before = (original.output.embedding * text).sum(1)
    assert (similarity - before).abs().min() > 1e-4
    # The mask is the original prompt's under them, and not the own one's.
    expected = toy.decoder.prompted(own.output, original.mask.shape[1], text)
    found = build_methods(["lmac_zs"], model, toy.frontend)
    mask = found["lmac_zs"](batch)
    assert torch.equal(mask, expected)
    assert not torch.allclose(mask, own.mask, atol=1e-4)
    assert not torch.allclose(mask, original.mask, atol=1e-4)


# --- the check ---


def cascade(toy, methods, seed=7, **options):
    return cascading_randomization(
        toy, methods, make_clips(toy), seed, progressbar=False, **options,
    )  # fmt: skip


def test_masks_change_with_the_layers(toy):
    before = fingerprint(toy.classifier)
    methods = ["lmac_zs", "gradcam", "gradcampp"]
    found = cascade(toy, methods)
    for method in methods:
        names = [similarity.block for similarity in found[method]]
        assert names == list(blocks(toy.classifier))
        assert all(s.ssim.shape == (3,) for s in found[method])
        assert np.isfinite([s.ssim for s in found[method]]).all()
        assert found[method][-1].ssim.max() < 0.999
    # Above the maps only the similarity changes, and the mask little.
    first = found["lmac_zs"][0]
    assert 0.9 < first.ssim.min() and first.spearman.max() < 1 - 1e-6
    assert fingerprint(toy.classifier) == before


def test_the_method_of_the_trained_decoder_is_its_name(small):
    with pytest.raises(UserError, match="lmac_zs.*'lmac'"):
        cascade(small, ["lmac"])
    other = small._replace(decoder=torch.nn.Identity())
    with pytest.raises(UserError, match="lmac, .*'lmac_zs'"):
        cascade(other, ["lmac_zs"])


def test_all_is_written_drawn_and_printed(small, tmp_path, capsys):
    clips = make_clips(small)
    frame = run_randomization(
        small, clips, tmp_path / "new", ["gradcam", "lmac_zs"],
        progressbar=False,
    )  # fmt: skip
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "randomization.csv",
        "randomization.png",
        "randomization_gradcam.csv",
        "randomization_lmac_zs.csv",
    }
    rows = pandas.read_csv(tmp_path / "new" / "randomization_lmac_zs.csv")
    assert list(rows["id"]) == list(PROMPTS)
    mean = frame[(frame.method == "lmac_zs") & (frame.block == "linear")].SSIM
    assert rows["SSIM_linear"].mean() == pytest.approx(mean.item())
    printed = capsys.readouterr().out
    assert "SSIM with the original mask, 3 clips\n        gradcam" in printed
    assert "Spearman with the original mask" in printed


def test_clips_are_spread_over_the_set():
    clips = list(range(10))
    assert spread(clips) == spread(clips, 99) == clips
    assert spread(clips, 4) == [0, 3, 6, 9] and spread(clips, 1) == [0]
    for wrong in (0, -1, 2.5):
        with pytest.raises(UserError, match="`sanity_clips`.*from 1 up"):
            spread(clips, wrong, "sanity_clips")
