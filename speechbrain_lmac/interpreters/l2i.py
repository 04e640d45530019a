"""Listen to Interpret (L2I): dictionary, activations and their classifier.

The baseline that L-MAC is compared with: a network ``psi`` turns the hidden
maps of a frozen classifier into activations of a fixed NMF dictionary, and a
linear classifier ``theta`` of the pooled activations imitates the frozen one.

Source: Parekh, Parekh, Mozharovskyi, d'Alche-Buc, Richard, "Listen to
Interpret: Post-hoc Interpretability for Audio Networks with NMF", NeurIPS
2022 (arXiv 2202.11479).

Authors
 * The speechbrain_lmac authors 2026
"""

import warnings
from typing import NamedTuple

import torch
from torch import nn

from speechbrain_lmac.interpreters.decoders import MaskDecoder
from speechbrain_lmac.interpreters.l2i_attribution import l2i_mask, relevance
from speechbrain_lmac.utils.checks import UserError

#: Frames whose largest log1p magnitude is below this are silent.
SILENCE = 1e-3


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

    activations: torch.Tensor
    reconstruction: torch.Tensor
    pooled: torch.Tensor
    logits: torch.Tensor


def sample_frames(spectra, max_frames, seed):
    """Frames drawn from spectra of any number, in bounded memory.

    Every frame that is not silent has the same chance, as in reservoir
    sampling: each gets a random key, and those of the largest keys stay.

    Arguments
    ---------
    spectra : iterable of torch.Tensor
        Shape (..., bins); gone through once.
    max_frames : int
        Most frames to return.
    seed : int
        The same seed and spectra give the same frames.

    Returns
    -------
    torch.Tensor
        Shape (frames, bins), on the CPU.

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
        frames = frames[frames.amax(1) > SILENCE]
        new_keys = torch.rand(len(frames), generator=generator)
        kept = frames if kept is None else torch.cat([kept, frames])
        keys = torch.cat([keys, new_keys])
        if len(keys) > max_frames:
            keys, chosen = keys.topk(max_frames)
            kept = kept[chosen]
    return torch.empty(0, 0) if kept is None else kept


def fit_dictionary(spectra, n_components, seed, max_frames=8000, max_iter=100):
    """NMF dictionary of log1p magnitudes: ``X ~ W H``, all non-negative.

    scikit-learn's coordinate descent on the squared error, from an NNDSVDa
    start, which is fixed by the seed.

    Arguments
    ---------
    spectra : iterable of torch.Tensor
        ``log1p`` magnitudes, shape (..., bins), >= 0.
    n_components : int
        Columns of the dictionary.
    seed : int
        Seed of the frames drawn and of the start.
    max_frames : int
        Frames that the dictionary is learnt on.
    max_iter : int
        Iterations of the factorisation.

    Returns
    -------
    torch.Tensor
        ``W``, shape (bins, n_components), columns of unit L2 norm.

    Raises
    ------
    UserError
        If there are too few frames or bins for so many components, or
        scikit-learn is missing.

    Example
    -------
    >>> spectra = [torch.rand(2, 20, 6)]
    >>> W = fit_dictionary(spectra, n_components=3, seed=0)
    >>> W.shape, bool(torch.allclose(W.norm(dim=0), torch.ones(3)))
    (torch.Size([6, 3]), True)
    """
    try:
        from sklearn.decomposition import non_negative_factorization
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as err:
        raise UserError(
            "L2I learns its dictionary with the package scikit-learn: "
            "pip install scikit-learn"
        ) from err
    frames = sample_frames(spectra, max_frames, seed)
    if not 0 < n_components <= min(frames.shape):
        raise UserError(
            f"`n_components` is {n_components}, but the training clips give "
            f"{frames.shape[0]} frames that are not silent, of "
            f"{frames.shape[1]} bins; expected at most the smaller of the "
            "two. Lower --n_components or give more audio."
        )
    with warnings.catch_warnings():
        # The iterations are meant to end before the optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, basis, _ = non_negative_factorization(
            frames.numpy(),
            n_components=n_components,
            init="nndsvda",
            tol=1e-3,
            max_iter=max_iter,
            random_state=seed,
        )
    basis = torch.from_numpy(basis).float().T
    return (basis / basis.norm(dim=0).clamp_min(1e-12)).contiguous()


class Theta(nn.Module):
    """Linear classifier of activations pooled by attention over time.

    No bias: the logit is the sum of what the components add to it. Starts as
    the mean over time.

    Arguments
    ---------
    n_components : int
        Components of the activations.
    n_classes : int
        Classes of the classifier that is imitated.

    Example
    -------
    >>> pooled, logits = Theta(6, 3)(torch.rand(2, 6, 40))
    >>> pooled.shape, logits.shape
    (torch.Size([2, 6]), torch.Size([2, 3]))
    """

    def __init__(self, n_components, n_classes):
        super().__init__()
        self.attention = nn.Linear(n_components, 1, bias=False)
        self.linear = nn.Linear(n_components, n_classes, bias=False)
        nn.init.zeros_(self.attention.weight)

    def forward(self, activations):
        """Pooled activations and logits, for any number of frames."""
        frames = activations.transpose(1, 2)
        attention = self.attention(frames).softmax(1)
        pooled = (attention * frames).sum(1)
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
        Relevance above which a component is part of the explanation.
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

    def __init__(
        self,
        hidden_channels,
        hidden_strides,
        n_classes,
        n_bins=513,
        n_mels=80,
        n_components=100,
        threshold=0.2,
        channels=(96, 64, 48, 32, 16),
    ):
        super().__init__()
        if not -1 <= threshold < 1:
            raise UserError(
                f"`threshold` is {threshold}; relevances lie in [-1, 1], so "
                "expected a number from -1 to below 1 (published: 0.2)."
            )
        self.threshold = threshold
        self.psi = MaskDecoder(
            hidden_channels, hidden_strides, channels, n_mels
        )
        self.to_activations = nn.Linear(n_mels, n_components)
        self.theta = Theta(n_components, n_classes)
        self.register_buffer("dictionary", torch.zeros(n_bins, n_components))
        self._filled = False

    def has_dictionary(self):
        """Whether the dictionary has been filled or loaded."""
        # Asked until the answer is yes: on a GPU it waits for the device.
        self._filled = self._filled or bool(self.dictionary.any())
        return self._filled

    def set_dictionary(self, dictionary):
        """Fill the dictionary with that of :func:`fit_dictionary`."""
        if dictionary.shape != self.dictionary.shape or dictionary.lt(0).any():
            raise ValueError(
                f"Expected a non-negative dictionary of shape "
                f"{tuple(self.dictionary.shape)} but got one of shape "
                f"{tuple(dictionary.shape)}, minimum {dictionary.min():.3g}."
            )
        self.dictionary.copy_(dictionary)

    def forward(self, hidden, num_frames):
        """Activations, reconstruction and class scores.

        Arguments
        ---------
        hidden : sequence of torch.Tensor
            Hidden maps of the classifier, deepest first.
        num_frames : int
            Frames of the spectrogram.

        Returns
        -------
        L2IOutput

        Raises
        ------
        UserError
            If the dictionary is empty.
        """
        if not self.has_dictionary():
            raise UserError(
                "This L2I interpreter has no dictionary yet: train it first "
                "(python train_l2i.py ...), or load a trained one."
            )
        frames = self.to_activations(self.psi(hidden, num_frames)).relu()
        activations = frames.transpose(1, 2)
        return L2IOutput(
            activations, frames @ self.dictionary.T, *self.theta(activations)
        )

    def select(self, l2i, target, threshold=None):
        """Masks of the explained classes from what :meth:`forward` gave.

        Arguments
        ---------
        l2i : L2IOutput
            Of the clips.
        target : torch.Tensor
            Explained classes, shape (batch,).
        threshold : float or None
            In place of the decoder's own.

        Returns
        -------
        torch.Tensor
            As of ``l2i_mask``.
        """
        threshold = self.threshold if threshold is None else threshold
        shares = relevance(l2i.pooled, self.theta.linear.weight, target)
        return l2i_mask(l2i.activations, self.dictionary, shares, threshold)

    def mask(self, output, target, num_frames):
        """Masks of classes at the decoder's threshold, for ``decode_mask``."""
        return self.select(self(output.hidden, num_frames), target)


def build_l2i(
    classifier,
    frontend,
    n_components=100,
    threshold=0.2,
    channels=(96, 64, 48, 32, 16),
):
    """The :class:`L2IDecoder` that fits a classifier and a front end.

    Arguments
    ---------
    classifier : AudioClassifier
        Tells its classes and the geometry of its hidden maps.
    frontend : FrontEnd
        Tells the number of bands and bins.
    n_components, threshold, channels
        As for :class:`L2IDecoder`.

    Returns
    -------
    L2IDecoder

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> decoder = build_l2i(SlimCnn(n_classes=10), FrontEnd(), 64)
    >>> decoder.dictionary.shape, decoder.has_dictionary()
    (torch.Size([513, 64]), False)
    """
    return L2IDecoder(
        classifier.hidden_channels,
        classifier.hidden_strides,
        classifier.n_classes,
        n_bins=frontend.n_bins,
        n_mels=frontend.n_mels,
        n_components=n_components,
        threshold=threshold,
        channels=channels,
    )
