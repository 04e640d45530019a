"""PANNs: networks that tell AudioSet's 527 classes apart, from Zenodo.

    load_panns("Cnn14_mAP=0.431.pth")

The front end, too, lies in the checkpoint: the window, and the matrix of mel
bands. Other sample rates than 32 kHz (``Cnn14_16k``, ``Cnn14_8k``) are told
by the length of the window.

Checkpoints: https://zenodo.org/record/3987831.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.families.panns_networks import (
    ARCHITECTURES,
    RATES,
    PannsNetwork,
)
from speechbrain_lmac.classifiers.loading import load_state, read_state
from speechbrain_lmac.classifiers.waveform import WaveformClassifier
from speechbrain_lmac.features import WaveformFrontEnd
from speechbrain_lmac.utils.checks import UserError

#: A label is decided for where it is more likely than not: PANNs were trained
#: with the binary cross-entropy, whose sigmoids are probabilities. Rare
#: classes seldom get there; choose a lower one for them.
THRESHOLD = 0.5


class PannsClassifier(WaveformClassifier):
    """A network of PANNs: several labels at once.

    Clips of any length are heard as they are; it was trained on 10 seconds,
    and takes no less than 0.3.

    Arguments
    ---------
    network : PannsNetwork
        With its weights.
    architecture : str
        Its name.
    layers : sequence of str or None
        Layers whose outputs are the hidden maps, deepest first.
    labels : sequence of str or None
        Classes by index; None for AudioSet's, of a network that has as many.
    threshold : float or None
        Probability above which a label is decided for; None for
        :data:`THRESHOLD`.
    """

    def __init__(
        self,
        network: PannsNetwork,
        architecture: str,
        layers: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        threshold: float | None = None,
    ):
        *_, chosen, frames = ARCHITECTURES[architecture]
        n_classes, named = network.fc_audioset.out_features, audioset_classes()
        if labels is None and n_classes == len(named):
            labels = named
        if labels is not None and len(labels) != n_classes:
            raise UserError(
                f"`labels`: expected {n_classes} names, found {len(labels)}."
            )
        taps = {name: _straight for name in layers or chosen}
        known = [name for name, _ in network.named_modules() if name]
        for name in taps:
            if name not in known:
                raise UserError(
                    f"`layers`: {architecture} has no {name}; the default is "
                    f"{','.join(chosen)}."
                )
        least = (frames - 1) * network.hop
        rate = RATES[network.n_fft][0]
        super().__init__(network, taps, n_classes, rate, labels, least)
        self.threshold = THRESHOLD if threshold is None else threshold

    def logits(self, wavs: Tensor) -> Tensor:
        """As described by :class:`WaveformClassifier`."""
        return self.network(wavs)

    def parts(self) -> dict[str, nn.Module]:
        """The network's own state dict, as ``classifier.ckpt``."""
        return {"classifier": self.network}


def load_panns(
    file: str | Path,
    layers: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    threshold: float | None = None,
) -> tuple[WaveformFrontEnd, PannsClassifier]:
    """Front end and classifier of a checkpoint of PANNs.

    Arguments
    ---------
    file : str or pathlib.Path
        As published: its name begins with the architecture, or else its keys
        tell it.
    layers, labels, threshold : object
        As for :class:`PannsClassifier`.

    Returns
    -------
    tuple of (WaveformFrontEnd, PannsClassifier)

    Raises
    ------
    UserError
        If the file is missing or no such checkpoint, or its architecture is
        not known.
    """
    path = Path(file).expanduser()
    state = read_state(path, "model")
    name = _architecture(path, state)
    try:
        with torch.device("meta"):  # the weights come from the file
            network = PannsNetwork(
                name,
                state["spectrogram_extractor.stft.conv_real.weight"].shape[2],
                state["logmel_extractor.melW"].shape[1],
                len(state["fc1.weight"]),
                len(state["fc_audioset.weight"]),
            )
    except (KeyError, AttributeError, IndexError) as err:
        raise UserError(
            f"`model`: {path} is no checkpoint of PANNs: {err} is missing or "
            f"of another window than {', '.join(map(str, RATES))} samples; its "
            f"keys begin with {', '.join(map(str, list(state)[:3]))}."
        ) from err
    load_state(network.to_empty(device="cpu"), state, path, "model")
    classifier = PannsClassifier(
        network.eval(), name, layers, labels, threshold
    )
    return WaveformFrontEnd(classifier.sample_rate), classifier


def _architecture(path, state):
    """By the file's name or else by what only the architecture's keys have."""
    name = path.name.partition("_mAP")[0]
    if "DecisionLevel" in name:
        raise UserError(
            f"`model`: {path} decides by frames ({name}); expected a network "
            f"of {', '.join(ARCHITECTURES)}."
        )
    if name.partition("_")[0] in ARCHITECTURES:
        return name.partition("_")[0]
    for known, (_, key, *_) in ARCHITECTURES.items():
        if key in state:
            return known
    raise UserError(
        f"`model`: {path} is of none of {', '.join(ARCHITECTURES)}: its keys "
        f"begin with {', '.join(map(str, list(state)[:5]))}."
    )


def _straight(output, num_samples):
    return output, output


def audioset_classes() -> list[str]:
    """Names of AudioSet's 527 classes, in the order of the outputs.

    >>> names = audioset_classes()
    >>> len(names), names[0], names[74]
    (527, 'Speech', 'Dog')
    """
    file = files("speechbrain_lmac.classifiers.families") / "audioset.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(x for x in lines if not x.startswith("#"))
    return [row["display_name"] for row in rows]
