"""Methods that make a mask for a clip: L-MAC's decoder and its baselines.

A method is a function of a :class:`ClipBatch`. The gradient methods attribute
the explained logit to the input in the domain where masks act, and all go
through one rule from map to mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechbrain_lmac.attribution import ATTRIBUTIONS, build_attribution
from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.evaluation.batches import ClipBatch
from speechbrain_lmac.features import BaseFrontEnd, heard_part
from speechbrain_lmac.interpreters.loading import TRAINED_METHODS
from speechbrain_lmac.interpreters.masking import decode_mask, match_mean
from speechbrain_lmac.metrics.curves import bin_ranks
from speechbrain_lmac.utils.checks import UserError

#: What makes masks (batch, frames, bins); None where it is not defined.
Method = Callable[[ClipBatch], "Tensor | None"]


def evaluated(clips: ClipBatch) -> Tensor:
    """The mask of the interpreter that is evaluated."""
    return clips.explanation.mask


def all_ones(clips: ClipBatch) -> Tensor:
    """The mask that keeps everything: AI, AD and AG are 0, Fid-In is 1."""
    return torch.ones_like(clips.explanation.mask)


def random_mask(clips: ClipBatch) -> Tensor:
    """Random zeros and ones with the mean of each clip's evaluated mask."""
    masks = []
    for seed, mask in zip(
        clips.clip_seeds(), clips.explanation.mask, strict=True
    ):
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand(mask.shape, generator=generator)
        mean = heard_part(mask, clips.heard).mean().cpu()
        masks.append((draw < mean).to(mask))
    drawn = torch.stack(masks)
    return drawn if clips.heard is None else drawn * clips.heard


def ideal(clips: ClipBatch) -> Tensor | None:
    """The known source's ratio mask, in the domain where masks act.

    ``log1p|S| / log1p|X|``, or ``|S| / |X|`` for CLAP models, at most 1:
    under it the explanation has the source's own magnitudes.
    """
    if clips.sources is None:
        return None
    ratio = clips.sources[0].view / clips.view.clamp_min(1e-6)
    return ratio.clamp(0.0, 1.0)


#: Methods that need nothing but the batch.
SIMPLE_METHODS: dict[str, Method] = {
    "all_ones": all_ones,
    "random": random_mask,
    "ideal": ideal,
}
#: Methods that are the evaluated decoder's alone.
TRAINED_NAMES = ("lmac", "lmac_td", "lmac_zs")
#: Every method that can be evaluated.
METHODS = tuple(
    dict.fromkeys(
        (*TRAINED_NAMES, *TRAINED_METHODS, *ATTRIBUTIONS, *SIMPLE_METHODS)
    )
)
#: Methods that need the sources of a mixture.
NEED_SOURCES = ("ideal",)
#: How a method's masks are scored. ``published``: as they are.
#: ``equal_mean``: each raised to the power that gives it the mean of the
#: evaluated interpreter's.
#: ``equal_area``: of each the top half of the bins, as zeros and ones.
#: ``loudness``: the explanation amplified to the clip's energy.
PROTOCOLS = ("published", "equal_mean", "equal_area", "loudness")
#: Protocols under which a method's masks are others.
MASK_PROTOCOLS = ("equal_mean", "equal_area")


def build_methods(
    names: Sequence[str],
    classifier: AudioClassifier,
    frontend: BaseFrontEnd,
    decoders: Mapping[str, nn.Module] | None = None,
    options: Mapping[str, dict] | None = None,
    trained: str | None = None,
) -> dict[str, Method]:
    """The methods of the given names, ready for a classifier.

    Arguments
    ---------
    names : sequence of str
        Some of ``METHODS``.
    classifier : AudioClassifier
        The frozen classifier.
    frontend : BaseFrontEnd
        Its front end.
    decoders : dict of str to torch.nn.Module or None
        The decoder of each of ``TRAINED_METHODS`` that is asked for.
    options : dict of str to dict or None
        Options of attribution methods by name: ``{"gradcam": {"layer": 1}}``.
    trained : str or None
        The method of the evaluated interpreter, whose masks batches hold.

    Returns
    -------
    dict of str to callable

    Raises
    ------
    UserError
        If a name or an option is unknown, or a decoder is missing.
    """
    check_methods(names)
    options, decoders = check_options(options), decoders or {}
    built: dict[str, Method] = {}
    for name in names:
        if name in decoders:
            built[name] = _by_decoder(decoders[name])
        elif name in (trained, *TRAINED_NAMES):
            built[name] = evaluated
        elif name in SIMPLE_METHODS:
            built[name] = SIMPLE_METHODS[name]
        elif name in ATTRIBUTIONS:
            built[name] = _by_attribution(
                name, classifier, frontend, options.get(name, {})
            )
        else:
            raise UserError(
                f"`methods`: {name} needs a trained interpreter of its own; "
                f"give its folder as --{name}_folder."
            )
    return built


def _by_decoder(decoder):
    """A further trained decoder as a method."""

    def method(clips):
        found = clips.explanation
        return decode_mask(decoder, found.output, found.target, found.spectrum)

    return method


def _by_attribution(name, classifier, frontend, options):
    """A method that explains a clip by itself as a method."""
    attribute = build_attribution(name, classifier, frontend, **options)

    def method(clips):
        found = clips.explanation
        return attribute(found.spectrum, found.target, clips.clip_seeds())

    return method


def under_protocol(mask: Tensor, protocol: str, clips: ClipBatch) -> Tensor:
    """The mask that a protocol scores, of a method's (batch, frames, bins)."""
    if protocol not in MASK_PROTOCOLS:
        return mask
    heard = slice(None) if clips.heard is None else clips.heard
    part = mask[..., heard]
    changed = mask.clone()
    if protocol == "equal_area":
        changed[..., heard] = top_half(part, clips.clip_seeds())
    else:
        wanted = heard_part(clips.explanation.mask, clips.heard).mean((1, 2))
        changed[..., heard] = match_mean(part, wanted)
    return changed


def top_half(mask: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """Ones in the half of the bins where a mask is largest, zeros elsewhere.

    The comparison of WAM (Kasmi et al., ICML 2025): every method keeps the
    same area. Equal values are put in an order by a seed per clip; NaN stays.

    Example
    -------
    >>> top_half(torch.tensor([[[0.1, 0.3], [0.2, 0.9]]]))
    tensor([[[0., 1.],
             [0., 1.]]])
    """
    first = bin_ranks(mask, seeds).to(mask.device) < mask[0].numel() // 2
    return torch.where(mask.isnan(), mask, first.to(mask))


def check_methods(names: Sequence[str], trained: str | None = None) -> None:
    """Refuse unknown methods, and name the known.

    ``trained`` is what the evaluated interpreter's method is called; others
    of ``TRAINED_NAMES`` are then refused, but for an L-MAC beside LMAC-TD.

    Example
    -------
    >>> check_methods(["lmac_zs", "random"], trained="lmac_zs")
    """
    own = {trained, "lmac"} if trained == "lmac_td" else {trained}
    others = set(TRAINED_NAMES) - own if trained else ()
    _check_names("methods", names, [m for m in METHODS if m not in others])


def check_protocols(names: Sequence[str]) -> None:
    """Refuse unknown protocols, and name the known."""
    _check_names("protocols", names, PROTOCOLS)


def check_options(options: Mapping[str, Any] | None) -> dict[str, dict]:
    """Refuse options of what is no attribution method; None becomes empty.

    Example
    -------
    >>> check_options({"ig": {"n_steps": 10}}), check_options(None)
    ({'ig': {'n_steps': 10}}, {})
    """
    options = dict(options or {})
    _check_names("attribution", options, ATTRIBUTIONS)
    return options


def _check_names(key, names, known):
    for name in names:
        if name not in known:
            raise UserError(
                f"`{key}`: unknown {name!r}; expected some of "
                f"{', '.join(known)}."
            )
