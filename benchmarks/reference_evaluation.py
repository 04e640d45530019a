"""A test batch with all its metrics: SpeechBrain's recipe, and this package.

As the recipe computes them: AI, AD, AG, fidelity and faithfulness from three
classifier forwards; then sparseness and complexity by Quantus, for each of
which STFT, classifier and decoder run once more.

Authors
 * The speechbrain_lmac authors 2026
"""

import warnings

import reference_step as steps
import speechbrain as sb
import torch
from speechbrain.utils.metric_stats import MetricStats

from speechbrain_lmac.metrics.functional import faithfulness_metrics


class RecipeEvaluation(steps.RecipeStep):
    """SpeechBrain's test step; :attr:`values` holds what it found."""

    def on_stage_start(self, stage, epoch=None):
        """Forget the last stage's values."""
        names = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP")
        self.values = {name: MetricStats(metric=lambda x: x) for name in names}

    def masked_logits(self, masked):
        """As the step's; keeps the probabilities for the metrics."""
        logits = super().masked_logits(masked)
        self.masked_probs.append(logits.softmax(1))
        return logits

    def compute_objectives(self, predictions, batch, stage):
        """The objective, then the metrics."""
        self.masked_probs = []
        loss = super().compute_objectives(predictions, batch, stage)
        if stage == sb.Stage.TRAIN:
            return loss
        wavs, logits, _ = predictions
        probs = logits.softmax(1)
        values = faithfulness_metrics(
            probs, *self.masked_probs, probs.argmax(1)
        )
        values["SPS"] = self.quantus("Sparseness", batch, wavs)
        values["COMP"] = self.quantus("Complexity", batch, wavs)
        for name, value in values.items():
            self.values[name].append(batch.id, value)
        return loss

    def quantus(self, name, batch, wavs):
        """A metric of Quantus, of an explanation made for it."""
        import quantus

        mask = self.compute_forward(batch, sb.Stage.TEST)[2]
        log_magnitude, _ = self.preprocess(wavs)
        x = log_magnitude[:, : mask.shape[1], None].transpose(1, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metric = getattr(quantus, name)(abs=True, disable_warnings=True)
            found = metric(
                model=None,
                x_batch=x.cpu().numpy(),
                y_batch=batch.label.data[:, 0].cpu().numpy(),
                a_batch=mask[:, None].cpu().numpy(),
                softmax=False,
                device=str(wavs.device),
            )
        return torch.tensor(found)


class WithFrames(torch.nn.Module):
    """A decoder of this package, called as the recipe calls its own."""

    def __init__(self, decoder, num_frames):
        super().__init__()
        self.decoder, self.num_frames = decoder, num_frames

    def forward(self, hidden):
        """Logits (batch, 1, frames, bins)."""
        return self.decoder(hidden, self.num_frames).unsqueeze(1)


def recipe_evaluation(classifier, decoder=None):
    """The recipe's test step, with another decoder in place of its own."""
    brain = steps.recipe_brain(classifier, step=RecipeEvaluation)
    if decoder is not None:
        brain.modules["psi"] = decoder
    brain.modules.eval()
    return brain


def test_job(brain, batch):
    """What ``Brain.evaluate`` does with a batch, as one function."""

    def test():
        with torch.no_grad():
            brain.on_stage_start(sb.Stage.TEST)
            brain.evaluate_batch(batch, sb.Stage.TEST)

    return test
