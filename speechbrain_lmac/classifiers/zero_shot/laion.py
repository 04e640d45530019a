"""CLAP models of the library ``laion_clap``: HTSAT and PANN audio encoders.

Importing ``laion_clap`` asks the model hub for three tokenizers, and building
a model for RoBERTa. Both need a network, or ``HF_HUB_OFFLINE=1`` and the
files in the hub's local cache.

Authors
 * The speechbrain_lmac authors 2026
"""

import importlib
import importlib.util
import os
import sys

import torch

from speechbrain_lmac.classifiers.hidden_maps import straight
from speechbrain_lmac.classifiers.zero_shot.base import ClapEncoder
from speechbrain_lmac.classifiers.zero_shot.checkpoints import (
    check_amodel,
    load_state,
    read_checkpoint,
)
from speechbrain_lmac.classifiers.zero_shot.htsat import (
    htsat_blocks,
    htsat_taps,
)
from speechbrain_lmac.utils.checks import UserError

#: Texts are padded to this many tokens, as the models were trained.
TEXT_TOKENS = 77
ROBERTA = "roberta-base"
HUB_TIMEOUT = 5  # seconds
#: Parts of the library's model that no sound passes: the text side, and heads
#: of trainings that the embedding does not need.
OUTSIDE = (
    "text_branch",
    "text_transform",
    "text_projection",
    "audio_transform",
    "logit_scale_a",
    "logit_scale_t",
    "audio_branch.tscam_conv",
    "audio_branch.head",
    "audio_branch.fc_audioset",
)


class LaionClap(ClapEncoder):
    """``laion_clap.CLAP_Module`` with a checkpoint of its own format.

    Arguments
    ---------
    checkpoint : str
        File such as ``630k-audioset-best.pt`` of the hub repository
        ``lukewys/laion_clap``.
    amodel : str
        Audio encoder of the checkpoint: ``HTSAT-tiny``, ``HTSAT-base``,
        ``HTSAT-large`` or ``PANN-14``.
    trust_source : bool
        Read the checkpoint by ``pickle`` if it holds more than weights. Such
        a file can run any code: only for files from people you trust.

    Raises
    ------
    UserError
        If the library or a file is missing, or the checkpoint is of another
        audio encoder, fused, or incomplete.
    """

    text_padding = "max_length"

    def __init__(self, checkpoint, amodel="HTSAT-tiny", trust_source=False):
        super().__init__()
        state = read_checkpoint(checkpoint, trust_source)
        check_amodel(state, amodel, checkpoint)
        module = build_module(amodel)
        load_state(module.model, state, checkpoint)
        self.model = module.model
        self.embed_dim = self.model.joint_embed_shape
        self.logit_scale = self.model.logit_scale_a.exp().item()
        branch = self.model.audio_branch
        frontend = frontend_settings(branch, self.model.audio_cfg.clip_samples)
        if hasattr(branch, "patch_embed"):
            self._set_htsat_taps(branch, frontend)
        else:
            self._set_cnn_taps(branch)
        # The front end stands apart: the branch gets its decibels as they are.
        branch.spectrogram_extractor = torch.nn.Identity()
        branch.logmel_extractor = torch.nn.Identity()
        vocab_size = self.model.text_branch.config.vocab_size
        self.settle(
            checkpoint, frontend, module.tokenize, vocab_size, TEXT_TOKENS
        )

    def _set_htsat_taps(self, branch, frontend):
        depth = len(branch.layers)
        taps, strides = htsat_taps(
            branch.patch_embed.grid_size,
            branch.patch_stride[0],
            depth,
            branch.freq_ratio,
            frontend["n_samples"] // frontend["hop_samples"] + 1,
            branch.spec_size * branch.freq_ratio,
        )
        levels = (0, *range(1, depth), depth - 1)
        self.set_taps(
            [branch.patch_embed, *branch.layers],
            taps,
            [branch.embed_dim << level for level in levels],
            strides,
        )

    def _set_cnn_taps(self, branch):
        # The maps of CNN14's last four blocks, as for the CNN14 classifier.
        blocks = [getattr(branch, f"conv_block{k}") for k in (3, 4, 5, 6)]
        channels = [block.conv2.out_channels for block in blocks]
        self.set_taps(blocks, [straight] * 4, channels, (8, 16, 32, 32))

    def audio_features(self, decibels):
        """Decibels (batch, 1, frames, bands) to (batch, embed_dim)."""
        output = self.model.audio_branch(
            {"waveform": decibels}, device=decibels.device
        )
        return self.model.audio_projection(output["embedding"])

    def text_features(self, input_ids, attention_mask):
        """Tokens (texts, length) to (texts, embed_dim)."""
        tokens = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.model.encode_text(tokens, device=input_ids.device)

    def blocks(self):
        """As :meth:`AudioClassifier.blocks`: projection, HTSAT or CNN14."""
        branch = self.model.audio_branch
        if hasattr(branch, "patch_embed"):
            layers = htsat_blocks(branch, branch.bn0)
        else:
            names = ("fc1", *(f"conv_block{k}" for k in range(6, 0, -1)))
            layers = {name: getattr(branch, name) for name in names}
            layers["batch_norm"] = branch.bn0
        return {"projection": self.model.audio_projection, **layers}

    def outside_blocks(self):
        """As :meth:`AudioClassifier.outside_blocks`."""
        return tuple(f"model.{name}" for name in OUTSIDE)

    def _text_place(self):
        return f"of {ROBERTA} in the hub's cache ({_cache_folder()})"


def frontend_settings(branch, n_samples):
    """Arguments of the front end from a loaded audio encoder.

    Window and mel matrix are weights of the encoder, part of the checkpoint:
    the STFT is a convolution there, whose kernel of bin 0 is the window.

    Arguments
    ---------
    branch : torch.nn.Module
        ``CLAP_Module.model.audio_branch``.
    n_samples : int
        Samples of the clips that it was trained on.

    Returns
    -------
    dict
        For :class:`speechbrain_lmac.features.clap.ClapFrontEnd`.
    """
    stft = branch.spectrogram_extractor.stft
    if not stft.center or stft.pad_mode != "reflect":
        raise UserError(
            "Expected an STFT with centred frames and reflected ends, got "
            f"center {stft.center}, pad_mode {stft.pad_mode!r}; this version "
            "of laion_clap is not supported."
        )
    return {
        "mel_matrix": branch.logmel_extractor.melW.detach().clone(),
        "window": stft.conv_real.weight[0, 0].detach().clone(),
        "sample_rate": 48000,
        "hop_samples": stft.hop_length,
        "n_samples": n_samples,
        "padding": "repeatpad",
    }


def build_module(amodel):
    """A ``CLAP_Module`` with random weights, on the CPU.

    Arguments
    ---------
    amodel : str
        As for :class:`LaionClap`.

    Returns
    -------
    laion_clap.CLAP_Module

    Raises
    ------
    UserError
        If the library is missing or cannot get what it asks the hub for.
    """
    library = import_laion_clap()
    try:
        return library.CLAP_Module(
            enable_fusion=False, device="cpu", amodel=amodel
        )
    except Exception as err:  # transformers and its hub client raise all kinds
        raise UserError(_hub_advice(err)) from err


def import_laion_clap():
    """Import ``laion_clap`` and undo what that does to the import path.

    Returns
    -------
    module

    Raises
    ------
    UserError
        If it is not installed, or if it would wait for a hub that does not
        answer.
    """
    if "laion_clap" in sys.modules:
        return sys.modules["laion_clap"]
    if importlib.util.find_spec("laion_clap") is None:
        raise UserError(
            "This classifier needs the library laion_clap: pip install "
            '"speechbrain_lmac[laion]".'
        )
    _check_hub()
    before = list(sys.path)
    try:
        return importlib.import_module("laion_clap")
    except OSError as err:
        raise UserError(_hub_advice(err)) from err
    finally:
        # It adds its own folder, whose `training` and `evaluate` hide others.
        sys.path[:] = before


def _check_hub():
    """Refuse to wait minutes for a hub that is out of reach."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return
    try:
        requests.head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except requests.RequestException as err:
        raise UserError(_hub_advice(err)) from err


def _hub_advice(err):
    reason = str(err).strip().split("\n")[0][:200]
    return (
        f"laion_clap needs {ROBERTA} of the model hub and cannot get it "
        f"({type(err).__name__}: {reason}). Without a network, place "
        f"config.json, model.safetensors, vocab.json and merges.txt of "
        f"{ROBERTA} in the hub's cache ({_cache_folder()}), by `hf download "
        f"{ROBERTA}` on a machine with a network, and set HF_HUB_OFFLINE=1 "
        "before Python starts."
    )


def _cache_folder():
    try:
        from huggingface_hub import constants
    except ImportError:
        return os.environ.get("HF_HUB_CACHE", "~/.cache/huggingface/hub")
    return constants.HF_HUB_CACHE
