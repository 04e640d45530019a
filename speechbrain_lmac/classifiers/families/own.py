"""A network of one's own, from waveforms to logits.

    load_own("my_net:build", sample_rate=22050, weights="net.pt")
    load_own("net.ts", sample_rate=22050)            # TorchScript

What the network takes, how many classes it has and where its layers' outputs
lie in time is found by classifying noise of two lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.hidden_maps import (
    layout_of,
    layout_tap,
    tapped,
)
from speechbrain_lmac.classifiers.waveform import WaveformClassifier
from speechbrain_lmac.utils.checks import UserError

#: Most layers that are chosen where none are named.
MAX_LAYERS = 4
#: A label is decided for where it is more likely than not.
LIKELY = 0.5
#: Probabilities below count as this one, and sigmoids above as its complement.
_LEAST = 1e-7
#: Steps of autograd that only arrange values anew.
_VIEWS = ("Squeeze", "Unsqueeze", "View", "Reshape", "Select", "Alias", "Clone")


class OwnClassifier(WaveformClassifier):
    """Any network from waveforms to logits, as a classifier.

    Arguments
    ---------
    network : torch.nn.Module
        From waveforms (batch, samples), or (batch, 1, samples), to logits
        (batch, classes); also as ``logits`` or the first of several outputs.
        One class, (batch, 1) or (batch,), is a detector. Probabilities that a
        softmax or a sigmoid made are led back to logits.
    sample_rate : int
        Rate of the waveforms, in Hz.
    layers : sequence of str or None
        Names of the layers whose outputs are hidden maps, deepest first, as
        ``network.named_modules()`` has them. None takes the last layer of
        each grid of frames, of the coarsest :data:`MAX_LAYERS` grids.
    labels : sequence of str or None
        Classes by index.
    threshold : float or None
        Probability above which each of several labels is decided for. None:
        one class excludes the others, but 0.5 for a detector and a network
        that ends in a sigmoid.

    Attributes
    ----------
    gives_gradient : bool
        Whether a gradient passes from the logits to the waveform.

    Raises
    ------
    UserError
        If the network takes no waveforms or gives no logits, or a layer is
        none with a time axis.

    Example
    -------
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 64, 16), nn.ReLU(),
    ...                     nn.Conv1d(4, 8, 9, 4), nn.ReLU(),
    ...                     nn.AdaptiveAvgPool1d(1), nn.Flatten(),
    ...                     nn.Linear(8, 3))
    >>> model = OwnClassifier(net, 8000)
    >>> list(model.taps), model.hidden_channels, model.n_classes
    (['3', '1'], (8, 4), 3)
    """

    def __init__(
        self,
        network: nn.Module,
        sample_rate: int,
        layers: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        threshold: float | None = None,
    ):
        network.eval()
        nn.Module.__init__(self)
        self.network, self.ending = network, ""  # as the probe finds it
        self.channel = self._find_channel(sample_rate)
        wavs = _noise(sample_rate).requires_grad_()
        logits = self._probe(wavs)
        self.ending, n_classes = _ending(logits), logits.shape[1]
        self.gives_gradient = _gradients(logits, [wavs])[0] is not None
        if labels is not None and len(labels) != n_classes:
            raise UserError(
                f"`labels`: expected {n_classes} names, one for each output "
                f"of {_name(network)}, found {len(labels)}."
            )
        taps = self._find_taps(sample_rate, layers)
        super().__init__(network, taps, n_classes, sample_rate, labels)
        self.eval()  # probes must not move statistics of batch norms
        several = n_classes == 1 or self.ending == "sigmoid"
        self.threshold = LIKELY if several else None
        if threshold is not None:
            self.threshold = threshold
        self.min_samples = self._least_samples()

    def logits(self, wavs: Tensor) -> Tensor:
        """As described by :class:`WaveformClassifier`."""
        output = self.network(wavs[:, None] if self.channel else wavs)
        if isinstance(output, dict):
            output = output.get("logits", next(iter(output.values())))
        output = output[0] if isinstance(output, tuple) else output
        output = output[:, None] if output.dim() == 1 else output
        if self.ending == "softmax":
            return output.clamp_min(_LEAST).log()
        return output.logit(_LEAST) if self.ending == "sigmoid" else output

    def parts(self) -> dict[str, nn.Module]:
        """The network's own state dict, as ``classifier.ckpt``."""
        return {"classifier": self.network}

    def _find_channel(self, sample_rate):
        """Whether the network wants (batch, 1, samples)."""
        reasons = []
        for self.channel in (False, True):
            try:
                with torch.no_grad():
                    logits = self.logits(_noise(sample_rate))
                if logits.dim() == 2 and len(logits) == 2:
                    return self.channel
                reasons.append(f"gives {tuple(logits.shape)}")
            except Exception as err:  # the network's own
                lines = str(err).strip().splitlines() or [""]
                reasons.append(f"{type(err).__name__}: {lines[-1][:150]}")
        raise UserError(
            f"{_name(self.network)}: expected logits (2, classes) of two "
            f"waveforms of a second; of (2, {sample_rate}): {reasons[0]}; of "
            f"(2, 1, {sample_rate}): {reasons[1]}. If it takes one length "
            "only, let it pad or cut clips to that."
        )

    def _probe(self, wavs):
        with torch.enable_grad():
            return self.logits(wavs)

    def _outputs(self, names, wavs):
        """Logits, and the outputs of layers that run once, by name."""
        modules = [self.network.get_submodule(name) for name in names]
        taps = [lambda x, name=name: (x, (name, x)) for name in names]
        with tapped(modules, taps) as maps:
            logits = self._probe(wavs)
        ran = [name for name, _ in maps]
        return logits, {
            name: x
            for name, x in maps
            if torch.is_tensor(x) and ran.count(name) == 1
        }

    def _find_taps(self, sample_rate, layers):
        """The layers' taps, deepest first, with the layouts of their maps."""
        if isinstance(self.network, torch.jit.ScriptModule):
            if layers:
                raise UserError(
                    "`layers`: a TorchScript file shows no layer while it "
                    "runs; leave them out."
                )
            return {}
        known = [name for name, _ in self.network.named_modules() if name]
        missing = [name for name in layers or () if name not in known]
        if missing:
            raise UserError(
                f"`layers`: {_name(self.network)} has no {missing[0]}; it has "
                f"{', '.join(known)[:2000]}."
            )
        names = known if layers is None else layers
        logits, short = self._outputs(names, _noise(sample_rate))
        _, long = self._outputs(names, _noise(2 * sample_rate))
        layouts = {
            name: layout_of(x.shape, long[name].shape)
            for name, x in short.items()
            if name in long
        }
        for name in layers or ():
            if layouts.get(name) is None:
                raise UserError(
                    f"`layers`: {name} runs not once, or has no time axis; "
                    "name layers before time is pooled."
                )
        if layers is None:
            names = _deepest(
                {n: x for n, x in short.items() if layouts[n]}, layouts, logits
            )
        return {name: layout_tap(layouts[name]) for name in names}

    def _least_samples(self):
        """The least samples, doubled, that are classified."""
        samples = 64
        while samples < self.sample_rate:
            try:
                with torch.no_grad():
                    if self.logits(_noise(samples)).isfinite().all():
                        return samples
            except Exception:  # too short for the network
                pass
            samples *= 2
        return self.sample_rate


def _deepest(outputs, layouts, logits):
    """The last layer of each grid of frames, of the coarsest ones.

    Of those that a gradient reaches: others do not lead to the logits.
    """
    found = {name: x for name, x in outputs.items() if x.requires_grad}
    reached = _gradients(logits, list(found.values()))
    last = {}
    for (name, x), gradient in zip(found.items(), reached, strict=True):
        if gradient is not None:
            last[x.shape[layouts[name].index("t")]] = name
    return [last[frames] for frames in sorted(last)][:MAX_LAYERS]


def _ending(outputs):
    """What made a network's outputs: softmax, sigmoid, or something else."""
    rows = outputs.detach()
    if rows.shape[1] > 1 and (rows >= 0).all():
        if (rows.sum(1) - 1).abs().max() < 1e-4:
            return "softmax"
    step = outputs.grad_fn
    while step is not None and step.name().startswith(_VIEWS):
        step = step.next_functions[0][0]
    return "sigmoid" if step and step.name() == "SigmoidBackward0" else ""


def _gradients(logits, inputs):
    """Gradients of the logits' sum, None for what does not lead to them."""
    if not (logits.requires_grad and inputs):
        return [None] * len(inputs)
    try:
        return torch.autograd.grad(
            logits.sum(), inputs, allow_unused=True, retain_graph=True
        )
    except RuntimeError:  # a part, such as a quantised one, has no derivative
        return [None] * len(inputs)


def _noise(samples):
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(2, samples, generator=generator)


def _name(network):
    return getattr(network, "original_name", type(network).__name__)
