"""What laion_clap itself computes, and what our front end and encoder do.

    python laion_probe.py measure|error|checkpoint|cascades out.json

Run by the tests in a process of its own; see conftest.py.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from clap_toys import (
    constant_padding,
    features_of,
    settle_statistics,
    test_clips,
    top_db,
)

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.zero_shot import laion
from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.evaluation.randomization import randomize_cascade
from speechbrain_lmac.features.clap import ClapFrontEnd
from speechbrain_lmac.utils.checks import UserError

TEXTS = ["dog", "heavy rain", "a crying baby"]
PATCHES = "audio_branch.patch_embed.proj.weight"


def save_checkpoint(module, path):
    """As laion's training saves it: arguments beside prefixed weights."""
    state = module.model.state_dict()
    state = {f"module.{name}": value for name, value in state.items()}
    state[f"module.{laion.POSITION_IDS}"] = torch.arange(80)[None]
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1)}, path)


def enliven(module, wavs):
    """Random weights that answer to their input.

    With the statistics of their own activations, batch norms keep what
    random convolutions would let fade.
    """
    branch = module.model.audio_branch
    settle_statistics(branch.bn0)
    norms = [
        layer
        for layer in branch.modules()
        if isinstance(layer, torch.nn.BatchNorm2d) and layer is not branch.bn0
    ]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        module.model.audio_branch({"waveform": wavs}, device="cpu")
    module.eval()


def wrong_settings(encoder):
    """Front ends with one wrong setting each."""
    import librosa

    right = encoder.frontend_settings

    def mel(**options):
        options = {"fmin": 50, "fmax": 14000, "htk": False, **options}
        fbank = librosa.filters.mel(sr=48000, n_fft=1024, n_mels=64, **options)
        return torch.as_tensor(fbank).T

    changes = {
        "right mels made by hand": {"mel_matrix": mel()},
        "symmetric window": {"window": torch.hann_window(1024, periodic=False)},
        "fmin 0": {"mel_matrix": mel(fmin=0)},
        "HTK mels": {"mel_matrix": mel(htk=True, norm=None)},
    }
    return {
        name: ClapFrontEnd(**{**right, **change})
        for name, change in changes.items()
    }


@torch.no_grad()
def burst_cells(encoder, frontend, at):
    """(stride, cell) in which a burst of 0.2 s shows most, on every level."""
    when = torch.arange(480000) / 48000
    wavs = 1e-3 * torch.randn(1, 480000)
    burst = ((when >= at) & (when < at + 0.2)) * torch.sin(56549 * when)
    _, without = encoder.embed(features_of(frontend, wavs))
    _, with_it = encoder.embed(features_of(frontend, wavs + burst))
    return [
        (stride, (a - b).abs().sum((0, 1, 3)).argmax().item())
        for a, b, stride in zip(
            without, with_it, encoder.hidden_strides, strict=True
        )
    ]


def gradients(encoder, frontend, wavs):
    """Share of heard bins with a gradient; whether all maps have one."""
    x = frontend(wavs).view
    mask = torch.rand(x.shape).requires_grad_()
    output = ZeroShotClassifier(encoder, TEXTS)(frontend.mel(mask * x))
    to_mask, *to_maps = torch.autograd.grad(
        output.logits[:, 0].sum(), (mask, *output.hidden)
    )
    heard = frontend.mel_matrix.sum(1) > 0
    return {
        "finite": bool(to_mask.isfinite().all()),
        "reached": (to_mask[:, :, heard] != 0).float().mean().item(),
        "beyond": to_mask[:, :, ~heard].abs().max().item(),
        "maps": [g.abs().max().item() for g in to_maps],
    }


def measure_one(amodel, folder):
    """All that is measured on one audio encoder."""
    torch.manual_seed(0)
    wavs = test_clips(seconds=10)
    module = laion.build_module(amodel)
    enliven(module, wavs)
    path = folder / f"{amodel}.pt"
    save_checkpoint(module, path)
    with torch.no_grad():
        audio = module.get_audio_embedding_from_data(wavs, use_tensor=True)
        short = module.get_audio_embedding_from_data(
            wavs[:, :150000], use_tensor=True
        )
        text = module.get_text_embedding(TEXTS, use_tensor=True)
    errors = {"untrusted": error_of(path, amodel)}
    other = "HTSAT-base" if amodel == "HTSAT-tiny" else "HTSAT-tiny"
    errors["other"] = error_of(path, other, True)
    encoder = laion.LaionClap(str(path), amodel, trust_source=True)
    path.unlink()
    frontend = encoder.build_frontend()

    @torch.no_grad()
    def distance(front, clips=wavs, to=audio, make=features_of):
        embedding, _ = encoder.embed(make(front, clips))
        return (embedding - to).abs().max().item()

    with torch.no_grad():
        _, hidden = encoder.embed(features_of(frontend, wavs[:1]))
    texts = encoder.encode_text(TEXTS)
    return {
        "audio": distance(frontend),
        "short": distance(
            frontend, frontend.fit_length(wavs[:, :150000]), short
        ),
        "text": (texts - F.normalize(text, dim=-1)).abs().max().item(),
        "texts differ": (texts[0] - texts[1]).abs().max().item(),
        "wrong": {
            "constant padding": distance(frontend, make=constant_padding),
            "top_db": distance(frontend, make=top_db),
            **{
                name: distance(front)
                for name, front in wrong_settings(encoder).items()
            },
        },
        "shapes": [list(h.shape[1:]) for h in hidden],
        "channels": encoder.hidden_channels,
        "strides": encoder.hidden_strides,
        "bursts": {at: burst_cells(encoder, frontend, at) for at in (7.0, 9.4)},
        "gradients": gradients(encoder, frontend, wavs[:1]),
        "logit_scale": encoder.logit_scale,
        "sample_rate": frontend.sample_rate,
        "n_samples": frontend.n_samples,
        "errors": errors,
    }


def error_of(path, amodel, trust_source=False):
    """What the user reads; None if all is well."""
    try:
        laion.LaionClap(str(path), amodel, trust_source)
    except UserError as err:
        return str(err)
    return None


def measure():
    """Both audio encoders, and what the import leaves behind."""
    before = list(sys.path)
    start = time.perf_counter()
    laion.import_laion_clap()
    results = {"import_s": time.perf_counter() - start}
    results["path untouched"] = sys.path == before
    with tempfile.TemporaryDirectory() as folder:
        for amodel in ("HTSAT-tiny", "PANN-14"):
            results[amodel] = measure_one(amodel, Path(folder))
    return results


def error():
    """What a user reads whose environment lacks something."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.pt"
        torch.save({PATCHES: torch.zeros(96, 1, 4, 4)}, path)
        first = error_of(path, "HTSAT-tiny")
        # An own checkpoint, so that all but the tokenizer is right.
        try:
            module = laion.build_module("HTSAT-tiny")
        except UserError:
            return {"first": first}
        torch.save(module.model.state_dict(), path)
        return {"first": first, "own": error_of(path, "HTSAT-tiny")}


def checkpoint():
    """A checkpoint of random weights that needs no trust; its path."""
    torch.manual_seed(0)
    module = laion.build_module("HTSAT-tiny")
    enliven(module, test_clips(seconds=10))
    path = Path(out).with_name("random.pt")
    torch.save(module.model.state_dict(), path)
    return {"path": str(path)}


def cascade(amodel, folder):
    """What the check by randomisation changes, block by block."""
    torch.manual_seed(0)
    wavs = test_clips(seconds=10)[:1]
    module = laion.build_module(amodel)
    enliven(module, wavs)
    path = folder / f"{amodel}.pt"
    save_checkpoint(module, path)
    encoder = laion.LaionClap(str(path), amodel, trust_source=True)
    path.unlink()
    with torch.no_grad():  # away from what layers begin with
        for block in encoder.blocks().values():
            for weight in block.parameters():
                weight.add_(0.01 * torch.randn(weight.shape))
    classifier = ZeroShotClassifier(encoder, TEXTS)
    features = features_of(encoder.build_frontend(), wavs)
    before, state = fingerprint(classifier), classifier.state_dict()
    steps = []
    with torch.no_grad():
        original = classifier(features)
        for name, model in randomize_cascade(classifier, seed=1):
            output = model(features)
            pairs = zip(output.hidden, original.hidden, strict=True)
            reached = [not torch.equal(a, b) for a, b in pairs]
            same = torch.allclose(output.embedding, original.embedding)
            steps.append([name, reached, same])
    changed = [
        name
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, state[name])
    ]
    weights = dict(model.named_parameters())
    outside = tuple(classifier.outside_blocks())
    inside = [name for name in weights if not name.startswith(outside)]
    return {
        "steps": steps,
        "kept": [name for name in inside if name not in changed],
        "lost": [name for name in changed if name.startswith(outside)],
        "outside": len(weights) - len(inside),
        "training": any(m.training for m in model.train().modules()),
        "spared": fingerprint(classifier) == before,
        "tables": [
            weight.std().item()
            for name, weight in weights.items()
            if "position_bias" in name
        ],
    }


def cascades():
    """Both audio encoders, randomised."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            amodel: cascade(amodel, Path(folder))
            for amodel in ("HTSAT-tiny", "PANN-14")
        }


if __name__ == "__main__":
    job, out = sys.argv[1:]
    jobs = {f.__name__: f for f in (measure, error, checkpoint, cascades)}
    answer = jobs[job]()
    Path(out).write_text(json.dumps(answer), encoding="utf-8")
