"""Mixtures of a batch's clips: with known sources masks can be judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from speechbrain_lmac.data.mixtures import Mixture, mix_at_snr
from speechbrain_lmac.features import BaseFrontEnd, Spectrum
from speechbrain_lmac.metrics.separation import energy_kept, si_sdr_gain


def mix_partners(
    wavs: Tensor,
    groups: Tensor,
    prob: float,
    snr_db: Sequence[float],
    generator: torch.Generator,
) -> tuple[Mixture, Tensor, Tensor]:
    """Mix clips of a batch with one another, the partner being known."""
    low, high = (float(x) for x in snr_db)
    clips = torch.arange(len(wavs))
    shifts = 1 + torch.randperm(max(len(wavs) - 1, 1), generator=generator)
    partners = (clips + shifts[:, None]) % len(wavs)
    groups = groups.to(clips.device)
    different = groups[partners] != groups
    chosen = different.sum(1).argmax()
    partner = partners[chosen]
    known = torch.rand(len(wavs), generator=generator) < prob
    known &= different[chosen]
    share = torch.rand(len(wavs), generator=generator)
    other = wavs[partner] * known.to(wavs)[:, None]
    mixed = mix_at_snr(wavs, other, (low + (high - low) * share).to(wavs))
    return Mixture(*mixed), partner, known.to(wavs.device)


def measure_mixtures(
    frontend: BaseFrontEnd,
    wavs: Tensor,
    names: Tensor,
    explained: Callable[[Tensor, Tensor], tuple[Tensor, Spectrum]],
) -> dict[str, Tensor]:
    """Which source the masks of 0 dB mixtures keep.

    Every clip (batch, samples) is mixed with another one of the batch and
    asked for by its own name, a class or prompt (batch,). Masks and spectra
    are those that ``explained`` makes of mixtures and names. Values are NaN
    where both clips have one name.
    """
    shift = len(wavs) // 2
    mixed = mix_at_snr(wavs, wavs.roll(shift, 0), 0.0)
    mask, spectrum = explained(mixed.mixture, names)
    gain, kept, _ = frontend.parts(mask, spectrum, wavs.shape[1])
    named, other = (
        energy_kept(gain, frontend.power(frontend(x))) for x in mixed[1:]
    )
    values = {
        "named wins": (named > other).to(named),
        "kept": named - other,
        "SI-SDR gain": si_sdr_gain(kept, mixed.mixture, mixed.target),
    }
    undefined = names == names.roll(shift)
    return {
        name: torch.where(undefined | ~value.isfinite(), torch.nan, value)
        for name, value in values.items()
    }
