"""What every attribution method shares: gradients, draws, masks from maps.

A method is a callable ``method(forward, inputs, target, generator=None)``
that returns a raw attribution map of the shape of the inputs:

* ``forward(inputs)`` returns an object with ``logits`` (batch, classes) and
  ``hidden``, feature maps (batch, channels, frames, bands), deepest first;
* ``inputs`` is the log1p STFT magnitude (listenable) or the log1p mel input,
  shape (batch, frames, bins);
* ``target`` holds the explained classes, shape (batch,);
* ``generator`` drives the methods that draw: see :func:`clip_generators`.

Each method works under a caller's ``torch.no_grad()``, leaves no gradient on
any parameter, and gives a clip the same map in any batch.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.utils.checks import UserError

#: Inputs that one forward and backward pass holds at once.
INTERNAL_BATCH_SIZE = 16


def normalize_map(attribution, rule="abs_minmax"):
    """A mask in [0, 1] from a raw attribution map, each clip by itself.

    The rule ``abs_minmax`` serves every method: the absolute value, because
    evidence for and against a class both matter to it, then the clip's
    minimum to 0 and its maximum to 1.

    Arguments
    ---------
    attribution : torch.Tensor
        Raw maps, shape (batch, frames, bins).
    rule : str
        Key of ``NORMALIZATIONS``.

    Returns
    -------
    torch.Tensor
        Same shape. A map whose absolute values are all equal tells no bin
        from another and gives zeros; a map with a NaN or infinite value is
        NaN throughout, to be counted as undefined.

    Raises
    ------
    UserError
        If the rule is unknown.

    Example
    -------
    >>> normalize_map(torch.tensor([[[-4.0, 0.0, 1.0]]]))
    tensor([[[1.0000, 0.0000, 0.2500]]])
    """
    if rule not in NORMALIZATIONS:
        raise UserError(
            f"Unknown rule {rule!r} to normalise attribution maps; expected "
            f"one of {', '.join(NORMALIZATIONS)}."
        )
    return NORMALIZATIONS[rule](attribution)


def abs_minmax(attribution):
    """``(|a| - min|a|) / (max|a| - min|a|)`` per clip."""
    magnitude = attribution.detach().abs()
    dims = tuple(range(1, magnitude.dim()))
    low = magnitude.amin(dims, keepdim=True)
    extent = magnitude.amax(dims, keepdim=True) - low
    # A flat map divides 0 by 1. The division itself spreads a NaN or an
    # infinite value over the clip.
    mask = (magnitude - low) / torch.where(extent == 0, 1.0, extent)
    return torch.where(extent.isfinite(), mask, torch.nan)


#: Name of a rule -> function of raw maps that returns masks.
NORMALIZATIONS = {"abs_minmax": abs_minmax}


def input_gradient(forward, inputs, target):
    """Gradient of each clip's explained logit with respect to its input.

    Arguments
    ---------
    forward : callable
        ``forward(inputs).logits`` has shape (batch, classes).
    inputs : torch.Tensor
        Shape (batch, frames, bins).
    target : torch.Tensor
        Explained classes, shape (batch,).

    Returns
    -------
    torch.Tensor
        Same shape as the inputs.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> def forward(x):
    ...     return SimpleNamespace(logits=(x**2).sum(1))
    >>> x = torch.tensor([[[1.0, 2.0]]])
    >>> input_gradient(forward, x, torch.tensor([1]))
    tensor([[[0., 4.]]])
    """
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        logit = target_logits(forward(inputs), target).sum()
        return torch.autograd.grad(logit, inputs)[0]


def target_logits(output, target):
    """The explained logits, shape (batch,), checked for a gradient."""
    if not output.logits.requires_grad:
        raise ValueError(
            "Expected a differentiable `forward`, but got logits without "
            "gradient; does it detach, or compute under torch.no_grad()?"
        )
    return output.logits.gather(1, target[:, None]).squeeze(1)


def check_call(inputs, target):
    """Refuse inputs and targets of the wrong shape or type.

    Raises
    ------
    ValueError
        If ``inputs`` is not (batch, frames, bins) in floating point, or
        ``target`` not (batch,) in int64.
    """
    if inputs.dim() != 3 or not inputs.is_floating_point():
        raise ValueError(
            "Expected `inputs` as a floating-point tensor of shape (batch, "
            f"frames, bins) but got {tuple(inputs.shape)}, {inputs.dtype}"
        )
    if target.shape != inputs.shape[:1] or target.dtype != torch.int64:
        raise ValueError(
            f"Expected `target` of shape ({len(inputs)},) and type int64 but "
            f"got {tuple(target.shape)}, {target.dtype}"
        )


def clip_generators(generator, batch):
    """One random generator per clip, so that no clip's draw sees another's.

    Arguments
    ---------
    generator : torch.Generator, sequence of int or None
        A sequence holds one seed per clip: a clip's map then depends on its
        seed alone. A generator (on CPU) yields the seeds in the clips' order.
        None seeds every clip with 0.
    batch : int
        Number of clips.

    Returns
    -------
    list of torch.Generator
        On CPU, so that draws are the same for any device.

    Example
    -------
    >>> first, second = clip_generators([3, 3], 2)
    >>> torch.rand(1, generator=first) == torch.rand(1, generator=second)
    tensor([True])
    """
    if generator is None:
        seeds = [0] * batch
    elif isinstance(generator, torch.Generator):
        seeds = torch.randint(2**63 - 1, (batch,), generator=generator).tolist()
    else:
        seeds = [int(seed) for seed in generator]
    if len(seeds) != batch:
        raise ValueError(
            f"Expected one seed per clip, {batch}, but got {len(seeds)}"
        )
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def add_noise(inputs, noise_scale, generators):
    """Inputs plus white Gaussian noise, one draw from each clip's generator.

    Arguments
    ---------
    inputs : torch.Tensor
        Shape (batch, frames, bins).
    noise_scale : float
        Standard deviation, as a share of each clip's max - min.
    generators : list of torch.Generator
        One per clip.

    Returns
    -------
    torch.Tensor
        Same shape. Noise leads nothing below zero, because there are no
        negative magnitudes and ``log1p(mel(expm1(.)))`` of some is NaN.

    Example
    -------
    >>> noisy = add_noise(torch.zeros(1, 2, 3), 0.1, clip_generators(None, 1))
    >>> bool((noisy == 0).all())
    True
    """
    extent = inputs.amax((1, 2), keepdim=True) - inputs.amin(
        (1, 2), keepdim=True
    )
    noise = torch.stack(
        [torch.randn(inputs.shape[1:], generator=g) for g in generators]
    )
    noisy = inputs + noise_scale * extent * noise.to(inputs)
    return torch.maximum(noisy, inputs.clamp_max(0.0))


def sample_counts(n_samples, batch, internal_batch_size):
    """How many samples per clip to hold at once, pass after pass.

    Example
    -------
    >>> sample_counts(25, batch=2, internal_batch_size=16)
    [8, 8, 8, 1]
    """
    if n_samples < 1:
        raise ValueError(f"Expected at least one sample but got {n_samples}")
    size = max(1, internal_batch_size // max(batch, 1))
    return [min(size, n_samples - start) for start in range(0, n_samples, size)]
