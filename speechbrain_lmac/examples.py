"""Sounds and figures of chosen clips, written while they are evaluated.

Authors
 * The speechbrain_lmac authors 2026
"""

from pathlib import Path

from speechbrain_lmac.report.figures import save_explanation_figure
from speechbrain_lmac.report.page import Example
from speechbrain_lmac.report.sounds import safe_name, save_explanation


class ExampleWriter:
    """Saves sounds and figures of the first clips of a condition.

    Arguments
    ---------
    folder : str or pathlib.Path
        One folder per clip is made in it.
    interpreter : Interpreter
        Names the front end and the mask's domain.
    labels : list of str
        Class names by index.
    n_examples : int
        Clips per condition; -1 for all.
    method : str
        Whose explanations are saved.
    """

    def __init__(self, folder, interpreter, labels, n_examples, method="lmac"):
        self.folder = Path(folder)
        self.frontend = interpreter.frontend
        self.mask_domain = interpreter.mask_domain
        self.labels = labels
        self.n_examples = n_examples
        self.method = method
        self.examples = []

    def start(self, condition, clips):
        """Choose the clips of a condition: spread over the classes."""
        self.condition = condition
        ordered = sorted(
            range(len(clips)),
            key=lambda i: sum(
                c.class_string == clips[i].class_string for c in clips[:i]
            ),
        )
        count = len(clips) if self.n_examples < 0 else self.n_examples
        self.wanted = {clips[i].id for i in ordered[:count]}

    def __call__(self, method, clip, k, mixture, scored):
        """Called by the evaluator for every clip of every method."""
        if method != self.method or clip.id not in self.wanted:
            return
        target = int(scored.probs[k].argmax())
        p, p_in, p_out = (
            float(probs[k, target])
            for probs in (
                scored.probs,
                scored.masked_in_probs,
                scored.masked_out_probs,
            )
        )
        label = self.labels[target]
        sounds = {
            "original": mixture.mixture.cpu(),
            "explanation": scored.masked_in_wavs[k].cpu(),
            "masked_out": scored.masked_out_wavs[k].cpu(),
        }
        facts = {
            "clip_id": clip.id,
            "condition": self.condition,
            "true_label": clip.class_string,
            "label": label,
            "probability": p,
            "probability_masked_in": p_in,
            "probability_masked_out": p_out,
        }
        folder = self.folder / self.condition / safe_name(clip.id)
        save_explanation(
            folder,
            **sounds,
            sample_rate=self.frontend.sample_rate,
            label=label,
            probabilities={
                "input": p,
                "masked_in": p_in,
                "masked_out": p_out,
            },
        )
        figure = folder / "explanation.png"
        self._draw(figure, mixture.mixture, scored.mask[k], facts)
        self.examples.append(
            Example(
                **facts,
                figure_png=figure,
                sample_rate=self.frontend.sample_rate,
                **sounds,
            )
        )

    def _draw(self, path, wav, mask, facts):
        wav, mask = wav.to(mask.device)[None], mask[None]
        view = self.frontend(wav).log_magnitude
        if self.mask_domain == "mel":
            view = self.frontend.mel(view)
        # Figures show the log1p of amplitudes, over the clip's own frames.
        spectra = [
            self.frontend.own_frames(x, wav.shape[1])[0].cpu()
            for x in (view, mask, mask * view)
        ]
        for k in (0, 2):
            spectra[k] = self.frontend.linear(spectra[k]).log1p()
        save_explanation_figure(
            path,
            *spectra,
            self.frontend.sample_rate,
            1000 * self.frontend.hop_samples / self.frontend.sample_rate,
            title=f"{facts['clip_id']} ({self.condition})",
            label=facts["label"],
            probs_text=(
                f"p = {facts['probability']:.2f}, masked-in "
                f"{facts['probability_masked_in']:.2f}, masked-out "
                f"{facts['probability_masked_out']:.2f}"
            ),
            frequency_axis=("mel" if self.mask_domain == "mel" else "linear"),
        )
