"""FocalNet and ViT, image models of ``transformers``, as sound classifiers.

SpeechBrain's ESC-50 recipes classify spectrograms with these backbones and a
head on the mean of the last hidden state. It is the same here, but for three
things. The input is the front end's log1p mel spectrogram (theirs: log1p
STFT). It keeps its own resolution, so that a cell of a hidden map covers the
same number of frames in clips of all lengths; ``resize=[224, 224]`` makes
each clip one square image, as theirs does. The head is one linear layer, for
cross-entropy. Like theirs, the spectrogram fills all three colour channels
and is not normalised further.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.classifiers.hidden_maps import MapTap, resample, tapped
from speechbrain_lmac.utils.checks import UserError

#: ViT's hidden maps: outputs of layers at these shares of its depth.
DEPTHS = (0.25, 0.5, 0.75)
HUB_TIMEOUT = 5  # seconds


class HfImageClassifier(AudioClassifier):
    """What FocalNet and ViT share: a backbone, and a linear head of its own.

    ``width`` is the number of channels of the deepest hidden map; ``resize``
    the frames and bands that each clip is stretched to, None for its own.
    """

    reentrant = False  # hooks catch the hidden maps

    def __init__(
        self,
        embedding_model: Any,
        width: int,
        n_classes: int,
        resize: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self.embedding_model = embedding_model
        self.classifier = nn.Linear(width, n_classes)
        self.n_classes = n_classes
        self.patch_size = embedding_model.config.patch_size
        self.resize = None if resize is None else tuple(map(int, resize))

    def tap_points(self) -> list[nn.Module]:
        """Layers that give the hidden maps, in the order of the forward."""
        raise NotImplementedError

    def grids(self, rows: int, columns: int) -> list[tuple[int, int]]:
        """Cells (rows, columns) of each of these layers, given patches."""
        raise NotImplementedError

    def embed(self, image: Tensor) -> Tensor:
        """The embedding (batch, width) of images."""
        raise NotImplementedError

    def compute(self, features: Tensor) -> ClassifierOutput:
        """As described by :class:`AudioClassifier`."""
        image = self.image(features)
        grids = self.grids(*(n // self.patch_size for n in image.shape[2:]))
        strides = reversed(self.hidden_strides)
        frames, bands = features.shape[1:]
        # A clip that was stretched is covered evenly.
        widths = None if self.resize is None else (None, None)
        taps = [
            MapTap(stride, frames, bands, widths, *token_maps(grid))
            for stride, grid in zip(strides, grids, strict=True)
        ]
        with tapped(self.tap_points(), taps) as maps:
            embedding = self.embed(image)
        logits = self.classifier(embedding)
        return ClassifierOutput(logits, embedding, tuple(reversed(maps)))

    def image(self, features: Tensor) -> Tensor:
        """The image (batch, 3, rows, columns) of features; time runs downwards.

        Rows and columns are filled up with silence to whole patches.
        """
        x = features.unsqueeze(1)
        if self.resize is not None:
            x = resample(x, self.resize)
        rows, columns = (-n % self.patch_size for n in x.shape[2:])
        return F.pad(x, (0, columns, 0, rows)).expand(-1, 3, -1, -1)

    def parts(self) -> dict[str, nn.Module]:
        """SpeechBrain's two checkpoints."""
        return {
            "embedding_model": self.embedding_model,
            "classifier": self.classifier,
        }


class FocalNetClassifier(HfImageClassifier):
    """FocalNet (Yang et al. 2022, arXiv 2203.11926) on mel spectrograms.

    Convolutional but for a mean over the image: it takes any length. The
    embedding is the mean of the last stage's map. The defaults are
    ``microsoft/focalnet-base``'s (87 M parameters), randomly initialised.

    Arguments
    ---------
    n_classes : int
        Number of classes.
    embed_dim : int
        Channels of the first stage; each further one doubles them.
    depths : sequence of int
        Layers of each stage.
    focal_levels, focal_windows : sequence of int
        Of each stage: steps of context, and the size of the first.
    resize : sequence of int or None
        Frames and bands that each clip is stretched to; None: its own.

    Example
    -------
    >>> model = FocalNetClassifier(10, 8, [1, 1, 1, 1]).freeze()
    >>> output = model(torch.rand(2, 100, 80))
    >>> output.logits.shape, [tuple(h.shape[1:]) for h in output.hidden]
    (torch.Size([2, 10]), [(64, 4, 3), (32, 7, 5), (16, 13, 10), (8, 25, 20)])
    """

    def __init__(
        self,
        n_classes: int,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        focal_levels: Sequence[int] = (2, 2, 2, 2),
        focal_windows: Sequence[int] = (3, 3, 3, 3),
        resize: Sequence[int] | None = None,
    ) -> None:
        transformers = library()
        widths = [embed_dim << k for k in range(len(depths))]
        options = {
            "embed_dim": embed_dim,
            "depths": list(depths),
            "focal_levels": list(focal_levels),
            "focal_windows": list(focal_windows),
        }
        # Widths are of no effect, but the backbone adds them to a list.
        config = transformers.FocalNetConfig(hidden_sizes=widths, **options)
        super().__init__(
            transformers.FocalNetBackbone(config), widths[-1], n_classes, resize
        )
        self.arguments = {"n_classes": n_classes, "resize": resize, **options}
        # The backbone normalises its output, and gives it unnormalised.
        self.embedding_model.focalnet.layernorm.requires_grad_(False)
        self.hidden_channels = tuple(reversed(widths))
        self.hidden_strides = tuple(
            self.patch_size << k for k in reversed(range(len(widths)))
        )
        self.min_frames = self.hidden_strides[0]

    def tap_points(self) -> list[nn.Module]:
        """The last layer of each stage, before it is downsampled."""
        stages = self.embedding_model.focalnet.encoder.stages
        return [stage.layers[-1] for stage in stages]

    def grids(self, rows: int, columns: int) -> list[tuple[int, int]]:
        """Each stage halves the patches; a half cell becomes a whole one."""
        strides = [1 << k for k in range(len(self.hidden_strides))]
        return [(-(-rows // s), -(-columns // s)) for s in strides]

    def embed(self, image: Tensor) -> Tensor:
        """The mean of the last stage's map."""
        return self.embedding_model(image).feature_maps[-1].mean((2, 3))

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: head, stages, patches."""
        net = self.embedding_model.focalnet
        stages = {f"stage{k}": m for k, m in enumerate(net.encoder.stages, 1)}
        return {
            "classifier": self.classifier,
            **dict(reversed(stages.items())),
            "embeddings": net.embeddings,
        }

    def outside_blocks(self) -> tuple[str, ...]:
        """As :meth:`AudioClassifier.outside_blocks`: the unused norm."""
        return ("embedding_model.focalnet.layernorm",)


class ViTClassifier(HfImageClassifier):
    """ViT (Dosovitskiy et al. 2021, arXiv 2010.11929) on mel spectrograms.

    Takes any length: the position embeddings are interpolated (bicubic) to
    the clip's patches, as ``transformers`` does for images of other sizes.
    The embedding is the mean of the normalised tokens, the class token among
    them, as in SpeechBrain's recipe; the hidden maps are the tokens without
    it, of the final norm and of layers at ``DEPTHS``. The defaults are
    ``google/vit-base-patch16-224``'s (86 M parameters), randomly initialised.

    Arguments
    ---------
    n_classes : int
        Number of classes.
    hidden_size, intermediate_size : int
        Width of the tokens, and inside of a layer.
    num_hidden_layers, num_attention_heads : int
        Layers, and heads of each.
    image_size, patch_size : int
        Pixels of the square image that the position embeddings are for, and
        of a patch; the patch's, a power of two, is the stride of all maps.
    resize : sequence of int or None
        Frames and bands that each clip is stretched to; None: its own.

    Example
    -------
    >>> model = ViTClassifier(10, 16, 32, 4, 2, image_size=32).freeze()
    >>> output = model(torch.rand(2, 100, 80))
    >>> output.logits.shape, [tuple(h.shape[1:]) for h in output.hidden][0]
    (torch.Size([2, 10]), (16, 7, 5))
    """

    def __init__(
        self,
        n_classes: int,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        image_size: int = 224,
        patch_size: int = 16,
        resize: Sequence[int] | None = None,
    ) -> None:
        transformers = library()
        options = {
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": num_hidden_layers,
            "num_attention_heads": num_attention_heads,
            "image_size": image_size,
            "patch_size": patch_size,
        }
        config = transformers.ViTConfig(**options)
        model = transformers.ViTModel(config, add_pooling_layer=False)
        super().__init__(model, hidden_size, n_classes, resize)
        self.arguments = {"n_classes": n_classes, "resize": resize, **options}
        n_maps = len(self.tap_points())
        self.hidden_channels = (hidden_size,) * n_maps
        self.hidden_strides = (patch_size,) * n_maps
        self.min_frames = patch_size

    @property
    def layers(self) -> nn.ModuleList:
        """Layers in the order of the forward, in each version's place."""
        model = self.embedding_model
        return model.layers if hasattr(model, "layers") else model.encoder.layer

    def tap_points(self) -> list[nn.Module]:
        """Some layers, and the norm behind the last."""
        n = len(self.layers)
        chosen = sorted({round(n * share) for share in DEPTHS} - {0, n})
        layers = [self.layers[k - 1] for k in chosen]
        return [*layers, self.embedding_model.layernorm]

    def grids(self, rows: int, columns: int) -> list[tuple[int, int]]:
        """All layers have the patches' cells."""
        return [(rows, columns)] * len(self.tap_points())

    def embed(self, image: Tensor) -> Tensor:
        """The mean of the tokens."""
        output = self.embedding_model(image, interpolate_pos_encoding=True)
        return output.last_hidden_state.mean(1)

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: head, norm, layers, patches."""
        layers = {f"layer{k}": m for k, m in enumerate(self.layers, 1)}
        return {
            "classifier": self.classifier,
            "layernorm": self.embedding_model.layernorm,
            **dict(reversed(layers.items())),
            "embeddings": self.embedding_model.embeddings,
        }


def token_maps(grid: tuple[int, int]) -> tuple[Callable, Callable]:
    """Ways from tokens (batch, tokens, channels) to a map of a grid, and back.

    Tokens before the cells' (the class token) are no part of the map.

    >>> tokens = torch.arange(7.0).view(1, 7, 1)
    >>> to_map, from_map = token_maps((3, 2))
    >>> to_map(tokens)[0, 0]
    tensor([[1., 2.],
            [3., 4.],
            [5., 6.]])
    >>> torch.equal(from_map(to_map(tokens)), tokens)
    True
    """
    cells = grid[0] * grid[1]
    first: list[Tensor] = []

    def to_map(tokens: Tensor) -> Tensor:
        first[:] = [tokens[:, :-cells]]
        return tokens[:, -cells:].transpose(1, 2).unflatten(2, grid)

    def from_map(maps: Tensor) -> Tensor:
        return torch.cat([*first, maps.flatten(2).transpose(1, 2)], 1)

    return to_map, from_map


@torch.no_grad()
def load_pretrained(
    classifier: HfImageClassifier, source: str | None = None
) -> HfImageClassifier:
    """Start from a published image model's weights.

    Arguments
    ---------
    classifier : FocalNetClassifier or ViTClassifier
        Its backbone is filled; its head is not.
    source : str or None
        Hub repository such as ``microsoft/focalnet-base``, or a folder of its
        files (config.json, model.safetensors). None leaves the random
        weights.

    Returns
    -------
    HfImageClassifier
        The classifier.

    Raises
    ------
    UserError
        If it cannot be loaded, or is of another architecture.
    """
    if source is None:
        return classifier
    ours = classifier.embedding_model
    options = {"add_pooling_layer": False} if hasattr(ours, "pooler") else {}
    theirs, info = from_pretrained(
        type(ours),
        source,
        "Give a folder with config.json and model.safetensors by `pretrained`, "
        "or null for random weights.",
        output_loading_info=True,
        **options,
    )
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise UserError(
            f"`pretrained`: {source} misses weights of {type(ours).__name__}: "
            f"{', '.join(missing[:5])}."
        )
    # Published weights may be in half precision.
    theirs = theirs.float().eval()
    size, training = theirs.config.image_size, ours.training
    image = torch.rand(1, 3, size, size)
    try:
        ours.load_state_dict(theirs.state_dict())
        # Heads and windows change no weight's shape, but the answer.
        answers = [
            model(image, output_hidden_states=True).hidden_states[-1]
            for model in (ours.eval(), theirs)
        ]
        same = torch.equal(*answers)
    except RuntimeError:
        same = False
    if not same:
        differing = [
            f"{name} {getattr(theirs.config, name)}"
            for name in inspect.signature(type(classifier)).parameters
            if getattr(theirs.config, name, None)
            != getattr(ours.config, name, None)
        ]
        raise UserError(
            f"`pretrained`: {source} is another model than the hyperparameters "
            f"describe; it has {', '.join(differing) or 'other options'}."
        )
    ours.train(training)
    return classifier


def library() -> Any:
    """The library ``transformers``, or an error that says how to get it."""
    try:
        import transformers
    except ImportError as err:
        raise UserError(
            "This classifier needs the library transformers: pip install "
            '"speechbrain_lmac[clap]".'
        ) from err
    return transformers


def from_pretrained(kind: Any, source: str, advice: str, **options: Any) -> Any:
    """``kind.from_pretrained``, with an error that says what to do.

    ``kind`` is a class of ``transformers``, ``source`` a hub repository or a
    folder.
    """
    source = os.path.expanduser(str(source))
    # The library would ask a hub that is out of reach for half a minute.
    local = os.path.isdir(source) or hub_problem() is not None
    try:
        return kind.from_pretrained(source, local_files_only=local, **options)
    except Exception as err:  # the library and its hub client raise all kinds
        reason = str(err).strip().split("\n")[0][:200]
        raise UserError(
            f"Cannot load {kind.__name__} from {source} "
            f"({type(err).__name__}: {reason}). {advice}"
        ) from err


def check_weights(
    source: str,
    info: dict[str, Any],
    ignored: tuple[str, ...],
    problems: Sequence[str] = ("missing_keys", "mismatched_keys"),
) -> None:
    """Refuse weights that left some of a model's random.

    ``info`` is what loading reported; keys that end in one of ``ignored`` do
    not count.
    """
    for problem in problems:
        names = map(str, info.get(problem, ()))
        keys = sorted(name for name in names if not name.endswith(ignored))
        if keys:
            raise UserError(
                f"{source} does not hold the weights that its config.json "
                f"describes: {problem.replace('_', ' ')} {', '.join(keys[:5])}."
            )


def hub_problem() -> Exception | None:
    """Why the model hub does not answer; None if it does, or is not asked."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception as err:  # of whichever client the library uses
        return err
    return None
