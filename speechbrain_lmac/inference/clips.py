"""Clips of one length to their explanations: each network runs once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from speechbrain_lmac.classifiers.labels import decision_facts
from speechbrain_lmac.data.mixtures import peak_normalize
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.inference.explanation import LEVELS, Explanation
from speechbrain_lmac.inference.request import Clip, Request
from speechbrain_lmac.interpreters.contrast import contrast
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.masking import decode_mask, depends_on_class

#: Most frames that pass through the networks together: bounds the memory.
MAX_FRAMES = 3600
#: The same for methods that ask the classifier about many copies of each.
MAX_FRAMES_ASKED = 450
#: How many of the most probable classes an explanation names.
N_TOP = 5
#: What the classifier answers to: a clip, its masked-in and masked-out
#: spectrogram, and, if asked for, the explanation as a sound of its own.
KINDS = ("", "_masked_in", "_masked_out", "_heard")


class Analysis(NamedTuple):
    """All that was computed for clips of one length.

    A column is a class that is explained; where the mask does not depend on
    the class, one stands for all.

    Attributes
    ----------
    wavs : torch.Tensor
        The clips at the level that is heard, shape (batch, samples).
    peaks : torch.Tensor
        What they were divided by, shape (batch, 1).
    view : torch.Tensor
        ``log1p`` amplitudes on the mask's grid, (batch, frames, bins).
    targets : torch.Tensor
        Explained classes, int64 (batch, explanations).
    masks : torch.Tensor
        Of the clips' own frames, (batch, columns, frames, bins).
    sounds : torch.Tensor
        Explanation and rest, (batch, columns, 2, samples).
    answers : torch.Tensor
        Probabilities and, of a zero-shot classifier, cosines (else NaN), by
        ``KINDS``: (batch, columns, kinds, 2, classes).
    forwards : torch.Tensor
        Clips that the classifier took for each mask besides, (columns,): 0 if
        a decoder made it.
    """

    wavs: torch.Tensor
    peaks: torch.Tensor
    view: torch.Tensor
    targets: torch.Tensor
    masks: torch.Tensor
    sounds: torch.Tensor
    answers: torch.Tensor
    forwards: torch.Tensor

    def cpu(self) -> Analysis:
        """The same in main memory."""
        return Analysis(*(field.cpu() for field in self))


class ClipExplainer:
    """Explains clips of one length together.

    Arguments
    ---------
    interpreter : Interpreter
        With its models; a zero-shot one with the prompts to decide between.

    Attributes
    ----------
    depends : bool
        Whether the mask depends on the explained class. L2I's and LMAC-ZS's
        do; L-MAC's decoder sees the hidden maps only.
    parallel : bool
        Whether groups of clips may be computed side by side: on the CPU,
        unless hooks listen to the classifier, which would mix threads up.
        They do where a :class:`ClipMethod` counts what it asks.
    at_peak : bool
        As for :class:`Interpreter`.
    """

    def __init__(self, interpreter: Interpreter):
        self.frontend = interpreter.frontend
        self.classifier = interpreter.classifier
        # A third faster on the CPU; the values are the same but for rounding.
        self.decoder = interpreter.decoder.to(memory_format=torch.channels_last)
        self.names, self.method = interpreter.names, interpreter.method
        self.zero_shot = interpreter.zero_shot
        self.depends = depends_on_class(self.decoder)
        self.device = next(self.frontend.buffers()).device
        self.asks = hasattr(self.decoder, "forwards")
        self.at_peak = interpreter.at_peak
        quiet = self.classifier.reentrant and not self.asks
        self.parallel = self.device.type == "cpu" and quiet

    def group_size(self, num_samples: int) -> int:
        """How many clips of a length are best computed together."""
        # CLAP models make clips as long as they take.
        fitted = self.frontend.n_samples or num_samples
        most = MAX_FRAMES_ASKED if self.asks else MAX_FRAMES
        return max(1, most // self.frontend.num_frames(fitted))

    @torch.no_grad()
    def classify(self, wavs: torch.Tensor) -> torch.Tensor:
        """Probabilities and cosines (batch, 2, classes) of clips.

        The clips (batch, samples) are of any level.
        """
        return self._compute(self.scaled(wavs)[0])[2]

    @torch.no_grad()
    def analyse(self, wavs: torch.Tensor, request: Request) -> Analysis:
        """Explain clips (batch, samples) of any level.

        One STFT, one forward of classifier and decoder; masked-in and
        masked-out clips go through the classifier together.
        """
        (wavs, peaks), n = self.scaled(wavs), wavs.shape[1]
        spectrum, output, answer = self._compute(wavs)
        targets, decoder = request.choose(answer[:, 0]), self.decoder
        if request.against is not None:
            decoder = contrast(decoder, self.classifier, request.against)
        masks, sounds, answers, forwards = [], [], [], []
        for target in targets.unbind(1) if self.depends else targets[:, :1].T:
            mask = decode_mask(decoder, output, target, spectrum)
            forwards.append(decoder.forwards if self.asks else 0.0)
            masked = torch.cat(self.frontend.masked(mask, spectrum))
            parts = self._answer(self.classifier(masked)).chunk(2)
            _, kept, rest = self.frontend.parts(mask, spectrum, n)
            heard = [self.classify(kept)] if request.heard else []
            masks.append(self.frontend.own_frames(mask, n))
            sounds.append(torch.stack([kept, rest], 1))
            answers.append(torch.stack([answer, *parts, *heard], 1))
        view = self.frontend.log_amplitude(spectrum.view)
        view = self.frontend.own_frames(view, n)
        columns = [torch.stack(x, 1) for x in (masks, sounds, answers)]
        columns.append(torch.tensor(forwards))
        return Analysis(wavs, peaks, view, targets, *columns)

    def explanations(
        self, found: Analysis, clips: list[Clip], against: int | None = None
    ) -> list[list[Explanation]]:
        """The explanations of each of the clips, by class as asked for."""
        found = found.cpu()
        each = range(found.targets.shape[1])
        return [
            [self._explanation(found, i, k, clip, against) for k in each]
            for i, clip in enumerate(clips)
        ]

    def mask_mean(self, mask: torch.Tensor) -> float:
        """Mean of a mask (frames, bins), over the bins that are heard."""
        return heard_part(mask, self.frontend.heard).mean().item()

    def facts(
        self,
        answers: torch.Tensor,
        target: int,
        forwards: float = 0.0,
        against: int | None = None,
    ) -> dict[str, Any]:
        """Fields of :class:`Explanation` about a class.

        ``answers`` are those of a column of an :class:`Analysis`, of one clip
        or their mean over several: (kinds, 2, classes); ``forwards`` are what
        the mask, or the masks of several, cost; ``against`` is the class that
        it was to lower.
        """
        alone = self.zero_shot and len(self.names) == 1
        best = answers[0, 0].topk(min(N_TOP, len(self.names)))
        decided = self.classifier.decided(answers[0, 0])
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        facts = {
            "label": self.names[target],
            "class_index": target,
            "is_decision": decided[target].item(),
            "top": [(self.names[k], None if alone else p) for k, p in pairs],
            "mask_depends_on_class": self.depends,
            "method": self.method,
            "level": LEVELS[self.at_peak],
            "forwards": round(forwards) if self.asks else None,
            "length_policy": getattr(self.classifier, "length_policy", ""),
            "sample_rate": self.frontend.sample_rate,
            "mask_domain": self.frontend.mask_domain,
            **decision_facts(self.classifier, answers[:3, 0], self.names),
        }
        if against is not None:
            probs = answers[:, 0, against].tolist()
            kinds = (f"probability{kind}" for kind in KINDS)
            facts["against"] = {"label": self.names[against]}
            facts["against"] |= zip(kinds, probs, strict=False)
        values = answers[:, :, target].tolist()
        for name, (p, cosine) in zip(KINDS[: len(values)], values, strict=True):
            facts[f"probability{name}"] = None if alone else p
            if self.zero_shot and name != "_heard":
                facts[f"similarity{name}"] = cosine
        return facts

    def _explanation(self, found, i, k, clip, against):
        column, target = k if self.depends else 0, found.targets[i, k].item()
        mask = found.masks[i, column].clone()
        # Copies, so that who keeps one explanation keeps no batch.
        return Explanation(
            *(wav.clone() for wav in found.sounds[i, column]),
            found.wavs[i].clone(),
            mask=mask,
            mask_mean=self.mask_mean(mask),
            spectrogram=found.view[i].clone(),
            mask_hop_samples=self.frontend.hop_samples,
            source=clip.source,
            warning=clip.note,
            **self.facts(
                found.answers[i, column],
                target,
                found.forwards[column].item(),
                against,
            ),
        )

    def scaled(self, wavs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips at the level that is heard, and what they were divided by."""
        wavs, peaks = wavs.to(self.device), wavs.abs().amax(1, keepdim=True)
        if not self.at_peak:
            return wavs, torch.ones_like(peaks)
        return peak_normalize(wavs), peaks

    def _compute(self, wavs):
        """Spectrum, the classifier's output, and its answer."""
        spectrum = self.frontend(wavs)
        inputs = self.frontend.classifier_input(spectrum.view, spectrum)
        output = self.classifier(inputs)
        return spectrum, output, self._answer(output)

    def _answer(self, output):
        probs = self.classifier.probabilities(output)
        cosines = torch.full_like(probs, torch.nan)
        if self.zero_shot:
            cosines = output.embedding @ self.classifier.text_embeddings.T
        return torch.stack([probs, cosines], 1)
