"""Gradients of a training step in several processes, for the tests.

    torchrun --nproc_per_node=2 gradients.py OUT

The clips of one batch are dealt to the processes in turn; the first writes the
averaged gradients of the decoder and what each clip was contaminated to.
Without torchrun one process takes the whole batch.
"""

import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from speechbrain import Stage
from speechbrain.utils.distributed import ddp_init_group
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.run_opts import RunOptions

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.data.mixtures import TrainingContamination
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.interpreters.decoders import build_decoder
from speechbrain_lmac.training.lmac import LMACBrain, SparsityWeight
from speechbrain_lmac.utils.distributed import shard

CLIPS = 8


class Batch:
    """What a Brain sees of its share of a batch of clips."""

    def __init__(self, rank, world):
        own = slice(rank, None, world)
        draws = torch.Generator().manual_seed(0)
        self.id = [f"clip {k}" for k in range(CLIPS)][own]
        self.sig = self
        self.data = torch.randn(CLIPS, 8000, generator=draws)[own]
        labels = torch.zeros(len(self.id), 1).long()
        self.label = SimpleNamespace(
            data=labels, lengths=torch.ones(len(labels))
        )

    def to(self, device):
        return self


def make_brain():
    """An L-MAC Brain whose weights are the same in every process."""
    torch.manual_seed(0)
    classifier, frontend = SlimCnn(n_classes=4).freeze(), FrontEnd()
    decoder = build_decoder(classifier, frontend)
    return LMACBrain(
        {"frontend": frontend, "classifier": classifier, "decoder": decoder},
        partial(torch.optim.Adam, lr=0.001),
        {
            "seed": 1,
            "epoch_counter": EpochCounter(1),
            "l_in_w": 4,
            "l_out_w": 2,
            "mask_out_loss": "saturating",
            "sparsity": SparsityWeight(4),
            "reg_w_tv": 0.1,
            "finetuning": False,
            "g_w": 4,
            "contamination": TrainingContamination(["clip", "white_noise"]),
            "wave_prob": 1,
        },
        {"device": "cpu", "distributed_backend": "gloo"},
    )


def main(out):
    """Run the step; the first process writes what came of it."""
    ddp_init_group(RunOptions(device="cpu", distributed_backend="gloo"))
    rank, world = shard()
    brain = make_brain()
    brain.hparams.epoch_counter.current = 1
    brain._wrap_distributed()
    wrapped = {
        name: isinstance(m, torch.nn.parallel.DistributedDataParallel)
        for name, m in brain.modules.items()
    }
    brain.on_stage_start(Stage.TRAIN, 1)
    batch = Batch(rank, world)
    wavs, _ = brain.contaminate(batch, Stage.TRAIN)
    heard = dict(zip(batch.id, wavs.sum(1).tolist(), strict=True))
    prediction = brain.compute_forward(batch, Stage.TRAIN)
    brain.compute_objectives(prediction, batch, Stage.TRAIN).backward()
    decoder = brain.modules["decoder"]
    decoder = getattr(decoder, "module", decoder)
    if world > 1:
        parts = [None] * world
        torch.distributed.all_gather_object(parts, heard)
        heard = {name: value for part in parts for name, value in part.items()}
    if rank == 0:
        grads = {n: p.grad.tolist() for n, p in decoder.named_parameters()}
        content = {"grads": grads, "heard": heard, "wrapped": wrapped}
        Path(out).write_text(json.dumps(content))


if __name__ == "__main__":
    main(sys.argv[1])
