"""CLAP models of the library ``laion_clap``: HTSAT and PANN audio encoders.

Importing ``laion_clap`` asks the model hub for three tokenizers, and building
a model for RoBERTa. Both need a network, or ``HF_HUB_OFFLINE=1`` and the
files in the hub's local cache. Its own ``load_ckpt`` unpickles whatever a file
holds, and fails on checkpoints that were saved with the versions of today:
here a checkpoint is read first, before the minutes that the import takes.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechbrain_lmac.classifiers.hidden_maps import straight
from speechbrain_lmac.classifiers.huggingface import hub_problem
from speechbrain_lmac.classifiers.zero_shot.base import ClapEncoder
from speechbrain_lmac.classifiers.zero_shot.htsat import (
    htsat_blocks,
    htsat_taps,
)
from speechbrain_lmac.utils.checks import UserError

#: Channels of the first map -> name of the HTSAT audio encoder.
HTSAT_SIZES = {96: "HTSAT-tiny", 128: "HTSAT-base", 256: "HTSAT-large"}
#: Audio encoders that can be explained.
AUDIO_MODELS = (*HTSAT_SIZES.values(), "PANN-14")
# A buffer that old versions of transformers saved, and new ones do not know.
POSITION_IDS = "text_branch.embeddings.position_ids"
#: Texts are padded to this many tokens, as the models were trained.
TEXT_TOKENS = 77
ROBERTA = "roberta-base"
#: Parts of the library's model that no sound passes: the text side, and heads
#: of trainings that the embedding does not need.
OUTSIDE = (
    *("text_branch", "text_transform", "text_projection", "audio_transform"),
    *("logit_scale_a", "logit_scale_t", "audio_branch.tscam_conv"),
    *("audio_branch.head", "audio_branch.fc_audioset"),
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
        Read the checkpoint by ``pickle``, which it needs if it holds more
        than weights. Such a file can run any code: only for files from people
        you trust.

    Raises
    ------
    UserError
        If the library or a file is missing, or the checkpoint is of another
        audio encoder, fused, or incomplete.
    """

    text_padding = "max_length"

    def __init__(
        self,
        checkpoint: str,
        amodel: str = "HTSAT-tiny",
        trust_source: bool = False,
    ) -> None:
        super().__init__()
        state = read_checkpoint(checkpoint, trust_source)
        check_amodel(state, amodel, checkpoint)
        module = build_module(amodel)
        load_state(module.model, state, checkpoint)
        self.model: Any = module.model
        self.embed_dim = self.model.joint_embed_shape
        self.logit_scale = self.model.logit_scale_a.exp().item()
        branch = self.model.audio_branch
        frontend = frontend_settings(branch, self.model.audio_cfg.clip_samples)
        if hasattr(branch, "patch_embed"):
            self.set_taps(
                *htsat_taps(branch, branch.embed_dim, frontend),
            )
        else:
            # Maps of CNN14's last four blocks, as for the CNN14 classifier.
            blocks = [getattr(branch, f"conv_block{k}") for k in (3, 4, 5, 6)]
            channels = [block.conv2.out_channels for block in blocks]
            self.set_taps(blocks, [straight] * 4, channels, (8, 16, 32, 32))
        # The front end stands apart: the branch gets its decibels as they are.
        branch.spectrogram_extractor = nn.Identity()
        branch.logmel_extractor = nn.Identity()
        vocab_size = self.model.text_branch.config.vocab_size
        place = f"of {ROBERTA} in the hub's cache ({_cache_folder()})"
        self.settle(
            *(checkpoint, frontend, module.tokenize, vocab_size, TEXT_TOKENS),
            place,
        )

    def audio_features(self, decibels: Tensor) -> Tensor:
        """Decibels (batch, 1, frames, bands) to (batch, embed_dim)."""
        output = self.model.audio_branch(
            {"waveform": decibels}, device=decibels.device
        )
        return self.model.audio_projection(output["embedding"])

    def text_features(
        self, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Tokens (texts, length) to (texts, embed_dim)."""
        tokens = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.model.encode_text(tokens, device=input_ids.device)

    def blocks(self) -> dict[str, nn.Module]:
        """As :meth:`AudioClassifier.blocks`: projection, HTSAT or CNN14."""
        branch = self.model.audio_branch
        if hasattr(branch, "patch_embed"):
            layers = htsat_blocks(branch, branch.bn0)
        else:
            names = ("fc1", *(f"conv_block{k}" for k in range(6, 0, -1)))
            layers = {name: getattr(branch, name) for name in names}
            layers["batch_norm"] = branch.bn0
        return {"projection": self.model.audio_projection, **layers}

    def outside_blocks(self) -> tuple[str, ...]:
        """As :meth:`AudioClassifier.outside_blocks`."""
        return tuple(f"model.{name}" for name in OUTSIDE)


def frontend_settings(branch: Any, n_samples: int) -> dict[str, Any]:
    """Arguments of ``ClapFrontEnd`` from a loaded audio encoder.

    Window and mel matrix are weights of the encoder, part of the checkpoint:
    the STFT is a convolution there, whose kernel of bin 0 is the window.
    """
    stft = branch.spectrogram_extractor.stft
    return {
        "mel_matrix": branch.logmel_extractor.melW.detach().clone(),
        "window": stft.conv_real.weight[0, 0].detach().clone(),
        "sample_rate": 48000,
        "hop_samples": stft.hop_length,
        "n_samples": n_samples,
        "padding": "repeatpad",
    }


def read_checkpoint(
    path: str | Path, trust_source: bool = False
) -> dict[str, Tensor]:
    """Weights of a checkpoint, under the names of ``laion_clap.clap_module``.

    The file holds a state dict, or a dict with one as ``state_dict``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(
            f"`checkpoint`: there is no file {path}; fetch one, such as "
            "630k-audioset-best.pt of the hub repository lukewys/laion_clap."
        )
    try:
        content = torch.load(
            path, map_location="cpu", weights_only=not trust_source
        )
    except Exception as err:  # torch and pickle raise many kinds
        # The one useful word in torch's page of advice.
        name = re.search(r"GLOBAL ([\w.]+)", str(err))
        raise UserError(
            f"`checkpoint`: {path} is not readable as weights alone "
            f"({name[1] if name else type(err).__name__}). If it is from "
            "people you trust, pass trust_source=True: it is then read by "
            "pickle, which can run any code."
        ) from err
    if not isinstance(content, dict):
        raise UserError(f"`checkpoint`: {path} holds no state dict.")
    content = content.get("state_dict", content)
    prefix = "module."  # of distributed training
    state = {k.removeprefix(prefix): value for k, value in content.items()}
    state.pop(POSITION_IDS, None)
    return state


def audio_model_of(state: Mapping[str, Tensor]) -> str:
    """Which of ``AUDIO_MODELS`` a state dict belongs to, or another kind."""
    if any("fusion_model" in key or "mel_conv" in key for key in state):
        return "a fused model"
    patches = state.get("audio_branch.patch_embed.proj.weight")
    if patches is not None:
        return HTSAT_SIZES.get(patches.shape[0], "unknown")
    cnn14 = "audio_branch.conv_block6.conv1.weight" in state
    return "PANN-14" if cnn14 else "unknown"


def check_amodel(
    state: Mapping[str, Tensor], amodel: str, path: str | Path
) -> None:
    """Refuse a checkpoint of another audio encoder, or a fused one."""
    own = audio_model_of(state)
    if own != amodel or amodel not in AUDIO_MODELS:
        raise UserError(
            f"`amodel`: {amodel}, but the checkpoint {path} is of {own}; "
            f"expected one of {', '.join(AUDIO_MODELS)}, the checkpoint's."
        )


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], path: str | Path
) -> None:
    """Fill a model; every weight must be there, and nothing else."""
    own = model.state_dict()
    if POSITION_IDS in own:
        state = {**state, POSITION_IDS: own[POSITION_IDS]}
    try:
        model.load_state_dict(state)
    except RuntimeError as err:
        raise UserError(
            f"`checkpoint`: {path} does not hold the weights of this CLAP "
            f"model: {' '.join(str(err).split())[:300]}"
        ) from err


def build_module(amodel: str) -> Any:
    """A ``laion_clap.CLAP_Module`` with random weights, on the CPU."""
    library = import_laion_clap()
    try:
        return library.CLAP_Module(
            enable_fusion=False, device="cpu", amodel=amodel
        )
    except Exception as err:  # transformers and its hub client raise all kinds
        raise _hub_error(err) from err


def import_laion_clap() -> Any:
    """Import ``laion_clap`` and undo what that does to the import path."""
    if "laion_clap" in sys.modules:
        return sys.modules["laion_clap"]
    if importlib.util.find_spec("laion_clap") is None:
        raise UserError(
            "This classifier needs the library laion_clap: pip install "
            '"speechbrain_lmac[laion]".'
        )
    # It would wait minutes for a hub that is out of reach.
    problem = hub_problem()
    if problem is not None:
        raise _hub_error(problem) from problem
    before = list(sys.path)
    try:
        return importlib.import_module("laion_clap")
    except OSError as err:
        raise _hub_error(err) from err
    finally:
        # It adds its own folder, whose `training` and `evaluate` hide others.
        sys.path[:] = before


def _hub_error(err: Exception) -> UserError:
    reason = str(err).strip().split("\n")[0][:200]
    return UserError(
        f"laion_clap needs {ROBERTA} and cannot get it ({type(err).__name__}: "
        f"{reason}). Without a network, place its config.json, "
        "model.safetensors, vocab.json and merges.txt in the hub's cache "
        f"({_cache_folder()}) and set HF_HUB_OFFLINE=1 before Python starts."
    )


def _cache_folder() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE
