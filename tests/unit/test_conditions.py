"""The conditions of an evaluation: published ratios, draws that stay."""

import pickle

import pytest
import soundfile as sf
import torch

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.evaluation.conditions import (
    CONDITIONS,
    build_condition,
    check_conditions,
)
from speechbrain_lmac.utils.checks import UserError

SAMPLES = 600
#: Those of whole clips; events that are placed are in test_when.py.
WHOLE = CONDITIONS[:7]
#: Those of two clips each, and of two partners.
OF_PAIRS = ("mixtures", "pairs", "named")
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


def load(path):
    """An AudioCache; of a clip the path is the seed of the sound."""
    if not str(path).isdigit():
        return AudioCache()(path)
    return torch.randn(SAMPLES, generator=seeded(int(path)))


def manifest(count=12, classes=3):
    return [
        {
            "id": f"5-{i}-A-{i % classes}",
            "wav": str(i),
            "class_string": f"class{i % classes}",
            "num_samples": SAMPLES,
        }
        for i in range(count)
    ]


@pytest.fixture
def folders(tmp_path):
    """Speech as in LJSpeech, and noise as in WHAM!."""
    for place, names, rate in (
        ("speech/wavs", ("LJ0", "LJ1", "LJ2", "LJ3", "LJ4"), 22050),
        ("noise/tt", ("n0", "n1", "n2"), 16000),
    ):
        (tmp_path / place).mkdir(parents=True)
        for seed, name in enumerate(names):
            samples = rate // (10 if "LJ" in name else 20)
            wav = 0.1 * torch.randn(samples, generator=seeded(seed))
            sf.write(tmp_path / place / f"{name}.wav", wav.numpy(), rate)
    return {
        "speech_folder": tmp_path / "speech",
        "wham_folder": tmp_path / "noise",
    }


def build(name, clips, folders, seed=7, **options):
    return build_condition(name, clips, load, seed, **folders, **options)


@pytest.mark.parametrize("name", WHOLE)
def test_every_condition_keeps_the_target(name, folders):
    clips = manifest()
    built = build(name, clips, folders)
    assert len(built) == (24 if name in OF_PAIRS else 12)
    assert len({clip.id for clip in built}) == len(built)
    by_id = {clip["id"]: clip for clip in clips}
    for clip in built:
        row = by_id[clip.clip_id]
        assert clip.class_string == row["class_string"]
        assert clip.id.startswith(clip.clip_id)
        mix = clip.make()
        assert mix.mixture.shape == (clip.num_samples,) == (SAMPLES,)
        check_conserved(mix)
        match = torch.cosine_similarity(mix.target, load(row["wav"]), dim=0)
        close(match, torch.tensor(1.0))
    # They travel to other processes.
    copy = pickle.loads(pickle.dumps(clip))
    assert torch.equal(copy.make().mixture, mix.mixture)


@pytest.mark.parametrize(
    "name, expected",
    [("mixtures", 12.0412), ("speech", 12.0412), ("white_noise", 6.0206)]
    + [("wham", 0.0), ("pairs", 0.0), ("named", 0.0)],
)
def test_conditions_have_the_published_ratios(name, expected, folders):
    for clip in build(name, manifest(), folders):
        close(ratio_db(clip.make()), torch.tensor(expected), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", WHOLE)
def test_draws_depend_on_seed_and_clip_alone(name, folders):
    clips = manifest()
    forth = {c.id: c.make().mixture for c in build(name, clips, folders)}
    torch.manual_seed(2)
    back = build(name, clips[::-1], folders)
    assert forth.keys() == {c.id for c in back}
    # Of fewer clips there are other partners, but no other noises.
    some = build(name, clips[3:7], folders) if name not in OF_PAIRS else []
    for clip in (*back, *some):
        assert torch.equal(clip.make().mixture, forth[clip.id])
    if name != "clean":
        other = build(name, clips, folders, seed=1)
        whole = torch.stack([clip.make().mixture for clip in other])
        assert not torch.equal(whole, torch.stack([*forth.values()]))


def test_choices_are_frozen(folders):
    # The same on every machine and in every version: results that were
    # computed before stay comparable.
    clips = manifest()
    found = {
        name: [clip.id for clip in build(name, clips, folders)[:4]]
        for name in ("mixtures", "speech", "wham")
    }
    assert found == FROZEN_IDS


FROZEN_IDS = {
    "mixtures": [
        "5-0-A-0+5-7-A-1",
        "5-0-A-0+5-4-A-1",
        "5-1-A-1+5-5-A-2",
        "5-1-A-1+5-6-A-0",
    ],
    "speech": ["5-0-A-0+LJ0", "5-1-A-1+LJ4", "5-2-A-2+LJ3", "5-3-A-0+LJ0"],
    "wham": ["5-0-A-0+n0", "5-1-A-1+n0", "5-2-A-2+n2", "5-3-A-0+n2"],
}


def test_partners_are_of_another_class_and_distinct(folders):
    clips = manifest(30)
    wav_of = {clip["id"]: clip["wav"] for clip in clips}
    class_of = {clip["id"]: clip["class_string"] for clip in clips}
    partners = {}
    for clip in build("mixtures", clips, folders, n_mixtures=3):
        partner = clip.id.removeprefix(clip.clip_id + "+")
        assert class_of[partner] != clip.class_string
        assert clip.interferer == f"{class_of[partner]} ({partner})"
        partners.setdefault(clip.clip_id, set()).add(partner)
        match = torch.cosine_similarity(
            clip.make().interferer, load(wav_of[partner]), dim=0
        )
        close(match, torch.tensor(1.0))
    assert all(len(found) == 3 for found in partners.values())
    # Chance, not always the same few: 90 draws from 30 clips.
    assert len(set().union(*partners.values())) > 20


def test_more_mixtures_keep_the_first_ones(folders):
    two = {c.id for c in build("mixtures", manifest(), folders)}
    four = build("mixtures", manifest(), folders, n_mixtures=4)
    assert two < {c.id for c in four}


def test_partners_of_another_length_are_cut_or_padded():
    lengths = {"a": 4, "b": 6, "c": 3}
    clips = [
        {"id": k, "wav": k, "class_string": k, "num_samples": n}
        for k, n in lengths.items()
    ]
    built = build_condition(
        "mixtures", clips, lambda wav: torch.ones(lengths[wav]), 0
    )
    for clip in built:
        mix = clip.make()
        assert len(mix.mixture) == clip.num_samples == lengths[clip.clip_id]
        partner = lengths[clip.id.split("+")[1]]
        present = min(partner, clip.num_samples)
        assert mix.interferer.ne(0).sum() == present
        assert mix.interferer[:present].ne(0).all()


def test_a_silent_clip_gives_no_nan(folders):
    rows = manifest(2, 2)
    for name in WHOLE:
        options = {"n_mixtures": 1} if name in OF_PAIRS else {}
        built = build_condition(
            name, rows, lambda p: torch.zeros(SAMPLES), 0, **folders, **options
        )
        for part in built[0].make():
            assert torch.isfinite(part).all()


def test_stale_manifest():
    rows = manifest(1)
    rows[0]["num_samples"] = 5
    (clip,) = build_condition("clean", rows, load, 0)
    with pytest.raises(UserError, match="5 samples in 0 .*600"):
        clip.make()


def test_mistakes_before_any_work(tmp_path, folders):
    with pytest.raises(UserError, match="`n_mixtures`"):
        build("mixtures", manifest(4, 1), folders)
    check_conditions(CONDITIONS, **folders)
    with pytest.raises(UserError, match="'rain'"):
        check_conditions(["clean", "rain"])
    (tmp_path / "silent/wavs").mkdir(parents=True)
    for folder in (None, "", tmp_path / "missing", tmp_path / "silent"):
        with pytest.raises(UserError, match="`speech_folder`"):
            check_conditions(["speech"], folder, folders["wham_folder"])
        with pytest.raises(UserError, match="`wham_folder`"):
            check_conditions(["wham"], folders["speech_folder"], folder)
