"""One string to a front end and a frozen classifier, of any family."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.families import runs
from speechbrain_lmac.classifiers.families.encoder_classifier import (
    HPARAMS_FILE,
    load_encoder_classifier,
)
from speechbrain_lmac.classifiers.families.own_loading import load_own
from speechbrain_lmac.classifiers.families.panns import load_panns
from speechbrain_lmac.classifiers.families.transformers_audio import (
    load_hf_audio,
)
from speechbrain_lmac.classifiers.huggingface import hub_problem
from speechbrain_lmac.features import BaseFrontEnd
from speechbrain_lmac.utils.checks import UserError

#: What SpeechBrain's and transformers' folders are known by.
MARKS = (HPARAMS_FILE, "config.json")
EXPECTED = (
    "expected the folder or the hub's name (owner/name) of a model of "
    "transformers or SpeechBrain, panns:FILE, module:function, a TorchScript "
    "file, or the output folder of train_classifier.py"
)


def load_any_classifier(
    source: str | Path,
    sample_rate: int | None = None,
    weights: str | Path | None = None,
    layers: str | Sequence[str] | None = None,
    trust: bool = False,
    **options: Any,
) -> tuple[BaseFrontEnd, AudioClassifier]:
    """Load a classifier of any family, with the front end that it hears by.

    Arguments
    ---------
    source : str or pathlib.Path
        The model: see ``docs/models.md``.
    sample_rate : int or None
        In Hz; for models that do not say it.
    weights : str or pathlib.Path or None
        File of a state dict, for ``module:function``.
    layers : str or sequence of str or None
        Layers whose outputs are the hidden maps, deepest first, in place of
        the family's choice; a string is a list with commas.
    trust : bool
        Whether code of the model's author may run.
    **options
        ``labels`` (classes by index) and ``threshold`` (of several labels).

    Returns
    -------
    tuple of (BaseFrontEnd, AudioClassifier)
        The classifier is frozen.

    Raises
    ------
    UserError
        If there is no such model, it is none that classifies sounds, lacks a
        file, or wants to run code that is not trusted.
    """
    text = str(source)
    if isinstance(layers, str):
        layers = [name.strip() for name in layers.split(",")]
    path = Path(text).expanduser()
    own_code = ":" in text and not text.startswith("panns:")
    if weights is not None and (path.exists() or not own_code):
        raise UserError(
            f"`weights`: {text} holds its own; a file of weights is for "
            "module:function. Leave it out."
        )
    if runs.is_run(path):
        if layers or options:
            raise UserError(
                "`layers`, `labels`, `threshold`: a run of train_classifier.py "
                "says them itself; leave them out."
            )
        found = runs.load_run(path, trust)
    elif text.startswith("panns:"):
        found = load_panns(text[len("panns:") :], layers, **options)
    elif ":" in text and not path.exists():
        found = load_own(text, sample_rate, weights, layers, **options)
    elif path.is_file():
        if not trust:
            raise UserError(
                f"`model`: {text} is taken for a TorchScript file, which is a "
                "program; pass trust=True (--trust) if you trust its author."
            )
        found = load_own(str(path), sample_rate, weights, layers, **options)
    else:
        folder = find_folder(text, trust)
        if (folder / HPARAMS_FILE).is_file():
            found = load_encoder_classifier(
                folder, sample_rate, layers, trust=trust, **options
            )
        else:
            model = load_hf_audio(text, layers, **options)
            found = model.build_frontend(), model
    frontend, classifier = found
    if sample_rate not in (None, frontend.sample_rate):
        raise UserError(
            f"`sample_rate`: found {sample_rate} Hz, but {text} says that it "
            f"hears at {frontend.sample_rate} Hz; leave it out."
        )
    classifier.loaded_from = {
        "source": text,
        "sample_rate": sample_rate,
        "weights": None if weights is None else str(weights),
        "layers": layers,
        **options,
    }
    return frontend, classifier.freeze()


def find_folder(text: str, trust: bool = False) -> Path:
    """The folder of a model of SpeechBrain or transformers, or of the hub.

    What is on the hub is fetched, but for the weights of transformers' models,
    which the library fetches itself; Python files, if ``trust`` allows them to
    be run.
    """
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in MARKS):
            raise UserError(
                f"`model`: {text} holds neither {MARKS[0]} (SpeechBrain) nor "
                f"{MARKS[1]} (transformers); {EXPECTED}."
            )
        return folder
    local = text.startswith((".", "/", "~")) or text.count("/") != 1
    if local or folder.parent.is_dir():
        raise UserError(f"`model`: there is no {text}; {EXPECTED}.")
    problem = hub_problem()
    fetch = partial(
        snapshot_download, text, local_files_only=problem is not None
    )
    described = ["*.yaml", "*.txt", "*.json", *["*.py"] * trust]
    try:
        folder = Path(fetch(allow_patterns=described))
        if (folder / HPARAMS_FILE).is_file():
            fetch(allow_patterns=["*.ckpt", "*.safetensors"])
        return folder
    except Exception as err:  # the hub's client raises kinds of its own
        reason = str(problem or err).strip().split("\n")[0][:150]
        raise UserError(
            f"`model`: cannot fetch {text} from the hub ({reason}); without a "
            "network, place its files in a folder and give that: config.json, "
            "preprocessor_config.json and model.safetensors of transformers, "
            f"{HPARAMS_FILE}, *.ckpt and label_encoder.txt of SpeechBrain."
        ) from err
