"""FocalNet and ViT, image models of ``transformers``, as sound classifiers.

SpeechBrain's ESC-50 recipes classify spectrograms with these backbones and a
head on the mean of the last hidden state. It is the same here, but for three
things. The input is the front end's log1p mel spectrogram (theirs: log1p
STFT). It keeps its own resolution, so that a cell of a hidden map covers the
same number of frames in clips of all lengths; ``resize=[224, 224]`` makes
each clip one square image, as theirs does. The head is one linear layer, for
cross-entropy. Like theirs, the spectrogram fills all three colour channels
and is not normalised further.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_lmac.classifiers.base import (
    AudioClassifier,
    ClassifierOutput,
    MapTap,
    resample,
)
from speechbrain_lmac.classifiers.hf_weights import check_options, library
from speechbrain_lmac.classifiers.zero_shot.htsat import tapped

#: ViT's hidden maps: outputs of layers at these shares of its depth.
DEPTHS = (0.25, 0.5, 0.75)


class HfImageClassifier(AudioClassifier):
    """What FocalNet and ViT share; made by the classes below.

    The two modules have checkpoints of their own, named as SpeechBrain's.

    Arguments
    ---------
    embedding_model : transformers.PreTrainedModel
        The backbone.
    width : int
        Channels of the deepest hidden map.
    n_classes : int
        Number of classes.
    resize : sequence of int or None
        Frames and bands that each clip is stretched to; None: its own.
    """

    reentrant = False  # hooks catch the hidden maps

    def __init__(self, embedding_model, width, n_classes, resize):
        super().__init__()
        self.embedding_model = embedding_model
        self.classifier = nn.Linear(width, n_classes)
        self.n_classes = n_classes
        self.patch_size = embedding_model.config.patch_size
        self.resize = None if resize is None else tuple(map(int, resize))

    def tap_points(self):
        """Layers that give the hidden maps, in the order of the forward."""
        raise NotImplementedError

    def grids(self, rows, columns):
        """Cells (rows, columns) of each of these layers, given patches."""
        raise NotImplementedError

    def embed(self, image):
        """Run the backbone; its embedding, if that is not the map's mean."""
        raise NotImplementedError

    def compute(self, features):
        """As described by :class:`AudioClassifier`."""
        image = self.image(features)
        patches = [n // self.patch_size for n in image.shape[2:]]
        strides = reversed(self.hidden_strides)
        # A clip that was stretched is covered evenly.
        widths = None if self.resize is None else (None, None)
        taps = [
            MapTap(stride, *features.shape[1:], widths, *token_maps(grid))
            for stride, grid in zip(strides, self.grids(*patches), strict=True)
        ]
        with tapped(self.tap_points(), taps) as maps:
            embedding = self.embed(image)
        logits = self.classifier(embedding)
        return ClassifierOutput(logits, embedding, tuple(reversed(maps)))

    def image(self, features):
        """The image that the backbone sees.

        Arguments
        ---------
        features : torch.Tensor
            log1p mel, shape (batch, frames, bands).

        Returns
        -------
        torch.Tensor
            Shape (batch, 3, rows, columns): time runs downwards. Rows and
            columns are filled up with silence to whole patches.
        """
        x = features.unsqueeze(1)
        if self.resize is not None:
            x = resample(x, self.resize)
        rows, columns = (-n % self.patch_size for n in x.shape[2:])
        return F.pad(x, (0, columns, 0, rows)).expand(-1, 3, -1, -1)

    def parts(self):
        """SpeechBrain's two checkpoints."""
        return {
            "embedding_model": self.embedding_model,
            "classifier": self.classifier,
        }

    def block(self, *modules):
        """Layers as one block of :meth:`blocks`, drawn as these models do."""
        config = self.embedding_model.config
        return DrawnBlock(
            modules,
            config.initializer_range,
            getattr(config, "layerscale_value", 1.0),
        )


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
        As for :class:`HfImageClassifier`.
    **options
        Of ``transformers.FocalNetConfig``; see ``hf_weights.OPTIONS``.

    Example
    -------
    >>> model = FocalNetClassifier(10, 8, [1, 1, 1, 1]).freeze()
    >>> output = model(torch.rand(2, 100, 80))
    >>> output.logits.shape, [tuple(h.shape[1:]) for h in output.hidden]
    (torch.Size([2, 10]), [(64, 4, 3), (32, 7, 5), (16, 13, 10), (8, 25, 20)])
    """

    def __init__(
        self,
        n_classes,
        embed_dim=128,
        depths=(2, 2, 18, 2),
        focal_levels=(2, 2, 2, 2),
        focal_windows=(3, 3, 3, 3),
        resize=None,
        **options,
    ):
        transformers = library()
        check_options(options)
        widths = [embed_dim << k for k in range(len(depths))]
        config = transformers.FocalNetConfig(
            embed_dim=embed_dim,
            # Of no effect, but the backbone adds it to a list.
            hidden_sizes=widths,
            depths=list(depths),
            focal_levels=list(focal_levels),
            focal_windows=list(focal_windows),
            **options,
        )
        super().__init__(
            transformers.FocalNetBackbone(config), widths[-1], n_classes, resize
        )
        # The backbone normalises its output, and gives it unnormalised.
        self.embedding_model.focalnet.layernorm.requires_grad_(False)
        self.hidden_channels = tuple(reversed(widths))
        self.hidden_strides = tuple(
            self.patch_size << k for k in reversed(range(len(widths)))
        )
        self.min_frames = self.hidden_strides[0]

    @property
    def stages(self):
        """Stages in the order of the forward."""
        return self.embedding_model.focalnet.encoder.stages

    def tap_points(self):
        """The last layer of each stage, before it is downsampled."""
        return [stage.layers[-1] for stage in self.stages]

    def grids(self, rows, columns):
        """Each stage halves the patches; a half cell becomes a whole one."""
        strides = [1 << k for k in range(len(self.stages))]
        return [(-(-rows // s), -(-columns // s)) for s in strides]

    def embed(self, image):
        """The mean of the last stage's map."""
        return self.embedding_model(image).feature_maps[-1].mean((2, 3))

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: head, stages, patches."""
        stages = {
            f"stage{k}": self.block(s) for k, s in enumerate(self.stages, 1)
        }
        return {
            "classifier": self.block(self.classifier),
            **dict(reversed(stages.items())),
            "embeddings": self.block(self.embedding_model.focalnet.embeddings),
        }

    def outside_blocks(self):
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
        As for :class:`HfImageClassifier`.
    **options
        Of ``transformers.ViTConfig``; see ``hf_weights.OPTIONS``.

    Example
    -------
    >>> model = ViTClassifier(10, 16, 32, 4, 2, image_size=32).freeze()
    >>> output = model(torch.rand(2, 100, 80))
    >>> output.logits.shape, [tuple(h.shape[1:]) for h in output.hidden][0]
    (torch.Size([2, 10]), (16, 7, 5))
    """

    def __init__(
        self,
        n_classes,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=224,
        patch_size=16,
        resize=None,
        **options,
    ):
        transformers = library()
        check_options(options)
        config = transformers.ViTConfig(
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads,
            image_size=image_size,
            patch_size=patch_size,
            **options,
        )
        model = transformers.ViTModel(config, add_pooling_layer=False)
        super().__init__(model, hidden_size, n_classes, resize)
        n_maps = len(self.tap_points())
        self.hidden_channels = (hidden_size,) * n_maps
        self.hidden_strides = (patch_size,) * n_maps
        self.min_frames = patch_size

    @property
    def layers(self):
        """Layers in the order of the forward, in each version's place."""
        model = self.embedding_model
        return model.layers if hasattr(model, "layers") else model.encoder.layer

    def tap_points(self):
        """Some layers, and the norm behind the last."""
        n = len(self.layers)
        chosen = sorted({round(n * share) for share in DEPTHS} - {0, n})
        layers = [self.layers[k - 1] for k in chosen]
        return [*layers, self.embedding_model.layernorm]

    def grids(self, rows, columns):
        """All layers have the patches' cells."""
        return [(rows, columns)] * len(self.tap_points())

    def embed(self, image):
        """The mean of the tokens."""
        output = self.embedding_model(image, interpolate_pos_encoding=True)
        return output.last_hidden_state.mean(1)

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: head, norm, layers, patches."""
        layers = {
            f"layer{k}": self.block(m) for k, m in enumerate(self.layers, 1)
        }
        return {
            "classifier": self.block(self.classifier),
            "layernorm": self.block(self.embedding_model.layernorm),
            **dict(reversed(layers.items())),
            "embeddings": self.block(self.embedding_model.embeddings),
        }


class DrawnBlock(nn.ModuleList):
    """A block whose weights are drawn as these models draw theirs.

    Arguments
    ---------
    modules : sequence of torch.nn.Module
        What it holds.
    std : float
        Standard deviation of the weights.
    scale : float
        What the scales of residual paths begin with, where there are any.
    """

    def __init__(self, modules, std, scale):
        super().__init__(modules)
        self.std, self.scale = std, scale

    @torch.no_grad()
    def reset_parameters(self):
        """Draw all weights anew; norms go back to ones and zeros."""
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
                continue
            for name, weight in module.named_parameters(recurse=False):
                if name == "bias":
                    nn.init.zeros_(weight)
                elif name.startswith("gamma"):
                    nn.init.constant_(weight, self.scale)
                else:
                    nn.init.normal_(weight, 0, self.std)


def token_maps(grid):
    """Ways from tokens to a map and back.

    Arguments
    ---------
    grid : tuple of int
        Rows and columns of cells. Tokens before the cells' (the class token)
        are no part of the map.

    Returns
    -------
    tuple of callable
        ``to_map``: (batch, tokens, channels) to (batch, channels, *grid), and
        ``from_map``, of the same tokens' map.

    Example
    -------
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
    first = []

    def to_map(tokens):
        first[:] = [tokens[:, : tokens.shape[1] - cells]]
        tokens = tokens[:, tokens.shape[1] - cells :]
        return tokens.transpose(1, 2).unflatten(2, grid)

    def from_map(maps):
        return torch.cat([*first, maps.flatten(2).transpose(1, 2)], 1)

    return to_map, from_map
