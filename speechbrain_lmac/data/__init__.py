"""Data: audio files, manifests and fold checks, data sets and mixtures."""
