"""Rows of results, and a results folder as an evaluation leaves it."""

import json

import torch

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.metrics.stats import Summary
from speechbrain_lmac.report.figures.pictures import (
    mask_picture,
    spectrogram_picture,
    write_picture,
)
from speechbrain_lmac.report.tables import row_from_summaries, write_csv

NAN = float("nan")
RATE = 16000
CLASSES = ("dog", "rain")


def make_row(method, condition="clean", n_clips=8, **means):
    """Make a row with intervals of the mean - 1 and + 1; "_" stands for "-"."""
    meta = {"dataset": "ESC-10", "condition": condition, "mask_domain": "stft"}
    meta |= {"method": method, "n_clips": n_clips, "accuracy": 0.75}
    names = {"Fid_In": "Fid-In", "SI_SDR_gain": "SI-SDR_gain"}
    summaries = {
        names.get(name, name): Summary(mean, mean - 1, mean + 1, n_clips, 0)
        for name, mean in means.items()
    }
    return row_from_summaries(meta, summaries)


def golden_rows():
    """Four rows with a bold, an undefined and a blank cell."""
    rows = [
        make_row("lmac", AD=2, SPS=0.5, MM=0.25),
        make_row("a|b", AD=4, SPS=NAN),
        make_row("all_ones", AD=0),
        make_row("lmac", "noise", FF_wav=0.1),
    ]
    rows[0]["SPS_undefined"], rows[1]["SPS_undefined"] = 2, 8
    return rows


def make_test(method, metric, difference, p_holm, **changes):
    """Make a row of a paired comparison that belongs to `make_row`."""
    names = {"dataset": "ESC-10", "condition": "clean", "mask_domain": "stft"}
    names |= {"protocol": "published", "method": method, "metric": metric}
    found = {"difference": difference, "p": p_holm / 5, "p_holm": p_holm}
    return {**names, **found, **changes}


def noise(seconds, seed):
    """Noise under a slow envelope."""
    generator = torch.Generator().manual_seed(seed)
    wave = torch.randn(int(seconds * RATE), generator=generator)
    return 0.2 * wave * torch.linspace(0, 3, len(wave)).sin().abs()


def write_example(
    folder, condition, clip, methods, /, seconds=1.0, seed=0, **changes
):
    """A clip and its explanations by the layout on disk."""
    place = folder / condition / clip
    wave = noise(seconds, seed)
    for k, method in enumerate(methods):
        here = place / method
        for name, gain in (("explanation", 0.8), ("masked_out", 0.2)):
            here.mkdir(parents=True, exist_ok=True)
            write_wav(here / f"{name}.wav", gain * wave, RATE)
        mask = torch.rand(80, 60, generator=torch.Generator().manual_seed(k))
        write_picture(here / "mask.png", mask_picture(mask))
        facts = {
            **{"clip_id": clip, "condition": condition, "method": method},
            **{"true_label": "dog", "label": "dog", "sample_rate": RATE},
            **{"probability": 0.9, "probability_masked_out": 0.1},
            "probability_masked_in": 0.8 - 0.1 * k,
            "mask_mean": 0.25,
            **changes,
        }
        (here / "explanation.json").write_text(json.dumps(facts))
    write_wav(place / "original.wav", wave, RATE)
    amplitude = wave[: 80 * 60].view(80, 60).abs()
    write_picture(place / "spectrogram.png", spectrogram_picture(amplitude))
    if condition != "clean":
        write_wav(place / "target.wav", wave, RATE)
    return place


def write_results_folder(folder, n_clips=6, methods=("lmac", "ig"), **options):
    """Tables, a figure and clips of two conditions and two classes.

    Every third clip is decided wrongly; the drop of clip k is 0.1 k, and so
    the first method's worst case is the last clip.
    """
    rows = [
        make_row(method, condition, AI=10.0 + k, AD=5.0)
        for condition in ("clean", "mixtures")
        for k, method in enumerate(methods)
    ]
    write_csv(rows, folder / "results.csv")
    picture = mask_picture(torch.rand(40, 20))
    (folder / "figures").mkdir()
    write_picture(folder / "figures" / "metrics_published.png", picture)
    for k in range(n_clips):
        truth = CLASSES[k % 2]
        write_example(
            folder / "examples",
            ("clean", "mixtures")[k // 2 % 2],
            f"clip-{k}",
            methods,
            seed=k,
            true_label=truth,
            label=truth if k % 3 else "siren",
            probability_masked_in=0.9 - 0.1 * k / max(1, n_clips / 8),
            **options,
        )
    return folder
