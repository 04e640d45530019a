"""Sounds and pictures of chosen clips, written while they are evaluated.

Every method's explanation of such a clip is kept, so that methods can be
compared by ear: on the report's page and in a listening test. On disk::

    examples/<condition>/<clip>/original.wav
                                target.wav       where sources are known
                                spectrogram.png  8-bit grey, log amplitude
                                <method>/explanation.wav  masked_out.wav
                                         mask.png         explanation.json

Authors
 * The speechbrain_lmac authors 2026
"""

import hashlib
import json
import math
import shutil
from collections import Counter
from pathlib import Path

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.report.figures.explanation import build_explanation_figure
from speechbrain_lmac.report.figures.pictures import (
    mask_picture,
    spectrogram_picture,
    write_picture,
)
from speechbrain_lmac.report.figures.style import save_figure
from speechbrain_lmac.utils.files import (
    safe_name,
    unique_names,
    write_atomically,
)

DESCRIPTION = "explanation.json"


class ExampleWriter:
    """Saves every method's explanations of the first clips of a condition.

    What is on disk already is not made again, and what was made under other
    settings is removed.

    Arguments
    ---------
    folder : str or pathlib.Path
        ``examples`` of an evaluation.
    interpreter : Interpreter
        Names the front end and the mask's domain.
    labels : list of str
        Class names by index.
    n_examples : int
        Clips per condition; -1 for all.
    method : str
        Whose explanations are drawn as a figure, too.
    settings : dict or None
        ``common`` and ``methods``: what examples depend on, of a ``Journal``.
    """

    def __init__(
        self,
        folder,
        interpreter,
        labels,
        n_examples,
        method="lmac",
        settings=None,
    ):
        self.folder = Path(folder)
        self.frontend = interpreter.frontend
        self.mask_domain = interpreter.mask_domain
        self.labels = labels
        self.n_examples = n_examples
        self.method = method
        self.settings = settings or {}
        self._forget_what_changed()

    def start(self, condition, clips, methods):
        """Choose the clips of a condition: spread over the classes.

        Arguments
        ---------
        condition : str
            Its name.
        clips : list of ConditionClip
            All its clips.
        methods : sequence of str
            Those that are evaluated.
        """
        self.condition = condition
        self.names = unique_names(clip.id for clip in clips)
        seen, turns = Counter(), []
        for clip in clips:
            turns.append(seen[clip.class_string])
            seen[clip.class_string] += 1
        ordered = sorted(range(len(clips)), key=turns.__getitem__)
        count = len(clips) if self.n_examples < 0 else self.n_examples
        #: Pairs of method and clip that are not on disk yet.
        self.wanted = {
            (method, clips[i].id)
            for i in ordered[:count]
            for method in methods
            if not (self._place(clips[i].id, method) / DESCRIPTION).is_file()
        }

    def __call__(self, method, clip, k, mixture, scored):
        """Called by the evaluator for every clip of every method."""
        if (method, clip.id) not in self.wanted:
            return
        folder = self._place(clip.id, method)
        folder.mkdir(parents=True, exist_ok=True)
        num_samples = len(mixture.mixture)
        view, mask = (
            self.frontend.own_frames(x[k : k + 1].float(), num_samples)[0].cpu()
            for x in (scored.view, scored.mask)
        )
        gains = self._save_clip(folder.parent, mixture, view)
        for name, waves in (
            ("explanation", scored.masked_in_wavs),
            ("masked_out", scored.masked_out_wavs),
        ):
            # Of a mask of NaN nothing is heard.
            gains[name] = self._save_wav(folder / name, waves[k].nan_to_num())
        write_picture(folder / "mask.png", mask_picture(mask))
        facts = self._facts(method, clip, k, scored)
        facts["gains"] = gains
        if method == self.method:
            self._draw(folder / "explanation.png", view, mask, facts)
        # Last: an example with a description is whole.
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        write_atomically(folder / DESCRIPTION, text + "\n")

    def _place(self, clip_id, method):
        clip = self.folder / self.condition / self.names[clip_id]
        return clip / safe_name(method)

    def _save_wav(self, path, wave):
        return write_wav(
            path.with_suffix(".wav"), wave, self.frontend.sample_rate
        )

    def _save_clip(self, folder, mixture, view):
        """What the methods share; returns the gains of the sounds.

        Written again with every method: cheaper than to find out whether an
        interrupted evaluation left it whole.
        """
        gains = {"original": self._save_wav(folder / "original", mixture[0])}
        if self.condition != "clean":
            gains["target"] = self._save_wav(folder / "target", mixture.target)
        picture = folder / "spectrogram.png"
        if not picture.is_file():
            amplitude = self.frontend.linear(view)
            write_picture(picture, spectrogram_picture(amplitude))
        return gains

    def _facts(self, method, clip, k, scored):
        """What the classifier says before and after."""
        target = int(scored.probs[k].argmax())
        facts = {
            "clip_id": clip.id,
            "condition": self.condition,
            "method": method,
            "true_label": clip.class_string,
            "label": self.labels[target],
            "sample_rate": self.frontend.sample_rate,
            "mask_domain": self.mask_domain,
            "mask_mean": _plain(scored.values["MM"][k]),
            "settings": self._digest(method),
        }
        for suffix, probs in (
            ("", scored.probs),
            ("_masked_in", scored.masked_in_probs),
            ("_masked_out", scored.masked_out_probs),
        ):
            facts[f"probability{suffix}"] = _plain(probs[k, target])
            if suffix:
                facts[f"label{suffix}"] = self.labels[int(probs[k].argmax())]
        return facts

    def _draw(self, path, view, mask, facts):
        # Figures show the log1p of amplitudes, over the clip's own frames.
        spectra = [self.frontend.linear(x).log1p() for x in (view, mask * view)]
        names = {
            "p": "",
            "masked-in": "_masked_in",
            "masked-out": "_masked_out",
        }
        values = {k: facts[f"probability{end}"] for k, end in names.items()}
        figure = build_explanation_figure(
            spectra[0],
            mask,
            spectra[1],
            self.frontend.sample_rate,
            self.frontend.hop_samples,
            title=f"{facts['clip_id']} ({self.condition})",
            label=facts["label"],
            note=", ".join(
                f"{name} {math.nan if p is None else p:.2f}"
                for name, p in values.items()
            ),
            mel=self.mask_domain == "mel",
        )
        save_figure(figure, path)

    def _digest(self, method):
        """Identifies all that a method's examples depend on."""
        facts = [
            self.settings.get("common"),
            self.settings.get("methods", {}).get(method),
        ]
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _forget_what_changed(self):
        """Remove examples of other settings: a page would show them, too."""
        for path in self.folder.glob(f"*/*/*/{DESCRIPTION}"):
            if _settings_of(path) != self._digest(path.parent.name):
                shutil.rmtree(path.parent)
                clip = path.parent.parent
                if not any(item.is_dir() for item in clip.iterdir()):
                    shutil.rmtree(clip)
        # An earlier layout had no folders of methods.
        for path in self.folder.glob(f"*/*/{DESCRIPTION}"):
            shutil.rmtree(path.parent)


def _settings_of(path):
    """Digest in a description; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("settings")
    except (OSError, ValueError, AttributeError):
        return None


def _plain(value):
    """A number for JSON, which has no NaN."""
    value = float(value)
    return value if math.isfinite(value) else None
