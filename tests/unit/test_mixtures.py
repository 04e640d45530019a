"""Tests of contaminated clips: energies, conservation, seeds, errors."""

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.mixtures import (
    TrainingContamination,
    add_white_noise,
    fit_length,
    list_noise_files,
    mix_at_snr,
    mix_clips,
    peak_normalize,
)
from speechbrain_lmac.utils.checks import UserError

close = torch.testing.assert_close


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ratio_db(mix):
    """Energy of the target over that of the interferer, in dB."""
    energy = [part.double().square().sum(-1) for part in mix[1:]]
    return 10 * torch.log10(energy[0] / energy[1]).float()


def check_conserved(mix):
    close(mix.mixture, mix.target + mix.interferer, rtol=0, atol=1e-6)
    # The peak is 1 up to the rounding of one division.
    close(mix.mixture.abs().amax(-1), torch.ones(mix.mixture.shape[:-1]))


# ----------------------------------------------------------- closed forms


def test_mix_clips_by_hand():
    # s1/|s1| = (.6, .8, 0), s2/|s2| = (0, 0, 1): the sum (.48, .64, .2) has
    # a peak of .64.
    mix = mix_clips(torch.tensor([3.0, 4, 0]), torch.tensor([0.0, 0, -7]))
    close(mix.target, torch.tensor([0.75, 1.0, 0.0]))
    close(mix.interferer, torch.tensor([0.0, 0.0, -0.3125]))
    close(mix.mixture, torch.tensor([0.75, 1.0, -0.3125]))


@pytest.mark.parametrize("shape", [(400,), (3, 400)])
def test_energy_ratios_are_the_published_ones(shape):
    clips = torch.randn(shape, generator=seeded(1)) * 7
    others = torch.randn(shape, generator=seeded(2)) * 0.01
    # 20 log10(.8/.2), 20 log10(1/.5); float32 sums: 1e-3 dB.
    for mix, expected in [
        (mix_clips(clips, others), 12.0412),
        (mix_clips(clips, others, 1.0, 1.0), 0.0),
        (add_white_noise(clips, seeded()), 6.0206),
        (mix_at_snr(clips, others, 0.0), 0.0),
        (mix_at_snr(clips, others, -7.5), -7.5),
    ]:
        found = ratio_db(mix)
        close(found, torch.full_like(found, expected), rtol=0, atol=1e-3)
        check_conserved(mix)


def test_a_batch_equals_its_clips():
    clips = torch.randn(4, 300, generator=seeded(1))
    others = torch.randn(4, 300, generator=seeded(2))
    snr = torch.tensor([0.0, 3.0, 6.0, 9.0])
    batch = mix_at_snr(clips, others, snr)
    for i in range(4):
        single = mix_at_snr(clips[i], others[i], snr[i])
        for ours, alone in zip(batch, single, strict=True):
            close(ours[i], alone)


def test_white_noise_follows_the_seed():
    clips = torch.ones(2, 50)
    one, same, other = (add_white_noise(clips, seeded(k)) for k in (0, 0, 1))
    assert torch.equal(one.mixture, same.mixture)
    assert not torch.equal(one.mixture, other.mixture)


def test_components_are_not_changed_in_place():
    clips, others = torch.ones(2, 5), torch.ones(2, 5) * 3
    mix_clips(clips, others)
    assert clips.eq(1).all() and others.eq(3).all()


def test_gradients_reach_the_target():
    target = torch.randn(20, generator=seeded()).requires_grad_()
    mix_at_snr(target, torch.ones(20), 0.0).mixture.sum().backward()
    assert torch.isfinite(target.grad).all() and target.grad.abs().sum() > 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    samples=st.integers(16, 60),  # enough never to cancel by chance
    loudness=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    snr=st.floats(-40, 40),
)
def test_property_level_free_and_conserved(seed, samples, loudness, snr):
    # From 1e-30 to 1e30: squares of such samples leave float32's range.
    generator = seeded(seed)
    target = torch.randn(2, samples, generator=generator)
    noise = torch.randn(2, samples, generator=generator)
    mix = mix_at_snr(target, noise, snr)
    gains = [10.0**level for level in loudness]
    scaled = mix_at_snr(target * gains[0], noise * gains[1], snr)
    check_conserved(mix)
    close(ratio_db(mix), torch.full((2,), snr), rtol=0, atol=1e-2)
    # The level changes nothing but the last bits of a few divisions.
    for ours, theirs in zip(mix, scaled, strict=True):
        close(ours, theirs, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- silence


def test_silent_components_stay_silent():
    silence, clip = torch.zeros(2, 10), torch.ones(2, 10) * 0.3
    for mix in (mix_clips(clip, silence), mix_at_snr(clip, silence, 0.0)):
        assert mix.interferer.eq(0).all()
        close(mix.mixture, torch.ones(2, 10))
    mix = mix_clips(silence, clip)
    assert mix.target.eq(0).all()
    close(mix.mixture, torch.ones(2, 10))
    for part in mix_clips(silence, silence):
        assert part.eq(0).all()


def test_silence_in_a_batch_leaves_the_others_alone():
    clips = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    mix = add_white_noise(clips, seeded())
    check_conserved(mix)
    assert mix.target[0].eq(0).all() and mix.target[1].ne(0).all()


def test_components_that_cancel():
    wave = torch.tensor([1.0, -1.0])
    for part in mix_at_snr(wave, -wave, 0.0):
        assert torch.isfinite(part).all()


def test_peak_normalize():
    clips = torch.tensor([[0.1, -0.2], [0.0, 0.0], [50.0, 25.0]])
    expected = torch.tensor([[0.5, -1.0], [0.0, 0.0], [1.0, 0.5]])
    close(peak_normalize(clips), expected)


@pytest.mark.parametrize(
    "target, noise",
    [
        (torch.ones(3), torch.ones(4)),
        (torch.ones(2, 3), torch.ones(3)),
        (torch.ones(1, 2, 3), torch.ones(1, 2, 3)),
    ],
)
def test_bad_shapes(target, noise):
    with pytest.raises(ValueError, match="Expected .* but got"):
        mix_clips(target, noise)


# ----------------------------------------------------------------- length


def test_fit_length_by_hand():
    wave = torch.tensor([1.0, 2.0, 3.0])
    assert fit_length(wave, 2).tolist() == [1, 2]
    assert fit_length(wave, 3).tolist() == [1, 2, 3]
    assert fit_length(wave, 5).tolist() == [1, 2, 3, 0, 0]
    assert fit_length(wave, 7, loop=True).tolist() == [1, 2, 3, 1, 2, 3, 1]
    batch = torch.stack([wave, wave + 3])
    assert fit_length(batch, 4).tolist() == [[1, 2, 3, 0], [4, 5, 6, 0]]
    assert fit_length(torch.zeros(0), 2, seeded(), loop=True).tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 30),
    wanted=st.integers(1, 30),
    seed=st.integers(0, 2**31),
    loop=st.booleans(),
)
def test_property_fit_length_keeps_neighbours(length, wanted, seed, loop):
    wave = torch.arange(1, length + 1)
    fitted = fit_length(wave, wanted, seeded(seed), loop=loop)
    assert fitted.shape == (wanted,)
    if loop or wanted <= length:
        first = int(fitted[0]) - 1
        expected = (first + np.arange(wanted)) % length + 1
        assert fitted.tolist() == expected.tolist()
        if wanted <= length:
            assert fitted.diff().eq(1).all()
    else:
        assert fitted.tolist() == wave.tolist() + [0] * (wanted - length)


def test_every_offset_is_drawn():
    wave, generator = torch.arange(5), seeded()
    cut = {int(fit_length(wave, 3, generator)[0]) for _ in range(60)}
    looped = {int(fit_length(wave, 9, generator, True)[0]) for _ in range(60)}
    assert cut == {0, 1, 2}
    assert looped == {0, 1, 2, 3, 4}


# ------------------------------------------------------------------ files


def write(path, seconds=0.05, seed=0, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    sf.write(path, rng.uniform(-0.5, 0.5, int(seconds * rate)), rate)
    return path


@pytest.fixture
def noise_folder(tmp_path):
    for number in range(3):
        write(tmp_path / f"noise/n{number}.wav", seed=number)
    return tmp_path / "noise"


@pytest.mark.parametrize("inner", ["", "wham_noise"])
def test_wham_layout(tmp_path, inner):
    root = tmp_path / "wham"
    for split in ("tr", "cv", "tt"):
        for name in ("b.wav", "a.wav"):
            write(root / inner / split / name)
    for split, name in [("train", "tr"), ("valid", "cv"), ("test", "tt")]:
        expected = [root / inner / name / x for x in ("a.wav", "b.wav")]
        assert list_noise_files(root, split) == expected


def test_wham_layout_without_the_split_leaks_no_other(tmp_path):
    write(tmp_path / "tr/a.wav")
    with pytest.raises(UserError, match="wham_folder.*tt"):
        list_noise_files(tmp_path, "test")


def test_any_folder_of_audio(tmp_path):
    names = ["c/deep/z.flac", "b.wav", "a.ogg", "c/y.WAV"]
    for name in names:
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "._b.wav").write_text("no audio")
    for split in ("train", "valid", "test"):
        found = list_noise_files(tmp_path, split)
        assert found == sorted(tmp_path / name for name in names)


@pytest.mark.parametrize("folder", [None, "", "/nowhere/at/all", "."])
def test_no_noise(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme.txt").write_text("no audio")
    with pytest.raises(UserError, match="`wham_folder`") as error:
        list_noise_files(folder, "train")
    named = "audio files in ." if folder == "." else folder
    assert (named or "not set") in str(error.value)


# -------------------------------------------------- training contamination


def batch(clips=16, samples=200, seed=3):
    return torch.randn(clips, samples, generator=seeded(seed))


def test_kind_none_is_the_clip_at_full_scale():
    clean = batch()
    mix = TrainingContamination(["none"])(clean, seeded())
    assert mix.interferer.eq(0).all()
    close(mix.mixture, peak_normalize(clean))


def test_kind_clip_is_another_clip_of_the_batch():
    clean = batch()
    contaminate = TrainingContamination(["clip"], snr_db=[-3, 3])
    seen = set()
    for seed in range(30):
        mix = contaminate(clean, seeded(seed))
        check_conserved(mix)
        unit = torch.nn.functional.normalize(mix.interferer, dim=1)
        match = unit @ torch.nn.functional.normalize(clean, dim=1).T
        partner = match.argmax(1)
        # The interferer is exactly that clip, and never the clip itself.
        close(match.amax(1), torch.ones(16))
        assert partner.ne(torch.arange(16)).all()
        seen.add(int(partner[0]))
    assert len(seen) > 8


def test_a_batch_of_one_has_no_other_clip():
    mix = TrainingContamination(["clip"])(batch(1), seeded())
    assert mix.interferer.eq(0).all()


def test_snr_is_drawn_per_clip_in_its_range():
    clean = batch(200, 400)
    contaminate = TrainingContamination(["white_noise"], snr_db=[2.0, 12.0])
    ratio = ratio_db(contaminate(clean, seeded()))
    assert 1.999 < ratio.min() < 2.5 and 11.5 < ratio.max() < 12.001
    # Uniform: mean 7, standard error 10 / sqrt(12 * 200) = 0.2.
    assert abs(ratio.mean() - 7) < 0.8
    fixed = TrainingContamination(["white_noise"], snr_db=5)
    fives = torch.full((200,), 5.0)
    close(ratio_db(fixed(clean, seeded())), fives, rtol=0, atol=1e-3)


def test_kinds_come_with_their_probabilities():
    contaminate = TrainingContamination(["none", "white_noise"], [3, 1])
    mix = contaminate(batch(2000, 8), seeded())
    share = mix.interferer.ne(0).any(1).float().mean()
    # A quarter, standard error sqrt(.25 * .75 / 2000) = 0.01.
    assert abs(share - 0.25) < 0.04


def test_noise_folder_is_cut_and_looped(noise_folder):
    # 800 samples a file: 200 are cut, 2000 need three rounds.
    read = AudioCache()
    files = [read(path) for path in list_noise_files(noise_folder, "train")]
    contaminate = TrainingContamination(
        ["noise_folder"], snr_db=0.0, noise_folder=noise_folder
    )
    for samples in (200, 2000):
        mix = contaminate(batch(6, samples), seeded())
        check_conserved(mix)
        for clip in mix.interferer:
            found = [_is_part_of(clip, noise) for noise in files]
            assert sum(found) == 1


def _is_part_of(clip, noise):
    """Whether the clip is a scaled stretch of the (repeated) noise."""
    looped = torch.cat([noise] * (len(clip) // len(noise) + 2))
    parts = looped.unfold(0, len(clip), 1)
    match = torch.cosine_similarity(parts, clip[None], dim=1)
    return bool(match.max() > 0.9999)


def test_contamination_follows_the_generator(noise_folder):
    contaminate = TrainingContamination(
        ["none", "clip", "white_noise", "noise_folder"],
        snr_db=[0, 10],
        noise_folder=noise_folder,
    )
    torch.manual_seed(1)
    first = contaminate(batch(), seeded(5))
    torch.manual_seed(2)
    again = contaminate(batch(), seeded(5))
    other = contaminate(batch(), seeded(6))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.mixture, other.mixture)


def test_noise_files_are_loaded_for_their_clips_only(noise_folder):
    loaded = []

    def audio(path):
        loaded.append(path)
        return torch.ones(10)

    contaminate = TrainingContamination(
        ["none", "noise_folder"], [0.5, 0.5], 0.0, noise_folder, audio
    )
    mix = contaminate(batch(20), seeded())
    assert len(loaded) == mix.interferer.ne(0).any(1).sum()
    assert 0 < len(loaded) < 20


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kinds": ["clip", "music"]}, "kinds.*music"),
        ({"kinds": []}, "kinds"),
        ({"kinds": ["clip"], "probs": [0.5, 0.5]}, "`probs`.*clip"),
        ({"kinds": ["clip", "none"], "probs": [-1, 2]}, "`probs`"),
        ({"kinds": ["clip"], "probs": [0.0]}, "`probs`"),
        ({"kinds": ["clip"], "probs": [float("nan")]}, "`probs`"),
        ({"snr_db": [5, 0]}, "`snr_db`.*low, high"),
        ({"snr_db": [5, 6, 7]}, "`snr_db`"),
        ({"kinds": ["noise_folder"]}, "`wham_folder`"),
    ],
)
def test_contamination_mistakes(options, words):
    with pytest.raises(UserError, match=words):
        TrainingContamination(**options)
