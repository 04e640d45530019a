"""Sound files of one explanation, ready to be listened to."""

import json
from pathlib import Path

import torch

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.utils.files import safe_name, write_atomically


def save_explanation(
    folder,
    original,
    explanation,
    masked_out,
    sample_rate,
    label=None,
    probabilities=None,
    as_is=False,
):
    """Write the sounds of one explanation as WAV files, and what they are.

    The files are mono, 16 bit, of the clip's own length, and never clip. One
    that would is scaled as a whole, and ``explanation.json`` gives its gain.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where to write; made if missing.
    original : torch.Tensor
        The clip, shape (samples,).
    explanation : torch.Tensor
        What the mask keeps, shape (samples,).
    masked_out : torch.Tensor
        What the mask removes, shape (samples,).
    sample_rate : int
        In Hz.
    label : str, optional
        The explained class.
    probabilities : dict, optional
        Names to probabilities in [0, 1], for example those of the explained
        class on the three sounds.
    as_is : bool
        Whether the folder's name is taken as it is; else its last part goes
        through :func:`safe_name`.

    Returns
    -------
    paths : dict
        ``original``, ``explanation``, ``masked_out`` and ``description`` to
        pathlib.Path.

    Raises
    ------
    ValueError
        If the sounds are not (samples,) of one length, empty or not finite.

    Example
    -------
    >>> wave = torch.rand(800)
    >>> paths = save_explanation(getfixture("tmpdir") / "clip 7", wave,
    ...     0.5 * wave, 0.5 * wave, 16000, label="dog")
    >>> sorted(path.name for path in paths.values())
    ['explanation.json', 'explanation.wav', 'masked_out.wav', 'original.wav']
    """
    waves = {
        "original": original,
        "explanation": explanation,
        "masked_out": masked_out,
    }
    shapes = [tuple(torch.as_tensor(wave).shape) for wave in waves.values()]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(
            "Expected `original`, `explanation` and `masked_out` of one shape "
            f"(samples,) but got {shapes}."
        )
    folder = Path(folder)
    if folder.name and not as_is:
        folder = folder.parent / safe_name(folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.wav" for name in waves}
    gains = {
        name: write_wav(paths[name], wave, sample_rate)
        for name, wave in waves.items()
    }
    paths["description"] = folder / "explanation.json"
    description = {
        "label": label,
        "probabilities": _plain(probabilities),
        "sample_rate": int(sample_rate),
        "num_samples": shapes[0][0],
        "gains": gains,
    }
    scaled = [name for name, gain in gains.items() if gain != 1]
    if scaled:
        description["note"] = (
            f"scaled to a peak of 1 to avoid clipping: {', '.join(scaled)}"
        )
    text = json.dumps(description, indent=2, ensure_ascii=False)
    write_atomically(paths["description"], text + "\n")
    return paths


def _plain(probabilities):
    if probabilities is None:
        return None
    return {str(name): float(value) for name, value in probabilities.items()}
