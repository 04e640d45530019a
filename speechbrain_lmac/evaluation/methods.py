"""Methods that make a mask for a clip: L-MAC's decoder and its baselines.

A method is a function of a :class:`ClipBatch`; ``METHODS`` names a builder for
each. The gradient methods attribute the explained logit to the input in the
domain where masks act, and all go through one rule from map to mask.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.attribution import (
    ATTRIBUTIONS,
    build_attribution,
    normalize_map,
)
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.interpreters.masking import decode_mask, match_mean
from speechbrain_lmac.utils.checks import UserError


def lmac(clips):
    """The trained decoder's mask."""
    return clips.explanation.mask


def all_ones(clips):
    """The mask that keeps everything: AI, AD and AG are 0, Fid-In is 1."""
    return torch.ones_like(clips.explanation.mask)


def random_mask(clips):
    """Random zeros and ones with each clip's L-MAC mask mean."""
    masks = []
    for seed, mask in zip(
        clips.clip_seeds(), clips.explanation.mask, strict=True
    ):
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand(mask.shape, generator=generator)
        mean = heard_part(mask, clips.heard).mean().cpu()
        masks.append((draw < mean).to(mask))
    masks = torch.stack(masks)
    return masks if clips.heard is None else masks * clips.heard


def ideal(clips):
    """The known source's ratio mask, in the domain where masks act.

    ``log1p|S| / log1p|X|``, or ``|S| / |X|`` for CLAP models, at most 1:
    under it the explanation has the source's own magnitudes. None for clips
    without contamination.
    """
    if clips.sources is None:
        return None
    ratio = clips.sources[0].view / clips.view.clamp_min(1e-6)
    return ratio.clamp(0.0, 1.0)


def decoder_method(decoder):
    """A further trained decoder as a function of a :class:`ClipBatch`.

    Arguments
    ---------
    decoder : torch.nn.Module
        As for :func:`speechbrain_lmac.interpreters.masking.decode_mask`.

    Returns
    -------
    callable
    """

    def method(clips):
        output, num_frames = clips.explanation.output, clips.view.shape[1]
        return decode_mask(decoder, output, clips.target, num_frames)

    return method


def attribution_method(name, classifier, frontend, **options):
    """A gradient or activation method as a function of a :class:`ClipBatch`.

    Arguments
    ---------
    name : str
        Key of ``ATTRIBUTIONS``.
    classifier : AudioClassifier
        Tells the strides of its hidden maps.
    frontend : FrontEnd
        Tells how bands spread over bins.
    **options
        Of the method, such as GradCAM's ``layer``.

    Returns
    -------
    callable
    """
    attribute = build_attribution(
        name, classifier.hidden_strides, frontend.spread, **options
    )

    def method(clips):
        maps = attribute(
            clips.forward, clips.view, clips.target, clips.clip_seeds()
        )
        return normalize_map(maps)

    return method


#: Name of a method -> function of a :class:`ClipBatch` that returns masks,
#: for those that need nothing but the batch.
SIMPLE_METHODS = {
    "lmac": lmac,
    "all_ones": all_ones,
    "random": random_mask,
    "ideal": ideal,
}

#: What the evaluated decoder is called: of a closed set's classifier, and of
#: a zero-shot classifier.
TRAINED_NAMES = ("lmac", "lmac_zs")

#: Methods that are trained decoders of their own, beside the one evaluated.
TRAINED_METHODS = ("lmac_ft", "l2i")

#: Every method that can be evaluated.
METHODS = (*SIMPLE_METHODS, "lmac_zs", *TRAINED_METHODS, *ATTRIBUTIONS)

#: Methods that need the sources of a mixture.
NEED_SOURCES = ("ideal",)


def build_methods(names, classifier, frontend, decoders=None, options=None):
    """The methods of the given names, ready for a classifier.

    Arguments
    ---------
    names : sequence of str
        Some of ``METHODS``.
    classifier : AudioClassifier
        The frozen classifier.
    frontend : FrontEnd
        Its front end.
    decoders : dict of str to torch.nn.Module or None
        The decoder of each of ``TRAINED_METHODS`` that is asked for.
    options : dict of str to dict or None
        Options of attribution methods by name: ``{"gradcam": {"layer": 1}}``.

    Returns
    -------
    dict of str to callable

    Raises
    ------
    UserError
        If a name or an option is unknown, or a decoder is missing.
    """
    check_methods(names)
    options = check_options(options)
    built = {}
    for name in names:
        if name in TRAINED_NAMES:
            built[name] = lmac
        elif name in SIMPLE_METHODS:
            built[name] = SIMPLE_METHODS[name]
        elif name in TRAINED_METHODS:
            if name not in (decoders or {}):
                raise UserError(
                    f"`methods`: {name} needs a trained interpreter of its "
                    f"own; give its folder as --{name}_folder."
                )
            built[name] = decoder_method(decoders[name])
        else:
            built[name] = attribution_method(
                name, classifier, frontend, **options.get(name, {})
            )
    return built


def trained_methods(names):
    """Those of the methods that need a trained interpreter of their own."""
    return [name for name in names if name in TRAINED_METHODS]


def check_options(options):
    """Refuse options of what is no attribution method; None becomes empty.

    Example
    -------
    >>> check_options({"ig": {"n_steps": 10}}), check_options(None)
    ({'ig': {'n_steps': 10}}, {})
    """
    options = dict(options or {})
    for name, chosen in options.items():
        if name not in ATTRIBUTIONS or not isinstance(chosen, dict):
            raise UserError(
                f"`attribution`: found {name!r}: {chosen!r}; expected the "
                f"options of one of {', '.join(ATTRIBUTIONS)}, such as "
                "{gradcam: {layer: 1}}."
            )
    return options


#: How a method's masks are scored. ``published``: as they are.
#: ``equal_mean``: each raised to the power that gives it L-MAC's mask mean.
#: ``loudness``: the explanation amplified to the clip's energy.
PROTOCOLS = ("published", "equal_mean", "loudness")


def under_protocol(mask, protocol, clips):
    """The mask that a protocol scores.

    Arguments
    ---------
    mask : torch.Tensor
        A method's, shape (batch, frames, bins).
    protocol : str
        One of ``PROTOCOLS``.
    clips : ClipBatch
        Holds L-MAC's mask.

    Returns
    -------
    torch.Tensor
        Same shape.
    """
    if protocol != "equal_mean":
        return mask
    wanted = heard_part(clips.explanation.mask, clips.heard).mean((1, 2))
    if clips.heard is None:
        return match_mean(mask, wanted)
    matched = mask.clone()
    matched[..., clips.heard] = match_mean(mask[..., clips.heard], wanted)
    return matched


def check_protocols(names):
    """Refuse unknown protocols, and name the known.

    Example
    -------
    >>> check_protocols(["published", "equal_mean"])
    """
    for name in names:
        if name not in PROTOCOLS:
            raise UserError(
                f"`protocols`: unknown protocol {name!r}; expected some of "
                f"{', '.join(PROTOCOLS)}."
            )


def check_methods(names, trained=None):
    """Refuse unknown methods, and name the known.

    Arguments
    ---------
    names : sequence of str
        The methods.
    trained : str or None
        What the evaluated decoder is called, one of ``TRAINED_NAMES``; the
        other names are then refused.

    Example
    -------
    >>> check_methods(["lmac", "random"])
    >>> check_methods(["lmac_zs", "random"], trained="lmac_zs")
    """
    known = METHODS
    if trained is not None:
        others = set(TRAINED_NAMES) - {trained}
        known = [name for name in METHODS if name not in others]
    for name in names:
        if name not in known:
            raise UserError(
                f"`methods`: unknown method {name!r}; expected some of "
                f"{', '.join(known)}."
            )
