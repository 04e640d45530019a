"""Training loops, one method a file, and the terms of their objectives."""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "brain": ["RecipeBrain", "cosine_warmup"],
        "classifier": ["ClassifierBrain", "WeightAverage"],
        "class_lmac": ["ClassLMACBrain"],
        "clap": ["ClapBrain", "TextGroups", "held_out_prompts"],
        "l2i": ["L2IBrain"],
        "lmac": ["LMACBrain", "SparsityWeight"],
        "lmac_td": ["LMACTDBrain"],
        "lmac_zs": ["LMACZSBrain"],
        "zero_shot_brain": ["validation_prompts"],
    },
)
