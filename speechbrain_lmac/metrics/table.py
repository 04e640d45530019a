"""The table of metrics: what tables, figures and tests know of each.

A new metric is a line here and one in the dictionary of its kind:
``faithfulness_metrics`` (of the decision, and so as heard) or ``mask_metrics``
(of the mask alone). The metrics are those of L-MAC (Paissan et al., ICML 2024,
arXiv 2403.13086); names that end in ``_wav`` are the same metrics on the
resynthesised sound instead of the masked spectrogram.
"""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """How a metric is named, ordered, rounded and explained.

    Attributes
    ----------
    name : str
        Of the per-clip value and of its column in CSV files.
    label : str
        What people read above the column.
    direction : int
        1 if higher is better, -1 if lower is better, 0 if neither.
    digits : int
        Decimals that people read.
    meaning : str
        One line for the legend.
    """

    name: str
    label: str
    direction: int
    digits: int
    meaning: str

    @property
    def title(self) -> str:
        """The label with the arrow of its better direction."""
        return f"{self.label}{('', ' ↑', ' ↓')[self.direction]}"


DECISIONS = (
    Metric("AI", "AI", 1, 1, "average increase: % of the clips where the "
           "explanation alone makes the classifier surer of its decision"),
    Metric("AD", "AD", -1, 1, "average drop: % of the decision's probability "
           "that is lost on the explanation alone"),
    Metric("AD_speechbrain", "AD-SB", -1, 1, "AD as SpeechBrain computes it, "
           "with a second softmax"),
    Metric("AG", "AG", 1, 1, "average gain: % of the missing probability that "
           "is gained on the explanation alone"),
    Metric("FF", "FF", 1, 2, "faithfulness: probability that the decision "
           "loses when the explanation is removed from the input, -1 to 1"),
    Metric("Fid-In", "Fid-In", 1, 2, "input fidelity: share of the clips that "
           "keep their decision on the explanation alone, 0 to 1"),
    Metric("Jaccard", "Jaccard", 1, 2, "of several labels: classes that are "
           "decided for with and without the mask, over those with or without "
           "it, 0 to 1"),
)  # fmt: skip

MASKS = (
    Metric("SPS", "SPS", 1, 2, "sparseness: Gini index of the mask, 0 (flat) "
           "to 1 (one bin); undefined for an empty mask"),
    Metric("COMP", "COMP", -1, 2, "complexity: entropy in nats of the mask as "
           "a distribution over bins; undefined for an empty mask"),
    Metric("MM", "MM", 0, 2, "mask mean, 0 to 1: how much is kept; neither "
           "high nor low is better"),
    Metric("forwards", "forwards", 0, 0, "inputs that the classifier takes "
           "per clip to make the mask, besides the clip itself"),
)  # fmt: skip

SPECTRA = DECISIONS + MASKS

HEARD = tuple(
    Metric(f"{metric.name}_wav", metric.label, metric.direction,
           metric.digits, f"{metric.label} on the resynthesised sound")
    for metric in DECISIONS
    if metric.name != "AD_speechbrain"
) + (
    Metric("agreement_wav", "agreement", 1, 2, "share of the clips with the "
           "same decision on the masked spectrogram and on the sound, 0 to 1"),
    Metric("sum", "sum", 1, 1, "SI-SDR of explanation and rest together to "
           "the input, in dB, 100 at most"),
    Metric("invented", "invented", -1, 3, "% of the explanation's energy "
           "where the input is 60 dB below its loudest, or more"),
)  # fmt: skip

SOURCES = (
    Metric("target_wins", "wins", 1, 2, "share of clips of whose target "
           "the mask keeps more than of the interferer, 0 to 1"),
    Metric("target_kept", "target kept", 1, 2, "share of the target's energy "
           "that the mask keeps, 0 to 1"),
    Metric("interferer_kept", "interferer kept", -1, 2, "share of the "
           "interferer's energy that the mask keeps, 0 to 1"),
    Metric("SI-SDR_gain", "SI-SDR gain", 1, 2, "scale-invariant signal-to-"
           "distortion ratio of the explanation against the target, less that "
           "of the input, in dB"),
    Metric("mask_auc", "mask AUC", 1, 2, "area under the ROC of the mask "
           "against the ideal binary mask (bins where the target is the "
           "louder source), bins by their energy, 0 to 1; 0.5 is chance"),
    Metric("mask_auc_bins", "AUC of bins", 1, 2, "mask AUC with all bins "
           "alike, the faint ones of a noise floor as the loud ones"),
)  # fmt: skip

JUDGED = (
    Metric("judge_keeps", "keeps", 1, 2, "share of the clips that both "
           "classifiers decide alike where the other one keeps the decision on "
           "the explanation as heard, 0 to 1; undefined on all other clips"),
    Metric("judge_FF", "other's FF", 1, 2, "probability that the decision has "
           "for the other classifier on the input, less that on the rest, -1 "
           "to 1; a mask that changes nothing keeps all and has 0"),
    Metric("judge_gain", "other's gain", 1, 2, "probability that the decision "
           "has for the other classifier on the explanation, less that on the "
           "input, -1 to 1"),
)  # fmt: skip

CURVES = (
    Metric("insertion_auc", "insertion", 1, 2, "area under the decision's "
           "probability while the mask's bins are put in, the largest first, "
           "0 to 1"),
    Metric("deletion_auc", "deletion", -1, 2, "area under the decision's "
           "probability while the mask's bins are taken out, the largest "
           "first, 0 to 1"),
)  # fmt: skip

TIMES = (
    Metric("pointing_game", "Pointing Game", 1, 2, "share of the clips whose "
           "explanation is loudest within the target's event, 0 to 1"),
    Metric("event_iou", "IoU", 1, 2, "frames of 10 ms in both the events of "
           "the explanation and the target's, over those in either, 0 to 1"),
    Metric("event_f1", "frame F1", 1, 2, "harmonic mean of precision and "
           "recall of these frames, 0 to 1"),
    Metric("event_auc", "AUC of 100 ms", 1, 2, "area under the ROC of the "
           "explanation's energy in segments of 100 ms against event or none, "
           "0 to 1; 0.5 is chance"),
)  # fmt: skip

TABLES = (
    ("On the masked spectrogram", SPECTRA),
    ("On the sound that people hear", HEARD),
    ("Another classifier", JUDGED),
    ("The sources of the mixture", SOURCES),
    ("When", TIMES),
    ("Insertion and deletion curves", CURVES),
)
METRICS = {metric.name: metric for _, metrics in TABLES for metric in metrics}
