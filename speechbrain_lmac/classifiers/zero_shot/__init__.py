"""CLAP models as zero-shot classifiers that can be explained.

``base`` holds what all share, ``hf`` the back end on ``transformers``,
``laion`` the one on ``laion_clap``; both libraries are imported only when a
model is built.
"""
