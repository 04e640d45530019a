"""Attribution methods behind one signature: the baselines of L-MAC.

A map is called as ``map(forward, inputs, target, generator=None)`` and gives
a raw map of the shape of the inputs: ``forward(inputs)`` returns an object with
``logits`` (batch, classes) and ``hidden``, maps (batch, channels, frames,
bands), deepest first; ``inputs`` is what the mask acts on, (batch, frames,
bins); ``target`` holds the explained classes, int64 (batch,); ``generator``
drives the methods that draw: a generator on the CPU, or one seed per clip. The
methods that hear the sound that is left are called as ``method(clips, target,
generator=None)`` and give masks. :func:`build_attribution` makes either kind
one: from clips to masks.

Each works under a caller's ``torch.no_grad()``, leaves no gradient on any
parameter, and gives a clip the same map in any batch.
"""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "build": ["ATTRIBUTIONS", "MAPS", "build_attribution", "check_method"],
        "base": ["count_forwards", "normalize_map"],
        "cam": ["gradcam", "gradcampp"],
        "gradients": [
            "gradient_shap",
            "integrated_gradients",
            "saliency",
            "smoothgrad",
        ],
        "optimised_mask": ["optimised_mask"],
        "guided": ["guided_backprop", "guided_gradcam"],
    },
)
