"""What all CLAP back ends share, and the zero-shot classifier on top.

A CLAP model (Wu et al. 2023, arXiv 2211.06687) embeds sounds and texts in one
space. Its zero-shot class of a sound is the prompt whose embedding is nearest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.hidden_maps import tapped
from speechbrain_lmac.classifiers.zero_shot.words import split_words
from speechbrain_lmac.data.captions.prompts import fill
from speechbrain_lmac.features import ClapFrontEnd, build_clap_frontend
from speechbrain_lmac.utils.checks import UserError

#: Floor of the mel power before decibels, as in CLAP's own preparation.
MIN_POWER = 1e-10
# Texts that pass through the text encoder together.
TEXT_BATCH = 64
# Two texts that any working text encoder tells apart.
PROBES = ("a dog barks", "heavy rain falls on a tin roof")


def to_decibels(features: Tensor) -> Tensor:
    """Mel amplitudes to CLAP's decibels of mel power, at least -100 dB.

    >>> to_decibels(torch.tensor([0.0, 1.0, 10.0]))
    tensor([-100.,    0.,   20.])
    """
    return 10 * features.float().square().clamp_min(MIN_POWER).log10()


class ClapEncoder(nn.Module):
    """A frozen CLAP model: sounds and texts to embeddings of one space.

    Always in eval mode and without gradients on its weights; gradients pass
    to the features. A subclass loads a model, calls :meth:`settle` and
    :meth:`set_taps`, and implements ``audio_features``, ``text_features``,
    and ``blocks()`` and ``outside_blocks()`` of :class:`AudioClassifier`.

    Attributes
    ----------
    hidden_channels, hidden_strides : tuple of int
        Of each hidden map, deepest first: channels, and the frames (and
        bands) that a cell covers.
    embed_dim : int
        Length of the embeddings.
    logit_scale : float
        What the model multiplies similarities with before a softmax.
    max_tokens : int
        Tokens of the longest text, start and end included.
    source : str
        Where the model comes from, for errors and reports.
    """

    #: Padding of texts, as the model's own library does it.
    text_padding: bool | str = True
    #: Hooks catch the hidden maps: not in several threads at a time.
    reentrant = False
    embed_dim: int
    logit_scale: float

    def settle(
        self,
        source: str,
        frontend: dict[str, Any],
        tokenizer: Any,
        vocab_size: int,
        max_tokens: int,
        place: str | None = None,
    ) -> None:
        """Set what every back end knows, and freeze.

        ``tokenizer`` is one of ``transformers``, whose files belong to
        ``place``; ``vocab_size`` and ``max_tokens`` are the text encoder's.
        """
        self.source = str(source)
        self.frontend_settings = frontend
        self.num_frames = frontend["n_samples"] // frontend["hop_samples"] + 1
        self.n_mels = frontend["mel_matrix"].shape[1]
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.requires_grad_(False)
        self.eval()
        # Without its files `transformers` may raise no error but return a
        # tokenizer of 5 tokens, for which all texts are the same.
        one, other = self.encode_text(PROBES)
        if len(tokenizer) != vocab_size or (one - other).abs().max() < 1e-6:
            raise UserError(
                f"`{source}`: the tokenizer has {len(tokenizer)} tokens (the "
                f"text encoder: {vocab_size}) or all texts have the same "
                "embedding; place vocab.json, merges.txt, tokenizer.json and "
                f"tokenizer_config.json {place or f'in {source}'}."
            )

    def set_taps(
        self,
        stages: Sequence[nn.Module],
        taps: Sequence[Any],
        channels: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        """Where hidden maps are taken, in the order of the forward."""
        # The stages are parts of the model already: here only referred to.
        self._stages = tuple(stages)
        self._taps = tuple(taps)
        modules = [tap for tap in taps if isinstance(tap, nn.Module)]
        self.tap_modules = nn.ModuleList(modules)
        self.hidden_channels = tuple(channels)[::-1]
        self.hidden_strides = tuple(strides)[::-1]

    def train(self, mode: bool = True) -> ClapEncoder:
        """Stays in eval mode: the model is the fixed object of explanation."""
        return super().train(False)

    def build_frontend(self, mask_domain: str = "stft") -> ClapFrontEnd:
        """The front end that the model was trained with; masks stft or mel.

        A YAML file gets it by ``!apply:`` and the dotted name of this method,
        with ``self: !ref <encoder>`` among its arguments.
        """
        return build_clap_frontend(mask_domain, **self.frontend_settings)

    def audio_features(self, decibels: Tensor) -> Tensor:
        """Decibels (batch, 1, frames, bands) to (batch, embed_dim)."""
        raise NotImplementedError

    def text_features(
        self, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Tokens (texts, length) to (texts, embed_dim)."""
        raise NotImplementedError

    def embed(self, features: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Embedding (batch, embed_dim) of mel amplitudes, and hidden maps.

        The embeddings are L2-normalised; the maps (batch, channels, frames //
        stride, bands // stride) come deepest first, in the graph.
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
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised embeddings (texts, embed_dim) of one or more texts."""
        device = next(self.parameters()).device
        parts = []
        for start in range(0, len(texts), TEXT_BATCH):
            tokens = self.tokenizer(
                list(texts[start : start + TEXT_BATCH]),
                padding=self.text_padding,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            )
            names = ("input_ids", "attention_mask")
            ids, attended = (tokens[name].to(device) for name in names)
            parts.append(self.text_features(ids, attended))
        return F.normalize(torch.cat(parts).float(), dim=-1)

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, start and end included."""
        return [len(ids) for ids in self.tokenizer(list(texts))["input_ids"]]

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """Those of some texts of which the model knows no word; here none."""
        return []


class ZeroShotClassifier(AudioClassifier):
    """A CLAP encoder and prompts as a classifier that can be explained.

    ``logits = logit_scale * embedding @ text_embeddings.T``: a softmax over
    them gives the probabilities of the prompts, as CLAP computes them.

    Arguments
    ---------
    encoder : ClapEncoder or SmallClap
        The frozen model.
    prompts : sequence of str
        One per class, such as class names.
    templates : sequence of str
        As for :meth:`set_prompts`.

    Attributes
    ----------
    text_embeddings : torch.Tensor
        Shape (classes, embed_dim), L2-normalised; no part of the state dict,
        because the same model classifies any prompts.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.zero_shot.small import SmallClap
    >>> clap = SmallClap()
    >>> clap.learn_words(["a dog barks", "rain falls"])
    >>> classifier = ZeroShotClassifier(clap.freeze(), ["dog", "rain"])
    >>> classifier(torch.rand(3, 215, 80)).logits.shape
    torch.Size([3, 2])
    """

    zero_shot = True
    text_embeddings: Tensor

    def __init__(
        self,
        encoder: Any,
        prompts: Sequence[str],
        templates: Sequence[str] = ("{}",),
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.reentrant = encoder.reentrant
        self.hidden_channels = encoder.hidden_channels
        self.hidden_strides = encoder.hidden_strides
        self.register_buffer("text_embeddings", None, persistent=False)
        self.set_prompts(prompts, templates)
        self.freeze()

    def set_prompts(
        self, prompts: Sequence[str], templates: Sequence[str] = ("{}",)
    ) -> ZeroShotClassifier:
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
        """
        _check_prompts(prompts, templates)
        texts = [fill(t, p) for p in prompts for t in templates]
        lengths = self.encoder.text_lengths(texts)
        for text, length in zip(texts, lengths, strict=True):
            if not 0 < length <= self.encoder.max_tokens:
                raise UserError(
                    f"`prompts`: {text[:60]!r} has {length} tokens; the text "
                    f"encoder takes 1 to {self.encoder.max_tokens}."
                )
        embeddings = self.encoder.encode_text(texts)
        embeddings = embeddings.view(len(prompts), len(templates), -1).mean(1)
        self.text_embeddings = F.normalize(embeddings, dim=-1)
        self.prompts, self.templates = list(prompts), tuple(templates)
        self.n_classes = len(prompts)
        return self

    def compute(self, features: Tensor) -> ClassifierOutput:
        """As described by :class:`AudioClassifier`, from the mel input."""
        embedding, hidden = self.encoder.embed(features)
        logits = self.encoder.logit_scale * embedding @ self.text_embeddings.T
        return ClassifierOutput(logits, embedding, hidden)

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: the encoder's audio side."""
        return self.encoder.blocks()

    def facts(self) -> dict[str, Any]:
        """Prompts, templates, and a hash of the prompts' embeddings."""
        embeddings = self.text_embeddings.cpu().contiguous().numpy()
        return {
            "prompts": list(self.prompts),
            "templates": list(self.templates),
            "embeddings": hashlib.sha256(embeddings.tobytes()).hexdigest()[:16],
        }

    def outside_blocks(self) -> tuple[str, ...]:
        """As :meth:`AudioClassifier.outside_blocks`: the text side."""
        return tuple(f"encoder.{n}" for n in self.encoder.outside_blocks())


def _check_prompts(prompts: Sequence[str], templates: Sequence[str]) -> None:
    """Refuse what are no lists of different texts."""
    for name, texts in (("prompts", prompts), ("templates", templates)):
        if isinstance(texts, str) or not texts:
            raise UserError(
                f"`{name}`: expected a list of texts, got {texts!r}."
            )
    seen: dict[str, str] = {}
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise UserError(
                f"`prompts`: expected non-empty texts, got {prompt!r}."
            )
        # Text encoders may not tell case and punctuation apart.
        same = " ".join(split_words(prompt)) or prompt.strip()
        if same in seen:
            raise UserError(
                f"`prompts`: {seen[same]!r} and {prompt!r} are the same words; "
                "each class needs a prompt of its own."
            )
        seen[same] = prompt
