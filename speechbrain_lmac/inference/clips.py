"""Clips of one length to their explanations: each network runs once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from speechbrain_lmac.data.mixtures import peak_normalize
from speechbrain_lmac.features import heard_part
from speechbrain_lmac.inference.explanation import Explanation
from speechbrain_lmac.inference.request import Clip, Request
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.interpreters.masking import decode_mask, depends_on_class

#: Most frames that pass through the networks together: bounds the memory.
MAX_FRAMES = 3600
#: How many of the most probable classes an explanation names.
N_TOP = 5


class Answer(NamedTuple):
    """What the classifier answers to clips, or to one clip.

    Attributes
    ----------
    probs : torch.Tensor
        Shape (batch, classes).
    similarity : torch.Tensor or None
        Cosines of the prompts, same shape; of a zero-shot classifier.
    """

    probs: torch.Tensor
    similarity: torch.Tensor | None


class Part(NamedTuple):
    """Clips under a mask, of one class each.

    Attributes
    ----------
    mask : torch.Tensor
        Of the clips' own frames, shape (batch, frames, bins or bands).
    kept, rest : torch.Tensor
        Explanation and rest as waveforms, shape (batch, samples).
    masked_in, masked_out : Answer
        To the masked-in and the masked-out clips.
    heard : Answer or None
        To the explanation as a sound of its own.
    """

    mask: torch.Tensor
    kept: torch.Tensor
    rest: torch.Tensor
    masked_in: Answer
    masked_out: Answer
    heard: Answer | None


class Analysis(NamedTuple):
    """All that was computed for clips of one length.

    Attributes
    ----------
    wavs : torch.Tensor
        The clips at a peak of 1, shape (batch, samples).
    peaks : torch.Tensor
        The peaks that they came with, shape (batch, 1).
    view : torch.Tensor
        ``log1p`` amplitudes on the mask's grid, (batch, frames, bins).
    answer : Answer
        To the clips.
    targets : torch.Tensor
        Explained classes, int64 (batch, explanations).
    parts : list of Part
        One per column of ``targets``; one for all where the mask does not
        depend on the class.
    """

    wavs: torch.Tensor
    peaks: torch.Tensor
    view: torch.Tensor
    answer: Answer
    targets: torch.Tensor
    parts: list[Part]


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
    """

    def __init__(self, interpreter: Interpreter):
        self.frontend = interpreter.frontend
        self.classifier = interpreter.classifier
        # A third faster on the CPU; the values are the same but for rounding.
        self.decoder = interpreter.decoder.to(memory_format=torch.channels_last)
        self.names = interpreter.names
        self.zero_shot = interpreter.zero_shot
        self.depends = depends_on_class(self.decoder)
        self.device = next(self.frontend.buffers()).device
        self.parallel = self.device.type == "cpu" and self.classifier.reentrant

    def group_size(self, num_samples: int) -> int:
        """How many clips of a length are best computed together."""
        # CLAP models make clips as long as they take.
        fitted = self.frontend.n_samples or num_samples
        return max(1, MAX_FRAMES // self.frontend.num_frames(fitted))

    @torch.no_grad()
    def classify(self, wavs: torch.Tensor) -> Answer:
        """The classifier's answer to clips (batch, samples) of any level."""
        wavs = peak_normalize(wavs.to(self.device))
        return self._answer(self._compute(wavs)[1])

    @torch.no_grad()
    def analyse(self, wavs: torch.Tensor, request: Request) -> Analysis:
        """Explain clips (batch, samples) of any level.

        One STFT, one forward of classifier and decoder; masked-in and
        masked-out clips go through the classifier together.
        """
        peaks = wavs.abs().amax(1, keepdim=True)
        wavs = peak_normalize(wavs.to(self.device))
        spectrum, output = self._compute(wavs)
        answer = self._answer(output)
        targets = self._targets(answer.probs, request)
        columns = targets.unbind(1) if self.depends else targets[:, :1].T
        parts = []
        for target in columns:
            frames = spectrum.view.shape[1]
            mask = decode_mask(self.decoder, output, target, frames)
            parts.append(self._part(mask, spectrum, wavs, request.heard))
        view = self.frontend.log_amplitude(spectrum.view)
        view = self.frontend.own_frames(view, wavs.shape[1])
        return Analysis(wavs, peaks, view, answer, targets, parts)

    def explanations(
        self, found: Analysis, clips: list[Clip]
    ) -> list[list[Explanation]]:
        """The explanations of each of the clips, by class as asked for."""
        found = to_cpu(found)
        return [
            [
                self._explanation(found, i, k, clip)
                for k in range(found.targets.shape[1])
            ]
            for i, clip in enumerate(clips)
        ]

    def mask_mean(self, mask: torch.Tensor) -> float:
        """Mean of a mask (frames, bins), over the bins that are heard."""
        return heard_part(mask, self.frontend.heard).mean().item()

    def facts(
        self,
        answer: Answer,
        others: list[Answer | None],
        target: int,
    ) -> dict[str, Any]:
        """Fields of :class:`Explanation` about a class.

        ``answer`` is that to a clip; ``others`` are those to what is masked
        in, masked out and heard of it.
        """
        alone = self.zero_shot and len(self.names) == 1
        best = answer.probs.topk(min(N_TOP, len(answer.probs)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        facts = {
            "label": self.names[target],
            "class_index": target,
            "is_decision": target == answer.probs.argmax().item(),
            "top": [(self.names[k], None if alone else p) for k, p in pairs],
            "mask_depends_on_class": self.depends,
            "sample_rate": self.frontend.sample_rate,
            "mask_domain": self.frontend.mask_domain,
        }
        names = ("", "_masked_in", "_masked_out", "_heard")
        for name, one in zip(names, (answer, *others), strict=True):
            if one is None:
                continue
            p = None if alone else one.probs[target].item()
            facts[f"probability{name}"] = p
            if one.similarity is not None and name != "_heard":
                facts[f"similarity{name}"] = one.similarity[target].item()
        return facts

    def _explanation(self, found, i, k, clip):
        part = found.parts[k if self.depends else 0]
        answers = (part.masked_in, part.masked_out, part.heard)
        target = found.targets[i, k].item()
        # Copies, so that who keeps one explanation keeps no batch.
        return Explanation(
            *(x[i].clone() for x in (part.kept, part.rest, found.wavs)),
            mask=part.mask[i].clone(),
            mask_mean=self.mask_mean(part.mask[i]),
            spectrogram=found.view[i].clone(),
            mask_hop_samples=self.frontend.hop_samples,
            source=clip.source,
            warning=clip.note,
            **self.facts(
                of_clip(found.answer, i),
                [of_clip(a, i) for a in answers],
                target,
            ),
        )

    def _compute(self, wavs):
        spectrum = self.frontend(wavs)
        inputs = self.frontend.classifier_input(spectrum.view, spectrum)
        return spectrum, self.classifier(inputs)

    def _answer(self, output):
        similarity = None
        if self.zero_shot:
            similarity = output.embedding @ self.classifier.text_embeddings.T
        return Answer(self.classifier.probabilities(output), similarity)

    def _targets(self, probs, request):
        if request.classes is not None:
            chosen = torch.tensor(request.classes, device=probs.device)
            return chosen.expand(len(probs), -1)
        return probs.topk(request.top_k, dim=1).indices

    def _part(self, mask, spectrum, wavs, heard):
        masked = self.frontend.masked(mask, spectrum)
        answer = self._answer(self.classifier(torch.cat(masked)))
        masked_in, masked_out = (
            Answer(*(None if x is None else x.chunk(2)[k] for x in answer))
            for k in range(2)
        )
        n = wavs.shape[1]
        _, kept, rest = self.frontend.parts(mask, spectrum, n)
        return Part(
            self.frontend.own_frames(mask, n),
            kept,
            rest,
            masked_in,
            masked_out,
            self.classify(kept) if heard else None,
        )


def of_clip(answer: Answer | None, i: int) -> Answer | None:
    """The answer to one clip of several."""
    if answer is None:
        return None
    return Answer(*(None if x is None else x[i] for x in answer))


def to_cpu(value: Any) -> Any:
    """Tensors in nested tuples and lists, on the CPU."""
    if torch.is_tensor(value):
        return value.cpu()
    if isinstance(value, list):
        return [to_cpu(x) for x in value]
    if isinstance(value, tuple):
        return type(value)(*(to_cpu(x) for x in value))
    return value
