"""Listenable explanations of sound classifiers, on top of SpeechBrain.

L-MAC learns a mask over a clip's spectrogram that keeps what a frozen
classifier heard (Paissan, Ravanelli, Subakan, "Listenable Maps for Audio
Classifiers", ICML 2024, arXiv 2403.13086), and turns it back into sound.
"""

from importlib import metadata
from typing import Any

__version__ = "0.1.0"
#: Public names -> modules that hold them, imported when they are asked for.
_HOMES = {"interpreters.models": ["load_model"], "inference.once": ["explain"]}
__all__ = ["explain", "load_model"]


def __getattr__(name: str) -> Any:
    """A public name; what it needs is imported when it is asked for."""
    from speechbrain_lmac.utils.lazy import attach

    return attach(__name__, _HOMES)[0](name)


def _check_torchaudio():
    """Name a pair that pip allows and that cannot be imported.

    torchaudio 2.11.1 declares torch 2.11 as enough, but needs symbols of
    torch 2.13; whoever imports both reads of a library that does not load.
    """
    try:
        torch, audio = metadata.version("torch"), metadata.version("torchaudio")
    except metadata.PackageNotFoundError:
        return
    minor = tuple(int(part) for part in torch.split(".")[:2])
    if audio.partition("+")[0] == "2.11.1" and minor < (2, 13):
        raise ImportError(
            f"torchaudio {audio} does not work with torch {torch}, though it "
            "says so. Either: pip install torchaudio==2.11.0 (for torch "
            "2.11), or: pip install 'torch>=2.13'"
        )


_check_torchaudio()
