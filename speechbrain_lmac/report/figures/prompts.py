"""Interim names of the picture of prompts."""

from speechbrain_lmac.report.figures.explanation import build_prompt_figure
from speechbrain_lmac.report.figures.style import save_figure

__all__ = ["build_prompt_figure", "save_prompt_figure"]


def save_prompt_figure(path, *args, **kwargs):
    """Interim: draw and save."""
    return save_figure(build_prompt_figure(*args, **kwargs), path)
