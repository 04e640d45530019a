"""CLAP models as zero-shot classifiers that can be explained.

``base`` holds what all share, ``small`` a stand-in that trains in minutes,
``hf`` and ``laion`` the models of ``transformers`` and ``laion_clap``; these
libraries are imported only when a model is built.
"""
