"""Listen to Interpret (L2I): dictionary, activations and their classifier.

The baseline that L-MAC is compared with: a network ``psi`` turns the hidden
maps of a frozen classifier into activations of a fixed NMF dictionary ``log1p
|X| ~ W H``, and a linear classifier ``theta`` of the pooled activations
imitates the frozen one. A decision is explained by the components on which
``theta`` leans for it.

Source: Parekh, Parekh, Mozharovskyi, d'Alche-Buc, Richard, "Listen to
Interpret: Post-hoc Interpretability for Audio Networks with NMF", NeurIPS
2022 (arXiv 2202.11479).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.base import AudioClassifier, ClassifierOutput
from speechbrain_lmac.features import BaseFrontEnd, Spectrum
from speechbrain_lmac.interpreters.decoders import MaskDecoder
from speechbrain_lmac.utils.checks import UserError

# Frames whose largest log1p magnitude is below this are silent.
_SILENCE = 1e-3


class L2IOutput(NamedTuple):
    """What L2I makes of a batch of clips.

    Attributes
    ----------
    activations : torch.Tensor
        ``H``, shape (batch, components, frames), >= 0.
    reconstruction : torch.Tensor
        ``W H``, the log1p magnitude, shape (batch, frames, bins), >= 0.
    pooled : torch.Tensor
        Activations pooled over time, shape (batch, components), >= 0.
    logits : torch.Tensor
        Class scores of ``theta``, shape (batch, classes).
    """

    activations: Tensor
    reconstruction: Tensor
    pooled: Tensor
    logits: Tensor


def sample_frames(
    spectra: Iterable[Tensor], max_frames: int, seed: int
) -> Tensor:
    """Frames (frames, bins) drawn from spectra (..., bins), on the CPU.

    Every frame that is not silent has the same chance, in bounded memory, as
    in reservoir sampling: each gets a random key, and those of the largest
    keys stay.

    Example
    -------
    >>> batches = (torch.full((2, 50, 4), float(i)) for i in range(5))
    >>> frames = sample_frames(batches, 10, seed=0)
    >>> frames.shape, bool((frames > 0).all())
    (torch.Size([10, 4]), True)
    """
    generator = torch.Generator().manual_seed(seed)
    kept, keys = None, torch.empty(0)
    for spectrum in spectra:
        frames = spectrum.detach().flatten(0, -2).float().cpu()
        frames = frames[frames.amax(1) > _SILENCE]
        new_keys = torch.rand(len(frames), generator=generator)
        kept = frames if kept is None else torch.cat([kept, frames])
        keys = torch.cat([keys, new_keys])
        if len(keys) > max_frames:
            keys, chosen = keys.topk(max_frames)
            kept = kept[chosen]
    return torch.empty(0, 0) if kept is None else kept


def fit_dictionary(
    spectra: Iterable[Tensor],
    n_components: int,
    seed: int,
    max_frames: int = 8000,
) -> Tensor:
    """NMF dictionary of log1p magnitudes: ``X ~ W H``, all non-negative.

    scikit-learn's coordinate descent on the squared error, from an NNDSVDa
    start, which is fixed by the seed, on frames of the spectra (..., bins)
    that :func:`sample_frames` draws. Its columns (bins, n_components) have
    unit L2 norm.

    Example
    -------
    >>> W = fit_dictionary([torch.rand(2, 20, 6)], n_components=3, seed=0)
    >>> W.shape, bool(torch.allclose(W.norm(dim=0), torch.ones(3)))
    (torch.Size([6, 3]), True)
    """
    from sklearn.decomposition import non_negative_factorization
    from sklearn.exceptions import ConvergenceWarning

    frames = sample_frames(spectra, max_frames, seed)
    if not 0 < n_components <= min(frames.shape):
        raise UserError(
            f"`n_components`: {n_components}, but the training clips give "
            f"{len(frames)} frames with sound of {frames.shape[1]} bins; lower "
            "it to the smaller of the two, or give more audio."
        )
    with warnings.catch_warnings():
        # The iterations are meant to end before the optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, basis, _ = non_negative_factorization(
            frames.numpy(),
            n_components=n_components,
            init="nndsvda",
            tol=1e-3,
            max_iter=100,
            random_state=seed,
        )
    basis = torch.from_numpy(basis).float().T
    return (basis / basis.norm(dim=0).clamp_min(1e-12)).contiguous()


def relevance(pooled: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Relevance of each component for classes, (batch, components), in [-1, 1].

    ``r_k = w_ck z_k / max_l |w_cl z_l|``: what a component adds to the logit
    of class ``c``, relative to the one that adds or takes the most; ``z`` are
    the pooled activations (batch, components), ``w`` the weights (classes,
    components) of theta, ``c`` the target (batch,).

    Example
    -------
    >>> weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]])
    >>> relevance(torch.tensor([[2.0, 2.0, 1.0]]), weight, torch.tensor([0]))
    tensor([[ 0.5000, -1.0000,  0.1250]])
    """
    added = pooled * weight[target]
    largest = added.abs().amax(1, keepdim=True)
    share = added / largest.clamp_min(torch.finfo(added.dtype).tiny)
    return share.clamp(-1.0, 1.0)


def l2i_mask(
    activations: Tensor,
    dictionary: Tensor,
    relevance: Tensor,
    threshold: float = 0.2,
) -> Tensor:
    """Share of the reconstruction that relevant components make, in [0, 1].

    ``M = sum_{k: r_k > threshold} W_k H_k / sum_k W_k H_k``, (batch, frames,
    bins), of ``H`` (batch, components, frames), ``W`` (bins, components) and
    ``r`` (batch, components); zeros where nothing is kept or reconstructed. It
    acts on ``log1p`` magnitudes, the domain of the factorisation.

    Example
    -------
    >>> activations = torch.tensor([[[1.0], [3.0]]])
    >>> dictionary = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    >>> l2i_mask(activations, dictionary, torch.tensor([[1.0, 0.1]]))
    tensor([[[0.2500, 1.0000]]])
    """
    frames = activations.transpose(1, 2)
    kept = frames * (relevance > threshold).unsqueeze(1)
    whole, part = frames @ dictionary.T, kept @ dictionary.T
    tiny = torch.finfo(whole.dtype).tiny
    # The two sums are rounded differently: a share may exceed 1 by a digit.
    return (part / whole.clamp_min(tiny)).clamp(0.0, 1.0)


class Theta(nn.Module):
    """Linear classifier of activations pooled by attention over time.

    No bias: the logit is the sum of what the components add to it. Starts as
    the mean over time.
    """

    linear: nn.Linear

    def __init__(self, n_components: int, n_classes: int):
        super().__init__()
        self.attention = nn.Linear(n_components, 1, bias=False)
        self.linear = nn.Linear(n_components, n_classes, bias=False)
        nn.init.zeros_(self.attention.weight)

    def forward(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled activations (batch, components) and logits."""
        frames = activations.transpose(1, 2)
        pooled = (self.attention(frames).softmax(1) * frames).sum(1)
        return pooled, self.linear(pooled)


class L2IDecoder(nn.Module):
    """Activations of a dictionary from hidden maps, and masks from them.

    ``psi`` is the U-Net over all hidden maps that L-MAC's decoder is, up to
    one value per frame and mel band, which a linear layer and a ReLU turn
    into the activations of the frame; so it takes any classifier and any
    number of frames. The dictionary is a buffer: it is filled once, before
    training, and saved with the weights.

    Arguments
    ---------
    hidden_channels, hidden_strides : sequence of int
        Geometry of the classifier's hidden maps, deepest first.
    n_classes : int
        Its classes.
    n_bins : int
        STFT bins.
    n_mels : int
        Mel bands of its input.
    n_components : int
        Columns of the dictionary.
    threshold : float
        Relevance, in [-1, 1), above which a component is part of the
        explanation.
    channels : sequence of int
        Of ``psi``, as for ``MaskDecoder``.

    Example
    -------
    >>> hidden = (torch.rand(2, 8, 3, 2), torch.rand(2, 4, 7, 5))
    >>> decoder = L2IDecoder((8, 4), (8, 4), 3, n_bins=33, n_mels=20,
    ...                      n_components=5, channels=(8, 4))
    >>> decoder.set_dictionary(torch.rand(33, 5))
    >>> output = decoder(hidden, num_frames=29)
    >>> output.activations.shape, output.reconstruction.shape
    (torch.Size([2, 5, 29]), torch.Size([2, 29, 33]))
    """

    name = "l2i"

    dictionary: Tensor
    theta: Theta

    def __init__(
        self,
        hidden_channels: Sequence[int],
        hidden_strides: Sequence[int],
        n_classes: int,
        n_bins: int = 513,
        n_mels: int = 80,
        n_components: int = 100,
        threshold: float = 0.2,
        channels: Sequence[int] = (96, 64, 48, 32, 16),
    ):
        super().__init__()
        if not -1 <= threshold < 1:
            raise UserError(
                f"`threshold`: {threshold}; expected a relevance from -1 to "
                "below 1 (published: 0.2)."
            )
        self.threshold = threshold
        self.arguments = {
            "n_components": n_components,
            "threshold": threshold,
            "channels": list(channels),
        }
        self.psi = MaskDecoder(
            hidden_channels, hidden_strides, channels, n_mels
        )
        self.to_activations = nn.Linear(n_mels, n_components)
        self.theta = Theta(n_components, n_classes)
        self.register_buffer("dictionary", torch.zeros(n_bins, n_components))
        self._filled = False

    def has_dictionary(self) -> bool:
        """Whether the dictionary has been filled or loaded."""
        # Asked until the answer is yes: on a GPU it waits for the device.
        self._filled = self._filled or bool(self.dictionary.any())
        return self._filled

    def set_dictionary(self, dictionary: Tensor) -> None:
        """Fill the dictionary with that of :func:`fit_dictionary`."""
        self.dictionary.copy_(dictionary)

    def forward(self, hidden: Sequence[Tensor], num_frames: int) -> L2IOutput:
        """Activations, reconstruction and class scores, as ``MaskDecoder``."""
        if not self.has_dictionary():
            raise UserError(
                "This L2I interpreter has no dictionary: train it first "
                "(train_l2i.py), or load a trained one."
            )
        frames = self.to_activations(self.psi(hidden, num_frames)).relu()
        activations = frames.transpose(1, 2)
        return L2IOutput(
            activations, frames @ self.dictionary.T, *self.theta(activations)
        )

    def select(self, l2i: L2IOutput, target: Tensor) -> Tensor:
        """Masks of classes (batch,) from what :meth:`forward` gave."""
        shares = relevance(l2i.pooled, self.theta.linear.weight, target)
        return l2i_mask(
            l2i.activations, self.dictionary, shares, self.threshold
        )

    def mask(
        self, output: ClassifierOutput, target: Tensor, spectrum: Spectrum
    ) -> Tensor:
        """Masks of classes (batch,), as ``decode_mask`` wants them."""
        frames = spectrum.view.shape[1]
        return self.select(self(output.hidden, frames), target)


def build_l2i(
    classifier: AudioClassifier,
    frontend: BaseFrontEnd,
    n_components: int = 100,
    threshold: float = 0.2,
    channels: Sequence[int] = (96, 64, 48, 32, 16),
) -> L2IDecoder:
    """The :class:`L2IDecoder` that fits a classifier and a front end.

    Arguments
    ---------
    classifier : AudioClassifier
        With its classes and the geometry of its hidden maps.
    frontend : BaseFrontEnd
        With the number of bands and bins.
    n_components, threshold, channels
        As for :class:`L2IDecoder`.

    Returns
    -------
    L2IDecoder
    """
    return L2IDecoder(
        classifier.hidden_channels,
        classifier.hidden_strides,
        classifier.n_classes,
        frontend.n_bins,
        frontend.n_mels,
        n_components,
        threshold,
        channels,
    )
