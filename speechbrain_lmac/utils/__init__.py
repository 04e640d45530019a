"""What every room stands on: checks, hyperparameters, runs, checkpoints."""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "checkpoints": ["AtomicCheckpointer"],
        "checks": ["UserError"],
        "hparams": ["check_overrides", "load_hparams", "parse_arguments"],
    },
)
