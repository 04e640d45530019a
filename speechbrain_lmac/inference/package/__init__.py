"""Packages: all that inference needs of a trained interpreter, in a folder.

A package is ``config.json`` (names of our classes, plain arguments, labels,
facts), weights in safetensors and a model card. It can be uploaded to a model
hub as it is, and loaded from there without trusting whoever wrote it: what is
read can name no code but the classes of ``registry``.
"""
