"""Golden values: what seeded toys and short trainings give, to 6 digits.

    python tests/golden.py             # compares, prints what differs
    python tests/golden.py --write     # makes tests/data/golden.json anew

The toys have random weights and take seconds; the trainings run a recipe of
every family on built-in sounds, and take minutes. A change of the arithmetic
that is meant is written in a commit of its own and named in CHANGELOG.md.

Two runs on one processor give the same digits. Other processors round
otherwise, which is told and tolerated: 1e-5 of forward passes, more of
trainings.
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "data" / "golden.json"
SEED = 1234
# How far another processor's rounding leads: toys, trainings, and L2I's, of
# which two of twenty clips were seen to decide otherwise on another one.
TOY_ROUNDING, ROUNDING, L2I_ROUNDING = 1e-4, 0.02, 0.3
# The areas under the curves stand for their points.
CURVE_POINT = re.compile(r"(insertion|deletion)_[\d.]+")
# What results.csv holds beside the means of metrics.
BESIDE = {
    *("dataset", "condition", "mask_domain", "method", "protocol"),
    *("n_clips", "n_rows", "n_trained"),
}


def digits(value):
    """A number to 6 significant digits."""
    return float(f"{float(value):.6g}")


# --- toys: random weights, one forward of everything ---


def toy_sounds():
    """Targets and interferers, each (4, 16000), of the built-in sounds."""
    from speechbrain_lmac.data.synthetic.sounds import make_clip

    names = ("siren", "rain", "engine", "clock_tick")
    sounds = [
        make_clip(name, fold, 0, SEED, duration=1.0).waveform
        for fold in (1, 2)
        for name in (names if fold == 1 else names[::-1])
    ]
    wavs = torch.stack([torch.as_tensor(sound).float() for sound in sounds])
    return wavs[:4], wavs[4:]


def toy(mask_domain):
    """A closed-set classifier and a decoder for it, with random weights."""
    from speechbrain_lmac.classifiers.slim import SlimCnn
    from speechbrain_lmac.features import build_frontend
    from speechbrain_lmac.interpreters.decoders import build_decoder

    torch.manual_seed(SEED)
    frontend = build_frontend(mask_domain)
    classifier = SlimCnn(n_classes=4, channels=(4, 8, 8, 16)).freeze()
    classifier.linear.weight.data.mul_(50)  # decisions differ, and are sure
    decoder = build_decoder(classifier, frontend, (16, 8, 8, 4))
    return frontend, classifier, decoder.eval()


def toy_zero_shot(mask_domain):
    """A small CLAP and a text decoder for it, with random weights."""
    from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
    from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
    from speechbrain_lmac.interpreters.text_decoder import (
        PromptedDecoder,
        build_text_decoder,
    )

    torch.manual_seed(SEED)
    clap = SmallClap(embed_dim=16, channels=(4, 8, 8), dropout=0.0)
    prompts = ("dog", "rain", "siren", "engine")
    clap.learn_words(prompts)
    classifier = ZeroShotClassifier(clap.freeze(), prompts, ("a {}",))
    frontend = clap.build_frontend(mask_domain)
    decoder = build_text_decoder(clap, frontend, channels=(8, 4))
    decoder = PromptedDecoder(decoder, classifier).eval()
    return frontend, classifier, decoder


def toy_values(parts):
    """Means of every metric of an evaluation of a toy on mixtures."""
    from speechbrain_lmac.data.mixtures import Mixture
    from speechbrain_lmac.evaluation.conditions import ConditionClip
    from speechbrain_lmac.evaluation.evaluator import Evaluator
    from speechbrain_lmac.evaluation.settings import EvaluationSettings

    targets, interferers = toy_sounds()
    names = ("siren", "rain", "engine", "clock_tick")
    clips = [
        ConditionClip(
            *(name, name, name, "noise", 16000),
            lambda k=k: Mixture(
                targets[k] + interferers[k], targets[k], interferers[k]
            ),
        )
        for k, name in enumerate(names)
    ]
    settings = EvaluationSettings(
        protocols=("published", "equal_mean", "loudness"),
        curve_steps=4,
        batch_size=4,
    )
    evaluator = Evaluator(
        *parts, ("lmac", "gradcam", "random", "ideal"), settings
    )
    stats = evaluator.evaluate(
        clips, {name: k for k, name in enumerate(names)}, True, None, False
    )
    return {
        f"{key}/{name}": digits(mean)
        for key, scores in stats.items()
        for name, mean in scores.means().items()
        if not CURVE_POINT.fullmatch(name)
    }


def toys():
    """All toys' values."""
    return {
        f"toy/{kind}/{domain}/{key}": value
        for kind, make in (("closed", toy), ("zero_shot", toy_zero_shot))
        for domain in ("stft", "mel")
        for key, value in toy_values(make(domain)).items()
    }


# --- trainings, by recipe ---

SHORT = ("--number_of_epochs=2", "--valid_interval=1", "--signal_length_s=1")
LMAC = ("--classifier_source=results/classifier_small/1234/classifier",)
PUBLISHED = ("--experiment_name=lmac_small",)
TOLD = ("--experiment_name=lmac_class",)
# As recipes/ESC50/README.md has it.
FINE_TUNING = (
    *("--experiment_name=lmac_small_ft", "--finetuning=True"),
    "--pretrained_interpreter=results/lmac_small/1234",
    *("--l_in_w=1", "--l_out_w=1", "--reg_w_l1=0.15"),
    *("--target_mask_mean=null", "--crosscor_th=0.0"),
    *("--guidelosstype=residual", "--contamination_probs=[0.3, 0.6, 0.1]"),
    *("--lr=0.002", "--ckpt_metric=loss", "--ckpt_mode=min"),
)
TRAININGS = (
    ("ESC50", "train_classifier.py", "classifier_small", "--crop_s=1"),
    ("ESC50", "train_lmac.py", "lmac_small_published", *LMAC, *PUBLISHED),
    ("ESC50", "train_lmac.py", "lmac_small_published", *LMAC, *FINE_TUNING),
    ("ESC50", "train_lmac.py", "lmac_small", *LMAC, *TOLD),
    ("ESC50", "train_lmac_td.py", "lmac_td_small", *LMAC),
    ("ESC50", "train_l2i.py", "l2i_small", *LMAC),
    (
        *("CLAP_ZS", "train_clap_small.py", "clap_small", "--crop_s=1"),
        "--warmup_steps=20",
    ),
    ("CLAP_ZS", "train_lmac_zs.py", "lmac_zs_small", "--valid_length_s=1"),
)
EVALUATIONS = {
    "evaluate": (
        *("ESC50", "evaluate.py", "evaluate"),
        "--interpreter=results/lmac_small/1234",
        "--methods=[lmac, lmac_ft, l2i, gradcam, ig, random, ideal]",
        "--protocols=[published, equal_mean, loudness]",
        "--conditions=[clean, mixtures, white_noise]",
    ),
    "evaluate_class": (
        *("ESC50", "evaluate.py", "evaluate"),
        "--interpreter=results/lmac_class/1234",
        "--methods=[lmac, random]",
        "--conditions=[clean, mixtures]",
    ),
    "evaluate_td": (
        *("ESC50", "evaluate.py", "evaluate"),
        "--interpreter=results/lmac_td_small/1234",
        "--methods=[lmac_td, random]",
        "--conditions=[clean, mixtures]",
    ),
    "evaluate_zs": (
        *("CLAP_ZS", "evaluate_zs.py", "evaluate_zs"),
        "--interpreter=results/lmac_zs_small/1234",
        "--methods=[lmac_zs, gradcam, random, ideal]",
        "--conditions=[clean, mixtures]",
        "--prompt_sensitivity=False",
    ),
}


def run_recipe(work, data, dataset, script, hparams, *options):
    """Run a recipe on the CPU in a folder."""
    folder = ROOT / "recipes" / dataset
    subprocess.run(
        [
            *(sys.executable, folder / script),
            *(folder / "hparams" / f"{hparams}.yaml",),
            *(f"--data_folder={data}", "--device=cpu", "--noprogressbar"),
            *options,
        ],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def trainings():
    """Values of the evaluations of a short training of each family."""
    from speechbrain_lmac.data.synthetic.sets import make_synthetic_dataset

    found = {}
    with tempfile.TemporaryDirectory() as work:
        data = Path(work) / "sounds"
        make_synthetic_dataset(
            data, seed=SEED, clips_per_class_and_fold=2, duration=2.5
        )
        for recipe in TRAININGS:
            run_recipe(work, data, *recipe, *SHORT)
        for name, recipe in EVALUATIONS.items():
            output = Path(work) / name
            run_recipe(
                *(work, data, *recipe, "--n_examples=0"),
                f"--output_folder={output}",
            )
            with open(output / "results.csv", encoding="utf-8") as file:
                found |= dict(row_values(output.name, csv.DictReader(file)))
    return found


def row_values(recipe, rows):
    """Means of metrics, without their intervals and counts."""
    ends = ("_low", "_high", "_undefined")
    for row in rows:
        where = "/".join(row[k] for k in ("condition", "method", "protocol"))
        for name, text in row.items():
            if name not in BESIDE and not name.endswith(ends) and text:
                yield f"{recipe}/{where}/{name}", digits(text)


def differences(found, known, exact=False):
    """Names whose values differ, or stand in one of the two alone."""
    return [
        f"{name}: {known.get(name)} -> {found.get(name)}"
        for name in sorted(found.keys() | known.keys())
        if name not in found
        or name not in known
        or not (found[name] != found[name] and known[name] != known[name])
        and abs(found[name] - known[name])
        > (0 if exact else tolerance(name)) * max(1, abs(known[name]))
    ]


def tolerance(name):
    """Of a value, relative where it is above 1."""
    if name.startswith("toy/"):
        return TOY_ROUNDING
    return L2I_ROUNDING if "/l2i/" in name else ROUNDING


if __name__ == "__main__":
    torch.set_num_threads(1)
    values = toys() | trainings()
    if "--write" in sys.argv:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(values, indent=0, sort_keys=True) + "\n")
    known = json.loads(FILE.read_text())
    differing = differences(values, known)
    rounded = len(differences(values, known, exact=True)) - len(differing)
    print(*differing, sep="\n")
    print(
        f"{len(values)} values, {len(differing)} differ,"
        f" {rounded} by rounding alone"
    )
    sys.exit(bool(differing))
