"""Sounds made by code, in the layouts of real data sets."""
