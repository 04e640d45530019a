"""The live page: what visitors see of a sound, and what their clicks do.

What a visitor gives is held in memory while the tab is open; sounds and files
go to the browser within the page.
"""

import contextlib
import functools
import itertools
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from speechbrain_lmac.attribution import ATTRIBUTIONS
from speechbrain_lmac.data.audio import load_audio
from speechbrain_lmac.data.decoding import audio_info
from speechbrain_lmac.inference import AudioInterpreter, Explanation
from speechbrain_lmac.inference.explanation import SAME_MASK
from speechbrain_lmac.inference.listening import (
    above,
    boxes_mask,
    classify,
    listen,
)
from speechbrain_lmac.report.columns import method_cost, method_label
from speechbrain_lmac.report.figures.pictures import (
    mask_picture,
    picture_bytes,
    spectrogram_picture,
)
from speechbrain_lmac.report.page.media import data_uri, encode_audio
from speechbrain_lmac.report.render import TEMPLATES, render
from speechbrain_lmac.utils.checks import UserError

#: Classes that get a button; the others are in a list.
MANY = 12
NOTHING = "nothing"
WELCOME = """<h1>Why did it say that?</h1>
<p>A classifier listens to a sound and says what it is. Here you hear which
part of the sound made it say so, and what it says without that part.</p>"""
_number = itertools.count()


@dataclass
class Visit:
    """A sound of one visitor, what was found in it, and a wish to stop."""

    sound: torch.Tensor
    name: str = ""
    prompts: list[str] | None = None
    probs: dict[str, float] = field(default_factory=dict)
    found: list[Explanation] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_number))
    stop: threading.Event = field(default_factory=threading.Event)


class Listening:
    """What the page does with sounds, without the page.

    Arguments
    ---------
    interpreter : AudioInterpreter
        Explains them.
    max_minutes : float
        Longer sounds are refused.
    """

    def __init__(self, interpreter: AudioInterpreter, max_minutes: float = 10):
        self.interpreter, self.max_minutes = interpreter, max_minutes
        self.zero_shot = interpreter.zero_shot
        self.known = functools.cache(self._by_method)

    def _by_method(self, name: str) -> AudioInterpreter:
        if name == NOTHING:
            return self.interpreter
        device = str(self.interpreter.device)
        other = self.interpreter.interpreter.by_method(name)
        return AudioInterpreter(other, {"device": device})

    def hear(self, path: str) -> Visit:
        """Read a sound, unless it is too long; its file is deleted."""
        try:
            minutes = audio_info(path).duration / 60
            if minutes > self.max_minutes:
                raise UserError(
                    f"The sound is {minutes:.1f} minutes long; at most "
                    f"{self.max_minutes:g} are explained here. Cut it."
                )
            peak = self.interpreter.interpreter.at_peak
            rate = self.interpreter.sample_rate
            return Visit(load_audio(path, rate, peak).waveform, Path(path).name)
        except UserError as error:
            # Where it lay is nobody's business.
            text = str(error).replace(path, Path(path).name)
            raise UserError(text) from error
        finally:
            Path(path).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # of someone's own
                Path(path).parent.rmdir()

    def explain(
        self,
        visit: Visit,
        label: str | None = None,
        prompts: str | None = None,
        other: str = NOTHING,
        progress: Any = None,
    ) -> None:
        """Explain a class or prompt, or the decision; by two methods or one.

        Prompts stand on a line each.
        """
        lines = [line.strip() for line in (prompts or "").splitlines()]
        given = [line for line in dict.fromkeys(lines) if line] or None
        if self.zero_shot and given is None:
            raise UserError("Type what to listen for, a text on each line.")
        if not visit.probs or visit.prompts != given:
            visit.probs = classify(self.interpreter, visit.sound, given)
            visit.prompts = given
        if label not in visit.probs:
            label = next(iter(visit.probs)) if given else None
        visit.found = []
        for method in dict.fromkeys((NOTHING, other)):
            found = self._explain(method, visit, label, progress)
            label = found.label
            visit.found.append(found)

    def _explain(self, method, visit, label, progress):
        asked = {"classes": label}
        if visit.prompts is not None:
            asked = {"prompts": visit.prompts}
        interpreter = self.known(method)
        (found,) = interpreter.interpret_batch(
            visit.sound, **asked, events=True, progress=progress
        )
        if isinstance(found, list):
            found = next(one for one in found if one.label == label)
        return replace(found, source=visit.name)

    def decided(self, probs: dict[str, float]) -> list[str]:
        """Names that the classifier decides for, the surest first."""
        classifier = self.interpreter.interpreter.classifier
        chosen = classifier.decided(torch.tensor(list(probs.values())))
        return [name for name, yes in zip(probs, chosen, strict=True) if yes]

    def says(self, visit: Visit) -> str:
        """The decision and the classes."""
        found = visit.found[0]
        decisions = found.decisions
        if decisions is None:
            decisions = self.decided(visit.probs)
        names = dict.fromkeys([*list(visit.probs)[:MANY], found.label])
        return render(
            "app.html.j2", part="says", probs=visit.probs, label=found.label,
            decisions=decisions, known=found.probability is not None,
            classes=[(name, visit.probs[name]) for name in names],
        )  # fmt: skip

    def why(self, visit: Visit, threshold: float = 0.0) -> str:
        """Pictures and players of the explanations."""
        cards = [self._card(one) for one in self._shown(visit, threshold)]
        return render("app.html.j2", part="why", cards=cards, clip=visit.number)

    def _shown(self, visit, threshold):
        """The explanations with what their masks keep above a threshold."""
        return [
            above(self.interpreter, one, threshold, visit.prompts)
            for one in visit.found
        ]

    def own(self, visit: Visit, action: str, boxes: Sequence[Any]) -> str:
        """What the classifier says of a sound with or without marked parts."""
        found = visit.found[0]
        mask = boxes_mask(found.mask.shape, boxes)
        sounds = listen(self.interpreter, found, mask, visit.prompts)
        sound = sounds[0 if action == "keep" else 1]
        probs = classify(self.interpreter, sound, visit.prompts)
        rows = [found.label, *self.decided(visit.probs), *list(probs)[:3]]
        return render(
            "app.html.j2", part="own", action=action, probs=probs,
            uri=encode_audio(sound.numpy(), found.sample_rate),
            seconds=len(sound) / found.sample_rate, before=visit.probs,
            decisions=self.decided(probs), rows=dict.fromkeys(rows),
            known=found.probability is not None,
        )  # fmt: skip

    def files(self, visit: Visit, threshold: float = 0.0) -> str:
        """Links to sounds, picture, numbers and labels of the first method."""
        found = self._shown(visit, threshold)[0]
        stem = Path(visit.name).stem
        with tempfile.TemporaryDirectory() as folder:
            paths = sorted(found.save(folder, overwrite=True).iterdir())
            kind = "application/octet-stream"
            files = [
                (f"{stem}.{path.name}", data_uri(kind, path.read_bytes()))
                for path in paths
            ]
        return render("app.html.j2", part="files", files=files)

    def _card(self, found: Explanation) -> dict[str, Any]:
        """What the template needs of an explanation."""
        facts = {f.name: getattr(found, f.name) for f in fields(found)}
        rate, mel = found.sample_rate, found.mask_domain == "mel"
        peak = max(1.0, *(w.abs().max().item() for w in _waves(found)))
        names = ("original", "explanation", "rest")
        sounds = {
            name: encode_audio((wave / peak).numpy(), rate)
            for name, wave in zip(names, _waves(found), strict=True)
        }
        amplitude = found.spectrogram.expm1()
        pictures = {
            "spectrogram": spectrogram_picture(amplitude),
            "mask": mask_picture(found.mask),
        }
        notes = [found.warning, found.length_policy]
        if not (found.mask_depends_on_class or found.is_decision):
            notes.append(SAME_MASK)
        if found.events == []:
            notes.append("Nothing of the sound explains it.")
        return {
            **facts,
            **sounds,
            **{k: data_uri("image/png", picture_bytes(v))
               for k, v in pictures.items()},
            "method": method_cost(found.method, found.forwards),
            "seconds": len(found.original) / rate,
            "mel": mel,
            "top": "" if mel else rate // 2,
            "khz": rate / 2000,
            "notes": [note for note in notes if note],
        }  # fmt: skip


def _waves(found):
    """The sounds of an explanation: all of it, the part, the rest."""
    return found.original, found.waveform, found.masked_out


def build_page(listening: Listening) -> Any:
    """The page, as Gradio's Blocks, with the settings of its ``launch``.

    ``page.visits`` are the visits by session; one goes when its tab closes.
    """
    import gradio as gr

    visits: dict[str, Visit] = {}
    names = listening.interpreter.labels
    js = (TEMPLATES / "app.js").read_text(encoding="utf-8")

    def part(visible=True):
        return gr.HTML(
            "", js_on_load=js, apply_default_css=False, visible=visible,
            elem_classes="lmac",
        )  # fmt: skip

    def heading(text):
        return gr.HTML(text, apply_default_css=False, elem_classes="lmac")

    with gr.Blocks(
        title="Why did it say that?",
        analytics_enabled=False,
        delete_cache=(600, 3600),
    ) as page:
        svg = (TEMPLATES / "page.svg").read_text(encoding="utf-8")
        heading(svg + WELCOME)
        heading(
            "<h2>1. Give it a sound</h2><p class=note>Up to "
            f"{listening.max_minutes:g} minutes. It is kept in memory until "
            "you close this tab, and nowhere else.</p>"
        )
        sound = gr.Audio(
            sources=["upload", "microphone"],
            type="filepath",
            label="A sound",
            elem_id="given",
        )
        prompts = gr.Textbox(

            label="What to listen for: a text on each line",
            placeholder="a dog barks\nrain", lines=3,
            visible=listening.zero_shot,
        )  # fmt: skip
        with gr.Row():
            go = gr.Button(
                "Explain", variant="primary", visible=listening.zero_shot
            )
            stop = gr.Button("Stop", visible=False)
        heard = gr.Column(visible=False)
        with heard:
            heading("<h2>2. What the classifier says</h2>")
            says = part()
            more = gr.Dropdown(
                names, label="Any other class", value=None,
                visible=len(names) > MANY,
            )  # fmt: skip
            heading("<h2>3. Hear why</h2>")
            with gr.Row():
                threshold = gr.Slider(
                    0, 1, 0, step=0.05,
                    label="Keep only where the mask is at least",
                )  # fmt: skip
                other = gr.Dropdown(
                    [(NOTHING, NOTHING)]
                    + [(method_label(name), name) for name in ATTRIBUTIONS],
                    value=NOTHING,
                    label="Compare with another method",
                )
            why = part()
            own = part()
            heading("<h2>4. Take it with you</h2>")
            make = gr.Button("Make files: sounds, picture, numbers, labels")
            files = part()

        def work(request, label, texts, method, least, progress):
            """Explain the visit's sound, and show it."""
            visit = visits[request.session_hash]
            visit.stop.clear()

            def tell(share):
                if visit.stop.is_set():
                    raise UserError("Stopped.")
                progress(share, desc="Explaining, window by window")

            yield {sound: None, stop: gr.Button(visible=True)}
            shown = {stop: gr.Button(visible=False)}
            try:
                listening.explain(visit, label, texts, method, tell)
                yield shown | {
                    heard: gr.Column(visible=True),
                    says: listening.says(visit),
                    why: listening.why(visit, least),
                    own: "",
                    files: "",
                }
            except UserError as error:
                gr.Warning(str(error))
                yield shown

        def hear(
            path: str,
            texts: str,
            method: str,
            least: float,
            request: gr.Request,
            progress: Any = gr.Progress(),  # noqa: B008
        ) -> Any:
            try:
                visits[request.session_hash] = listening.hear(path)
            except UserError as error:
                gr.Warning(str(error))
                yield {sound: None}
                return
            yield from work(request, None, texts, method, least, progress)

        def again(
            texts: str,
            method: str,
            least: float,
            request: gr.Request,
            event: gr.EventData,
            progress: Any = gr.Progress(),  # noqa: B008
        ) -> Any:
            if request.session_hash not in visits:
                gr.Warning("Give it a sound first.")
                return
            found = visits[request.session_hash].found
            label = found[0].label if found else None
            label = (event._data or {}).get("label", label)
            yield from work(request, label, texts, method, least, progress)

        def choose(
            label: str,
            texts: str,
            method: str,
            least: float,
            request: gr.Request,
            progress: Any = gr.Progress(),  # noqa: B008
        ) -> Any:
            yield from work(request, label, texts, method, least, progress)

        def louder(least: float, request: gr.Request) -> str:
            return listening.why(visits[request.session_hash], least)

        def marked(request: gr.Request, event: gr.EventData) -> str:
            visit = visits[request.session_hash]
            return listening.own(visit, event.action, event.boxes)

        def write(least: float, request: gr.Request) -> str:
            return listening.files(visits[request.session_hash], least)

        def halt(request: gr.Request) -> None:
            if request.session_hash in visits:
                visits[request.session_hash].stop.set()

        def end(request: gr.Request) -> None:
            halt(request)
            visits.pop(request.session_hash, None)

        model = {
            "concurrency_id": "model",
            "concurrency_limit": 1,
            "api_visibility": "private",
        }
        asked = [prompts, other, threshold]
        results = [sound, stop, heard, says, why, own, files]
        first = {"outputs": results, "show_progress_on": [sound], **model}
        later = {"outputs": results, "show_progress_on": [why], **model}
        for event in (sound.upload, sound.stop_recording):
            event(hear, [sound, *asked], **first)
        go.click(again, asked, **first)
        says.choose(again, asked, **later)
        other.input(again, asked, **later)
        more.input(choose, [more, *asked], **later)
        threshold.input(
            louder, threshold, why, trigger_mode="always_last", **model
        )
        why.brush(marked, None, own, **model)
        make.click(write, threshold, files, **model)
        stop.click(halt, queue=False, api_visibility="private")
        page.unload(end)
    page.visits = visits
    return page
