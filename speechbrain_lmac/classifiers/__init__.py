"""Classifiers that can be explained: frozen, with their hidden maps."""
