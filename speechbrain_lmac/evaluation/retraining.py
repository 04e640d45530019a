"""Training a classifier from scratch on features at hand, short and seeded.

For tests that retrain many times (ROAR): no sound is decoded, augmented or
transformed, the clips stand in memory as features.

Authors
 * The speechbrain_lmac authors 2026
"""

import copy
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from speechbrain_lmac.classifiers.reinitialize import reinitialize


class LabelledFeatures(NamedTuple):
    """Clips as a classifier reads them.

    Attributes
    ----------
    features : torch.Tensor
        log1p mel magnitudes, shape (clips, frames, bands).
    labels : torch.Tensor
        Class indices, int64, shape (clips,).
    """

    features: torch.Tensor
    labels: torch.Tensor


def retrain(
    classifier,
    train,
    epochs=25,
    seed=1234,
    batch_size=24,
    lr=3e-3,
    weight_decay=0.05,
):
    """Train a classifier of the same architecture from scratch.

    AdamW with a cosine schedule after a short warm-up, label smoothing 0.05,
    on excerpts of half a clip's frames.

    Arguments
    ---------
    classifier : AudioClassifier
        Tells the architecture; left as it is.
    train : LabelledFeatures
        On the device where to train.
    epochs : int
        Passes over the clips.
    seed : int
        Of weights, order and excerpts: on CPU the same seed gives the same
        classifier, bit by bit.
    batch_size : int
        Clips per step.
    lr, weight_decay : float
        Of AdamW.

    Returns
    -------
    AudioClassifier
        Frozen.
    """
    device = train.features.device
    model = copy.deepcopy(classifier).cpu()
    model.frozen = False
    model.requires_grad_(True).train()
    reinitialize(model, seed)
    model = model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr, weight_decay=weight_decay
    )
    steps = epochs * math.ceil(len(train.labels) / batch_size)
    warmup = max(1, round(0.06 * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warmup, (1 + math.cos(math.pi * step / steps)) / 2
        ),
    )
    frames = train.features.shape[1]
    excerpt = min(frames, max(model.min_frames, frames // 2))
    generator = torch.Generator().manual_seed(seed)
    # Dropout draws from the global generators.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        torch.manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(train.labels), generator=generator)
            for chosen in order.to(device).split(batch_size):
                start = int(
                    torch.randint(frames - excerpt + 1, (), generator=generator)
                )
                x = train.features[chosen, start : start + excerpt]
                loss = F.cross_entropy(
                    model(x).logits, train.labels[chosen], label_smoothing=0.05
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return model.freeze()


@torch.no_grad()
def count_correct(classifier, test, batch_size=24):
    """Number of clips whose class a classifier finds."""
    return sum(
        int((classifier(x).logits.argmax(1) == y).sum())
        for x, y in zip(
            test.features.split(batch_size),
            test.labels.split(batch_size),
            strict=True,
        )
    )
