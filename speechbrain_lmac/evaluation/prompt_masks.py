"""Masks for prompts that are named, whether the classifier decided so or not.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch

from speechbrain_lmac.evaluation.methods import build_methods
from speechbrain_lmac.evaluation.randomization import clip_batch
from speechbrain_lmac.features.lengths import for_any_length
from speechbrain_lmac.interpreters.decoders import (
    heard_bins,
    heard_part,
    mel_to_linear,
)


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
        self.frontend = for_any_length(interpreter.frontend).to(device)
        self.classifier = interpreter.classifier.to(device)
        self.decoder = interpreter.decoder.to(device).eval()
        self.mask_domain = interpreter.mask_domain
        self.heard = heard_bins(self.frontend, self.mask_domain)
        self.spread = None
        if self.mask_domain == "mel":
            self.spread = mel_to_linear(self.frontend.mel_matrix)
        self.methods = build_methods(
            methods,
            self.classifier,
            self.frontend,
            self.mask_domain,
            options=attribution,
        )
        self.device = device
        self.seed = seed

    def batch(self, wavs, ids):
        """All that the methods share for clips; see ``ClipBatch``."""
        return clip_batch(
            wavs.to(self.device),
            ids,
            self.frontend,
            self.classifier,
            self.decoder,
            self.mask_domain,
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
                batch.input_features.shape[1],
                self.classifier.text_embeddings[targets],
            )
        else:
            masks = self.methods[method](named(batch, targets, output))
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
        return heard_part(masks, self.heard).mean((2, 3))

    def similarity(self, batch):
        """Cosine of each clip and prompt, shape (batch, prompts)."""
        output = batch.explanation.output
        return output.embedding @ self.classifier.text_embeddings.T


def named(batch, targets, output):
    """A batch in which each clip stands once for each prompt named.

    The methods explain the largest logit, which is the named prompt's here.
    """
    count = targets.shape[1]
    logits = torch.nn.functional.one_hot(
        targets.flatten(), output.logits.shape[1]
    )
    output = output._replace(
        logits=logits.to(output.logits), embedding=None, hidden=()
    )
    return batch._replace(
        ids=[clip for clip in batch.ids for _ in range(count)],
        explanation=batch.explanation._replace(output=output),
        input_features=batch.input_features.repeat_interleave(count, 0),
    )
