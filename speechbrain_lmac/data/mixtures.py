"""Contaminated clips, for training and for the evaluation conditions.

Every mixture keeps its two components: mixture == target + interferer. The
components are brought to unit norm, weighted, added, and scaled alike so
that the mixture has a peak of 1. A silent component stays silent, and a
silent mixture stays all zeros. Conditions and weights are those of L-MAC
(Paissan, Ravanelli, Subakan, ICML 2024, arXiv 2403.13086).
"""

import math
from typing import NamedTuple

import torch

from speechbrain_lmac.data.audio import AudioCache
from speechbrain_lmac.data.noise_files import list_noise_files
from speechbrain_lmac.utils.checks import UserError

KINDS = ("none", "clip", "white_noise", "noise_folder")
# Weights of the published conditions, on components of unit norm.
TARGET_WEIGHT, INTERFERER_WEIGHT, NOISE_WEIGHT = 0.8, 0.2, 0.5


class Mixture(NamedTuple):
    """A contaminated clip; mixture == target + interferer."""

    mixture: torch.Tensor  # (..., samples), peak 1 (0 if silent)
    target: torch.Tensor  # (..., samples), as loud as in the mixture
    interferer: torch.Tensor  # (..., samples), as loud as in the mixture


# -------------------------------------------------- mixing, batched, pure


def peak_normalize(waveform):
    """Scale each clip to a peak of 1; silence stays silence.

    Arguments
    ---------
    waveform : torch.Tensor
        (..., samples), of any level.

    Returns
    -------
    torch.Tensor
        Of the same shape, within [-1, 1].

    Example
    -------
    >>> peak_normalize(torch.tensor([[1.0, -4.0], [0.0, 0.0]]))
    tensor([[ 0.2500, -1.0000],
            [ 0.0000,  0.0000]])
    """
    return waveform / _peak_or_one(waveform)


def _peak_or_one(waveform):
    peak = waveform.abs().amax(dim=-1, keepdim=True)
    return torch.where(peak > 0, peak, 1.0)


def _unit_norm(waveform):
    """Divide each clip by its norm; silence stays silence."""
    # By the peak first: the squares of a very quiet clip underflow.
    waveform = peak_normalize(waveform)
    norm = waveform.norm(dim=-1, keepdim=True)
    return waveform / torch.where(norm > 0, norm, 1.0)


def _combine(target, interferer, target_weight, interferer_weight):
    """Weighted sum of unit-norm components, at a common peak of 1."""
    if target.shape != interferer.shape:
        raise ValueError(
            "Expected `target` and the interferer to have the same shape "
            f"but got {tuple(target.shape)} and {tuple(interferer.shape)}; "
            "see `fit_length`."
        )
    if target.ndim not in (1, 2) or target.shape[-1] == 0:
        raise ValueError(
            "Expected waveforms (samples,) or (batch, samples) but got "
            f"shape {tuple(target.shape)}."
        )
    target = _unit_norm(target) * _per_clip(target_weight, target)
    interferer = _unit_norm(interferer) * _per_clip(interferer_weight, target)
    peak = _peak_or_one(target + interferer)
    target, interferer = target / peak, interferer / peak
    return Mixture(target + interferer, target, interferer)


def _per_clip(value, like):
    """Turn a number, or one number per clip, into a factor."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.unsqueeze(-1) if value.ndim else value


def mix_clips(
    target,
    interferer,
    target_weight=TARGET_WEIGHT,
    interferer_weight=INTERFERER_WEIGHT,
):
    """Mix two clips: 0.8 s1/|s1| + 0.2 s2/|s2|, then a peak of 1.

    The weights of L-MAC's out-of-domain conditions; 0.8 and 0.2 put the
    target 20 log10(0.8 / 0.2) = 12.04 dB above the interferer.

    Arguments
    ---------
    target : torch.Tensor
        Clips to be explained, (samples,) or (batch, samples).
    interferer : torch.Tensor
        What is added, of the same shape.
    target_weight : float or torch.Tensor
        Norm of the target before the scaling; one number or (batch,).
    interferer_weight : float or torch.Tensor
        Norm of the interferer before the scaling; one number or (batch,).

    Returns
    -------
    Mixture
        mixture, target, interferer, of the shape of `target`.

    Raises
    ------
    ValueError
        If the shapes differ or are no waveforms.

    Example
    -------
    >>> mix = mix_clips(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 9.0]))
    >>> mix.mixture, mix.interferer
    (tensor([1.0000, 0.2500]), tensor([0.0000, 0.2500]))
    """
    return _combine(target, interferer, target_weight, interferer_weight)


def add_white_noise(
    target, generator=None, noise_weight=NOISE_WEIGHT, noise=None
):
    """Add white noise: s/|s| + 0.5 n/|n|, then a peak of 1.

    L-MAC's white-noise condition; a weight of 0.5 is an SNR of 6.02 dB.

    Arguments
    ---------
    target : torch.Tensor
        Clips, (samples,) or (batch, samples).
    generator : torch.Generator, optional
        Source of the noise. It is drawn on the generator's device (the CPU
        without one), so that a seed means the same noise everywhere.
    noise_weight : float or torch.Tensor
        Norm of the noise relative to the target; one number or (batch,).
    noise : torch.Tensor, optional
        The noise itself, of the shape of `target`, in place of drawing it.

    Returns
    -------
    Mixture
        mixture, target, interferer, of the shape of `target`.

    Example
    -------
    >>> generator = torch.Generator().manual_seed(0)
    >>> mix = add_white_noise(torch.ones(2, 100), generator)
    >>> energy = [part.square().sum(-1) for part in mix[1:]]
    >>> energy[0] / energy[1]
    tensor([4.0000, 4.0000])
    """
    if noise is None:
        noise = _randn_like(target, generator)
    return _combine(target, noise, 1.0, noise_weight)


def _randn_like(target, generator):
    device = generator.device if generator is not None else "cpu"
    noise = torch.randn(target.shape, generator=generator, device=device)
    return noise.to(target)


def mix_at_snr(target, noise, snr_db):
    """Add noise at a signal-to-noise ratio, then a peak of 1.

    The ratio compares the energies of the whole clips:
    10 log10(|s|^2 / |n|^2) = snr_db. L-MAC adds WHAM! noise at 0 dB.

    Arguments
    ---------
    target : torch.Tensor
        Clips, (samples,) or (batch, samples).
    noise : torch.Tensor
        Noise, of the same shape.
    snr_db : float or torch.Tensor
        Ratio in dB; one number or (batch,).

    Returns
    -------
    Mixture
        mixture, target, interferer, of the shape of `target`.

    Example
    -------
    >>> mix_at_snr(torch.tensor([4.0, 0.0]), torch.tensor([0.0, 1.0]), 20.0)[0]
    tensor([1.0000, 0.1000])
    """
    snr_db = torch.as_tensor(snr_db, dtype=target.dtype, device=target.device)
    return _combine(target, noise, 1.0, 10 ** (-snr_db / 20))


def fit_length(waveform, num_samples, generator=None, loop=False):
    """Cut, zero-pad or repeat a waveform to a number of samples.

    Arguments
    ---------
    waveform : torch.Tensor
        (samples,) or (batch, samples).
    num_samples : int
        Wanted length.
    generator : torch.Generator, optional
        Draws where the cut starts; without one it starts at sample 0.
    loop : bool
        Whether a short waveform is repeated rather than zero-padded.

    Returns
    -------
    torch.Tensor
        (num_samples,) or (batch, num_samples).

    Example
    -------
    >>> fit_length(torch.tensor([1.0, 2.0]), 3)
    tensor([1., 2., 0.])
    >>> fit_length(torch.tensor([1.0, 2.0]), 3, loop=True)
    tensor([1., 2., 1.])
    """
    length = waveform.shape[-1]
    if loop and 0 < length < num_samples:
        # One period more than needed, so that any phase can be drawn.
        periods = math.ceil(num_samples / length) + 1
        waveform = torch.cat([waveform] * periods, dim=-1)
        starts = length
    else:
        starts = length - num_samples + 1
    if starts < 1:
        return torch.nn.functional.pad(waveform, (0, num_samples - length))
    start = 0 if generator is None else _randint(starts, generator)
    return waveform[..., start : start + num_samples]


def _randint(high, generator):
    """Draw a whole number in [0, high), on the generator's device."""
    draw = torch.randint(high, (), generator=generator, device=generator.device)
    return int(draw)


class TrainingContamination:
    """Contaminate the clips of a training batch, each in its own way.

    Each clip gets one kind, drawn with `probs`: "none", "clip" (another clip
    of the batch), "white_noise", or "noise_folder" (a random part of a
    random file). Energies of target and interferer differ by an SNR drawn
    uniformly per clip. Every mixture has a peak of 1, those without an
    interferer too. In a batch of one clip, "clip" finds no other and adds
    nothing. The same generator state gives the same mixtures.

    Arguments
    ---------
    kinds : sequence of str
        Kinds to draw from, of ``KINDS``.
    probs : sequence of float, optional
        Their probabilities (scaled to sum to 1); equal by default.
    snr_db : float or (float, float)
        Range of the SNR in dB, [low, high]; L-MAC trains at 0 dB.
    noise_folder : str or Path, optional
        Needed for the kind "noise_folder"; see `list_noise_files`, whose
        train split is used.
    audio : callable, optional
        path -> waveform (samples,) at the rate of the clips; an
        `AudioCache` at 16 kHz by default.

    Raises
    ------
    UserError
        If a kind is unknown, the probabilities or the range make no sense,
        or the noise folder is needed and has no audio.

    Example
    -------
    >>> contaminate = TrainingContamination(["white_noise"], snr_db=[0, 10])
    >>> mix = contaminate(torch.ones(4, 50), torch.Generator().manual_seed(1))
    >>> bool(torch.allclose(mix.mixture, mix.target + mix.interferer))
    True
    """

    def __init__(
        self,
        kinds=("none", "clip", "white_noise"),
        probs=None,
        snr_db=(0.0, 0.0),
        noise_folder=None,
        audio=None,
    ):
        self.kinds = tuple(kinds)
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown or not self.kinds:
            raise UserError(
                f"Expected contamination `kinds` from {KINDS} but got "
                f"{list(self.kinds)}."
            )
        self.probs = self._check_probabilities(probs)
        low_high = (snr_db, snr_db) if _is_number(snr_db) else tuple(snr_db)
        if len(low_high) != 2 or not low_high[0] <= low_high[1]:
            raise UserError(
                f"Expected `snr_db` to be [low, high] in dB but got {snr_db}."
            )
        self.snr_db = (float(low_high[0]), float(low_high[1]))
        self.noise_files = []
        if "noise_folder" in self.kinds:
            self.noise_files = list_noise_files(noise_folder, "train")
        self.audio = AudioCache() if audio is None else audio

    def _check_probabilities(self, probs):
        values = [1.0] * len(self.kinds) if probs is None else list(probs)
        valid = len(values) == len(self.kinds) and sum(values) > 0
        if not valid or not all(0 <= p < math.inf for p in values):
            raise UserError(
                f"Expected `probs` to hold {len(self.kinds)} probabilities, "
                f"one for each of {list(self.kinds)}, but got {probs}."
            )
        return torch.tensor(values, dtype=torch.float64) / sum(values)

    def __call__(self, clean, generator):
        """Draw a kind for each clip and mix.

        Arguments
        ---------
        clean : torch.Tensor
            (batch, samples).
        generator : torch.Generator
            Source of every draw; its device may differ from the clips'.

        Returns
        -------
        Mixture
            mixture, target, interferer, each (batch, samples).
        """
        if clean.ndim != 2:
            raise ValueError(
                "Expected `clean` to be (batch, samples) but got shape "
                f"{tuple(clean.shape)}."
            )
        device = generator.device
        kind = torch.multinomial(
            self.probs.to(device), len(clean), True, generator=generator
        ).to(clean.device)
        low, high = self.snr_db
        share = torch.rand(len(clean), generator=generator, device=device)
        snr_db = low + (high - low) * share.to(clean)
        interferer = torch.zeros_like(clean)
        for number, name in enumerate(self.kinds):
            rows = (kind == number).nonzero().squeeze(1)
            if name != "none" and len(rows):
                draw = getattr(self, f"_draw_{name}")
                interferer[rows] = draw(clean, rows, generator)
        return mix_at_snr(clean, interferer, snr_db)

    def _draw_clip(self, clean, rows, generator):
        """Another clip for each row: one roll, never by a whole turn."""
        if len(clean) == 1:
            return torch.zeros_like(clean)
        shift = 1 + _randint(len(clean) - 1, generator)
        return clean[(rows + shift) % len(clean)]

    def _draw_white_noise(self, clean, rows, generator):
        return _randn_like(clean[rows], generator)

    def _draw_noise_folder(self, clean, rows, generator):
        noises = []
        for _ in range(len(rows)):
            path = self.noise_files[_randint(len(self.noise_files), generator)]
            noise = self.audio(path)
            noises.append(fit_length(noise, clean.shape[-1], generator, True))
        return torch.stack(noises).to(clean)


def _is_number(value):
    return isinstance(value, (int, float))
