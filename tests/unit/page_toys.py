"""A results folder as an evaluation leaves it, made of tones and noise."""

import json

import torch
from test_report_tables import golden_rows, make_row

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.report.figures.pictures import (
    mask_picture,
    spectrogram_picture,
    write_picture,
)
from speechbrain_lmac.report.tables import write_csv

RATE = 16000
CLASSES = ("dog", "rain")

__all__ = ["golden_rows", "write_example", "write_results_folder"]


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
        here.mkdir(parents=True)
        for name, gain in (("explanation", 0.8), ("masked_out", 0.2)):
            write_wav(here / f"{name}.wav", gain * wave, RATE)
        mask = torch.rand(80, 60, generator=torch.Generator().manual_seed(k))
        write_picture(here / "mask.png", mask_picture(mask))
        facts = {
            "clip_id": clip,
            "condition": condition,
            "method": method,
            "true_label": "dog",
            "label": "dog",
            "probability": 0.9,
            "probability_masked_in": 0.8 - 0.1 * k,
            "probability_masked_out": 0.1,
            "mask_mean": 0.25,
            "sample_rate": RATE,
        }
        facts = {**facts, **changes}
        (here / "explanation.json").write_text(json.dumps(facts))
    write_wav(place / "original.wav", wave, RATE)
    write_picture(
        place / "spectrogram.png",
        spectrogram_picture(wave[: 80 * 60].view(80, 60).abs()),
    )
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
    (folder / "figures").mkdir()
    write_picture(
        folder / "figures" / "metrics_published.png",
        mask_picture(torch.rand(40, 20)),
    )
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
