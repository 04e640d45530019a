"""What a caller asks for, checked: classes, prompts, waveforms.

Authors
 * The speechbrain_lmac authors 2026
"""

import difflib
import operator
from collections.abc import Iterable

import torch

from speechbrain_lmac.inference.clips import Request
from speechbrain_lmac.utils.checks import UserError

WAVS_ADVICE = (
    "For a file use `interpret_file`; clips of several lengths are padded to "
    "(batch, time), and `wav_lens` tells their lengths."
)
LENS_ADVICE = "Give one relative length per clip."


def make_request(names, top_k=1, classes=None, heard=False):
    """Which classes are to be explained, by index.

    Arguments
    ---------
    names : sequence of str
        The classes that there are.
    top_k : int
        How many of the most probable ones.
    classes : str or int or sequence of them, or None
        Chosen ones, by name or index; integers of NumPy and torch will do.
    heard : bool
        Passed on.

    Returns
    -------
    Request

    Raises
    ------
    UserError
        If there is no such class, or both are asked for.

    Example
    -------
    >>> make_request(["dog", "rain"], classes="rain").classes
    [1]
    """
    number = _whole(top_k)
    if number is None or not 1 <= number <= len(names):
        raise UserError(
            f"`top_k`: expected a whole number from 1 to {len(names)}, the "
            f"number of classes, found {top_k!r}."
        )
    if classes is None:
        return Request(number, None, bool(heard))
    if number != 1:
        raise UserError(
            "`top_k` and `classes`: the one chooses classes, the other names "
            "them; give one of the two."
        )
    single = isinstance(classes, str) or _whole(classes) is not None
    if not single and not isinstance(classes, Iterable):
        raise UserError(
            "`classes`: expected names or indices of classes, found "
            f"{classes!r:.60}."
        )
    chosen = [_index(c, names) for c in ([classes] if single else classes)]
    if not chosen:
        raise UserError("`classes`: expected at least one class, found none.")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"`classes`: a class is given twice in {classes!r}.")
    return Request(1, chosen, bool(heard))


def _whole(value):
    """A whole number as int, whichever library's; None of anything else."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool:
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _index(wanted, names):
    """Index of a class given by name or index."""
    number = _whole(wanted)
    if number is not None and 0 <= number < len(names):
        return number
    if not isinstance(wanted, str):
        raise UserError(
            f"`classes`: expected an index from 0 to {len(names) - 1} or a "
            f"name, found {wanted!r:.60}."
        )
    if wanted in names:
        return list(names).index(wanted)
    known = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(wanted).lower(), known, 1, 0.5)
    advice = f"Did you mean {known[near[0]]!r}? " if near else ""
    raise UserError(
        f"`classes`: the classifier knows no class {wanted!r}. {advice}"
        f"It knows {', '.join(names)}."
    )


def check_kind(zero_shot, classes, prompts):
    """Refuse classes of a zero-shot interpreter, and prompts of another.

    Raises
    ------
    UserError
        If what is given does not serve, or what is needed is missing.
    """
    if not zero_shot and prompts is not None:
        raise UserError(
            "`prompts`: this interpreter explains a classifier with a fixed "
            "set of classes; give `classes`, or load a zero-shot interpreter."
        )
    if zero_shot and classes is not None:
        raise UserError(
            "`classes`: this interpreter is a zero-shot one, without classes; "
            "give `prompts`, such as ['a dog barks', 'rain falls']."
        )
    if zero_shot and prompts is None:
        raise UserError(
            "`prompts`: this interpreter is a zero-shot one and needs texts "
            "to explain; give some, such as ['a dog barks', 'rain falls']."
        )


def _as_numbers(values, name, advice):
    """A tensor of real numbers, of whatever holds some."""
    try:
        numbers = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError):
        numbers = None
    if numbers is None or numbers.is_complex() or numbers.dtype == torch.bool:
        raise UserError(
            f"`{name}`: expected a tensor or array of real numbers, found "
            f"{values!r:.60} ({type(values).__name__}). {advice}"
        )
    return numbers


def crop_clips(wavs, wav_lens=None):
    """The clips of a padded batch, without their padding.

    Arguments
    ---------
    wavs : torch.Tensor or array
        Shape (batch, time) or (time,).
    wav_lens : torch.Tensor or None
        Relative lengths, shape (batch,), in (0, 1].

    Returns
    -------
    list of torch.Tensor
        Each (samples,), float32.

    Raises
    ------
    UserError
        If shapes, values or lengths are not as expected.

    Example
    -------
    >>> clips = crop_clips(torch.ones(2, 10), torch.tensor([1.0, 0.3]))
    >>> [len(clip) for clip in clips]
    [10, 3]
    """
    wavs = _as_numbers(wavs, "wavs", WAVS_ADVICE)
    if wavs.dim() == 1:
        wavs = wavs[None]
    if wavs.dim() != 2 or wavs.numel() == 0:
        raise UserError(
            "`wavs`: expected mono waveforms (batch, time) of at least one "
            f"sample, found shape {tuple(wavs.shape)}."
        )
    wavs = wavs.float()
    if wav_lens is None:
        lengths = [wavs.shape[1]] * len(wavs)
    else:
        wav_lens = _as_numbers(wav_lens, "wav_lens", LENS_ADVICE)
        wav_lens = wav_lens.double().cpu()
        fits = wav_lens.shape == wavs.shape[:1]
        if not fits or not ((wav_lens > 0) & (wav_lens <= 1)).all():
            raise UserError(
                f"`wav_lens`: expected {len(wavs)} relative lengths above 0 "
                f"and up to 1, found {wav_lens.tolist()}."
            )
        lengths = (wav_lens * wavs.shape[1]).round().clamp_min(1).int()
    clips = [wav[:n] for wav, n in zip(wavs, lengths, strict=True)]
    if not all(clip.isfinite().all() for clip in clips):
        raise UserError(
            "`wavs`: expected finite values, found NaN or infinite ones."
        )
    return clips
