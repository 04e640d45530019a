"""Hyperparameters of LMAC-ZS, checked before the first step.

Authors
 * The speechbrain_lmac authors 2026
"""

import math
from numbers import Integral, Real

from speechbrain_lmac.data.captions.prompts import readable
from speechbrain_lmac.utils.checks import UserError

# Prompts of the validation where the data have no classes.
MAX_VALID_PROMPTS = 16
OBJECTIVES = ("published", "prompt_weighted")
WEIGHTS = ("l_sim_w", "l_in_w", "l_out_w", "reg_w_l1", "l_div_w", "g_w")
CHOICES = {
    "objective": OBJECTIVES,
    "crosscortype": ("dotp", "conv"),
}


def check_zs_settings(hparams):
    """Refuse settings that would fail, or mean nothing, in some later step.

    Arguments
    ---------
    hparams : types.SimpleNamespace
        What :class:`speechbrain_lmac.training.lmac_zs.LMACZSBrain` reads.

    Raises
    ------
    UserError
        For the first that is wrong; names its key.
    """
    for key, choices in CHOICES.items():
        found = getattr(hparams, key)
        if found not in choices:
            _refuse(key, f"one of {', '.join(choices)}", found)
    for key in WEIGHTS:
        _number(hparams, key, 0, math.inf)
    for key in ("sparsity_ramp", "mix_prob"):
        _number(hparams, key, 0, 1)
    _number(hparams, "crosscor_th", -1, math.inf)  # above 1: guides none
    if hparams.pairs_per_chunk is not None:
        _whole(hparams, "pairs_per_chunk", 1, "or null for all at once")
    _check_snr(hparams.mix_snr)
    if hparams.objective == "prompt_weighted":
        _check_prompts(hparams)
        _number(hparams, "area_budget", 0, 1)
        budget = hparams.area_budget
        _number(hparams, "area_floor", 0, budget, "the `area_budget`")


def _check_prompts(hparams):
    """How many prompts a step and a clip have."""
    _whole(hparams, "bank_size", 2, "that compete in a step")
    # The first two of a mixture's are those of its sources.
    least = 2 if hparams.finetuning else 1
    _whole(hparams, "prompts_per_clip", least, "for each clip")
    _whole(hparams, "similar_prompts", 0, "of those of a clip")
    if hparams.similar_prompts > hparams.prompts_per_clip:
        _refuse(
            "similar_prompts",
            f"at most the {hparams.prompts_per_clip} `prompts_per_clip`",
            hparams.similar_prompts,
        )


def _check_snr(found):
    pair = isinstance(found, (list, tuple)) and len(found) == 2
    if not (pair and all(map(_is_number, found)) and found[0] <= found[1]):
        _refuse("mix_snr", "[low, high] in dB", found)


def _is_number(value):
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _number(hparams, key, low, high, name=None):
    found = getattr(hparams, key)
    if not _is_number(found) or not low <= found <= high:
        limit = f" to {name or high}" if high < math.inf else " up"
        _refuse(key, f"a number from {low}{limit}", found)


def _whole(hparams, key, least, what):
    found = getattr(hparams, key)
    whole = isinstance(found, Integral) and not isinstance(found, bool)
    if not whole or found < least:
        _refuse(key, f"a whole number from {least} up, {what}", found)


def _refuse(key, expected, found):
    raise UserError(f"`{key}`: expected {expected}, found {found!r}.")


def validation_prompts(hparams, class_names, dataset):
    """Prompts and templates that a training is validated with.

    Arguments
    ---------
    hparams : dict
        ``valid_prompts`` (null for those of the data) and
        ``valid_templates``.
    class_names : sequence of str
        Classes of the data; none if they are captioned.
    dataset : DynamicItemDataset
        Validation clips with captions.

    Returns
    -------
    tuple of (list of str, tuple of str)
        Without classes the first captions of some clips, which stand alone.

    Raises
    ------
    UserError
        If there are fewer than two prompts.
    """
    templates = tuple(hparams["valid_templates"])
    prompts = list(hparams["valid_prompts"] or map(readable, class_names))
    if not prompts:
        templates = ("{}",)
        clips = dataset.data_ids[:: -(-len(dataset) // MAX_VALID_PROMPTS)]
        captions = (dataset.data[clip]["captions"][0] for clip in clips)
        prompts = list(dict.fromkeys(captions))
    if len(prompts) < 2:
        raise UserError(
            f"`valid_prompts`: expected at least two prompts, found {prompts}."
            " Give some, or a validation split of more clips."
        )
    return prompts, templates
