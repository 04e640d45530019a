"""Metrics of explanations: per-clip values, separation and statistics."""

from speechbrain_lmac.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "explanation": ["explanation_metrics"],
        "functional": [
            *("average_drop", "average_drop_speechbrain", "average_gain"),
            *("average_increase", "faithfulness", "input_fidelity"),
        ],
        "labels": ["macro_f1"],
        "masks": ["complexity", "mask_mean", "sparseness"],
        "separation": ["energy_kept", "mask_auc", "si_sdr", "si_sdr_gain"],
        "similarity": ["rank_correlation", "spearman", "ssim"],
        "stats": ["ClipStats", "Summary", "summarize"],
        "table": ["METRICS", "Metric"],
    },
)
