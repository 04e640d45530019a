"""A small CLAP for two CPU cores: a stand-in, not a general model.

It hears what the slim CNN hears and reads texts by their words and trigrams,
without order. It knows the sounds and the words that it was trained on, and
words that look like them; the whole zero-shot job runs with it offline, in
minutes.

Authors
 * The speechbrain_lmac authors 2026
"""

import hashlib
import io
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_lmac.classifiers.base import fingerprint
from speechbrain_lmac.classifiers.loading import load_weights
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.classifiers.zero_shot.words import (
    TextTower,
    hashed,
    split_words,
)
from speechbrain_lmac.features import build_frontend
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

    Attributes
    ----------
    hidden_channels, hidden_strides : tuple of int
        Of the hidden maps, deepest first.
    max_tokens : int
        Words of the longest text.
    source : str
        Where the model comes from, for errors and reports.

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

    def __init__(
        self,
        embed_dim=128,
        channels=(16, 32, 64, 128, 256),
        dropout=0.2,
        text=None,
        frontend_settings=None,
    ):
        super().__init__()
        self.settings = {
            "embed_dim": embed_dim,
            "channels": list(channels),
            "dropout": dropout,
            "text": dict(text or {}),
            "frontend_settings": dict(frontend_settings or {}),
        }
        self.frontend_settings = self.settings["frontend_settings"]
        self.embed_dim = embed_dim
        self.n_mels = self.build_frontend().n_mels
        self.audio = SlimCnn(embed_dim, self.n_mels, channels, dropout)
        self.text = TextTower(embed_dim, **self.settings["text"])
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.register_buffer("center", torch.zeros(embed_dim))
        self.hidden_channels = self.audio.hidden_channels
        self.hidden_strides = self.audio.hidden_strides
        self.source = "SmallClap"
        self.frozen = False

    @property
    def logit_scale(self):
        """What similarities are multiplied with before a softmax; 1 to 100."""
        return self.log_scale.clamp(0, math.log(MAX_SCALE)).exp()

    def build_frontend(self, mask_domain="stft"):
        """The front end that makes the features.

        Arguments
        ---------
        mask_domain : str
            ``stft`` or ``mel``.

        Returns
        -------
        FrontEnd
        """
        return build_frontend(mask_domain, **self.frontend_settings)

    def embed(self, features):
        """Embedding and hidden maps of log1p mel features.

        Arguments
        ---------
        features : torch.Tensor
            From ``FrontEnd.features``, shape (batch, frames, n_mels), of any
            length; zeros are silence.

        Returns
        -------
        tuple of (torch.Tensor, tuple of torch.Tensor)
            L2-normalised embeddings (batch, embed_dim), and hidden maps
            (batch, channels, frames // stride, bands // stride), deepest
            first. Gradients reach the features.
        """
        if features.dim() != 3 or features.shape[2] != self.n_mels:
            raise ValueError(
                f"Expected features (batch, frames, {self.n_mels}) but got "
                f"{tuple(features.shape)}"
            )
        output = self.audio(features)
        return F.normalize(output.logits.float(), dim=-1), output.hidden

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: the audio tower's."""
        return self.audio.blocks()

    def outside_blocks(self):
        """As :meth:`AudioClassifier.outside_blocks`: the text side."""
        return ("text", "center", "log_scale")

    def forward(self, features, words, grams):
        """What a training step compares.

        Arguments
        ---------
        features : torch.Tensor
            As for :meth:`embed`.
        words, grams : torch.Tensor
            The texts, from :func:`hashed`. In training they are centred on
            their own mean: give as many of each kind.

        Returns
        -------
        tuple of torch.Tensor
            Embeddings of sounds and of texts, L2-normalised, and the scale.
        """
        audio, _ = self.embed(features)
        return audio, self.embed_hashed(words, grams), self.logit_scale

    def embed_hashed(self, words, grams):
        """Embeddings of texts as :meth:`forward` computes them."""
        text = self.text(words, grams).float()
        center = text.mean(0) if self.training else self.center
        return F.normalize(text - center, dim=-1)

    @torch.no_grad()
    def encode_text(self, texts):
        """Embeddings of texts.

        Arguments
        ---------
        texts : sequence of str
            At least one; none without a word, none of more than
            ``max_tokens`` words.

        Returns
        -------
        torch.Tensor
            L2-normalised, shape (texts, embed_dim).

        Raises
        ------
        UserError
            If there is no text, an empty one or too long a one.
        """
        return F.normalize(self._raw_text(texts) - self.center, dim=-1)

    def text_lengths(self, texts):
        """Words of each text, as a list of int; of none it can read nothing."""
        return [len(split_words(text)) for text in texts]

    def unknown(self, texts):
        """Those of some texts of which the model knows no word."""
        return self.text.strange(texts)

    def learn_words(self, texts):
        """Make room for the words of the training texts; before training."""
        self.text.learn_words(texts)

    @torch.no_grad()
    def center_on(self, texts):
        """Centre text embeddings on the mean of some texts, from now on.

        Arguments
        ---------
        texts : sequence of str
            The training texts.
        """
        self.center.copy_(self._raw_text(texts).mean(0))

    def freeze(self):
        """Make this a fixed object, as ``AudioClassifier.freeze``."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode=True):
        """As ``torch.nn.Module.train``; a frozen model stays in eval."""
        return super().train(mode and not self.frozen)

    def _raw_text(self, texts):
        """Embeddings before centring, whatever mode the model is in."""
        texts = self._checked(texts)
        was_training = self.text.training
        self.text.eval()
        parts = [
            self.text(
                *hashed(texts[start : start + TEXT_BATCH], self.center.device)
            )
            for start in range(0, len(texts), TEXT_BATCH)
        ]
        self.text.train(was_training)
        return torch.cat(parts).float()

    def _checked(self, texts):
        if isinstance(texts, str):
            raise UserError("`prompts`: expected a list of texts, got one.")
        texts = list(texts)
        if not texts:
            raise UserError("`prompts`: expected at least one text, got none.")
        for text in texts:
            words = split_words(text) if isinstance(text, str) else ()
            if not words:
                raise UserError(
                    f"`prompts`: expected texts with a word, got {text!r}."
                )
            if len(words) > self.max_tokens:
                raise UserError(
                    f"`prompts`: {text[:60]!r}... has {len(words)} words; the "
                    f"text encoder takes {self.max_tokens}. Shorten it."
                )
        return texts


def save_small_clap(folder, clap, texts, **info):
    """Write the folder of a trained model.

    Arguments
    ---------
    folder : str or pathlib.Path
        Created if need be; receives clap.ckpt and clap.json.
    clap : SmallClap
        The model.
    texts : sequence of str
        What it was trained on, to be told by a hash.
    **info
        Whatever describes the training (metrics, seed, ...), as JSON.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = io.BytesIO()
    torch.save(clap.state_dict(), weights)
    write_atomically(folder / WEIGHTS_FILE, weights.getvalue())
    texts = sorted(set(texts))
    info = {
        "format": FORMAT,
        "architecture": clap.settings,
        "fingerprint": fingerprint(clap),
        "n_texts": len(texts),
        "texts_hash": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        **info,
    }
    text = json.dumps(info, indent=2) + "\n"
    write_atomically(folder / INFO_FILE, text.encode())
    return folder


def load_small_clap(folder, key="clap_source"):
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
    info = read_small_clap(folder, key)
    try:
        clap = SmallClap(**info["architecture"])
    except TypeError as err:
        raise UserError(
            f"`{key}`: {Path(folder) / INFO_FILE} describes an architecture "
            f"that this version cannot build ({err})."
        ) from err
    load_weights(clap, Path(folder) / WEIGHTS_FILE, key)
    clap.source = str(folder)
    return clap.freeze()


def read_small_clap(folder, key="clap_source"):
    """What a folder says of its model.

    Arguments
    ---------
    folder, key : str
        As for :func:`load_small_clap`.

    Returns
    -------
    dict
        The content of clap.json.

    Raises
    ------
    UserError
        If it is missing or says too little.
    """
    path = Path(folder) / INFO_FILE
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UserError(
            f"`{key}`: there is no {path} ({err.strerror}). Train a small "
            "CLAP first (python train_clap_small.py ...), or point "
            f"--{key} to the folder clap/ of its run."
        ) from err
    except ValueError as err:
        raise UserError(f"`{key}`: {path} is no valid JSON ({err}).") from err
    if not isinstance(info, dict):
        info = {}
    missing = {"format", "architecture"} - set(info)
    if missing or info["format"] != FORMAT:
        raise UserError(
            f"`{key}`: {path}: expected format {FORMAT} and an architecture, "
            f"found {info.get('format', 'no format')}"
            f"{' and no architecture' * ('architecture' in missing)}. "
            "Train the model again."
        )
    return info
