"""Image models with random weights, made by code: no hub, no download."""

from recipe_models import SMALL, save_image_model, small_classifier

__all__ = ["SMALL", "save_image_model", "small_classifier"]
