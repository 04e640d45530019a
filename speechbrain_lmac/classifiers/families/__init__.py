"""Families of classifiers that people have, each loaded by one string."""
