"""Sounds and pictures of chosen clips, written while they are evaluated.

Every method's explanation of such a clip is kept, so that methods can be
compared by ear: on the report's page and in a listening test. On disk::

    examples/<condition>/<clip>/original.wav
                                target.wav       where sources are known
                                spectrogram.png  8-bit grey, log amplitude
                                <method>/explanation.wav  masked_out.wav
                                         mask.png         explanation.json
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechbrain_lmac.classifiers.base import AudioClassifier
from speechbrain_lmac.classifiers.labels import decision_facts
from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.data.listing import labels_of
from speechbrain_lmac.data.mixtures import Mixture
from speechbrain_lmac.evaluation.conditions import ConditionClip
from speechbrain_lmac.evaluation.scoring import Scored
from speechbrain_lmac.features.base import BaseFrontEnd
from speechbrain_lmac.report.columns import method_cost
from speechbrain_lmac.report.figures.explanation import build_explanation_figure
from speechbrain_lmac.report.figures.pictures import (
    mask_picture,
    spectrogram_picture,
    write_picture,
)
from speechbrain_lmac.report.figures.style import save_figure
from speechbrain_lmac.report.page.data import in_turns
from speechbrain_lmac.utils.files import (
    safe_name,
    unique_names,
    write_atomically,
)

DESCRIPTION = "explanation.json"
#: Suffixes of what the classifier says of an input and of its two parts.
SUFFIXES = ("", "_masked_in", "_masked_out")


class ExampleWriter:
    """Saves every method's explanations of the first clips of a condition.

    What is on disk already is not made again, and what was made under other
    settings is removed.

    Arguments
    ---------
    folder : str or pathlib.Path
        ``examples`` of an evaluation.
    frontend, classifier : torch.nn.Module
        The interpreter's.
    labels : sequence of str
        Class names by index.
    n_examples : int
        Clips per condition; -1 for all.
    method : str
        Whose explanations are drawn as a figure, too.
    settings : dict or None
        ``common`` and ``methods``: what examples depend on, of a ``Journal``.
    warn : callable or None
        ``warn(clip_id) -> str``: what is to be known of a clip's file, such as
        that next to nothing of its sound is left; else "".
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        frontend: BaseFrontEnd,
        classifier: AudioClassifier,
        labels: Sequence[str],
        n_examples: int,
        method: str = "lmac",
        settings: dict[str, Any] | None = None,
        warn: Callable[[str], str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.frontend, self.classifier = frontend, classifier
        self.labels = labels
        self.n_examples = n_examples
        self.method = method
        self.settings = settings or {}
        self.warn = warn or (lambda clip_id: "")
        self._forget_what_changed()

    def start(
        self,
        condition: str,
        clips: Sequence[ConditionClip],
        methods: Iterable[str],
    ) -> None:
        """Choose from all clips of a condition, spread over the classes."""
        self.condition = condition
        self.names = unique_names(clip.id for clip in clips)
        turns = in_turns(clips, lambda clip: clip.class_string)
        chosen = turns if self.n_examples < 0 else turns[: self.n_examples]
        #: Pairs of method and clip that are not on disk yet.
        self.wanted = {
            (method, clip.id)
            for clip in chosen
            for method in methods
            if not (self._place(clip.id, method) / DESCRIPTION).is_file()
        }

    def __call__(
        self,
        method: str,
        clip: ConditionClip,
        k: int,
        mixture: Mixture,
        scored: Scored,
    ) -> None:
        """Called by the evaluator for every clip of every method."""
        if (method, clip.id) not in self.wanted:
            return
        folder = self._place(clip.id, method)
        folder.mkdir(parents=True, exist_ok=True)
        num_samples = len(mixture.mixture)
        view, mask = (
            self.frontend.own_frames(x[k : k + 1].float(), num_samples)[0].cpu()
            for x in (scored.view, scored.mask)
        )
        sounds = {
            folder.parent / "original": mixture.mixture,
            # Of a mask of NaN nothing is heard.
            folder / "explanation": scored.masked_in_wavs[k].nan_to_num(),
            folder / "masked_out": scored.masked_out_wavs[k].nan_to_num(),
        }
        if self.condition != "clean":
            sounds[folder.parent / "target"] = mixture.target
        rate = self.frontend.sample_rate
        # What the methods share is written again with every one: cheaper than
        # to find out whether an interrupted evaluation left it whole.
        gains = {
            path.name: write_wav(path.with_suffix(".wav"), wave, rate)
            for path, wave in sounds.items()
        }
        picture = spectrogram_picture(self.frontend.linear(view))
        write_picture(folder.parent / "spectrogram.png", picture)
        write_picture(folder / "mask.png", mask_picture(mask))
        facts = {**self._facts(method, clip, k, scored), "gains": gains}
        if method == self.method:
            self._draw(folder / "explanation.png", view, mask, facts)
        # Last: an example with a description is whole.
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        write_atomically(folder / DESCRIPTION, text + "\n")

    def _place(self, clip_id: str, method: str) -> Path:
        clip = self.folder / self.condition / self.names[clip_id]
        return clip / safe_name(method)

    def _facts(
        self, method: str, clip: ConditionClip, k: int, scored: Scored
    ) -> dict[str, Any]:
        """What the classifier says before and after."""
        parts = (scored.probs, scored.masked_in_probs, scored.masked_out_probs)
        probs = torch.stack([part[k] for part in parts])
        best = probs.argmax(1).tolist()
        target = best[0]
        if clip.named:  # explained is its class, whatever is decided
            target = self.labels.index(labels_of(clip.class_string)[0])
        facts = {
            "clip_id": clip.id,
            "condition": self.condition,
            "method": method,
            "true_label": clip.class_string,
            "is_decision": self.classifier.decided(probs)[0, target].item(),
            "sample_rate": self.frontend.sample_rate,
            "mask_domain": self.frontend.mask_domain,
            "mask_mean": _plain(scored.values["MM"][k]),
            "settings": self._digest(method),
            **decision_facts(self.classifier, probs, self.labels),
        }
        said = target, *best[1:]
        for suffix, row, label in zip(SUFFIXES, probs, said, strict=True):
            facts[f"probability{suffix}"] = _plain(row[target])
            facts[f"label{suffix}"] = self.labels[label]
        if scored.forwards:
            facts["forwards"] = round(scored.forwards)
        warning = self.warn(clip.clip_id)
        return {**facts, "warning": warning} if warning else facts

    def _draw(
        self, path: Path, view: Tensor, mask: Tensor, facts: dict[str, Any]
    ) -> None:
        # Figures show the log1p of amplitudes, over the clip's own frames.
        spectra = [self.frontend.log_amplitude(x) for x in (view, mask * view)]
        values = [facts[f"probability{suffix}"] for suffix in SUFFIXES]
        note = "p = {:.2f}, masked-in {:.2f}, masked-out {:.2f}".format(
            *(math.nan if value is None else value for value in values)
        )
        note += f", decided {facts['decided']}" if "decided" in facts else ""
        figure = build_explanation_figure(
            spectra[0],
            mask,
            spectra[1],
            self.frontend.sample_rate,
            self.frontend.hop_samples,
            title=f"{facts['clip_id']} ({self.condition})",
            label=facts["label"],
            note=note,
            mel=self.frontend.mask_domain == "mel",
            method=method_cost(facts["method"], facts.get("forwards")),
        )
        save_figure(figure, path)

    def _digest(self, method: str) -> str:
        """Identifies all that a method's examples depend on."""
        facts = [
            self.settings.get("common"),
            self.settings.get("methods", {}).get(method),
        ]
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _forget_what_changed(self) -> None:
        """Remove examples of other settings: a page would show them, too."""
        for path in self.folder.glob(f"*/*/*/{DESCRIPTION}"):
            if _settings_of(path) != self._digest(path.parent.name):
                shutil.rmtree(path.parent)
                clip = path.parent.parent
                if not any(item.is_dir() for item in clip.iterdir()):
                    shutil.rmtree(clip)


def _settings_of(path: Path) -> str | None:
    """Digest in a description; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("settings")
    except (OSError, ValueError, AttributeError):
        return None


def _plain(value: Any) -> float | None:
    """A number for JSON, which has no NaN."""
    value = float(value)
    return value if math.isfinite(value) else None
