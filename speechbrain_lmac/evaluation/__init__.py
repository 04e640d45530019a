"""Methods under conditions, sanity checks and the listening test."""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "clips": ["LabelledClips", "spread", "test_clips"],
        "conditions": ["build_condition"],
        "cross_validation": ["average_folds", "fold_splits"],
        "judge": ["load_judge"],
        "prompt_sensitivity": ["run_prompt_sensitivity"],
        "randomization": ["check_sanity_methods", "run_randomization"],
        "roar": ["Roar", "check_roar", "run_roar"],
        "run": ["evaluate"],
        "seeds": ["seed_overrides", "seeds_folder", "write_seeds"],
        "settings": ["EvaluationSettings"],
        "zero_shot": ["write_setting"],
    },
)
