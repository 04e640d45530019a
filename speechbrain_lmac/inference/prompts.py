"""Explain a sound for any prompts: similarity, mask and sound of each.

Source: Paissan, Della Libera, Ravanelli, Subakan, "Listenable Maps for
Zero-Shot Audio Classifiers", NeurIPS 2024 (arXiv 2405.17615).

Authors
 * The speechbrain_lmac authors 2026
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.classifiers.zero_shot.base import ZeroShotClassifier
from speechbrain_lmac.data.audio import (
    read_audio,
    write_wav,
)
from speechbrain_lmac.data.decoding import resample
from speechbrain_lmac.data.mixtures import peak_normalize
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.interpreters.text_decoder import PromptedDecoder
from speechbrain_lmac.report.figures.prompts import save_prompt_figure
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import safe_name, write_atomically

logger = get_logger(__name__)

# Frames of all masks that are made at once: bounds the memory of long sounds.
MAX_FRAMES = 20000


class PromptExplanation(NamedTuple):
    """What a prompt has to do with a sound.

    Attributes
    ----------
    prompt : str
        As given.
    similarity : float
        Cosine of the embeddings of prompt and sound, -1 to 1.
    probability : float or None
        Share of the prompt in a softmax over all prompts that were given, at
        the model's own temperature. None for a prompt alone: a softmax over
        one is 1 whatever the sound.
    mask : torch.Tensor
        Shape (frames, bins or bands), in [0, 1].
    waveform : torch.Tensor
        What the mask lets through, mono, shape (samples,), at the model's
        sample rate; as long as the sound.
    """

    prompt: str
    similarity: float
    probability: float | None
    mask: torch.Tensor
    waveform: torch.Tensor


@torch.no_grad()
def explain_prompts(interpreter, sound, prompts, sample_rate=None):
    """Explain what in a sound has to do with each of some prompts.

    Arguments
    ---------
    interpreter : Interpreter
        A zero-shot one; it
        is not changed, and its own prompts do not matter.
    sound : str, pathlib.Path, torch.Tensor or numpy.ndarray
        An audio file of any format, or a waveform (samples,) or (channels,
        samples). Its channels are averaged, its rate becomes the model's, its
        peak 1. Of a sound that is longer than a CLAP model takes only the
        beginning is explained.
    prompts : sequence of str
        Whole texts, such as "a dog barks"; no template is put around them.
    sample_rate : int or None
        Rate of a waveform in Hz; None: the model's. A file tells its own.

    Returns
    -------
    list of PromptExplanation
        In the order of the prompts.

    Raises
    ------
    UserError
        If there is no prompt, one is empty, too long or given twice, or the
        sound is missing or no sound.
    """
    interpreter = for_prompts(interpreter, prompts)
    classifier, prompts = interpreter.classifier, interpreter.classifier.prompts
    device = classifier.text_embeddings.device
    frontend = interpreter.frontend.to(device)
    wav = load_sound(sound, frontend.sample_rate, sample_rate).to(device)[None]
    if _too_long(frontend, wav.shape[1]):
        logger.warning(
            "The model takes %.1f s: the sound of %.1f s is explained up to "
            "there, the rest of the explanations is silent",
            frontend.n_samples / frontend.sample_rate,
            wav.shape[1] / frontend.sample_rate,
        )
    if not wav.any():
        logger.warning(
            "The sound is silent: its similarities and masks say nothing"
        )
    spectrum = frontend(wav)
    output = classifier(frontend.classifier_input(spectrum.view, spectrum))
    similarity = (output.embedding @ classifier.text_embeddings.T)[0]
    probability = classifier.probabilities(output)[0].tolist()
    if len(prompts) == 1:
        logger.warning(
            "One prompt alone has a similarity, but no probability: a softmax "
            "over one is 1 whatever the sound. Give others to compare with."
        )
        probability = [None]
    explained = []
    for k, mask in enumerate(_masks(interpreter, classifier, output, spectrum)):
        heard = frontend.listen(mask, spectrum, wav.shape[1])
        own = frontend.own_frames(mask, wav.shape[1])[0]
        explained.append(
            PromptExplanation(
                prompts[k],
                similarity[k].item(),
                probability[k],
                own.cpu(),
                heard[0].cpu(),
            )
        )
    return explained


def _masks(interpreter, classifier, output, spectrum):
    """Yield the mask (1, frames, bins) of each prompt, made in groups."""
    num_frames = spectrum.stft.shape[1]
    step = max(1, MAX_FRAMES // num_frames)
    for text in classifier.text_embeddings.split(step):
        masks = interpreter.decoder.prompted(output, num_frames, text[None])
        yield from masks.split(1)


def for_prompts(interpreter, prompts):
    """A zero-shot interpreter that decides between some prompts.

    Arguments
    ---------
    interpreter : Interpreter
        As for :func:`explain_prompts`; it is not changed.
    prompts : sequence of str
        Whole texts.

    Returns
    -------
    Interpreter
        Of the same models, for sounds of any length: its classifier's classes
        are the prompts, and its decoder makes their masks.

    Raises
    ------
    UserError
        If there is no prompt, one is empty, too long or given twice, or a
        small CLAP knows nothing of it.
    """
    prompts = _check_prompts(prompts)
    encoder = interpreter.classifier.encoder
    classifier = ZeroShotClassifier(encoder, prompts)
    strange = encoder.unknown(prompts)
    if strange:
        raise UserError(
            f"`prompts`: this small CLAP knows no word of {strange[0]!r}: it "
            "reads the words of its training texts, in their language, and "
            "words that look like them. Say it in those, or use a CLAP model "
            "of transformers."
        )
    return interpreter._replace(
        classifier=classifier,
        decoder=PromptedDecoder(interpreter.decoder.decoder, classifier),
    )


def _check_prompts(prompts):
    """Refuse what is no list of texts; the classifier checks the texts."""
    if isinstance(prompts, (str, Mapping)) or not hasattr(prompts, "__iter__"):
        raise UserError(
            f"`prompts`: expected a list of texts, found {prompts!r}; put "
            "texts in square brackets, as in [a dog barks, rain]."
        )
    prompts = list(prompts)
    if not prompts:
        raise UserError("`prompts`: expected at least one text, found none.")
    for prompt in prompts:
        if isinstance(prompt, Mapping):  # of YAML, by a colon
            raise UserError(
                f"`prompts`: expected texts, found {dict(prompt)!r}; put a "
                "text with a colon in quotes."
            )
    return prompts


def _too_long(frontend, num_samples):
    return num_samples > (frontend.n_samples or num_samples)


def load_sound(sound, rate, sample_rate=None):
    """A file or a waveform as a mono waveform at a rate, peak 1.

    Arguments
    ---------
    sound : str, pathlib.Path, torch.Tensor or numpy.ndarray
        A file, or a waveform (samples,) or (channels, samples).
    rate : int
        Wanted rate, in Hz.
    sample_rate : int or None
        Rate of the waveform; None: ``rate``.

    Returns
    -------
    torch.Tensor
        Shape (samples,), float32.

    Raises
    ------
    UserError
        If the file is missing or no audio, or the waveform has another
        shape, no samples, or values that are not finite.

    Example
    -------
    >>> load_sound(torch.tensor([[0.5, -0.5], [0.5, 0.0]]), 16000)
    tensor([ 1.0000, -0.5000])
    """
    if isinstance(sound, (str, Path)):
        return read_audio(sound, rate)
    wav = torch.as_tensor(sound).detach().cpu().float()
    if wav.dim() not in (1, 2) or wav.numel() == 0:
        raise UserError(
            "`sound`: expected a file or a waveform (samples,) or (channels, "
            f"samples) of at least one sample, found shape {tuple(wav.shape)}."
        )
    if not wav.isfinite().all():
        raise UserError(
            "`sound`: expected finite values, found NaN or infinite ones."
        )
    if wav.dim() == 2:
        wav = wav.mean(0)
    if sample_rate not in (None, rate):
        wav = resample(wav, _check_rate(sample_rate), rate)
    return peak_normalize(wav)


def _check_rate(sample_rate):
    if int(sample_rate) != sample_rate or sample_rate < 1:
        raise UserError(
            "`sample_rate`: expected a whole number of Hz, found "
            f"{sample_rate!r}."
        )
    return int(sample_rate)


def save_prompt_explanations(folder, sound, explained, interpreter):
    """Write the sounds, the figure and the numbers of explanations.

    Writes ``original.wav``, ``<k>_<prompt>.wav`` for each prompt,
    ``explanations.png`` with a row per prompt, and ``explanations.json``. The
    sounds that an ``explanations.json`` of an earlier run lists are removed.

    Arguments
    ---------
    folder : str or pathlib.Path
        Created if need be.
    sound : object
        As for :func:`explain_prompts`, or a mono waveform at the model's
        rate, from :func:`load_sound`.
    explained : list of PromptExplanation
        From :func:`explain_prompts`.
    interpreter : Interpreter
        That explained.

    Returns
    -------
    list of dict
        As in the JSON file: prompt, similarity, probability, mask_mean, file
        and gain (a sound that would clip is scaled).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frontend = interpreter.frontend
    rate = frontend.sample_rate
    heard = frontend.heard
    wav = load_sound(sound, rate)
    _remove_listed(folder)
    write_wav(folder / "original.wav", wav, rate)
    rows = []
    for k, item in enumerate(explained):
        name = safe_name(f"{k + 1}_{item.prompt.replace(' ', '_')}")
        file = f"{name}.wav"
        gain = write_wav(folder / file, item.waveform, rate)
        rows.append(
            {
                "prompt": item.prompt,
                "similarity": item.similarity,
                "probability": item.probability,
                "mask_mean": heard_part(item.mask, heard).mean().item(),
                "file": file,
                "gain": gain,
            }
        )
    facts = {
        "checkpoint": str(interpreter.classifier.encoder.source),
        "sample_rate": rate,
        "mask_domain": interpreter.mask_domain,
        "explanations": rows,
    }
    if len(rows) == 1:
        facts["note"] = "no probability: a softmax over one prompt is 1"
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "explanations.json", text.encode())
    save_prompt_figure(
        folder / "explanations.png",
        _shown(frontend, wav),
        [item.mask for item in explained],
        [(i.prompt, i.similarity, i.probability) for i in explained],
        rate,
        frontend.hop_samples,
        mel=interpreter.mask_domain == "mel",
    )
    return rows


def _remove_listed(folder):
    """Remove the sounds of an earlier run: what its list names, no other."""
    try:
        text = (folder / "explanations.json").read_text(encoding="utf-8")
        names = [row["file"] for row in json.loads(text)["explanations"]]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in names:
        # Only what was written here: a list may have been edited.
        if isinstance(name, str) and Path(name).name == name.strip():
            if name.endswith(".wav") and (folder / name).is_file():
                (folder / name).unlink()


def _shown(frontend, wav):
    """The sound's amplitudes in the mask's domain, (frames, bins)."""
    wav = wav.to(frontend.mel_matrix.device)[None]
    view = frontend(wav).view
    return frontend.linear(frontend.own_frames(view, wav.shape[1]))[0].cpu()
