"""Between waveforms and spectra: what a front end does with a mask."""

from importlib import import_module

_NAMES = {
    "base": ("BaseFrontEnd", "MaskedInputs", "Parts", "Spectrum"),
    "bins": ("fit_frames", "heard_part", "mel_to_linear"),
    "clap": ("ClapFrontEnd", "MelClapFrontEnd", "build_clap_frontend"),
    "stft": ("FrontEnd", "GainFrontEnd", "MelFrontEnd", "build_frontend"),
    "time": ("TimeFrontEnd", "build_time_frontend"),
    "waveform": ("WaveformFrontEnd",),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}
__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
