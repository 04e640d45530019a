"""Between waveforms and spectra."""
