"""What all CLAP back ends share, and the zero-shot classifier on top.

A CLAP model (Wu et al. 2023, arXiv 2211.06687) embeds sounds and texts in one
space. Its zero-shot class of a sound is the prompt whose embedding is nearest.

Authors
 * The speechbrain_lmac authors 2026
"""

import hashlib

import torch
import torch.nn.functional as F

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.hidden_maps import tapped
from speechbrain_lmac.classifiers.zero_shot.words import split_words
from speechbrain_lmac.data.captions.prompts import fill
from speechbrain_lmac.features import build_clap_frontend
from speechbrain_lmac.utils.checks import UserError

#: Floor of the mel power before decibels, as in CLAP's own preparation.
MIN_POWER = 1e-10
# Texts that pass through the text encoder together.
TEXT_BATCH = 64
# Two texts that any working text encoder tells apart.
PROBES = ("a dog barks", "heavy rain falls on a tin roof")
TEXT_FILES = "vocab.json, merges.txt, tokenizer.json, tokenizer_config.json"


def to_decibels(features):
    """Mel amplitudes to CLAP's decibels of mel power, at least -100 dB.

    Example
    -------
    >>> to_decibels(torch.tensor([0.0, 1.0, 10.0]))
    tensor([-100.,    0.,   20.])
    """
    return 10 * features.float().square().clamp_min(MIN_POWER).log10()


class ClapEncoder(torch.nn.Module):
    """A frozen CLAP model: sounds and texts to embeddings of one space.

    Always in eval mode and without gradients on its weights; gradients pass
    to the features. A subclass loads a model, sets the attributes below by
    :meth:`settle` and implements ``audio_features(decibels)``,
    ``text_features(input_ids, attention_mask)``, and ``blocks()`` and
    ``outside_blocks()`` as :class:`AudioClassifier` describes them.

    Attributes
    ----------
    hidden_channels : tuple of int
        Channels of each hidden map, deepest first.
    hidden_strides : tuple of int
        Frames (and bands) that one cell of each hidden map covers.
    embed_dim : int
        Length of the embeddings.
    logit_scale : float
        What the model multiplies similarities with before a softmax.
    frontend_settings : dict
        Arguments of :class:`ClapFrontEnd` that this model was trained with.
    num_frames, n_mels : int
        Shape of the features.
    max_tokens : int
        Tokens of the longest text, start and end included.
    source : str
        Where the model comes from, for errors and reports.
    """

    #: Padding of texts, as the model's own library does it.
    text_padding = True
    #: Hooks listen to it: not from several threads at a time.
    reentrant = False

    def settle(self, source, frontend, tokenizer, vocab_size, max_tokens):
        """Set what every back end knows, and freeze.

        Arguments
        ---------
        source : str
            Where the model comes from.
        frontend : dict
            Arguments of :class:`ClapFrontEnd`.
        tokenizer : callable
            A tokenizer of the library ``transformers``.
        vocab_size : int
            Words that the text encoder knows.
        max_tokens : int
            Tokens that it takes.
        """
        self.source = str(source)
        self.frontend_settings = frontend
        self.num_frames = frontend["n_samples"] // frontend["hop_samples"] + 1
        self.n_mels = frontend["mel_matrix"].shape[1]
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.max_tokens = max_tokens
        self.requires_grad_(False)
        self.eval()
        self._check_tokenizer()

    def set_taps(self, stages, taps, channels, strides):
        """Where hidden maps are taken, in the order of the forward.

        Arguments
        ---------
        stages, taps : sequence
            As for :func:`speechbrain_lmac.classifiers.hidden_maps.tapped`.
        channels, strides : sequence of int
            Geometry of the maps.
        """
        # The stages are parts of the model already: here only referred to.
        self._stages = tuple(stages)
        self._taps = tuple(taps)
        modules = [tap for tap in taps if isinstance(tap, torch.nn.Module)]
        self.tap_modules = torch.nn.ModuleList(modules)
        self.hidden_channels = tuple(channels)[::-1]
        self.hidden_strides = tuple(strides)[::-1]

    def unknown(self, texts):
        """Those of some texts of which the model knows no word; here none."""
        return []

    def train(self, mode=True):
        """Stays in eval mode: the model is the fixed object of explanation."""
        return super().train(False)

    def build_frontend(self, mask_domain="stft"):
        """The front end with the settings that the model was trained with.

        A YAML file gets it by ``!apply:`` and the dotted name of this method,
        with ``self: !ref <encoder>`` among its arguments.

        Arguments
        ---------
        mask_domain : str
            ``stft`` or ``mel``.

        Returns
        -------
        ClapFrontEnd
        """
        return build_clap_frontend(mask_domain, **self.frontend_settings)

    def embed(self, features):
        """Embedding and hidden maps of mel amplitudes; a pure function.

        Arguments
        ---------
        features : torch.Tensor
            From ``ClapFrontEnd.features``, >= 0, shape (batch, num_frames,
            n_mels).

        Returns
        -------
        tuple of (torch.Tensor, tuple of torch.Tensor)
            L2-normalised embeddings (batch, embed_dim), and hidden maps
            (batch, channels, frames // stride, bands // stride), deepest
            first; the last, partly filled cell of time is kept or dropped as
            the encoder does. Gradients of the embedding reach features and
            maps.
        """
        if features.shape[1:] != (self.num_frames, self.n_mels):
            raise ValueError(
                f"Expected features (batch, {self.num_frames}, {self.n_mels}) "
                f"but got {tuple(features.shape)}; lead the clips through "
                "`fit_length` of the front end first"
            )
        with tapped(self._stages, self._taps) as maps:
            audio = self.audio_features(to_decibels(features).unsqueeze(1))
        return F.normalize(audio.float(), dim=-1), tuple(maps[::-1])

    @torch.no_grad()
    def encode_text(self, texts):
        """Embeddings of texts.

        Arguments
        ---------
        texts : sequence of str
            At least one; no text empty, none longer than ``max_tokens``.

        Returns
        -------
        torch.Tensor
            L2-normalised, shape (texts, embed_dim).

        Raises
        ------
        UserError
            If there is no text, an empty one or too long a one.
        """
        texts = list(texts)
        if not texts:
            raise UserError("`prompts`: expected at least one text, got none.")
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise UserError(
                    f"`prompts`: expected non-empty texts, got {text!r}."
                )
        self._check_length(texts)
        parts = [
            self._encode(texts[start : start + TEXT_BATCH])
            for start in range(0, len(texts), TEXT_BATCH)
        ]
        return F.normalize(torch.cat(parts).float(), dim=-1)

    def _encode(self, texts):
        tokens = self.tokenizer(
            texts,
            padding=self.text_padding,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        device = next(self.parameters()).device
        return self.text_features(
            tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        )

    def text_lengths(self, texts):
        """Tokens of each text, start and end included, as a list of int."""
        return [len(ids) for ids in self.tokenizer(list(texts))["input_ids"]]

    def _check_length(self, texts):
        """Refuse texts whose end the text encoder would not hear."""
        for text, count in zip(texts, self.text_lengths(texts), strict=True):
            if count > self.max_tokens:
                raise UserError(
                    f"`prompts`: {text[:60]!r}... has {count} tokens; the "
                    f"text encoder takes {self.max_tokens}. Shorten it."
                )

    def _check_tokenizer(self):
        """Refuse the tokenizer that offline libraries make out of nothing.

        Without its files ``transformers`` may raise no error but return a
        tokenizer of 5 tokens, for which all texts are the same.
        """
        advice = (
            f"The tokenizer's files were not found. Place {TEXT_FILES} "
            f"{self._text_place()}, or allow the download from the hub."
        )
        if len(self.tokenizer) != self.vocab_size:
            raise UserError(
                f"`{self.source}`: the tokenizer has {len(self.tokenizer)} "
                f"tokens, the text encoder expects {self.vocab_size}. {advice}"
            )
        one, other = self.encode_text(PROBES)
        if (one - other).abs().max() < 1e-6:
            raise UserError(
                f"`{self.source}`: the text encoder gives {PROBES[0]!r} and "
                f"{PROBES[1]!r} the same embedding. {advice}"
            )

    def _text_place(self):
        """Where the tokenizer's files belong, for errors."""
        return f"beside the model's in {self.source}"


class ZeroShotClassifier(AudioClassifier):
    """A CLAP encoder and prompts as a classifier that can be explained.

    ``logits = logit_scale * embedding @ text_embeddings.T``: a softmax over
    them gives the probabilities of the prompts, as CLAP computes them.

    Arguments
    ---------
    encoder : ClapEncoder
        The frozen model.
    prompts : sequence of str or None
        One per class, such as class names; None if embeddings are given.
    templates : sequence of str
        As for :meth:`set_prompts`.
    text_embeddings : torch.Tensor or None
        Embeddings to use in place of the encoder's, shape (classes,
        embed_dim); they are normalised here. ``prompts`` then only names them.

    Attributes
    ----------
    prompts : list of str
        The classes, in the order of the logits.
    templates : tuple of str
        What the prompts were put into.
    text_embeddings : torch.Tensor
        Shape (classes, embed_dim), L2-normalised; no part of the state dict,
        because the same model classifies any prompts.
    """

    zero_shot = True
    trained_name = "lmac_zs"

    def __init__(
        self, encoder, prompts=None, templates=("{}",), text_embeddings=None
    ):
        super().__init__()
        self.encoder = encoder
        self.hidden_channels = encoder.hidden_channels
        self.hidden_strides = encoder.hidden_strides
        self.register_buffer("text_embeddings", None, persistent=False)
        if text_embeddings is not None:
            self._set_embeddings(prompts, text_embeddings)
        else:
            self.set_prompts(prompts or [], templates)
        self.freeze()

    @property
    def n_classes(self):
        """Number of prompts."""
        return len(self.prompts)

    @property
    def reentrant(self):
        """Not for the models of other libraries, which hooks listen to."""
        return self.encoder.reentrant

    def set_prompts(self, prompts, templates=("{}",)):
        """Classify between other prompts from now on.

        Arguments
        ---------
        prompts : sequence of str
            One per class.
        templates : sequence of str
            Texts with one ``{}`` for the prompt, such as ``"this is a sound
            of {}"``. The class's embedding is the normalised mean of the
            normalised embeddings of all of its texts.

        Returns
        -------
        ZeroShotClassifier
            ``self``.

        Raises
        ------
        UserError
            If there is no prompt, one is empty, too long or given twice, or
            a template has not exactly one ``{}``.
        """
        prompts, templates = _checked(prompts, templates)
        texts = [fill(t, p) for p in prompts for t in templates]
        embeddings = self.encoder.encode_text(texts)
        embeddings = embeddings.view(len(prompts), len(templates), -1).mean(1)
        self.text_embeddings = F.normalize(embeddings, dim=-1)
        self.prompts, self.templates = prompts, templates
        return self

    def compute(self, features):
        """As described by :class:`AudioClassifier`, from mel amplitudes."""
        embedding, hidden = self.encoder.embed(features)
        logits = self.encoder.logit_scale * embedding @ self.text_embeddings.T
        return ClassifierOutput(logits, embedding, hidden)

    def parts(self):
        """As :meth:`AudioClassifier.parts`: prompts hold no weights."""
        return {"clap": self.encoder}

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: the encoder's audio side."""
        return self.encoder.blocks()

    def facts(self):
        """Prompts, templates, and a hash of the prompts' embeddings."""
        embeddings = self.text_embeddings.cpu().contiguous().numpy()
        return {
            "prompts": list(self.prompts),
            "templates": list(self.templates),
            "embeddings": hashlib.sha256(embeddings.tobytes()).hexdigest()[:16],
        }

    def outside_blocks(self):
        """As :meth:`AudioClassifier.outside_blocks`: the text side."""
        return tuple(f"encoder.{n}" for n in self.encoder.outside_blocks())

    def _set_embeddings(self, names, embeddings):
        dim = self.encoder.embed_dim
        if embeddings.dim() != 2 or embeddings.shape[1] != dim:
            raise ValueError(
                f"Expected `text_embeddings` of shape (classes, {dim}) but "
                f"got {tuple(embeddings.shape)}"
            )
        if names is None:
            names = [f"text {k}" for k in range(len(embeddings))]
        self.prompts, self.templates = _checked(names, ("{}",))
        if len(self.prompts) != len(embeddings):
            raise ValueError(
                f"Expected one prompt per embedding, {len(embeddings)}, but "
                f"got {len(self.prompts)}"
            )
        self.text_embeddings = F.normalize(embeddings.detach().float(), dim=-1)


def _checked(prompts, templates):
    """Prompts (list) and templates (tuple), or an error that teaches."""
    if isinstance(prompts, str) or isinstance(templates, str):
        raise UserError(
            "`prompts` and `templates`: expected lists of texts, got one text."
        )
    prompts, templates = list(prompts), tuple(templates)
    if not prompts or not templates:
        raise UserError(
            "`prompts` and `templates`: expected at least one of each, got "
            f"{len(prompts)} and {len(templates)}."
        )
    seen = {}
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise UserError(
                f"`prompts`: expected non-empty texts, got {prompt!r}."
            )
        # Text encoders may not tell case and punctuation apart.
        same = " ".join(split_words(prompt)) or prompt.strip()
        if same in seen:
            twice = f"{prompt!r} is given twice"
            if prompt.strip() != seen[same].strip():
                twice = f"{seen[same]!r} and {prompt!r} are the same words"
            raise UserError(
                f"`prompts`: {twice}; a class needs a prompt of its own."
            )
        seen[same] = prompt
    return prompts, templates
