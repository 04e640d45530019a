"""Metrics of explanations: per-clip values, separation and statistics."""

from speechbrain_lmac.metrics.explanation import explanation_metrics
from speechbrain_lmac.metrics.functional import (
    average_drop,
    average_drop_speechbrain,
    average_gain,
    average_increase,
    complexity,
    faithfulness,
    input_fidelity,
    mask_mean,
    sparseness,
)
from speechbrain_lmac.metrics.separation import (
    energy_kept,
    mask_auc,
    si_sdr,
    si_sdr_gain,
)
from speechbrain_lmac.metrics.stats import ClipStats, Summary, summarize
from speechbrain_lmac.metrics.table import METRICS, Metric

__all__ = [
    "METRICS",
    "ClipStats",
    "Metric",
    "Summary",
    "average_drop",
    "average_drop_speechbrain",
    "average_gain",
    "average_increase",
    "complexity",
    "energy_kept",
    "explanation_metrics",
    "faithfulness",
    "input_fidelity",
    "mask_auc",
    "mask_mean",
    "si_sdr",
    "si_sdr_gain",
    "sparseness",
    "summarize",
]
