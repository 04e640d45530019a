"""Weights drawn anew, as their layers draw them when they are made."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

# How modules name the function that draws their first weights: PyTorch's
# layers, its attention, SpeechBrain's CNN14.
INITIALIZERS = ("reset_parameters", "_reset_parameters", "init_weight")
# Weights without such a function, by their name, and how they are drawn: the
# table of Swin's attention (Liu et al., ICCV 2021, and their code), which is
# HTSAT's, and ViT's tokens.
BARE_WEIGHTS = {
    "relative_position_bias_table": partial(nn.init.trunc_normal_, std=0.02),
    "cls_token": partial(nn.init.trunc_normal_, std=0.02),
    "position_embeddings": partial(nn.init.trunc_normal_, std=0.02),
}


def reinitialize(module: nn.Module, seed: int) -> None:
    """Draw the weights of a module anew; batch norms forget their statistics.

    Arguments
    ---------
    module : torch.nn.Module
        On CPU; changed in place.
    seed : int
        What the draw depends on; no other random number changes.

    Raises
    ------
    ValueError
        If the module has a weight that no layer initialises.

    Example
    -------
    >>> first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> reinitialize(first, seed=0), reinitialize(second, seed=0)
    (None, None)
    >>> torch.equal(first.weight, second.weight)
    True
    """
    before = {n: (p, p._version) for n, p in module.named_parameters()}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # Children first: a parent may overrule how its layers begin.
        for child in reversed(list(module.modules())):
            for name, weight in child.named_parameters(recurse=False):
                if name in BARE_WEIGHTS:
                    BARE_WEIGHTS[name](weight)
            for name in INITIALIZERS:
                if callable(getattr(child, name, None)):
                    getattr(child, name)()
    # Every in-place write counts a tensor's version up.
    kept = [n for n, (p, version) in before.items() if p._version == version]
    if kept:
        raise ValueError(
            f"No layer initialises {', '.join(kept[:5])}; give their module a "
            "`reset_parameters()`"
        )
