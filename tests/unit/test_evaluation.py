"""The evaluator: what a row holds, and what it may not depend on."""

import copy

import numpy as np
import pytest
import torch

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.audio import read_audio, write_wav
from speechbrain_lmac.data.mixtures import mix_clips
from speechbrain_lmac.evaluation.conditions import ConditionClip
from speechbrain_lmac.evaluation.evaluator import Evaluator, row_key
from speechbrain_lmac.evaluation.judge import Judge, load_judge
from speechbrain_lmac.evaluation.methods import (
    PROTOCOLS,
    SIMPLE_METHODS,
    check_methods,
)
from speechbrain_lmac.evaluation.scoring import ROUND_TRIP, heard_metrics
from speechbrain_lmac.evaluation.settings import EvaluationSettings
from speechbrain_lmac.features import FrontEnd, build_frontend
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.utils.checks import UserError

RATE = 16000
METHODS = ("lmac", *SIMPLE_METHODS)
LABELS = {"dog": 0, "rain": 1, "siren": 2}
SEPARATION = {
    *("target_kept", "interferer_kept", "SI-SDR_gain"),
    *("mask_auc", "mask_auc_bins"),
}


def sound(kind, seconds, seed=0):
    """A tone, noise or clicks with a peak of 1."""
    generator = torch.Generator().manual_seed(seed)
    n = round(seconds * RATE)
    time = torch.arange(n) / RATE
    if kind == "dog":
        wav = torch.sin(2 * torch.pi * 440 * (1 + seed / 9) * time)
    elif kind == "rain":
        wav = torch.randn(n, generator=generator)
    else:
        wav = torch.zeros(n)
        wav[seed :: RATE // 10] = 1.0
    return wav / wav.abs().max()


#: Several clips of one length, so that batches differ; the shortest, a long
#: and a silent one.
CLIPS = [
    ("dog", 1.0),
    ("rain", 1.0),
    ("siren", 0.2),
    ("siren", 1.0),
    ("dog", 1.0),
    ("rain", 7.0),
    ("silence", 1.0),
    ("siren", 1.0),
]


def make_clips(contaminated, clips=CLIPS):
    built = []
    for k, (kind, seconds) in enumerate(clips):
        if kind == "silence":
            target, kind = torch.zeros(round(seconds * RATE)), "rain"
        else:
            target = sound(kind, seconds, seed=k)
        other = "dog" if kind == "rain" else "rain"
        interferer = sound(other, seconds, seed=k + 50)
        if not contaminated:
            interferer = torch.zeros_like(target)
        mixture = mix_clips(target, interferer)
        built.append(
            ConditionClip(
                f"clip{k}",
                f"clip{k}",
                kind,
                other,
                len(target),
                lambda made=mixture: made,
            )
        )
    return built


@pytest.fixture(scope="module")
def models():
    """A random classifier with decided answers; by domain, parts for it."""
    torch.manual_seed(0)
    frontend = FrontEnd()
    classifier = SlimCnn(n_classes=3, channels=(8, 8, 16, 16, 32))
    wavs = torch.stack([sound(kind, 1.0) for kind in LABELS])
    classifier.train()
    with torch.no_grad():
        for _ in range(30):  # batch-norm statistics
            classifier(frontend.features(wavs))
        classifier.linear.weight.mul_(3)
    classifier.freeze()
    made = {}
    for domain in ("stft", "mel"):
        frontend = build_frontend(domain)
        decoder = build_decoder(classifier, frontend, (16, 16, 8, 8, 8))
        with torch.no_grad():
            decoder.head.weight.mul_(4)  # masks from nearly 0 to nearly 1
        made[domain] = frontend, classifier, decoder
    return made


@pytest.fixture(scope="module")
def evaluate(models):
    """Runs the evaluator; returns the stats and every scored batch."""

    def run(
        contaminated=False,
        clips=None,
        domain="stft",
        methods=METHODS,
        decoders=None,
        judge=None,
        **settings,
    ):
        settings = EvaluationSettings(**settings)
        evaluator = Evaluator(
            *models[domain], methods, settings, decoders, judge=judge
        )
        scored = {}

        def keep(method, clip, k, mixture, values):
            scored[method, clip.id] = (k, mixture, values)

        stats = evaluator.evaluate(
            clips or make_clips(contaminated),
            LABELS,
            contaminated,
            keep,
            progressbar=False,
        )
        return stats, scored

    return run


@pytest.fixture(scope="module", params=["stft", "mel"])
def mixed(request, evaluate):
    return evaluate(contaminated=True, domain=request.param)


@pytest.fixture(scope="module")
def clean(evaluate):
    return evaluate()


def table(stats):
    """Metric values by clip and metric; NaN becomes None."""
    return {
        row["id"]: {k: v for k, v in row.items() if k not in ("id", "clip")}
        for row in stats.rows()
    }


def assert_same_rows(one, other, atol):
    assert one.keys() == other.keys()
    for clip, row in one.items():
        assert row.keys() == other[clip].keys()
        for name, value in row.items():
            assert value == pytest.approx(
                other[clip][name], abs=atol, rel=atol, nan_ok=True
            ), (clip, name)


# --- methods ---


def test_all_ones_changes_nothing(mixed, models):
    stats, scored = mixed
    ones = stats["all_ones"]
    for name in ("AI", "AD", "AG"):
        assert (ones.values(name) == 0).all(), name
        assert (ones.values(f"{name}_wav") == 0).all(), name
    for name in ("Fid-In", "Fid-In_wav", "MM", "agreement_wav"):
        assert (ones.values(name) == 1).all(), name


def test_all_ones_takes_all_away(evaluate, models):
    """FF = p - f(silence): nothing is left in the masked-out clip."""
    _, classifier, _ = models["stft"]
    stats, scored = evaluate(methods=["all_ones"])
    ones = stats["all_ones"]
    for clip in make_clips(False):
        k, _, values = scored["all_ones", clip.id]
        frames = values.mask.shape[1]
        silence = classifier(torch.zeros(1, frames, 80)).logits.softmax(1)[0]
        probs = values.probs[k]
        target = probs.argmax()
        expected = (probs[target] - silence[target]).item()
        row = ones.ids.index(clip.id)
        assert ones.values("FF")[row] == pytest.approx(expected, abs=1e-5)
        assert ones.values("FF_wav")[row] == pytest.approx(expected, abs=1e-4)


def test_random_masks_depend_on_clip_and_seed_alone(evaluate):
    def masks(**options):
        _, scored = evaluate(methods=["random"], **options)
        return {key: values.mask[k] for key, (k, _, values) in scored.items()}

    one, four = masks(batch_size=1), masks(batch_size=4)
    reverse = masks(clips=make_clips(False)[::-1])
    other = masks(seed=7)
    for key, mask in one.items():
        for again in (four[key], reverse[key]):
            # The means of a clip differ by rounding, at most one bin by it.
            assert (again != mask).sum() <= 1
        assert (other[key] != mask).float().mean() > 0.1
    assert (one["random", "clip0"] != one["random", "clip1"]).any()


def test_ideal_masks_single_out_the_target(evaluate):
    stats, _ = evaluate(contaminated=True, methods=["ideal", "all_ones"])
    defined = [i != "clip6" for i in stats["ideal"].ids]  # silent target
    ideal, ones = stats["ideal"], stats["all_ones"]
    kept = ideal.values("target_kept") - ideal.values("interferer_kept")
    assert (kept[defined] > 0.2).all()
    assert (ideal.values("SI-SDR_gain")[defined] > 1).all()
    for name in ("target_kept", "interferer_kept"):
        values = ones.values(name)[defined]
        assert values == pytest.approx(np.ones(7), abs=1e-5)
    assert ones.values("SI-SDR_gain")[defined] == pytest.approx(
        np.zeros(7), abs=1e-3
    )


def test_an_unknown_method_lists_the_known(models):
    with pytest.raises(UserError, match="'lime'.*lmac, lmac_td.*random"):
        check_methods(["lmac", "lime"])
    with pytest.raises(UserError, match="'lime'"):
        Evaluator(*models["stft"], ["lime"])


# --- what is computed where ---


def test_lengths_from_a_fifth_of_a_second_to_seven(mixed):
    _, scored = mixed
    for clip in make_clips(True):
        for method in METHODS:
            k, _, values = scored[method, clip.id]
            for wavs in (values.masked_in_wavs, values.masked_out_wavs):
                assert wavs[k].shape == (clip.num_samples,)
                assert torch.isfinite(wavs[k]).all()
            assert values.mask.shape[1] == clip.num_samples // 186 + 1


def test_a_silent_clip_is_explained_without_nan(clean):
    stats, scored = clean
    row = table(stats["lmac"])["clip6"]
    # Nothing can be said of what sounds add to a clip that is none.
    undefined = {name for name, x in row.items() if not np.isfinite(x)}
    assert undefined == {"sum", "invented"}
    k, _, values = scored["lmac", "clip6"]
    assert not values.masked_in_wavs[k].any()


def test_accuracy_is_that_of_the_decision(clean):
    stats, scored = clean
    for clip in make_clips(False):
        k, _, values = scored["lmac", clip.id]
        right = values.probs[k].argmax().item() == LABELS[clip.class_string]
        for method in stats.values():
            assert method.values("accuracy")[method.ids.index(clip.id)] == right


# --- what a score may not depend on ---


def test_scores_do_not_depend_on_the_batch_size(evaluate):
    one, _ = evaluate(contaminated=True, batch_size=1)
    four, _ = evaluate(contaminated=True, batch_size=4)
    for method in METHODS:
        assert_same_rows(table(one[method]), table(four[method]), 1e-3)


# --- a row by hand ---


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def gini(values):
    values = np.sort(values.ravel())
    n = len(values)
    index = 2 * np.arange(1, n + 1) - n - 1
    return (index * values).sum() / (n * values.sum())


class Twin:
    """One clip's row, from the wave by torch.stft and NumPy."""

    n_fft, win, hop = 1024, 372, 186  # 23.2199 ms and 11.6099 ms at 16 kHz

    def __init__(self, frontend, classifier, decoder):
        self.matrix = frontend.mel_matrix.double().numpy()
        self.classifier, self.decoder = classifier, decoder
        self.window = torch.hamming_window(self.win)

    def stft(self, wav):
        found = torch.stft(
            wav,
            self.n_fft,
            self.hop,
            self.win,
            self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return found.numpy().astype(np.complex128).T

    def istft(self, stft, samples):
        return torch.istft(
            torch.from_numpy(stft.T.astype(np.complex64)),
            self.n_fft,
            self.hop,
            self.win,
            self.window,
            length=samples,
        )

    def mel(self, log_magnitude):
        return np.log1p(np.expm1(log_magnitude) @ self.matrix)

    def output(self, mel):
        return self.classifier(torch.from_numpy(mel).float()[None])

    def probs(self, mel):
        return softmax(self.output(mel).logits[0].double().numpy())

    def changes(self, p, o, q):
        c = p.argmax()
        return {
            "AI": 100.0 * (o[c] > p[c]),
            "AD": 100 * max(p[c] - o[c], 0) / p[c],
            "AG": 100 * max(o[c] - p[c], 0) / (1 - p[c]),
            "FF": p[c] - q[c],
            "Fid-In": float(o.argmax() == c),
        }

    @torch.no_grad()
    def row(self, wav):
        stft = self.stft(wav)
        x = np.log1p(np.abs(stft))
        output = self.output(self.mel(x))
        logits = self.decoder(output.hidden, len(x))[0].double().numpy()
        mask = 1 / (1 + np.exp(-logits))
        p = self.probs(self.mel(x))
        row = self.changes(
            p,
            self.probs(self.mel(mask * x)),
            self.probs(self.mel(x - mask * x)),
        )
        heard = []
        for m in (mask, 1 - mask):
            sound = self.istft(
                np.expm1(m * x) * np.exp(1j * np.angle(stft)), len(wav)
            )
            heard.append(
                self.probs(self.mel(np.log1p(np.abs(self.stft(sound)))))
            )
        row |= {f"{k}_wav": v for k, v in self.changes(p, *heard).items()}
        share = mask / mask.sum()
        row |= {
            "SPS": gini(mask),
            "COMP": -(share * np.log(share)).sum(),
            "MM": mask.mean(),
        }
        return row


@pytest.mark.parametrize("kind, seconds", [("dog", 0.7), ("rain", 1.3)])
def test_a_row_by_hand(models, evaluate, tmp_path, kind, seconds):
    file = tmp_path / "clip.wav"
    write_wav(file, 0.3 * sound(kind, seconds, 3), RATE)
    wav = read_audio(file)
    mixture = mix_clips(wav, torch.zeros_like(wav))
    clip = ConditionClip("a", "a", kind, "none", len(wav), lambda: mixture)
    stats, _ = evaluate(clips=[clip], methods=["lmac"])
    found = table(stats["lmac"])["a"]
    expected = Twin(*models["stft"]).row(wav)
    assert expected.keys() <= found.keys()
    for name, value in expected.items():
        # Percentages to 0.05 points, the others to four digits.
        percent = name.startswith(("AI", "AD", "AG"))
        assert found[name] == pytest.approx(
            value, abs=0.05 if percent else 2e-4, rel=1e-3
        ), name


def test_small_changes_are_none_as_heard():
    p = torch.tensor([[0.7, 0.3]])
    near = p + torch.tensor([[0.4, -0.4]]) * ROUND_TRIP
    far = p + torch.tensor([[4.0, -4.0]]) * ROUND_TRIP
    target = torch.tensor([0])
    assert heard_metrics(p, near, p, target)["AI_wav"] == 0
    assert heard_metrics(p, far, p, target)["AI_wav"] == 100


# --- protocols ---


def test_equal_mean_compares_masks_of_one_mean(evaluate):
    stats, _ = evaluate(methods=["lmac", "saliency"], protocols=["equal_mean"])
    ours = stats["lmac@equal_mean"].values("MM")
    theirs = stats["saliency@equal_mean"].values("MM")
    heard = theirs > 0  # the gradient of silence is flat: an empty mask
    assert heard.sum() >= 6
    np.testing.assert_allclose(ours[heard], theirs[heard], rtol=0.02)


def test_loudness_leaves_mask_and_rest_alone(evaluate):
    stats, _ = evaluate(
        contaminated=True,
        methods=["lmac"],
        protocols=["published", "loudness"],
    )
    plain, loud = stats["lmac"], stats["lmac@loudness"]
    for name in ("MM", "SPS", "COMP", "FF", "SI-SDR_gain"):
        np.testing.assert_allclose(
            plain.values(name), loud.values(name), atol=1e-3
        )
    changed = ("AI", "AD", "AG", "AI_wav", "AD_wav", "AG_wav")
    assert any(
        not np.allclose(plain.values(name), loud.values(name))
        for name in changed
    )


def test_curves_are_scored_on_request(evaluate):
    stats, _ = evaluate(
        methods=["lmac", "random"],
        protocols=["published", "loudness"],
        curve_steps=4,
    )
    for name in ("lmac", "random"):
        for column in ("insertion_auc", "deletion_auc"):
            values = stats[name].values(column)
            assert ((values >= 0) & (values <= 1)).all()
    # Only the order of the bins counts, which no protocol changes.
    for column in ("insertion_auc", "deletion_0.25"):
        np.testing.assert_array_equal(
            stats["lmac"].values(column), stats["lmac@loudness"].values(column)
        )
    points = [stats["lmac"].values(f"insertion_{k / 4:g}") for k in range(5)]
    area = (sum(points) - (points[0] + points[-1]) / 2) / 4
    np.testing.assert_allclose(
        area, stats["lmac"].values("insertion_auc"), atol=1e-6
    )


# --- interrupted and taken up again ---


class Interrupt(Exception):
    pass


def test_whole_batches_are_not_scored_again(models, evaluate):
    options = {"methods": ["lmac", "saliency"], "batch_size": 2}
    whole, _ = evaluate(**options)
    settings = EvaluationSettings(batch_size=2)
    evaluator = Evaluator(*models["stft"], options["methods"], settings)
    kept, seen = {}, []

    def stop(stats):
        kept.update(stats)
        if len(stats["lmac"]) >= 3:
            raise Interrupt

    clips = make_clips(False)
    with pytest.raises(Interrupt):
        evaluator.evaluate(clips, LABELS, False, None, False, on_batch=stop)
    before = {key: list(stats.ids) for key, stats in kept.items()}
    again = evaluator.evaluate(
        clips,
        LABELS,
        False,
        lambda key, clip, *rest: seen.append((key, clip.id)),
        progressbar=False,
        done=kept,
    )
    assert 3 <= len(before["lmac"]) < len(clips)
    for key, ids in before.items():
        assert not {(key, clip) for clip in ids} & set(seen)
        for name in whole[key].names:
            np.testing.assert_array_equal(
                again[key].values(name), whole[key].values(name)
            )


def test_a_new_method_joins_finished_rows(evaluate, models):
    done, _ = evaluate(methods=["lmac"])
    expected = table(done["lmac"])
    seen = set()
    stats = Evaluator(*models["stft"], ["lmac", "all_ones"]).evaluate(
        make_clips(False),
        LABELS,
        False,
        lambda key, *rest: seen.add(key),
        False,
        done=done,
    )
    assert seen == {"all_ones"}
    assert_same_rows(table(stats["lmac"]), expected, 0)
    assert len(stats["all_ones"]) == len(stats["lmac"])


def test_a_clip_is_seen_again_but_not_counted_twice(evaluate, models):
    done, _ = evaluate(methods=["lmac"])
    seen = []
    stats = Evaluator(
        *models["stft"], ["lmac"], EvaluationSettings(batch_size=1)
    ).evaluate(
        make_clips(False),
        LABELS,
        False,
        lambda key, clip, *rest: seen.append(clip.id),
        False,
        done=done,
        revisit={("lmac", "clip1")},
    )
    assert seen == ["clip1"] and len(stats["lmac"]) == len(CLIPS)


# --- masks that explain nothing, further decoders, variants ---


class Fixed(torch.nn.Module):
    """A decoder whose masks are given: one value everywhere."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def mask(self, output, target, spectrum):
        return torch.full(spectrum.view.shape, self.value)


def test_empty_and_nan_masks_are_counted(evaluate):
    # The top half of an empty mask is half of the bins, not empty.
    protocols = [name for name in PROTOCOLS if name != "equal_area"]
    stats, _ = evaluate(
        contaminated=True,
        methods=["lmac_ft", "l2i"],
        decoders={"lmac_ft": Fixed(0.0), "l2i": Fixed(float("nan"))},
        protocols=protocols,
        curve_steps=2,
    )
    for protocol in protocols:
        empty = stats[row_key("lmac_ft", protocol)]
        undefined = stats[row_key("l2i", protocol)]
        assert empty.values("empty_mask").all()
        assert not empty.values("nan_mask").any()
        assert np.isnan(empty.values("SPS")).all()
        assert undefined.values("nan_mask").all()
        for name in ("AI", "FF", "Fid-In", "MM", "mask_auc", "AD_wav"):
            assert np.isnan(undefined.values(name)).all(), name


def test_a_missing_decoder_is_named(models):
    with pytest.raises(UserError, match="l2i needs.*--l2i_folder"):
        Evaluator(*models["stft"], ["l2i"])


def test_speechbrains_ad_stands_beside_the_definition(evaluate):
    plain, _ = evaluate(methods=["lmac"])
    stats, _ = evaluate(methods=["lmac"], ad_variant="speechbrain")
    assert "AD_speechbrain" not in plain["lmac"].names
    np.testing.assert_array_equal(
        plain["lmac"].values("AD"), stats["lmac"].values("AD")
    )
    assert (
        stats["lmac"].values("AD_speechbrain") != stats["lmac"].values("AD")
    ).any()


def test_sounds_are_scored_on_request_alone(evaluate):
    whole, _ = evaluate(contaminated=True, methods=["lmac"])
    spectra, _ = evaluate(contaminated=True, methods=["lmac"], heard=False)
    left = set(whole["lmac"].names) - set(spectra["lmac"].names)
    heard = {n for n in whole["lmac"].names if n.endswith("_wav")}
    assert left == heard | {"sum", "invented"}
    for name in spectra["lmac"].names:
        np.testing.assert_array_equal(
            spectra["lmac"].values(name), whole["lmac"].values(name)
        )


# --- another classifier ---


class Loud(AudioClassifier):
    """Says sea waves at the odds exp(mean of the sound), else dog."""

    n_classes, labels = 2, ["Sea waves", "dog"]

    def compute(self, features):
        mean = features.mean(1)
        return ClassifierOutput(torch.stack([mean, 0 * mean], 1), mean, ())


class Samples(torch.nn.Module):
    """Hands sounds on as they are."""

    def __init__(self, sample_rate):
        super().__init__()
        self.sample_rate = sample_rate

    def features(self, wavs):
        self.heard = wavs.shape
        return wavs


def test_a_judge_by_hand():
    judge = Judge(Samples(RATE), Loud(), ["dog", "sea_waves", "rain"], RATE)
    sounds = torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0])[:, None].expand(5, 64)
    # Agreed; the judge, then the classifier decides otherwise; no such class.
    target = torch.tensor([1, 1, 1, 2, 1])
    decided = torch.tensor([True, True, False, True, True])
    verdict = judge.hear(sounds, target, decided)
    assert verdict.clips.tolist() == [0, 4]
    rest_probs, _ = verdict.of(-sounds)
    found = verdict.values(
        sounds * torch.tensor([[2.0]] * 4 + [[-2.0]]), rest_probs
    )
    p = {x: 1 / (1 + np.exp(-x)) for x in (1, 2, -1, -2)}
    for name, expected in {
        "judge_keeps": (1, 0),
        "judge_FF": (p[1] - p[-1],) * 2,
        "judge_gain": (p[2] - p[1], p[-2] - p[1]),
    }.items():
        values = found[name].tolist()
        assert np.isnan(values[1:4]).all()
        assert (values[0], values[4]) == pytest.approx(expected, abs=1e-6)
    nothing = verdict.values(sounds * torch.nan, rest_probs)
    assert nothing["judge_keeps"].isnan().all()


def test_a_judge_of_another_rate_or_of_other_classes():
    judge = Judge(Samples(RATE // 4), Loud(), ["dog"], RATE)
    judge.answer(torch.ones(2, RATE), torch.tensor([1, 1]))
    assert judge.frontend.heard == (2, RATE // 4)
    with pytest.raises(UserError, match=r"`judge`: it knows Sea waves, dog"):
        Judge(Samples(RATE), Loud(), ["rain"], RATE)
    with pytest.raises(UserError, match=r"`judge`: there is no"):
        load_judge("/nowhere")


def test_a_classifier_that_judges_itself(models, evaluate):
    """As heard by the explained one, in another order of its classes."""
    frontend, classifier, _ = models["stft"]
    other, order = copy.deepcopy(classifier), [2, 0, 1]
    with torch.no_grad():
        for part in other.linear.parameters():
            part.copy_(part[order])
    other.labels = [list(LABELS)[k].upper() for k in order]
    judge = Judge(frontend, other, list(LABELS), RATE)
    options = {"methods": ["lmac"], "protocols": ["published", "loudness"]}
    stats, _ = evaluate(True, judge=judge, **options)
    for row in stats.values():
        for name, own in (("keeps", "Fid-In_wav"), ("FF", "FF_wav")):
            np.testing.assert_allclose(
                row.values(f"judge_{name}"), row.values(own), atol=1e-5
            )
