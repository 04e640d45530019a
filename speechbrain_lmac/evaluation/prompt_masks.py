"""Masks for prompts that are named, whether the classifier decided so or not.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.evaluation.batches import make_batch
from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.features import heard_part


class PromptMasker:
    """Makes masks of clips for prompts that are named, not decided.

    Arguments
    ---------
    interpreter : Interpreter
        With a ``ZeroShotClassifier`` and a ``PromptedDecoder``.
    methods : sequence of str
        ``lmac_zs`` and attribution methods.
    device : str
        Where to compute.
    seed : int
        For methods that draw.
    attribution : dict of str to dict or None
        Options of attribution methods by name.
    """

    def __init__(
        self, interpreter, methods, device="cpu", seed=1234, attribution=None
    ):
        self.frontend = interpreter.frontend.to(device)
        self.classifier = interpreter.classifier.to(device)
        self.decoder = interpreter.decoder.to(device).eval()
        self.methods = build_methods(
            methods,
            self.classifier,
            self.frontend,
            options=attribution,
        )
        self.device = device
        self.seed = seed

    def batch(self, wavs, ids):
        """All that the methods share for clips; see ``ClipBatch``."""
        return make_batch(
            wavs.to(self.device),
            ids,
            self.frontend,
            self.classifier,
            self.decoder,
            self.seed,
        )

    def masks(self, method, batch, targets):
        """A method's masks for chosen prompts of each clip.

        Arguments
        ---------
        method : str
            One of the methods.
        batch : ClipBatch
            Of :meth:`batch`.
        targets : torch.Tensor
            Indices of prompts, int64, shape (batch, prompts).

        Returns
        -------
        torch.Tensor
            Shape (batch, prompts, frames, bins or bands), in [0, 1].
        """
        output = batch.explanation.output
        if method == "lmac_zs":
            masks = self.decoder.prompted(
                output,
                batch.view.shape[1],
                self.classifier.text_embeddings[targets],
            )
        else:
            masks = self.methods[method](named(batch, targets))
        return masks.view(*targets.shape, *masks.shape[1:])

    def means(self, masks):
        """Mean of each mask over the bins that the model hears.

        Arguments
        ---------
        masks : torch.Tensor
            Of :meth:`masks`.

        Returns
        -------
        torch.Tensor
            Shape (batch, prompts), in [0, 1].
        """
        return heard_part(masks, self.frontend.heard).mean((2, 3))

    def similarity(self, batch):
        """Cosine of each clip and prompt, shape (batch, prompts)."""
        output = batch.explanation.output
        return output.embedding @ self.classifier.text_embeddings.T


def named(batch, targets):
    """A batch in which each clip stands once for each prompt named."""
    count = targets.shape[1]
    rows = torch.arange(len(targets), device=targets.device)
    rows = rows.repeat_interleave(count)
    explanation = batch.explanation
    return batch._replace(
        ids=[clip for clip in batch.ids for _ in range(count)],
        explanation=explanation._replace(
            spectrum=explanation.spectrum.rows(rows), target=targets.flatten()
        ),
    )
