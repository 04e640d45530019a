"""What an interpreter makes of a sound, and how it is written to disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.inference.events import (
    Event,
    audacity_labels,
    raven_table,
)
from speechbrain_lmac.report.columns import (
    class_text,
    method_cost,
    probability_texts,
)
from speechbrain_lmac.report.figures.explanation import build_explanation_figure
from speechbrain_lmac.report.figures.style import save_figure
from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.files import write_atomically

FIGURE = "explanation.png"
FACTS = "explanation.json"
#: Events for Audacity and for Raven, and how each is written.
EVENTS = {
    "events.txt": audacity_labels,
    "events.Table.1.selections.txt": raven_table,
}
FILES = (
    *("explanation.wav", "masked_out.wav", "original.wav", FIGURE, FACTS),
    *EVENTS,
)
#: Facts that are left out where they are none.
OPTIONAL = (
    *("probability_heard", "similarity", "similarity_masked_in"),
    *("similarity_masked_out", "windows", "warning", "decided", "decisions"),
    *("decisions_masked_in", "decisions_masked_out"),
    *("forwards", "length_policy", "events", "against"),
)
#: Whether the input was scaled to a peak of 1 -> what the facts say of it.
LEVELS = {
    True: "the input at a peak of 1, as in training; its parts at that level",
    False: "the input at the level of its file, as its parts are",
}
SAME_MASK = (
    "this interpreter's mask does not depend on the class: it explains the "
    "classifier's decision, the most probable class; the probabilities are "
    "those of `label`"
)


@dataclass(frozen=True)
class Window:
    """What was found in a window of a long recording.

    Attributes
    ----------
    start, end : float
        In seconds.
    decision : str
        The classifier's decision on the window: the most probable class; of
        a zero-shot classifier the most similar prompt.
    label : str
        The class that was explained: the decision, or what was asked for.
    probability, probability_masked_in, probability_masked_out : float or None
        Of ``label``, as for :class:`Explanation`.
    mask_mean : float
        Mean of the window's mask.
    decisions : dict of str to float or None
        Of several labels, as for :class:`Explanation`.
    """

    start: float
    end: float
    decision: str
    label: str
    probability: float | None
    probability_masked_in: float | None
    probability_masked_out: float | None
    mask_mean: float
    decisions: dict[str, float] | None = None


@dataclass(frozen=True, eq=False)
class Explanation:
    """What made the classifier say ``label``, to be listened to.

    Level: the input is scaled to a peak of 1, as in training, unless the model
    is one of others and no decoder was trained for it. Explanation and rest
    are parts of that sound.

    Attributes
    ----------
    waveform : torch.Tensor
        The listenable explanation, shape (samples,), as long as the input.
    masked_out : torch.Tensor
        What the mask removes, shape (samples,).
    original : torch.Tensor
        The input as the model gets it: mono, at its rate, (samples,).
    mask : torch.Tensor
        Shape (frames, bins or bands), in [0, 1]. Of a long recording a
        reduced one: means over ``mask_hop_samples`` samples each.
    mask_mean : float
        Its mean, in [0, 1], over the bins that the model hears.
    spectrogram : torch.Tensor
        ``log1p`` amplitudes of the input on the mask's grid.
    label : str
        The explained class or prompt.
    class_index : int
        Its index in the classifier's answer.
    probability : float or None
        Of ``label``, on the input. None for a prompt alone: a softmax over
        one is 1 whatever the sound. Of a long recording the mean over its
        windows, like the next two.
    probability_masked_in, probability_masked_out : float or None
        Of ``label``, on the spectrogram under the mask and on the rest.
    probability_heard : float or None
        Of ``label``, on ``waveform`` as a sound of its own (peak 1): what
        ``interpret_file`` finds in the written file. None unless asked for.
    similarity, similarity_masked_in, similarity_masked_out : float or None
        Zero-shot: cosines of prompt and sound, -1 to 1.
    top : list of (str, float)
        The most probable classes, at most five, best first.
    mask_depends_on_class : bool
        Whether another class would have another mask (L2I, zero-shot).
        False for L-MAC, whose decoder sees the classifier's hidden maps alone:
        its one mask explains the decision, and for any other class the
        probabilities tell what that mask does to it.
    is_decision : bool
        Whether ``label`` is the classifier's own decision, or one of them.
    method : str
        What made the mask: ``lmac``, ``l2i``, ``lmac_zs``, or a method that
        needs no training, such as ``mask``.
    level : str
        How loud the sounds are, in words.
    sample_rate : int
        In Hz.
    mask_domain : str
        ``stft`` or ``mel``.
    mask_hop_samples : float
        Samples between two frames of the mask.
    source : str or None
        The file.
    windows : list of Window or None
        Of a long recording: what was found where.
    decided : str
        Of a classifier of several labels: how many classes it decides for,
        such as "3 of 527"; else empty.
    decisions : dict of str to float or None
        Which these are, with their probabilities, the surest first; may be
        empty; of a long recording those of any window. None where one class
        excludes the others.
    decisions_masked_in, decisions_masked_out : dict of str to float or None
        The same on the spectrogram under the mask and on the rest.
    forwards : int or None
        How many clips (of a long recording windows) the classifier took to
        make the mask; None if a decoder made it.
    length_policy : str
        What becomes of sounds that are shorter or longer than the model
        hears, if it hears some length alone.
    events : list of Event or None
        When ``waveform`` is heard, and at which frequencies; empty if it is
        not heard at all. None unless asked for.
    warning : str
        What is odd about the sound, such as that nothing is left of it at the
        model's rate.
    against : dict or None
        Of "why dog and not rain" the class ``label`` that the mask is to
        lower, with its ``probability``, ``probability_masked_in`` and
        ``probability_masked_out``.
    """

    waveform: torch.Tensor
    masked_out: torch.Tensor
    original: torch.Tensor
    mask: torch.Tensor
    mask_mean: float
    spectrogram: torch.Tensor
    label: str
    class_index: int
    probability: float | None
    probability_masked_in: float | None
    probability_masked_out: float | None
    top: list[tuple[str, float | None]]
    mask_depends_on_class: bool
    is_decision: bool
    sample_rate: int
    mask_domain: str
    mask_hop_samples: float
    method: str = "lmac"
    level: str = LEVELS[True]
    probability_heard: float | None = None
    similarity: float | None = None
    similarity_masked_in: float | None = None
    similarity_masked_out: float | None = None
    source: str | None = None
    windows: list[Window] | None = None
    events: list[Event] | None = None
    forwards: int | None = None
    length_policy: str = ""
    warning: str = ""
    decided: str = ""
    decisions: dict[str, float] | None = None
    decisions_masked_in: dict[str, float] | None = None
    decisions_masked_out: dict[str, float] | None = None
    against: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """The facts in a line, without sounds and mask."""
        names = ("probability", "similarity", "mask_mean")
        values = {name: getattr(self, name) for name in names}
        shown = [f"{k}={v:.2f}" for k, v in values.items() if v is not None]
        seconds = len(self.waveform) / self.sample_rate
        shown += [f"seconds={seconds:.2f}", f"source={self.source!r}"]
        return f"Explanation({self.label!r}, {', '.join(shown)})"

    def facts(self) -> dict[str, Any]:
        """All but sounds and pictures, as ``explanation.json`` has it.

        Returns
        -------
        dict
            Ready for JSON. ``mask_depends_on_class`` says whether the mask
            is that of ``label`` or of the decision.
        """
        facts = {f.name: getattr(self, f.name) for f in fields(self)}
        facts = {k: v for k, v in facts.items() if not torch.is_tensor(v)}
        for name in OPTIONAL:
            if facts[name] in (None, ""):
                del facts[name]
        facts["duration"] = len(self.waveform) / self.sample_rate
        facts["top"] = [
            {"label": label, "probability": p} for label, p in self.top
        ]
        if self.windows is not None:
            facts["windows"] = [asdict(window) for window in self.windows]
        if self.events is not None:
            facts["events"] = [asdict(event) for event in self.events]
        if not self.mask_depends_on_class:
            facts["note"] = SAME_MASK
        return facts

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write sounds, picture and numbers.

        ``original.wav``, ``explanation.wav``, ``masked_out.wav`` (mono, 16
        bit), ``explanation.png`` and ``explanation.json``; of its events a
        label track for Audacity, ``events.txt``, and a selection table for
        Raven, ``events.Table.1.selections.txt``. A sound that would clip is
        scaled, and ``gains`` in the JSON has its factor.

        Arguments
        ---------
        folder : str or pathlib.Path
            Made if missing.
        overwrite : bool
            Whether an explanation that is there may be replaced.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        UserError
            If there is an explanation already, or the folder is a file.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: expected a folder, found a file.")
        there = [name for name in FILES if (folder / name).exists()]
        if there and not overwrite:
            raise UserError(
                f"{folder} holds an explanation already ({there[0]}): choose "
                "another folder, or pass overwrite=True."
            )
        folder.mkdir(parents=True, exist_ok=True)
        sounds = {
            "original": self.original,
            "explanation": self.waveform,
            "masked_out": self.masked_out,
        }
        gains = {
            name: write_wav(folder / f"{name}.wav", wav, self.sample_rate)
            for name, wav in sounds.items()
        }
        facts = {**self.facts(), "gains": gains}
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / FACTS, text)
        for name, text_of in EVENTS.items():
            (folder / name).unlink(missing_ok=True)
            if self.events is not None:
                write_atomically(folder / name, text_of(self.events))
        self._draw(folder / FIGURE)
        return folder

    def _draw(self, path):
        facts = self.facts()
        values = [
            f"{name} {text}"
            for name, text in probability_texts(facts)
            if text != "-"
        ]
        values += [f"decided {self.decided}"] if self.decided else []
        figure = build_explanation_figure(
            self.spectrogram,
            self.mask,
            self.mask * self.spectrogram,
            self.sample_rate,
            self.mask_hop_samples,
            title=Path(self.source).name if self.source else "",
            label=class_text(facts),
            note=", ".join(values),
            method=method_cost(self.method, self.forwards),
            mel=self.mask_domain == "mel",
            events=[
                (e.onset_s, e.offset_s, e.low_hz, e.high_hz)
                for e in self.events or ()
            ],
        )
        save_figure(figure, path)
