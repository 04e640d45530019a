"""Feature extractors of ``transformers``, batched and differentiable.

The library's own work on NumPy arrays, one clip at a time: no gradient passes
them. These take their numbers from the loaded extractor, that is from the
model's ``preprocessor_config.json``, and give the model's input from waveforms
(batch, samples), in the graph. All clips of a batch are of one length; each is
prepared as if it were given to the library alone.

Sources: ``feature_extraction_*.py`` of ``transformers`` (Apache 2.0) for what
is computed; Kaldi's ``compute-fbank-feats`` for AST's filterbank.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechbrain_lmac.utils.checks import UserError

# Powers below count as silence: Kaldi's floor, and Whisper's.
_KALDI_FLOOR = torch.finfo(torch.float32).eps
_WHISPER_FLOOR = 1e-10
# Added to the variance of a clip.
_VARIANCE_FLOOR = 1e-7


class Extractor(nn.Module):
    """From waveforms to a model's input.

    Attributes
    ----------
    sample_rate : int
        Of the waveforms, in Hz.
    n_samples : int or None
        Samples that the model hears at most; None for any number.
    min_samples : int
        Samples that make one frame.
    policy : str
        What becomes of shorter and longer clips, in words.
    """

    n_samples: int | None = None
    min_samples = 1
    policy = "hears clips of any length as they are"

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.sample_rate = int(own.sampling_rate)

    def forward(self, wavs: Tensor) -> dict[str, Tensor]:
        """Arguments of the model for waveforms (batch, samples)."""
        raise NotImplementedError

    def own_share(self, num_samples: int) -> float:
        """Share of what the model takes that is the clip's own, in (0, 1]."""
        if self.n_samples is None:
            return 1.0
        return min(1.0, num_samples / self.n_samples)

    @property
    def seconds(self) -> float:
        """What the model hears at most."""
        return (self.n_samples or 0) / self.sample_rate


class Normalised(Extractor):
    """``Wav2Vec2FeatureExtractor``: the waveform at zero mean, unit variance.

    Example
    -------
    >>> from transformers import Wav2Vec2FeatureExtractor
    >>> extract = Normalised(Wav2Vec2FeatureExtractor())
    >>> extract(torch.tensor([[1.0, 3.0]]))["input_values"]
    tensor([[-1.,  1.]])
    """

    def __init__(self, own: Any) -> None:
        super().__init__(own)
        self.normalise = own.do_normalize
        self.masked = own.return_attention_mask

    def forward(self, wavs: Tensor) -> dict[str, Tensor]:
        """Waveforms and, where the model was trained with it, their mask."""
        values = wavs
        if self.normalise:
            mean = wavs.mean(1, keepdim=True)
            power = wavs.var(1, correction=0, keepdim=True)
            values = (wavs - mean) / (power + _VARIANCE_FLOOR).sqrt()
        if not self.masked:
            return {"input_values": values}
        # Nothing is padded: all that is there is the clip.
        whole = torch.ones_like(wavs, dtype=torch.long)
        return {"input_values": values, "attention_mask": whole}


class KaldiBands(Extractor):
    """``ASTFeatureExtractor``: Kaldi's log mel filterbank of 25 ms windows.

    Frames without a mean are pre-emphasised, windowed (Hann) and led to mel
    powers; logarithms are cut or padded (with 0, as published) to the model's
    frames and normalised to ``(x - mean) / (2 std)``.

    Example
    -------
    >>> from transformers import ASTFeatureExtractor
    >>> extract = KaldiBands(ASTFeatureExtractor(max_length=100))
    >>> extract(torch.rand(2, 8000))["input_values"].shape
    torch.Size([2, 100, 128])
    """

    pre_emphasis = 0.97
    window: Tensor
    mel_matrix: Tensor

    def __init__(self, own: Any) -> None:
        from torchaudio.compliance.kaldi import get_mel_banks

        super().__init__(own)
        rate = self.sample_rate
        self.size, self.hop = int(rate * 0.025), int(rate * 0.01)
        self.min_samples = self.size
        self.n_fft = 1 << math.ceil(math.log2(self.size))
        self.frames = own.max_length
        self.n_samples = (self.frames - 1) * self.hop + self.size
        self.policy = (
            f"hears {self.seconds:.2f} s: shorter clips are padded, longer "
            "ones cut"
        )
        self.mean, self.scale = 0.0, 1.0
        if own.do_normalize:
            self.mean, self.scale = own.mean, 2 * own.std
        # From 20 Hz to the Nyquist frequency; no vocal tract is warped.
        warp = (100.0, -500.0, 1.0)
        mel, _ = get_mel_banks(
            own.num_mel_bins, self.n_fft, float(rate), 20.0, 0.0, *warp
        )
        window = torch.hann_window(self.size, periodic=False)
        self.register_buffer("window", window, False)
        # No band hears the Nyquist frequency.
        self.register_buffer("mel_matrix", F.pad(mel, (0, 1)).T, False)

    def forward(self, wavs: Tensor) -> dict[str, Tensor]:
        """Normalised log mel powers, (batch, frames, bands)."""
        x = wavs[:, : self.n_samples].unfold(1, self.size, self.hop)
        x = x - x.mean(2, keepdim=True)
        before = torch.cat([x[..., :1], x[..., :-1]], 2)
        x = (x - self.pre_emphasis * before) * self.window
        bands = _power(torch.fft.rfft(x, self.n_fft)) @ self.mel_matrix
        logs = bands.clamp_min(_KALDI_FLOOR).log()
        logs = F.pad(logs, (0, 0, 0, self.frames - logs.shape[1]))
        return {"input_values": (logs - self.mean) / self.scale}


class WhisperBands(Extractor):
    """``WhisperFeatureExtractor``: its log mel spectrogram of 30 s.

    Clips are padded with silence or cut; decimals of mel powers are kept down
    to 80 dB below the loudest cell of the clip.

    Example
    -------
    >>> from transformers import WhisperFeatureExtractor
    >>> extract = WhisperBands(WhisperFeatureExtractor())
    >>> extract(torch.rand(2, 8000))["input_features"].shape
    torch.Size([2, 80, 3000])
    """

    n_samples: int
    window: Tensor
    mel_matrix: Tensor

    def __init__(self, own: Any) -> None:
        super().__init__(own)
        self.n_fft, self.hop = own.n_fft, own.hop_length
        self.n_samples = own.n_samples
        self.policy = (
            f"hears {self.seconds:g} s: shorter clips are padded with silence, "
            "longer ones cut"
        )
        mel = torch.as_tensor(own.mel_filters).float()
        self.register_buffer("window", torch.hann_window(self.n_fft), False)
        self.register_buffer("mel_matrix", mel, False)

    def forward(self, wavs: Tensor) -> dict[str, Tensor]:
        """Log mel powers, (batch, bands, frames)."""
        wavs = F.pad(wavs, (0, self.n_samples - wavs.shape[1]))
        stft = torch.stft(
            wavs, self.n_fft, self.hop, window=self.window, return_complex=True
        )
        bands = self.mel_matrix.T @ _power(stft[..., :-1])
        logs = bands.clamp_min(_WHISPER_FLOOR).log10()
        logs = logs.maximum(logs.amax((1, 2), keepdim=True) - 8)
        return {"input_features": (logs + 4) / 4}


#: By the class of the library's extractor.
EXTRACTORS: dict[str, type[Extractor]] = {
    "ASTFeatureExtractor": KaldiBands,
    "Wav2Vec2FeatureExtractor": Normalised,
    "WhisperFeatureExtractor": WhisperBands,
}


def differentiable(own: Any) -> Extractor:
    """The extractor that does what one of ``transformers`` does.

    Arguments
    ---------
    own : SequenceFeatureExtractor
        As loaded by the library.

    Returns
    -------
    Extractor

    Raises
    ------
    UserError
        If it is of another kind.
    """
    kind = type(own).__name__
    if kind not in EXTRACTORS:
        raise UserError(
            f"preprocessor_config.json: expected one of {', '.join(EXTRACTORS)}"
            f" as `feature_extractor_type`, found {kind}."
        )
    return EXTRACTORS[kind](own)


def _power(spectrum: Tensor) -> Tensor:
    """Squared magnitudes, with a gradient where there is silence."""
    return spectrum.real.square() + spectrum.imag.square()
