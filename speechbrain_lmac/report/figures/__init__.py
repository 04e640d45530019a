"""Figures of evaluations and of explanations."""
