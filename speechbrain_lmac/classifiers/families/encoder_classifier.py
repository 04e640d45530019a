"""SpeechBrain's ``EncoderClassifier`` and ``AudioClassifier``.

ECAPA-TDNN, x-vector, CNN14 and the like. A folder holds ``hyperparams.yaml``,
which builds features, ``embedding_model`` and ``classifier``, and the files
that its ``pretrainer`` names: their weights, and the label encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from speechbrain.lobes.models.Cnn14 import Cnn14
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.nnet.normalization import BatchNorm1d
from speechbrain.processing.features import (
    InputNormalization,
    spectral_magnitude,
)
from torch import Tensor, nn

from speechbrain_lmac.classifiers.families.building import build_parts
from speechbrain_lmac.classifiers.families.own import OwnClassifier
from speechbrain_lmac.classifiers.labels import LABELS_FILE
from speechbrain_lmac.classifiers.loading import load_weights
from speechbrain_lmac.data.pipelines import read_class_names
from speechbrain_lmac.features import WaveformFrontEnd
from speechbrain_lmac.utils.checks import UserError

HPARAMS_FILE = "hyperparams.yaml"
SETTINGS = ("sample_rate", "use_melspectra", "spec_mag_power")
#: What SpeechBrain's recipes multiply cosines by before the softmax
#: (``scale`` of their ``AdditiveAngularMargin``).
COSINE_SCALE = 30.0


class EncoderNetwork(nn.Module):
    """Waveforms (batch, samples) to logits, as ``classify_batch`` does.

    The classifier of SpeechBrain's ECAPA-TDNN gives cosines, in [-1, 1], as
    its logits: every probability would be near 1/n. It was trained on 30 times
    that, and so they are here.

    Arguments
    ---------
    modules : dict of str to torch.nn.Module
        Those of an ``EncoderClassifier`` by name.

    Example
    -------
    >>> from speechbrain.lobes.features import Fbank
    >>> network = EncoderNetwork({
    ...     "compute_features": Fbank(n_mels=20),
    ...     "mean_var_norm": InputNormalization(norm_type="sentence"),
    ...     "embedding_model": Xvector(in_channels=20),
    ...     "classifier": Classifier(512, out_neurons=3)})
    >>> network.scale, network(torch.randn(2, 8000)).shape
    (30.0, torch.Size([2, 3]))
    """

    needs: tuple[str, ...] = ("compute_features", "mean_var_norm")

    def __init__(self, modules: dict[str, nn.Module]):
        super().__init__()
        for name in self.needs:
            self.add_module(name, modules[name])
        self.embedding_model = modules["embedding_model"]
        self.classifier = modules["classifier"]
        cosines = isinstance(self.classifier, Classifier)
        self.scale = COSINE_SCALE if cosines else 1.0

    def embed(self, wavs: Tensor) -> Tensor:
        """Embeddings (batch, 1, size)."""
        lengths = torch.ones(len(wavs), device=wavs.device)
        features = self.get_submodule("compute_features")(wavs)
        features = self.get_submodule("mean_var_norm")(features, lengths)
        return self.embedding_model(features, lengths)

    def forward(self, wavs: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        return self.scale * self.classifier(self.embed(wavs)).squeeze(1)

    def default_layers(self) -> list[str] | None:
        """Blocks of the models that are known, deepest first; else None."""
        model = self.embedding_model
        if isinstance(model, ECAPA_TDNN):
            names = [f"blocks.{k}" for k in range(len(model.blocks))] + ["mfa"]
        elif isinstance(model, Xvector):
            names = [
                f"blocks.{k}"
                for k, layer in enumerate(model.blocks)
                if isinstance(layer, BatchNorm1d)
            ]
        elif isinstance(model, Cnn14):
            names = [f"conv_block{k}" for k in range(3, 7)]
        else:
            return None
        return [f"embedding_model.{name}" for name in reversed(names)]


class AudioNetwork(EncoderNetwork):
    """As :class:`EncoderNetwork`, of an ``AudioClassifier``.

    Arguments
    ---------
    modules : dict of str to torch.nn.Module
        Those of an ``AudioClassifier`` by name.
    use_melspectra : bool
        Whether ``compute_fbank`` follows the magnitudes, or ``log1p``.
    spec_mag_power : float
        The power of the magnitudes.
    """

    needs = ("compute_stft",)

    def __init__(
        self,
        modules: dict[str, nn.Module],
        use_melspectra: bool = True,
        spec_mag_power: float = 1,
    ):
        super().__init__(modules)
        self.power = spec_mag_power
        self.mel = modules["compute_fbank"] if use_melspectra else None

    def embed(self, wavs: Tensor) -> Tensor:
        """Embeddings (batch, 1, size) or (batch, size)."""
        stft = self.get_submodule("compute_stft")(wavs)
        view = spectral_magnitude(stft, power=self.power)
        view = view.log1p() if self.mel is None else self.mel(view)
        embeddings = self.embedding_model(view)
        return embeddings.mean((2, 3)) if embeddings.dim() == 4 else embeddings


def load_encoder_classifier(
    folder: Path,
    sample_rate: int | None = None,
    layers: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    threshold: float | None = None,
    trust: bool = False,
) -> tuple[WaveformFrontEnd, OwnClassifier]:
    """Front end and classifier of a folder of SpeechBrain's.

    Weights are read from beside ``hyperparams.yaml``, whatever hub its
    ``pretrained_path`` names.

    Arguments
    ---------
    folder : pathlib.Path
        With ``hyperparams.yaml``.
    sample_rate : int or None
        In Hz, where neither the YAML nor the features say it.
    layers, labels, threshold : object
        As for :class:`OwnClassifier`; None takes the blocks of ECAPA-TDNN,
        x-vector and CNN14, and the classes of the label encoder.
    trust : bool
        As for :func:`build_parts`.

    Returns
    -------
    tuple of (WaveformFrontEnd, OwnClassifier)

    Raises
    ------
    UserError
        If the YAML describes neither kind or builds what is not trusted, a
        file is missing, or weights do not fit.
    """
    file = folder / HPARAMS_FILE
    parts = build_parts(file, ("modules", "pretrainer", *SETTINGS), trust)
    network = _build(parts, file)
    _load(network, folder, parts["pretrainer"])
    if labels is None:
        labels = _read_labels(folder, parts["pretrainer"])
    rate = parts.get("sample_rate") or _rate(network) or sample_rate
    if rate is None:
        raise UserError(
            f"`sample_rate`: {file} does not say it; give it in Hz."
        )
    chosen = network.default_layers() if layers is None else layers
    classifier = OwnClassifier(network, rate, chosen, labels, threshold)
    return WaveformFrontEnd(rate), classifier


def _build(parts, file):
    """The network of an EncoderClassifier or an AudioClassifier, not filled."""
    modules = parts.get("modules") or {}
    audio = "compute_stft" in modules
    kind = AudioNetwork if audio else EncoderNetwork
    missing = [
        name
        for name in (*kind.needs, "embedding_model", "classifier")
        if modules.get(name) is None
    ]
    if missing or "pretrainer" not in parts:
        raise UserError(
            f"{file} describes no EncoderClassifier: "
            f"`{missing[0] if missing else 'pretrainer'}` is missing; its "
            f"`modules` are {', '.join(modules) or 'none'}."
        )
    settings = {k: parts[k] for k in SETTINGS[1:] if audio and k in parts}
    return kind(modules, **settings)


def _load(network, folder, pretrainer):
    """Fill a network, whole, from what the pretrainer of its folder names."""
    own = set(network.modules())
    for name, part in pretrainer.loadables.items():
        if not isinstance(part, nn.Module) or own.isdisjoint(part.modules()):
            continue  # such as statistics of embeddings
        path = _find(folder, pretrainer, name, f"{name}.ckpt")
        if isinstance(part, InputNormalization):
            _load_statistics(part, path)
        else:
            load_weights(part, path, "model")
        own -= set(part.modules())
    bare = {n for n, m in network.named_children() if own & set(m.modules())}
    random = [n for n in sorted(bare) if _has_weights(network, n)]
    if random:
        raise UserError(
            f"{folder / HPARAMS_FILE}: its `pretrainer` loads no weights of "
            f"`{random[0]}`; add it to `loadables`."
        )


def _has_weights(network, name):
    return any(True for _ in network.get_submodule(name).parameters())


def _load_statistics(norm, path):
    """Means and deviations of all data, as buffers, which move with it."""
    try:
        stats = torch.load(path, map_location="cpu", weights_only=True)
        norm.count = stats["count"]
        for name in ("glob_mean", "glob_std"):
            delattr(norm, name)
            norm.register_buffer(name, stats[name])
    except Exception as err:  # a damaged file fails in any way
        raise UserError(
            f"{path}: expected statistics of InputNormalization "
            f"({type(err).__name__}); restore it from a copy."
        ) from err


def _find(folder, pretrainer, name, default):
    """The file of a loadable: beside the YAML, else where its path leads."""
    given = Path(str(pretrainer.paths.get(name, default)))
    for path in (folder / given.name, folder / f"{name}.ckpt", given):
        if path.is_file():
            return path
    raise UserError(
        f"{folder} misses {given.name}, the file of `{name}`: copy it from "
        "where the model comes from."
    )


def _read_labels(folder, pretrainer):
    """Classes by index, of the label encoder's file."""
    encoders = [
        name
        for name, part in pretrainer.loadables.items()
        if not isinstance(part, nn.Module)
    ]
    name = encoders[0] if encoders else "label_encoder"
    return read_class_names(_find(folder, pretrainer, name, LABELS_FILE))


def _rate(network) -> Any:
    """What the first part of the features that says one hears at, in Hz."""
    for module in network.get_submodule(network.needs[0]).modules():
        if hasattr(module, "sample_rate"):
            return module.sample_rate
    return None
