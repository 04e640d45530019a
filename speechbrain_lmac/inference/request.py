"""What a caller asks for, checked: classes, prompts, waveforms."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.data.audio import mono_sound
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.utils.checks import UserError

#: More channels than this are clips of two samples, not (time, channels).
MAX_CHANNELS = 32
#: Is told the share, in [0, 1], of a long recording that is done.
Progress = Callable[[float], Any] | None
WAVS = (
    "`wavs`: expected finite numbers of mono clips (batch, time), found {}; "
    "`interpret_file` takes files, `wav_lens` the lengths of padded clips."
)


class Request(NamedTuple):
    """Which classes are to be explained.

    Attributes
    ----------
    top_k : int
        So many of the most probable ones, if ``classes`` is None.
    classes : list of int or None
        Indices of classes.
    heard : bool
        Whether to classify the explanation as a sound of its own, too.
    events : bool
        Whether to find its events, and classify with and without each.
    against : int or None
        Index of the class that the explanation is to lower.
    progress : callable or None
        See :data:`Progress`.
    """

    top_k: int = 1
    classes: list[int] | None = None
    heard: bool = False
    events: bool = False
    against: int | None = None
    progress: Progress = None

    def several(self) -> bool:
        """Whether more than one explanation of a clip is asked for."""
        return len(self.classes or range(self.top_k)) > 1

    def choose(self, probs: torch.Tensor) -> torch.Tensor:
        """The classes to explain, int64 (batch, explanations).

        Of probabilities (batch, classes), unless classes were asked for.
        """
        if self.classes is not None:
            chosen = torch.tensor(self.classes, device=probs.device)
            return chosen.expand(len(probs), -1)
        if self.against is not None:
            probs = probs.clone()
            probs[:, self.against] = -1
        return probs.topk(self.top_k, dim=1).indices


def make_request(
    names: Sequence[str],
    top_k: Any = 1,
    classes: Any = None,
    against: Any = None,
    **asked: Any,
) -> Request:
    """Which classes are to be explained, by index; what else is asked for.

    ``classes`` are names or indices of some of ``names``, one or several;
    without them the ``top_k`` most probable are meant. ``against`` is another
    one, which is not explained.

    Example
    -------
    >>> make_request(["dog", "rain"], classes="rain").classes
    [1]
    """
    number, most = _whole(top_k), len(names)
    if against is not None:
        against, most = _index(against, names, "against"), most - 1
    if number is None or not 1 <= number <= most:
        raise UserError(
            f"`top_k`: expected a whole number from 1 to {most}, the "
            f"number of classes, found {top_k!r:.60}."
        )
    if classes is None:
        return Request(number, None, against=against, **asked)
    if number != 1:
        raise UserError("`top_k` and `classes`: give one of the two.")
    several = isinstance(classes, Iterable) and not isinstance(classes, str)
    if not several or getattr(classes, "ndim", 1) == 0:
        classes = [classes]
    chosen = [_index(c, names) for c in classes]
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(
            f"`classes`: expected different ones, found {classes!r:.60}."
        )
    if against in chosen:
        raise UserError(
            f"`against`: expected another class than those that are explained, "
            f"found {names[against]!r:.60}."
        )
    return Request(1, chosen, against=against, **asked)


def _whole(value):
    """A whole number as int, whichever library's; None of anything else."""
    try:
        is_bool = getattr(value, "dtype", type(value)) in (bool, torch.bool)
        return None if is_bool else operator.index(value)
    except TypeError:
        return None


def _index(wanted, names, key="classes"):
    """Index of a class given by name or index."""
    number = _whole(wanted)
    if number is not None and 0 <= number < len(names):
        return number
    if isinstance(wanted, str) and wanted in names:
        return list(names).index(wanted)
    known = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(wanted).lower(), known, 1, 0.5)
    advice = f"did you mean {known[near[0]]!r}? " if near else ""
    raise UserError(
        f"`{key}`: {wanted!r:.60} is neither a class nor the index of one; "
        f"{advice}The classes are {', '.join(names)}."
    )


class Clip(NamedTuple):
    """A mono waveform (samples,) of any level, and what is known of it.

    Attributes
    ----------
    wav : torch.Tensor
        Float32.
    note : str
        What is odd about it, such as that nothing is left of it.
    source : str or None
        Its file.
    """

    wav: torch.Tensor
    note: str = ""
    source: str | None = None


def crop_clips(
    wavs: Any, wav_lens: Any = None, rate: int = 16000
) -> list[Clip]:
    """The clips of a padded batch at a rate in Hz, without their padding.

    Example
    -------
    >>> clips = crop_clips(torch.ones(2, 10), torch.tensor([1.0, 0.3]))
    >>> [len(clip.wav) for clip in clips]
    [10, 3]
    """
    found, wavs = wavs, _numbers(wavs)
    if wavs is None or wavs.dim() not in (1, 2) or not wavs.numel():
        shape = f"shape {tuple(wavs.shape)}" if wavs is not None else found
        raise UserError(WAVS.format(f"{shape!s:.60}"))
    wavs = torch.atleast_2d(wavs.float())
    size = wavs.shape[1]
    if size <= MAX_CHANNELS < len(wavs):
        raise UserError(
            f"`wavs`: {len(wavs)} clips of {size} samples, or a sound (time, "
            "channels)? Average its channels: wavs.mean(1)."
        )
    lens = torch.ones(len(wavs)) if wav_lens is None else _numbers(wav_lens)
    shape = None if lens is None else lens.shape
    if shape != wavs.shape[:1] or not ((lens > 0) & (lens <= 1)).all():
        raise UserError(
            f"`wav_lens`: expected {len(wavs)} relative lengths above 0 and up "
            f"to 1, found {wav_lens!r:.60}."
        )
    lengths = (lens.double().cpu() * size).round().clamp_min(1).int().tolist()
    clips = [wav[:n] for wav, n in zip(wavs, lengths, strict=True)]
    if not all(clip.isfinite().all() for clip in clips):
        raise UserError(WAVS.format("NaN or infinite ones"))
    return [Clip(*mono_sound(clip, rate, rate, False)) for clip in clips]


def _numbers(values):
    """A tensor of real numbers, of whatever holds some; None of others."""
    try:
        numbers = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError):
        return None
    real = not numbers.is_complex() and numbers.dtype != torch.bool
    return numbers if real else None


def for_prompts(
    interpreter: Interpreter, prompts: Sequence[str]
) -> Interpreter:
    """A zero-shot interpreter that decides between some prompts.

    Arguments
    ---------
    interpreter : Interpreter
        A zero-shot one; it is not changed.
    prompts : sequence of str
        Whole texts: no template is put around them.

    Returns
    -------
    Interpreter
        Of the same models; its classes are the prompts.

    Raises
    ------
    UserError
        If there is no prompt, one is empty, too long or given twice, or the
        model knows nothing of it.
    """
    encoder = interpreter.classifier.encoder
    if not isinstance(prompts, (list, tuple)):
        raise UserError(
            f"`prompts`: expected a list of texts, found {prompts!r:.60}."
        )
    classifier = ZeroShotClassifier(encoder, prompts)
    unknown = encoder.unknown(prompts)
    if unknown:
        raise UserError(
            f"`prompts`: the model knows no word of {unknown[0]!r}: use words "
            "and the language of its training texts, or another model."
        )
    return interpreter._replace(
        classifier=classifier,
        decoder=interpreter.decoder.of(classifier),
    )
