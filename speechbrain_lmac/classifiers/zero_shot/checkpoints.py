"""Checkpoints of ``laion_clap``: read with care, told apart, filled in.

The library's own ``load_ckpt`` unpickles whatever a file holds, and fails on
checkpoints that were saved with the versions of today. Nothing here imports
the library: a wrong file is refused before the minutes that its import takes.

Authors
 * The speechbrain_lmac authors 2026
"""

import re
from pathlib import Path

import torch

from speechbrain_lmac.classifiers.loading import _differences
from speechbrain_lmac.utils.checks import UserError

#: Channels of the first map -> name of the HTSAT audio encoder.
HTSAT_SIZES = {96: "HTSAT-tiny", 128: "HTSAT-base", 256: "HTSAT-large"}
#: Audio encoders that can be explained.
AUDIO_MODELS = (*HTSAT_SIZES.values(), "PANN-14")
# A buffer that old versions of transformers saved, and new ones do not know.
POSITION_IDS = "text_branch.embeddings.position_ids"


def read_checkpoint(path, trust_source=False):
    """Weights of a checkpoint, under the names of ``laion_clap.clap_module``.

    Arguments
    ---------
    path : str or pathlib.Path
        The file: a state dict, or a dict that holds one as ``state_dict``.
    trust_source : bool
        As for :class:`LaionClap`.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    UserError
        If the file is missing, unreadable or no checkpoint.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(
            f"`checkpoint`: there is no file {path}. Fetch one, such as "
            "630k-audioset-best.pt (HTSAT-tiny) of the hub repository "
            "lukewys/laion_clap, and give its path."
        )
    content = _load(path, trust_source)
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise UserError(
            f"`checkpoint`: {path} holds no state dict of a CLAP model."
        )
    prefix = "module."  # of distributed training
    state = {k.removeprefix(prefix): value for k, value in content.items()}
    state.pop(POSITION_IDS, None)
    return state


def _load(path, trust_source):
    """What a file holds; more than tensors only if its source is trusted."""
    why = ""
    for weights_only in (True, False):
        try:
            return torch.load(
                path, map_location="cpu", weights_only=weights_only
            )
        except Exception as err:  # torch and pickle raise many kinds
            # The one useful word in torch's page of advice.
            found = re.search(r"GLOBAL ([\w.]+)", str(err))
            why = why or (found[1] if found else type(err).__name__)
        if not trust_source:
            raise UserError(
                f"`checkpoint`: {path} is not readable as weights alone "
                f"({why}). If it is a checkpoint from people you trust, pass "
                "trust_source=True: it is then read by pickle, which can run "
                "any code."
            )
    raise UserError(
        f"`checkpoint`: {path} is not a readable PyTorch checkpoint ({why})."
    )


def audio_model_of(state):
    """Name of the audio encoder that a state dict belongs to.

    Arguments
    ---------
    state : dict of str to torch.Tensor
        From :func:`read_checkpoint`.

    Returns
    -------
    str
        As ``amodel`` of :class:`LaionClap`, ``"unknown"`` if none is known.

    Example
    -------
    >>> audio_model_of({"audio_branch.patch_embed.proj.weight":
    ...                 torch.zeros(128, 1, 4, 4)})
    'HTSAT-base'
    """
    patches = state.get("audio_branch.patch_embed.proj.weight")
    if patches is not None:
        return HTSAT_SIZES.get(patches.shape[0], "unknown")
    if "audio_branch.conv_block6.conv1.weight" in state:
        return "PANN-14"
    if "audio_branch.conv_block4.conv2.weight" in state:
        return "PANN-10"
    if "audio_branch.conv_block4.conv1.weight" in state:
        return "PANN-6"
    return "unknown"


def check_amodel(state, amodel, path):
    """Refuse a checkpoint of another audio encoder, or a fused one.

    Arguments
    ---------
    state : dict of str to torch.Tensor
        From :func:`read_checkpoint`.
    amodel : str
        What the user said that it is.
    path : str
        The checkpoint, named in errors.

    Raises
    ------
    UserError
        If it is not.
    """
    if amodel not in AUDIO_MODELS:
        raise UserError(
            f"`amodel`: expected one of {', '.join(AUDIO_MODELS)}, got "
            f"{amodel!r}."
        )
    if any("fusion_model" in key or "mel_conv" in key for key in state):
        raise UserError(
            f"`checkpoint`: {path} is of a fused CLAP model, which hears a "
            "clip four times over; expected an unfused one, such as "
            "630k-audioset-best.pt."
        )
    found = audio_model_of(state)
    if found != amodel:
        raise UserError(
            f"`amodel`: the checkpoint {path} is of {found}, but `amodel` "
            f"says {amodel}. Set amodel: {found}."
            if found in AUDIO_MODELS
            else f"`checkpoint`: {path} is of an audio encoder ({found}) that "
            f"is not supported; expected {amodel}."
        )


def load_state(model, state, path):
    """Fill a model; every weight must be there, and nothing else.

    Arguments
    ---------
    model : torch.nn.Module
        ``CLAP_Module.model``.
    state : dict of str to torch.Tensor
        From :func:`read_checkpoint`.
    path : str
        The checkpoint, named in errors.
    """
    expected = model.state_dict()
    kept = expected.pop(POSITION_IDS, None)
    problems = _differences(expected, state)
    if problems:
        raise UserError(
            f"`checkpoint`: {path} does not hold the weights of this CLAP "
            f"model: {problems}."
        )
    if kept is not None:
        state = {**state, POSITION_IDS: kept}
    model.load_state_dict(state)
