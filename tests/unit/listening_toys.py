"""A small evaluation's sounds on disk, made by code."""

import json

import torch

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.evaluation.listening_test.blinding import shuffled

RATE = 16000


def presentation_order(study, seed, participant, item, stimuli):
    """Order of an item's stimuli for a participant, as the page computes it.

    The item "" has the order of the items themselves.
    """
    return shuffled(sorted(stimuli), f"{study}/{seed}/{participant}/{item}")


def make_examples(
    folder,
    clips=4,
    methods=("lmac", "gradcam"),
    conditions=("clean", "mixtures"),
    seconds=0.3,
    labels=("dog", "rain"),
    ideal=False,
):
    """Write ``examples/`` of an evaluation; returns the folder."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(int(seconds * RATE)) / RATE
    for condition in conditions:
        for k in range(clips):
            clip = folder / "examples" / condition / f"clip-{k}"
            label = labels[k % len(labels)]
            tone = 0.5 * torch.sin(2 * torch.pi * (300 + 80 * k) * time)
            noise = 0.1 * torch.randn(len(time), generator=generator)
            clip.mkdir(parents=True)
            clean = condition == "clean"
            write_wav(clip / "original.wav", tone + noise * (not clean), RATE)
            if not clean:
                write_wav(clip / "target.wav", tone, RATE)
            extra = ("ideal",) if ideal and not clean else ()
            for rank, method in enumerate((*methods, "random", *extra)):
                (clip / method).mkdir()
                sound = tone / (rank + 2) + noise
                write_wav(clip / method / "explanation.wav", sound, RATE)
                facts = {"clip_id": clip.name, "condition": condition}
                facts |= {"method": method, "sample_rate": RATE}
                facts |= {"label": label, "true_label": label}
                facts["probability"] = 0.9
                text = json.dumps(facts)
                (clip / method / "explanation.json").write_text(text)
    return folder
