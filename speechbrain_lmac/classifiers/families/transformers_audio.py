"""Audio classifiers of the library ``transformers``, from a folder or hub.

Whatever ``AutoModelForAudioClassification`` loads and whose extractor is one
of :mod:`extractors`: AST, Wav2Vec2, HuBERT, WavLM, UniSpeechSat, Data2VecAudio,
SEW, Whisper. No code of a repository is run.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.families.extractors import (
    Extractor,
    differentiable,
)
from speechbrain_lmac.classifiers.huggingface import (
    check_weights,
    from_pretrained,
    library,
)
from speechbrain_lmac.classifiers.waveform import Tap, WaveformClassifier
from speechbrain_lmac.features.waveform import WaveformFrontEnd
from speechbrain_lmac.utils.checks import UserError

#: Files that name the extractor, of which a folder holds one.
EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
#: Transformer layers whose outputs are hidden maps, unless ``layers`` are.
N_MAPS = 3
#: Where convolutional features come from, if there are any.
CONVOLUTIONS = (
    "feature_extractor",
    "encoder.conv2",
    "embeddings.patch_embeddings.projection",
)
#: AudioSet's classes: clips have several of them, which few configs say.
AUDIOSET_CLASSES = 527
# Learned, but of no effect when a model classifies.
UNUSED = ("masked_spec_embed",)


class Listener(nn.Module):
    """A model behind its extractor: waveforms (batch, samples) to logits."""

    def __init__(self, extractor: Extractor, model: Any) -> None:
        super().__init__()
        self.extractor, self.model = extractor, model

    def forward(self, wavs: Tensor) -> Tensor:
        """Logits, (batch, classes)."""
        return self.model(**self.extractor(wavs)).logits


class HfAudioClassifier(WaveformClassifier):
    """A model of ``transformers`` that classifies sounds.

    Its logits are those of the library's own way, feature extractor and model,
    for each clip alone; see :func:`load_hf_audio`, which makes it.

    Arguments
    ---------
    model : transformers.PreTrainedModel
        With a head for audio classification.
    extractor : SequenceFeatureExtractor
        The library's own.
    layers : sequence of str or None
        Modules of the model whose outputs are the hidden maps, deepest first.
        None: transformer layers spread over its depth, and the convolutional
        features where there are any.
    threshold : float or str or None
        As for :class:`AudioClassifier`: of several labels, or None for a
        softmax. ``config``: 0.5 where config.json says
        ``multi_label_classification``, or says nothing and has AudioSet's
        527 classes.

    Attributes
    ----------
    length_policy : str
        What becomes of shorter and longer clips, in words.

    Raises
    ------
    UserError
        If model and extractor do not fit each other, or a layer is none.

    Example
    -------
    >>> from transformers import (Wav2Vec2Config, Wav2Vec2FeatureExtractor,
    ...     Wav2Vec2ForSequenceClassification)
    >>> config = Wav2Vec2Config(hidden_size=16, num_hidden_layers=3,
    ...     num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
    ...     conv_kernel=(40, 8), conv_stride=(20, 4), num_labels=3,
    ...     num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
    >>> classifier = HfAudioClassifier(
    ...     Wav2Vec2ForSequenceClassification(config),
    ...     Wav2Vec2FeatureExtractor()).freeze()
    >>> output = classifier(torch.randn(2, 8000))
    >>> output.logits.shape, [tuple(h.shape[1:]) for h in output.hidden]
    (torch.Size([2, 3]), [(16, 98, 1), (16, 98, 1), (8, 98, 1)])
    """

    def __init__(
        self,
        model: Any,
        extractor: Any,
        layers: Sequence[str] | None = None,
        threshold: float | str | None = "config",
    ) -> None:
        config, extractor = model.config, differentiable(extractor)
        if layers is None:
            layers = default_layers(model)
        known = dict(model.named_modules())
        unknown = [name for name in layers if name not in known]
        if unknown:
            raise UserError(
                f"`layers`: {type(model).__name__} has no module {unknown[0]!r}"
                f"; the default is {','.join(default_layers(model))}."
            )
        taps = {f"model.{x}": _tap(x, config, extractor) for x in layers}
        names = [str(config.id2label[k]) for k in range(config.num_labels)]
        try:
            super().__init__(
                Listener(extractor, model),
                taps,
                len(names),
                extractor.sample_rate,
                names,
                _shortest(config, extractor),
            )
        except (RuntimeError, ValueError, TypeError) as err:
            raise UserError(
                "preprocessor_config.json and config.json do not fit each "
                f"other: {str(err).splitlines()[0][:200]}."
            ) from err
        if isinstance(threshold, str):
            threshold = _threshold(config)
        self.threshold = threshold
        self.length_policy = extractor.policy
        self.n_samples = extractor.n_samples

    def logits(self, wavs: Tensor) -> Tensor:
        """As described by :class:`WaveformClassifier`."""
        return self.network(wavs)

    def build_frontend(self) -> WaveformFrontEnd:
        """The front end whose masks it is explained by.

        Longer clips than the model hears are explained in windows.
        """
        return WaveformFrontEnd(self.sample_rate, n_samples=self.n_samples)


def load_hf_audio(
    source: str,
    layers: Sequence[str] | None = None,
    threshold: float | str | None = "config",
    labels: Sequence[str] | None = None,
) -> HfAudioClassifier:
    """Load a frozen audio classifier of ``transformers``.

    Arguments
    ---------
    source : str
        Folder of ``save_pretrained`` (config.json, model.safetensors,
        preprocessor_config.json), or hub repository such as
        ``MIT/ast-finetuned-audioset-10-10-0.4593``. Without a network the
        hub's local cache serves.
    layers, threshold : object
        As for :class:`HfAudioClassifier`.
    labels : sequence of str or None
        Names of the classes by index, in place of those of config.json.

    Returns
    -------
    HfAudioClassifier

    Raises
    ------
    UserError
        If files are missing and cannot be fetched, if it is no audio
        classifier, if its classes are not told, or if its weights are those of
        another architecture.
    """
    transformers = library()
    source = os.path.expanduser(str(source))
    _check_folder(source)
    load = functools.partial(
        from_pretrained,
        source=source,
        advice=(
            "Expected config.json, model.safetensors and "
            "preprocessor_config.json; without a network, place these files of "
            f"{source} in a folder and give that folder."
        ),
        trust_remote_code=False,
    )
    config = load(transformers.AutoConfig)
    _check_kind(source, config)
    if labels is not None:
        config.id2label = dict(enumerate(labels))
    _check_classes(source, config)
    extractor = load(transformers.AutoFeatureExtractor)
    model, info = load(
        transformers.AutoModelForAudioClassification,
        config=config,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that all are named
    )
    check_weights(source, info, UNUSED)
    # Checkpoints may be in half precision.
    model = model.float()
    return HfAudioClassifier(model, extractor, layers, threshold).freeze()


def _check_folder(source):
    """Refuse a folder that is not there, or misses the extractor's file."""
    if os.path.isdir(source):
        files = set(os.listdir(source))
        if "config.json" not in files or files.isdisjoint(EXTRACTOR_FILES):
            missing = {"config.json", EXTRACTOR_FILES[0]} - files
            raise UserError(
                f"{source} misses {' and '.join(sorted(missing))}: copy it "
                "from where the model comes from; `save_pretrained` of model "
                "and feature extractor writes both."
            )
    elif source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(
            f"There is no folder {source}; expected one that "
            "`save_pretrained` wrote, or a hub repository (owner/name)."
        )


def _check_kind(source, config):
    """Refuse what is no audio classifier."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES as KNOWN,
    )

    expected = KNOWN.get(config.model_type)
    found = config.architectures or [expected]
    if expected not in found:
        wanted = f"{expected}" if expected else f"one of {', '.join(KNOWN)}"
        raise UserError(
            f"{source} is no audio classifier: its config.json has "
            f"{', '.join(map(str, found))} of the type {config.model_type}; "
            f"expected {wanted}."
        )


def _check_classes(source, config):
    """Refuse a classifier of unknown classes."""
    untold = type(config)().id2label  # the library makes up two
    if config.num_labels < 2 or config.id2label == untold:
        raise UserError(
            f"{source}: config.json names no two classes; expected the names "
            'by index, "id2label": {"0": "dog", "1": "rain", ...}.'
        )


def _threshold(config: Any) -> float | None:
    """Of several labels 0.5, else None."""
    kind = config.problem_type
    audioset = kind is None and config.num_labels == AUDIOSET_CLASSES
    return 0.5 if audioset or kind == "multi_label_classification" else None


def _shortest(config, extractor):
    """Samples that the model needs at least."""
    if extractor.n_samples is not None:
        return extractor.min_samples
    # SEW makes one frame of several.
    size = getattr(config, "squeeze_factor", 1)
    layers = zip(config.conv_kernel, config.conv_stride, strict=True)
    for kernel, stride in reversed(list(layers)):
        size = (size - 1) * stride + kernel
    return size


# ------------------------------------------------------------- hidden maps


def default_layers(model: Any) -> list[str]:
    """Names of the layers that give the hidden maps, deepest first.

    Of AST the last layer is left out: what it makes of the patches reaches no
    logit, for these come from two tokens of their own.
    """
    known = dict(model.named_modules())
    base = "" if "encoder" in known else f"{model.base_model_prefix}."
    is_ast = _is_ast(model.config)
    trunk = f"{base}layers" if is_ast else f"{base}encoder.layers"
    if trunk not in known:
        raise UserError(
            f"{type(model).__name__} keeps its layers where none are looked "
            "for; give the names of some modules as `layers`."
        )
    last = max(0, len(known[trunk]) - (2 if is_ast else 1))
    chosen = {round(last * k / N_MAPS) for k in range(1, N_MAPS + 1)}
    names = [f"{trunk}.{k}" for k in sorted(chosen, reverse=True)]
    return names + [f"{base}{x}" for x in CONVOLUTIONS if f"{base}{x}" in known]


def _is_ast(config):
    return config.model_type == "audio-spectrogram-transformer"


def _tap(name: str, config: Any, extractor: Extractor) -> Tap:
    """The tap of a layer that gives tokens, or convolutional features.

    A map holds what is the clip's own; what the model padded is passed on
    beside it.
    """
    bands, others = 1, 0
    if _is_ast(config):
        # Patches of one time after another in each band, after two tokens.
        bands += (
            config.num_mel_bins - config.patch_size
        ) // config.frequency_stride
        others = 2
    convolution = "conv" in name or "feature_extractor" in name

    def tap(output: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
        tokens = output.dim() == 3 and not convolution
        grid = output if output.dim() == 4 else output[:, :, None]
        if tokens:
            grid = output[:, others:].transpose(1, 2).unflatten(2, (bands, -1))
        own = math.ceil(grid.shape[3] * extractor.own_share(num_samples))
        maps = grid[..., :own].transpose(2, 3)
        grid = torch.cat([maps.transpose(2, 3), grid[..., own:]], 3)
        if tokens:
            patches = grid.flatten(2).transpose(1, 2)
            return torch.cat([output[:, :others], patches], 1), maps
        return grid.reshape(output.shape), maps

    return tap
