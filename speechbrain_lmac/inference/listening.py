"""Masks of one's own: how they sound, and what the classifier says then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from speechbrain_lmac.inference.explanation import Explanation
from speechbrain_lmac.inference.interpreter import AudioInterpreter, Prompts

#: Begin and end in time, low and high in frequency, each a share in [0, 1].
Box = tuple[float, float, float, float]


@torch.no_grad()
def listen(
    interpreter: AudioInterpreter,
    found: Explanation,
    mask: torch.Tensor,
    prompts: Prompts = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a mask on an explained sound keeps, and the rest.

    Neither classifier nor decoder is asked. Of a long recording, whose mask is
    a reduced one, the sound is as coarse in time as that.

    Arguments
    ---------
    interpreter : AudioInterpreter
        That has explained it.
    found : Explanation
        Of the sound.
    mask : torch.Tensor
        Of the shape of ``found.mask``, in [0, 1].
    prompts : str or sequence of str, or None
        Of a zero-shot interpreter.

    Returns
    -------
    tuple of torch.Tensor
        Both (samples,), at the level of ``found.original``.

    Example
    -------
    >>> from speechbrain_lmac.classifiers.slim import SlimCnn
    >>> from speechbrain_lmac.features import FrontEnd
    >>> from speechbrain_lmac.interpreters import Interpreter
    >>> model = Interpreter(
    ...     FrontEnd(), SlimCnn(n_classes=2).freeze(), None, ["dog", "rain"])
    >>> interpreter = AudioInterpreter(
    ...     model.by_method("saliency"), {"device": "cpu"})
    >>> found, = interpreter.interpret_batch(torch.randn(1, 9000))
    >>> kept, rest = listen(interpreter, found, torch.ones_like(found.mask))
    >>> torch.allclose(kept, found.original, atol=1e-4), rest.abs().max().item()
    (True, 0.0)
    """
    explainer = interpreter.explainer(prompts)
    frontend, wav = explainer.frontend, found.original
    plan = interpreter.windows(len(wav))
    sounds = torch.zeros(2, len(wav))
    for k, start in enumerate(plan.starts):
        part, peaks = explainer.scaled(wav[None, start : start + plan.size])
        spectrum = frontend(part)
        place = torch.arange(spectrum.view.shape[1]) * frontend.hop_samples
        # Models that take some length alone hear a short clip several times.
        again = place >= plan.size + frontend.hop_samples
        place = torch.where(again, place % plan.size, place)
        cells = ((start + place) / found.mask_hop_samples).long()
        here = mask[cells.clamp_max(len(mask) - 1)].to(peaks.device)
        parts = frontend.parts(here[None], spectrum, plan.size)
        heard = torch.cat([parts.kept, parts.rest]) * peaks
        sounds[:, start : start + plan.size] += plan.weights(k) * heard.cpu()
    return sounds[0], sounds[1]


def classify(
    interpreter: AudioInterpreter, wav: torch.Tensor, prompts: Prompts = None
) -> dict[str, float]:
    """Probabilities of a sound's classes or prompts, the surest first.

    Arguments
    ---------
    interpreter : AudioInterpreter
        Whose classifier is asked.
    wav : torch.Tensor
        Shape (samples,), of any level; of a long one the mean over windows.
    prompts : str or sequence of str, or None
        Of a zero-shot interpreter.

    Returns
    -------
    dict of str to float
    """
    explainer = interpreter.explainer(prompts)
    plan = interpreter.windows(len(wav))
    windows = torch.stack([wav[s : s + plan.size] for s in plan.starts])
    parts = windows.split(explainer.group_size(plan.size))
    probs = torch.cat([explainer.classify(part)[:, 0].cpu() for part in parts])
    mean = probs.mean(0)
    best = mean.argsort(descending=True, stable=True).tolist()
    return {explainer.names[k]: mean[k].item() for k in best}


def above(
    interpreter: AudioInterpreter,
    found: Explanation,
    threshold: float,
    prompts: Prompts = None,
) -> Explanation:
    """An explanation that keeps nothing where the mask is below a threshold.

    Its probabilities stay those of the whole mask: nothing is asked again.
    """
    if not threshold:
        return found
    mask = found.mask * (found.mask >= threshold)
    kept, rest = listen(interpreter, found, mask, prompts)
    warning = (
        f"heard is what the mask keeps with {threshold:.2f} or more; "
        "probabilities and events are those of the whole mask"
    )
    return replace(
        found,
        waveform=kept,
        masked_out=rest,
        mask=mask,
        warning="; ".join(filter(None, (found.warning, warning))),
    )


def boxes_mask(shape: Sequence[int], boxes: Iterable[Box]) -> torch.Tensor:
    """A mask (frames, bins) of ones in some boxes, and zeros elsewhere.

    Example
    -------
    >>> boxes_mask((2, 4), [(0.5, 1.0, 0.0, 0.5)])
    tensor([[0., 0., 0., 0.],
            [1., 1., 0., 0.]])
    """
    (frames, bins), mask = shape, torch.zeros(*shape)
    for begin, end, low, high in boxes:
        time = slice(round(begin * frames), round(end * frames))
        mask[time, round(low * bins) : round(high * bins)] = 1
    return mask
