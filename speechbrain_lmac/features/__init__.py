"""Between waveforms and spectra: what a front end does with a mask."""

from speechbrain_lmac.features.base import (
    BaseFrontEnd,
    MaskedInputs,
    OnMelBands,
    Parts,
    Spectrum,
)
from speechbrain_lmac.features.bins import (
    fit_frames,
    heard_part,
    mel_to_linear,
)
from speechbrain_lmac.features.clap import (
    ClapFrontEnd,
    MelClapFrontEnd,
    build_clap_frontend,
)
from speechbrain_lmac.features.stft import (
    FrontEnd,
    MelFrontEnd,
    build_frontend,
)

__all__ = [
    "BaseFrontEnd",
    "ClapFrontEnd",
    "FrontEnd",
    "MaskedInputs",
    "MelClapFrontEnd",
    "MelFrontEnd",
    "OnMelBands",
    "Parts",
    "Spectrum",
    "build_clap_frontend",
    "build_frontend",
    "fit_frames",
    "heard_part",
    "mel_to_linear",
]
