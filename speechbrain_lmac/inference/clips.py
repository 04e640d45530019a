"""Clips of one length to their explanations: each network runs once.

Authors
 * The speechbrain_lmac authors 2026
"""

from typing import NamedTuple

import torch

from speechbrain_lmac.data.mixtures import peak_normalize
from speechbrain_lmac.inference.explanation import Explanation
from speechbrain_lmac.interpreters.masking import decode_mask, depends_on_class

#: Most frames that pass through the networks together: bounds the memory.
MAX_FRAMES = 3600
CHANNELS_LAST = torch.channels_last
#: How many of the most probable classes an explanation names.
N_TOP = 5


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
    """

    top_k: int = 1
    classes: list | None = None
    heard: bool = False

    def several(self):
        """Whether more than one explanation of a clip is asked for."""
        return (len(self.classes) if self.classes else self.top_k) > 1


class Said(NamedTuple):
    """What the classifier says of clips.

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
    said_in, said_out : Said
        Of the masked-in and the masked-out spectrogram.
    said_heard : Said or None
        Of the explanation as a sound of its own.
    """

    mask: torch.Tensor
    kept: torch.Tensor
    rest: torch.Tensor
    said_in: Said
    said_out: Said
    said_heard: Said | None


class Analysis(NamedTuple):
    """All that was found in clips of one length.

    Attributes
    ----------
    wavs : torch.Tensor
        The clips at a peak of 1, shape (batch, samples).
    peaks : torch.Tensor
        The peaks that they came with, shape (batch, 1).
    view : torch.Tensor
        ``log1p`` amplitudes on the mask's grid, (batch, frames, bins).
    said : Said
        Of the clips.
    targets : torch.Tensor
        Explained classes, int64 (batch, explanations).
    parts : list of Part
        One per column of ``targets``; one for all where the mask does not
        depend on the class.
    """

    wavs: torch.Tensor
    peaks: torch.Tensor
    view: torch.Tensor
    said: Said
    targets: torch.Tensor
    parts: list


class ClipExplainer:
    """Explains clips of one length together.

    Arguments
    ---------
    interpreter : Interpreter
        With its models; a zero-shot one with the prompts to decide between.
    names : sequence of str
        Classes or prompts by index.

    Attributes
    ----------
    depends : bool
        Whether the mask depends on the explained class. L2I's and LMAC-ZS's
        do; L-MAC's decoder sees the hidden maps only.
    """

    def __init__(self, interpreter, names):
        self.frontend = interpreter.frontend
        self.classifier = interpreter.classifier
        # A third faster on the CPU; the values are the same but for rounding.
        self.decoder = interpreter.decoder.to(memory_format=CHANNELS_LAST)
        self.names = list(names)
        self.depends = depends_on_class(self.decoder)
        self.zero_shot = self.classifier.zero_shot

    @property
    def device(self):
        """Where the models are."""
        return self.frontend.mel_matrix.device

    @property
    def parallel(self):
        """Whether groups of clips may be computed side by side.

        On the CPU, unless the classifier is heard by hooks: what one thread
        hears would be the other's.
        """
        return self.device.type == "cpu" and self.classifier.reentrant

    def group_size(self, num_samples):
        """How many clips of a length are best computed together."""
        # CLAP models make clips as long as they take.
        fitted = self.frontend.n_samples or num_samples
        return max(1, MAX_FRAMES // self.frontend.num_frames(fitted))

    @torch.no_grad()
    def classify(self, wavs):
        """What the classifier says of clips.

        Arguments
        ---------
        wavs : torch.Tensor
            Shape (batch, samples), of any level.

        Returns
        -------
        Said
        """
        wavs = peak_normalize(wavs.to(self.device))
        return self._said(self._compute(wavs)[1])

    @torch.no_grad()
    def analyse(self, wavs, request):
        """Explain clips: one STFT, one classifier and decoder forward.

        Masked-in and masked-out clip go through the classifier together.

        Arguments
        ---------
        wavs : torch.Tensor
            Shape (batch, samples), of any level.
        request : Request
            Which classes.

        Returns
        -------
        Analysis
        """
        peaks = wavs.abs().amax(1, keepdim=True)
        wavs = peak_normalize(wavs.to(self.device))
        spectrum, output = self._compute(wavs)
        said = self._said(output)
        targets = self._targets(said.probs, request)
        columns = targets.unbind(1) if self.depends else targets[:, :1].T
        parts = []
        for target in columns:
            mask = decode_mask(
                self.decoder, output, target, spectrum.view.shape[1]
            )
            parts.append(self._part(mask, spectrum, wavs, request.heard))
        view = self.frontend.log_amplitude(spectrum.view)
        return Analysis(
            wavs,
            peaks,
            self.frontend.own_frames(view, wavs.shape[1]),
            said,
            targets,
            parts,
        )

    def explanations(self, found, sources):
        """The explanations of each clip of an analysis.

        Arguments
        ---------
        found : Analysis
            Of some clips.
        sources : list of (str or None)
            The files that they come from.

        Returns
        -------
        list of list of Explanation
            By clip, and by class as asked for.
        """
        found = Analysis(*(to_cpu(field) for field in found))
        top = [self.top(probs) for probs in found.said.probs]
        return [
            [
                self._explanation(found, i, k, top[i], sources[i])
                for k in range(found.targets.shape[1])
            ]
            for i in range(len(found.wavs))
        ]

    def top(self, probs):
        """The most probable classes, ``[(label, probability), ...]``."""
        if len(self.names) == 1 and self.zero_shot:
            return [(self.names[0], None)]
        best = probs.topk(min(N_TOP, len(probs)))
        return [
            (self.names[index], value)
            for value, index in zip(
                best.values.tolist(), best.indices.tolist(), strict=True
            )
        ]

    def numbers(self, said, parts, target):
        """Probabilities and similarities of a class, by their names.

        Arguments
        ---------
        said, parts : Said and (Said, Said, Said or None)
            Of one clip, each field (classes,): input, in, out, heard.
        target : int
            The class.

        Returns
        -------
        dict
            Fields of :class:`Explanation`.
        """
        names = ("", "_masked_in", "_masked_out", "_heard")
        values = {}
        alone = self.zero_shot and len(self.names) == 1
        for name, said_of in zip(names, (said, *parts), strict=True):
            if said_of is None:
                continue
            p = None if alone else said_of.probs[target].item()
            values[f"probability{name}"] = p
            if said_of.similarity is not None and name != "_heard":
                values[f"similarity{name}"] = said_of.similarity[target].item()
        return values

    def described(self):
        """Fields of :class:`Explanation` that all have in common."""
        return {
            "mask_depends_on_class": self.depends,
            "sample_rate": self.frontend.sample_rate,
            "mask_domain": self.frontend.mask_domain,
        }

    def _explanation(self, found, i, k, top, source):
        part = found.parts[k if self.depends else 0]
        target = found.targets[i, k].item()
        said = (part.said_in, part.said_out, part.said_heard)
        # Copies, so that who keeps one explanation keeps no batch.
        return Explanation(
            *(x[i].clone() for x in (part.kept, part.rest, found.wavs)),
            mask=part.mask[i].clone(),
            spectrogram=found.view[i].clone(),
            label=self.names[target],
            class_index=target,
            top=top,
            is_decision=target == found.said.probs[i].argmax().item(),
            mask_hop_samples=self.frontend.hop_samples,
            source=source,
            **self.numbers(
                of_clip(found.said, i), [of_clip(x, i) for x in said], target
            ),
            **self.described(),
        )

    def _compute(self, wavs):
        spectrum = self.frontend(wavs)
        inputs = self.frontend.classifier_input(spectrum.view, spectrum)
        return spectrum, self.classifier(inputs)

    def _said(self, output):
        similarity = None
        if self.zero_shot:
            similarity = output.embedding @ self.classifier.text_embeddings.T
        return Said(self.classifier.probabilities(output), similarity)

    def _targets(self, probs, request):
        if request.classes is not None:
            chosen = torch.tensor(request.classes, device=probs.device)
            return chosen.expand(len(probs), -1)
        return probs.topk(request.top_k, dim=1).indices

    def _part(self, mask, spectrum, wavs, heard):
        masked = self.frontend.masked(mask, spectrum)
        said = self._said(self.classifier(torch.cat(masked)))
        n = wavs.shape[1]
        _, kept, rest = self.frontend.parts(mask, spectrum, n)
        return Part(
            self.frontend.own_frames(mask, n),
            kept,
            rest,
            *(
                Said(*(None if x is None else x.chunk(2)[k] for x in said))
                for k in range(2)
            ),
            self.classify(kept) if heard else None,
        )


def of_clip(said, i):
    """What was said of one clip of several."""
    if said is None:
        return None
    return Said(*(None if x is None else x[i] for x in said))


def to_cpu(value):
    """Tensors in nested tuples and lists, on the CPU."""
    if torch.is_tensor(value):
        return value.cpu()
    if isinstance(value, list):
        return [to_cpu(x) for x in value]
    if isinstance(value, tuple):
        return type(value)(*(to_cpu(x) for x in value))
    return value
