"""A small CLAP for two CPU cores: a stand-in, not a general model.

It hears what the slim CNN hears and reads texts by their words and trigrams,
without order. It knows the sounds and the words that it was trained on, and
words that look like them; the whole zero-shot job runs with it offline, in
minutes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.loading import load_weights
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.classifiers.zero_shot.words import (
    TextTower,
    hashed,
    split_words,
)
from speechbrain_lmac.features import FrontEnd, build_frontend
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

WEIGHTS_FILE = "clap.ckpt"
INFO_FILE = "clap.json"
# Part of every folder: raise it when the architecture changes.
FORMAT = 1
# CLAP's own start and limit of the similarities' scale.
INITIAL_SCALE = 1 / 0.07
MAX_SCALE = 100.0
# Texts that pass through the text tower together.
TEXT_BATCH = 1024


class SmallClap(nn.Module):
    """A small CLAP model: sounds and texts to embeddings of one space.

    The audio tower is :class:`SlimCnn` with the embedding as its output, the
    text tower :class:`TextTower`. Text embeddings are centred on the training
    texts' mean before they are normalised: otherwise all texts, and with them
    all sounds, share a direction that says nothing, and silence is as near
    to each prompt as a sound is.

    Arguments
    ---------
    embed_dim : int
        Length of the embeddings.
    channels : sequence of int
        Output channels of the audio tower's convolutions.
    dropout : float
        Before the audio tower's last layer.
    text : dict or None
        Arguments of :class:`TextTower`.
    frontend_settings : dict or None
        Arguments of :class:`FrontEnd` that the features are made with.

    Example
    -------
    >>> clap = SmallClap()
    >>> clap.learn_words(["a dog barks", "rain falls"])
    >>> text = clap.encode_text(["a barking dog", "rain"])
    >>> audio, hidden = clap.embed(torch.rand(3, 215, 80))
    >>> (audio @ text.T).shape, len(hidden)
    (torch.Size([3, 2]), 5)
    """

    max_tokens = 32
    reentrant = True
    center: Tensor

    def __init__(
        self,
        embed_dim: int = 128,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.2,
        text: Mapping[str, Any] | None = None,
        frontend_settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.frontend_settings = dict(frontend_settings or {})
        self.arguments = {
            "embed_dim": embed_dim,
            "channels": list(channels),
            "dropout": dropout,
            "text": dict(text or {}),
            "frontend_settings": self.frontend_settings,
        }
        self.embed_dim = embed_dim
        with torch.device("cpu"):  # packages build it on the meta device
            self.n_mels = self.build_frontend().n_mels
        self.audio = SlimCnn(embed_dim, self.n_mels, channels, dropout)
        self.text = TextTower(embed_dim, **(text or {}))
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.register_buffer("center", torch.zeros(embed_dim))
        self.hidden_channels = self.audio.hidden_channels
        self.hidden_strides = self.audio.hidden_strides
        self.source = "SmallClap"
        self.frozen = False

    @property
    def logit_scale(self) -> Tensor:
        """What similarities are multiplied with before a softmax; 1 to 100."""
        return self.log_scale.clamp(0, math.log(MAX_SCALE)).exp()

    def build_frontend(self, mask_domain: str = "stft") -> FrontEnd:
        """The front end that makes the features; masks act on stft or mel."""
        return build_frontend(mask_domain, **self.frontend_settings)

    def embed(self, features: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As :meth:`ClapEncoder.embed`, of log1p mel features of any length."""
        if features.dim() != 3 or features.shape[2] != self.n_mels:
            raise ValueError(
                f"Expected features (batch, frames, {self.n_mels}) but got "
                f"{tuple(features.shape)}"
            )
        output = self.audio(features)
        return F.normalize(output.logits.float(), dim=-1), output.hidden

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: the audio tower's."""
        return self.audio.blocks()

    def outside_blocks(self) -> tuple[str, ...]:
        """As :meth:`AudioClassifier.outside_blocks`: the text side."""
        return ("text", "center", "log_scale")

    def forward(
        self, features: Tensor, words: Tensor, grams: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised embeddings of sounds and of texts, and the scale.

        The texts are those of :func:`hashed`. In training they are centred on
        their own mean: give as many of each kind.
        """
        audio, _ = self.embed(features)
        return audio, self.embed_hashed(words, grams), self.logit_scale

    def embed_hashed(self, words: Tensor, grams: Tensor) -> Tensor:
        """Embeddings of texts as :meth:`forward` computes them."""
        text = self.text(words, grams).float()
        center = text.mean(0) if self.training else self.center
        return F.normalize(text - center, dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised embeddings (texts, embed_dim) of one or more texts."""
        return F.normalize(self._raw_text(texts) - self.center, dim=-1)

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Words of each text; of none it can read nothing."""
        return [len(split_words(text)) for text in texts]

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """Those of some texts of which the model knows no word."""
        return self.text.unknown(texts)

    def learn_words(self, texts: Iterable[str]) -> None:
        """Make room for the words of the training texts; before training."""
        self.text.learn_words(texts)

    @torch.no_grad()
    def center_on(self, texts: Sequence[str]) -> None:
        """Centre texts on the mean of these, the training's, from now on."""
        self.center.copy_(self._raw_text(texts).mean(0))

    def freeze(self) -> SmallClap:
        """Make this a fixed object, as ``AudioClassifier.freeze``."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> SmallClap:
        """As ``torch.nn.Module.train``; a frozen model stays in eval."""
        return super().train(mode and not self.frozen)

    def _raw_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings before centring, whatever mode the model is in."""
        texts, training = list(texts), self.text.training
        self.text.eval()
        parts = [
            self.text(
                *hashed(texts[start : start + TEXT_BATCH], self.center.device)
            )
            for start in range(0, len(texts), TEXT_BATCH)
        ]
        self.text.train(training)
        return torch.cat(parts).float()


def save_small_clap(
    folder: str | Path, clap: SmallClap, texts: Iterable[str], **info: Any
) -> Path:
    """Write the folder of a trained model.

    Arguments
    ---------
    folder : str or pathlib.Path
        Created if need be; receives clap.ckpt and clap.json.
    clap : SmallClap
        The model.
    texts : iterable of str
        What it was trained on, kept as a hash.
    **info
        Whatever describes the training (metrics, seed, ...), as JSON.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder, texts = Path(folder), sorted(set(texts))
    folder.mkdir(parents=True, exist_ok=True)
    weights = io.BytesIO()
    torch.save(clap.state_dict(), weights)
    write_atomically(folder / WEIGHTS_FILE, weights.getvalue())
    info = {
        "format": FORMAT,
        "architecture": clap.arguments,
        "fingerprint": fingerprint(clap),
        "n_texts": len(texts),
        "texts_hash": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        **info,
    }
    text = json.dumps(info, indent=2) + "\n"
    write_atomically(folder / INFO_FILE, text.encode())
    return folder


def load_small_clap(folder: str | Path, key: str = "clap_source") -> SmallClap:
    """Rebuild the model of a folder, frozen.

    Arguments
    ---------
    folder : str or pathlib.Path
        Written by :func:`save_small_clap`.
    key : str
        Hyperparameter that chose the folder, named in errors.

    Returns
    -------
    SmallClap

    Raises
    ------
    UserError
        If a file or an entry is missing or wrong.
    """
    path = Path(folder) / INFO_FILE
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        if info["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {info['format']}")
        clap = SmallClap(**info["architecture"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise UserError(
            f"`{key}`: no small CLAP in {folder}, {INFO_FILE}: {err!r}. Give "
            "the folder clap/ of a run of train_clap_small.py."
        ) from err
    load_weights(clap, Path(folder) / WEIGHTS_FILE, key)
    clap.source = str(folder)
    return clap.freeze()
