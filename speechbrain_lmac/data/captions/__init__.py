"""Sounds with captions: layouts, manifests, prompts."""
