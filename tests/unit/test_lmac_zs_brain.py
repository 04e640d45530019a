"""LMAC-ZS training: pairs, chunks, guidance, metrics, folders, learning."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from brain_toys import make_brain
from speechbrain import Stage
from torch.testing import assert_close

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.zero_shot.small import (
    SmallClap,
    save_small_clap,
)
from speechbrain_lmac.features import FrontEnd, MelFrontEnd
from speechbrain_lmac.interpreters.loading import (
    Interpreter,
    write_info,
)
from speechbrain_lmac.interpreters.masking import explain
from speechbrain_lmac.interpreters.text_decoder import build_text_decoder
from speechbrain_lmac.training import losses
from speechbrain_lmac.training.clap import TextGroups
from speechbrain_lmac.training.lmac_zs import LMACZSBrain
from speechbrain_lmac.training.mixtures import mix_partners
from speechbrain_lmac.training.zero_shot_brain import (
    Scene,
    choose_prompts,
    validation_prompts,
    zero_shot_quality,
)
from speechbrain_lmac.utils.checks import UserError

CAPTIONS = [["a dog barks"], ["rain falls"], ["a siren"], ["sea waves"]]
PROMPTS = ["dog", "rain", "siren"]
SAMPLES = 8000
DEFAULTS = {
    **{"objective": "prompt_weighted", "l_sim_w": 0.5, "l_in_w": 1.0},
    **{"l_out_w": 0.5, "reg_w_l1": 1.0, "l_div_w": 0.1, "g_w": 2.0},
    **{"area_budget": 0.25, "area_floor": 0.05, "sparsity_ramp": 0.0},
    **{"prompts_per_clip": 3, "similar_prompts": 2, "bank_size": 4},
    **{"pairs_per_chunk": None, "finetuning": False, "mix_prob": 1.0},
    "contamination": None,
    **{"mix_snr": [0, 0], "crosscor_th": 0.0, "crosscortype": "dotp"},
    **{"ckpt_metric": "quality", "ckpt_mode": "max", "seed": 1},
}


class ToyEncoder(torch.nn.Module):
    """Keeps the type of its weights, as the double test wants it."""

    hidden_channels, hidden_strides = (3, 2), (4, 2)
    embed_dim, logit_scale, source = 8, 10.0, "toy"
    reentrant, max_tokens = True, 99

    def __init__(self, n_mels=80):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(n_mels, 8), False)
        self.maps = torch.nn.Parameter(torch.randn(5, 1), False)

    def embed(self, features):
        embedding = F.normalize((features @ self.weight).tanh().mean(1), dim=1)
        maps = [
            F.avg_pool2d(features[:, None], s) * self.maps[:c, :, None]
            for c, s in zip(
                self.hidden_channels, self.hidden_strides, strict=True
            )
        ]
        return embedding, tuple(maps)

    def text_lengths(self, texts):
        return [len(text.split()) for text in texts]

    def encode_text(self, texts):
        rows = [
            torch.randn(8, generator=torch.Generator().manual_seed(len(t)))
            for t in texts
        ]
        return F.normalize(torch.stack(rows), dim=1).to(self.weight)


def brain_of(encoder=None, frontend=None, folder=None, **changes):
    """An LMACZSBrain; without a folder it writes nothing."""
    encoder, frontend = encoder or ToyEncoder(), frontend or FrontEnd()
    decoder = build_text_decoder(encoder, frontend, channels=(6, 4))
    modules = {"frontend": frontend, "encoder": encoder, "decoder": decoder}
    brain = make_brain(
        *(LMACZSBrain, folder, modules, ["decoder"]),
        *(TextGroups(CAPTIONS), PROMPTS, ("{}",)),
        **{**DEFAULTS, "epochs": 1, **changes},
    )
    brain.step, brain.optimizer_step, brain.steps_per_epoch = 1, 0, 1
    return brain


def batch_of(clips=4, samples=SAMPLES):
    """Tones of different pitch, each with a caption of its own."""
    time = torch.arange(samples) / 16000
    pitch = 300.0 * (1 + torch.arange(clips))[:, None]
    wavs = torch.sin(6.283 * pitch * time) + 0.01 * torch.randn(clips, samples)
    batch = SimpleNamespace(
        id=[f"c{k}" for k in range(clips)],
        sig=SimpleNamespace(data=wavs),
        captions=[CAPTIONS[k % 4] for k in range(clips)],
    )
    batch.to = lambda device: batch
    return batch


def train_loss(brain, batch=None, stage=Stage.TRAIN):
    batch = batch or batch_of()
    brain.on_stage_start(stage)
    return brain.compute_objectives(
        brain.compute_forward(batch, stage), batch, stage
    )


def draw(brain):
    """The scene of a training step on ``batch_of()``."""
    generator = torch.Generator().manual_seed(0)
    return brain.draw(batch_of().sig.data, CAPTIONS, generator)


# --- pairs ---


def test_pairs_are_clip_major():
    scene = Scene(*[None] * 3, chosen=torch.tensor([[5, 1], [2, 4], [0, 3]]))
    owner, prompt, slot = scene.pairs()
    assert owner.tolist() == [0, 0, 1, 1, 2, 2]
    assert prompt.tolist() == [5, 1, 2, 4, 0, 3]
    assert slot.tolist() == [0, 1, 0, 1, 0, 1]


def test_choose_prompts():
    similarity = torch.tensor([[0.1, 0.9, -0.3, 0.5, -0.9]]).repeat(50, 1)
    chosen = choose_prompts(similarity, 3, 2)
    assert (chosen[:, :2] == torch.tensor([1, 3])).all()
    assert set(chosen[:, 2].tolist()) == {0, 2, 4}  # at random
    always = torch.tensor([[4, 2]]).repeat(50, 1)
    chosen = choose_prompts(similarity, 3, 1, always)
    assert (chosen == torch.tensor([4, 2, 1])).all()
    # Of two equal ones the second gives way to the most similar.
    chosen = choose_prompts(similarity, 2, 1, torch.full((50, 2), 4))
    assert (chosen == torch.tensor([4, 1])).all()
    assert choose_prompts(similarity, 99, 2).shape == (50, 5)


def test_mix_partners_knows_the_partner():
    wavs = torch.randn(4, 100)
    groups = torch.tensor([0, 0, 1, 1])
    generator = torch.Generator().manual_seed(0)
    mixed, partner, known = mix_partners(wavs, groups, 1.0, [0, 0], generator)
    assert known.all() and (groups[partner] != groups).all()
    assert_close(mixed.mixture, mixed.target + mixed.interferer)
    # At 0 dB target and interferer are the clips, of one energy.
    for part, source in zip(mixed[1:], (wavs, wavs[partner]), strict=True):
        assert_close(F.cosine_similarity(part, source), torch.ones(4))
    assert_close(mixed.target.norm(dim=1), mixed.interferer.norm(dim=1))


# --- a step ---


def doubled(x):
    """Floating-point tensors of a scene in double precision."""
    if isinstance(x, tuple):
        parts = [doubled(part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    if not torch.is_tensor(x):
        return x
    return x.double() if x.is_floating_point() else x


def gradients(size, **changes):
    torch.manual_seed(3)
    brain = brain_of(pairs_per_chunk=size, **changes)
    frontend, encoder, decoder = (
        brain.modules[name] for name in ("frontend", "encoder", "decoder")
    )
    with torch.no_grad():
        scene = draw(brain)
    for module in (frontend, encoder, decoder):
        module.double()
    scene = doubled(scene)
    brain.on_stage_start(Stage.TRAIN)
    prediction = scene, brain.pair_values(scene)
    loss = brain.compute_objectives(prediction, batch_of(), Stage.TRAIN)
    loss.backward()
    return loss.detach(), torch.cat(
        [p.grad.flatten() for p in decoder.parameters() if p.grad is not None]
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"objective": "published"}, {"finetuning": True}],
    ids=["prompt_weighted", "published", "finetuning"],
)
def test_chunks_change_no_gradient(changes):
    loss, expected = gradients(None, **changes)
    assert expected.dtype == torch.float64 and expected.abs().max() > 1e-6
    for size in (1, 3, 1000):
        found, gradient = gradients(size, **changes)
        assert_close(found, loss, rtol=1e-9, atol=1e-9)
        assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


def test_published_objective_by_hand():
    brain = brain_of(
        objective="published", l_out_w=0, l_div_w=0, l_sim_w=1, reg_w_l1=0.5
    )
    batch = batch_of()
    brain.on_stage_start(Stage.TRAIN)
    prediction = brain.compute_forward(batch, Stage.TRAIN)
    scene = prediction[0]
    frontend, encoder, decoder = (
        brain.modules[name] for name in ("frontend", "encoder", "decoder")
    )
    expected = 0.0
    bank = encoder.encode_text([c[0] for c in CAPTIONS])
    for j in range(4):
        spectrum = frontend(batch.sig.data[j : j + 1])
        x = spectrum.view
        audio, hidden = encoder.embed(frontend.classifier_input(x, spectrum))
        for text in bank:
            mask = decoder(
                hidden, x.shape[1], text[None], audio @ text
            ).sigmoid()
            after, _ = encoder.embed(frontend.masked(mask, spectrum)[0])
            change = (audio @ text - after @ text).abs()
            expected = expected + (change + 0.5 * mask.mean()) / 16
    assert scene.chosen.shape == (4, 4)
    loss = brain.compute_objectives(prediction, batch, Stage.TRAIN)
    assert_close(loss, expected.squeeze(), rtol=1e-4, atol=1e-6)


def test_one_prompt_is_too_few():
    brain = brain_of(objective="published")
    with pytest.raises(UserError, match="batch_size"):
        train_loss(brain, batch_of(1))


def test_sparsity_comes_in_slowly():
    brain = brain_of(sparsity_ramp=0.5, reg_w_l1=4.0)
    brain.steps_per_epoch = 8
    weights = []
    for brain.optimizer_step in (0, 2, 4, 8):
        weights.append(brain.weights()["l1"])
    assert weights == [0.0, 2.0, 4.0, 4.0]


@pytest.mark.parametrize("frontend", [FrontEnd, MelFrontEnd])
def test_encoder_is_left_alone_and_decoder_learns(frontend):
    brain = brain_of(frontend=frontend())
    encoder, decoder = brain.modules.encoder, brain.modules.decoder
    before = fingerprint(encoder), fingerprint(decoder)
    brain.init_optimizers()
    train_loss(brain).backward()
    brain.optimizer.step()
    assert fingerprint(encoder) == before[0]
    assert fingerprint(decoder) != before[1]
    assert all(p.grad is None for p in encoder.parameters())


def test_same_step_same_draw():
    brain = brain_of(finetuning=True)
    batch = batch_of()
    found = [float(train_loss(brain, batch).detach()) for _ in range(2)]
    torch.manual_seed(99)
    found.append(float(train_loss(brain, batch).detach()))
    assert found[0] == found[1] == found[2]
    batch.id = ["d0", "d1", "d2", "d3"]
    assert float(train_loss(brain, batch).detach()) != found[0]


# --- fine-tuning ---


def test_guidance_is_that_of_the_named_source():
    brain = brain_of(finetuning=True)
    with torch.no_grad():
        scene = draw(brain)
        owner, prompt, slot = scene.pairs()
        mask = torch.rand(len(owner), *scene.spectrum.view.shape[1:])
        value, guided = brain.guidance(scene, mask, owner, slot)
    assert (guided == (slot < 2)).all()
    assert not value[slot == 2].any()
    own, partner = scene.chosen[0, :2].tolist()
    assert own == 0 and partner != 0
    frontend, view = brain.modules.frontend, scene.spectrum.view[:1]
    target, other = (x[None].expm1() for x in scene.sources[0])
    mixture = view.expm1()
    gain, _ = frontend.gains(mask[:1], view)
    expected = losses.source_residual(gain, mixture, target, other)
    assert_close(value[:1], expected)
    gain, _ = frontend.gains(mask[1:2], view)
    expected = losses.source_residual(gain, mixture, other, target)
    assert_close(value[1:2], expected)


@pytest.mark.parametrize("changes", [{"crosscor_th": 1.1}, {"mix_prob": 0.0}])
def test_nothing_is_guided(changes):
    brain = brain_of(finetuning=True, **changes)
    with torch.no_grad():
        *_, guidance, guided = brain.pair_values(draw(brain))
    assert not guided.any() and not guidance.any()


# --- validation ---


@pytest.mark.parametrize("finetuning", [False, True])
def test_validation_metrics(finetuning):
    brain = brain_of(finetuning=finetuning)
    loss = train_loss(brain, stage=Stage.VALID)
    summary = brain.stage_summary(loss)
    for name in ("AI", "AD", "AG", "FF", "Fid-In", "right MM", "absent MM"):
        assert math.isfinite(summary[name]), name
    assert 0 <= summary["dead"] <= 1 and -1 <= summary["spearman"] <= 1
    assert summary["quality"] <= 1
    assert brain.areas[0].shape == (4, 3)
    # The area under the decided prompt is the mean of the mask measured.
    assert summary["right MM"] == pytest.approx(summary["MM"], abs=1e-6)
    assert ("named wins" in summary) == finetuning


def test_quality_asks_for_following_the_prompt():
    values = {"AI": 50, "AD": 10, "AG": 20, "FF": 0.4, "Fid-In": 0.9}
    follows = {"spearman": 0.8, "right MM": 0.2, "absent MM": 0.02, "dead": 0}
    good = zero_shot_quality({**values, **follows})
    assert good == pytest.approx((2.9 + 0.8 + 0.9 + 1) / 8)
    for worse in (
        {"spearman": 0.0},
        {"spearman": math.nan},
        {"absent MM": 0.2},
        {"dead": 0.5},
        {"named wins": 0.5},
    ):
        assert zero_shot_quality({**values, **follows, **worse}) < good


# --- prompts and folders ---


class Clips(SimpleNamespace):
    """A data set of captioned clips, or of clips of these classes."""

    def __len__(self):
        return len(self.data)


def clips_of(*names):
    clips = {name: {"class_string": name, "captions": [name]} for name in names}
    return Clips(data=clips, data_ids=list(clips))


def test_validation_prompts():
    hparams = {"valid_prompts": None, "valid_templates": ["a {}"]}
    find, labelled = validation_prompts, {"train": clips_of("sea_waves", "dog")}
    assert find(hparams, labelled) == (["sea waves", "dog"], ("a {}",))
    given = {**hparams, "valid_prompts": ["x", "y"]}
    assert find(given, labelled)[0] == ["x", "y"]
    clips = {str(k): {"captions": [f"caption {k}"]} for k in range(40)}
    captioned = Clips(data=clips, data_ids=list(clips))
    found = find(hparams, {"train": captioned, "valid": captioned})
    assert len(found[0]) == 14 and found[1] == ("{}",)
    with pytest.raises(UserError, match="valid_prompts"):
        find(hparams, {"train": clips_of("dog")})


@pytest.fixture
def small(tmp_path):
    clap = SmallClap(embed_dim=16, channels=(4, 4, 8, 8, 16))
    clap.learn_words(["dog", "rain"])
    save_small_clap(tmp_path / "source", clap.freeze(), ["dog", "rain"])
    return clap


HYPERPARAMS = """
output_folder: nowhere
checkpointer: null
contamination: null
audio: !new:speechbrain_lmac.data.audio.AudioCache
    folder: null
clap_source: {source}
encoder: !apply:speechbrain_lmac.classifiers.zero_shot.small.load_small_clap
    folder: !ref <clap_source>
frontend: !new:speechbrain_lmac.features.FrontEnd
decoder: !apply:speechbrain_lmac.interpreters.text_decoder.build_text_decoder
    encoder: !ref <encoder>
    frontend: !ref <frontend>
    channels: [6, 4]
"""


def test_interpreter_of_a_run(small, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    brain = brain_of(small, small.build_frontend(), run)
    brain.checkpointer.save_checkpoint(meta={"quality": 0.5})
    info = {name: DEFAULTS[name] for name in ("ckpt_metric", "ckpt_mode")}
    source = tmp_path / "source"
    info |= {"frontend": small.build_frontend(), "encoder": small}
    write_info(run, {**info, "clap_source": source})
    # The source may go: the run keeps a copy.
    source.rename(tmp_path / "gone")
    text = HYPERPARAMS.format(source=source)
    (run / "hyperparams.yaml").write_text(text)
    loaded = Interpreter.load(run)
    trained = fingerprint(brain.modules.decoder)
    assert fingerprint(loaded.decoder.decoder) == trained
    assert loaded.set_prompts(PROMPTS).names == PROMPTS
    assert loaded.zero_shot and loaded.labels is None
    assert loaded.mask_domain == "stft"
    explanation = explain(torch.rand(2, SAMPLES), *loaded[:3])
    assert explanation.mask.shape == explanation.spectrum.view.shape
    with pytest.raises(UserError, match="interpreter"):
        Interpreter.load(tmp_path)


# --- CLAP's own architecture ---


@pytest.fixture(scope="module")
def tiny_clap(clap_folder):
    """HTSAT of two stages with random weights, for 2 s of sound."""
    pytest.importorskip("transformers")
    from speechbrain_lmac.classifiers.zero_shot.hf import HfClap

    return HfClap(str(clap_folder))


@pytest.mark.parametrize("domain", ["stft", "mel"])
def test_real_clap_trains_in_chunks(tiny_clap, domain):
    found = []
    for size in (None, 2):
        torch.manual_seed(5)
        frontend = tiny_clap.build_frontend(domain)
        changes = {"finetuning": True, "pairs_per_chunk": size}
        brain = brain_of(tiny_clap, frontend, **changes)
        parameters = brain.modules.decoder.parameters()
        # 1 s at 48 kHz: the front end repeats it to 2 s.
        torch.manual_seed(6)
        train_loss(brain, batch_of(samples=48000)).backward()
        found.append(torch.cat([p.grad.flatten() for p in parameters]))
    assert found[0].abs().max() > 0
    # Of one scale: float32 adds up the parts in another order.
    scale = float(found[0].abs().max())
    assert_close(found[1] / scale, found[0] / scale, rtol=0, atol=1e-4)
