"""The live page: what visitors see of a sound, and what their clicks do.

What a visitor gives is held in memory while the tab is open; sounds and files
go to the browser within the page.
"""

import contextlib
import functools
import itertools
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
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
    path: str
    prompts: list[str] | None = None
    probs: dict[str, float] = field(default_factory=dict)
    found: list[Explanation] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_number))
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """Of the file."""
        return Path(self.path).name


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
        self.by_method = functools.cache(self._by_method)

    def _by_method(self, name: str) -> AudioInterpreter:
        if name == NOTHING:
            return self.interpreter
        device = str(self.interpreter.device)
        other = self.interpreter.interpreter.by_method(name)
        return AudioInterpreter(other, {"device": device})

    def hear(self, path: str, others: Iterable[Visit] = ()) -> Visit:
        """Read a sound, unless it is too long; its file is deleted.

        Gradio names a file by what it holds: that of one of ``others`` who
        gave the same at the same time is theirs no more than ours.
        """
        for one in [*others]:
            if one.path == path and not Path(path).exists():
                return Visit(one.sound, path)
        try:
            minutes = audio_info(path).duration / 60
            if minutes > self.max_minutes:
                raise UserError(
                    f"The sound is {minutes:.1f} minutes long; at most "
                    f"{self.max_minutes:g} are explained here. Cut it."
                )
            peak = self.interpreter.interpreter.at_peak
            rate = self.interpreter.sample_rate
            return Visit(load_audio(path, rate, peak).waveform, path)
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
        probs = visit.probs
        if not probs or visit.prompts != given:
            probs = classify(self.interpreter, visit.sound, given)
        if label not in probs:
            label = next(iter(probs)) if given else None
        made: list[Explanation] = []
        for method in dict.fromkeys((NOTHING, other)):
            found = self._explain(method, visit, label, given, progress)
            label = found.label
            made.append(found)
        # All at once: what fails or is stopped changes nothing.
        visit.probs, visit.prompts, visit.found = probs, given, made

    def _explain(self, method, visit, label, prompts, progress):
        asked = {"classes": label} if prompts is None else {"prompts": prompts}
        interpreter = self.by_method(method)
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
    """The page, as Gradio's Blocks.

    ``page.visits`` are the visits by session; one goes when its tab closes.
    """
    import gradio as gr

    with gr.Blocks(
        title="Why did it say that?",
        analytics_enabled=False,
        delete_cache=(600, 3600),
    ) as page:
        page.visits = {}
        _connect(listening, page, _lay_out(listening))
    return page


def _lay_out(listening: Listening) -> SimpleNamespace:
    """The parts of the page, from top to bottom."""
    import gradio as gr

    names, zero_shot = listening.interpreter.labels, listening.zero_shot
    js, svg = (
        (TEMPLATES / name).read_text(encoding="utf-8")
        for name in ("app.js", "page.svg")
    )

    def html(text=""):
        return gr.HTML(
            text, js_on_load=js, apply_default_css=False, elem_classes="lmac"
        )

    html(svg + WELCOME)
    html(
        "<h2>1. Give it a sound</h2><p class=note>Up to "
        f"{listening.max_minutes:g} minutes. It is kept in memory until you "
        "close this tab, and nowhere else.</p>"
    )
    sound = gr.Audio(
        sources=["upload", "microphone"], type="filepath", label="A sound",
        elem_id="given",
    )  # fmt: skip
    prompts = gr.Textbox(
        label="What to listen for: a text on each line", lines=3,
        placeholder="a dog barks\nrain", visible=zero_shot,
    )  # fmt: skip
    with gr.Row():
        go = gr.Button("Explain", variant="primary", visible=zero_shot)
        stop = gr.Button("Stop", visible=False)
    with gr.Column(visible=False) as heard:
        html("<h2>2. What the classifier says</h2>")
        says = html()
        more = gr.Dropdown(
            names, value=None, label="Any other class",
            visible=len(names) > MANY,
        )  # fmt: skip
        html("<h2>3. Hear why</h2>")
        with gr.Row():
            threshold = gr.Slider(
                *(0, 1, 0), step=0.05,
                label="Keep only where the mask is at least",
            )  # fmt: skip
            methods = [(method_label(name), name) for name in ATTRIBUTIONS]
            other = gr.Dropdown(
                [(NOTHING, NOTHING), *methods], value=NOTHING,
                label="Compare with another method",
            )  # fmt: skip
        why, own = html(), html()
        html("<h2>4. Take it with you</h2>")
        make = gr.Button("Make files: sounds, picture, numbers, labels")
        files = html()
    return SimpleNamespace(
        sound=sound, prompts=prompts, go=go, stop=stop, heard=heard, says=says,
        more=more, threshold=threshold, other=other, why=why, own=own,
        make=make, files=files,
    )  # fmt: skip


def _connect(listening: Listening, page: Any, parts: Any) -> None:
    """Let the parts of the page do what they are there for."""
    import gradio as gr

    visits: dict[str, Visit] = page.visits
    waiting: Any = gr.Progress()

    def hear(path: str, request: gr.Request) -> None:
        # Not behind others' work, for which it would lie around.
        try:
            visits[request.session_hash] = listening.hear(path, visits.values())
        except UserError as error:
            gr.Warning(str(error))

    def first(request: gr.Request, progress: Any = waiting, *asked: Any) -> Any:
        visit = visits.get(request.session_hash)
        if visit and not visit.found:  # else the sound was refused
            yield from work(visit, None, progress, *asked)

    def again(
        request: gr.Request,
        event: gr.EventData,
        progress: Any = waiting,
        *asked: Any,
    ) -> Any:
        visit = visits.get(request.session_hash)
        if visit is None:
            gr.Warning("Give it a sound first.")
            return
        label = visit.found[0].label if visit.found else None
        label = (event._data or {}).get("label", label)
        yield from work(visit, label, progress, *asked)

    def choose(
        request: gr.Request,
        progress: Any = waiting,
        label: str = "",
        *asked: Any,
    ) -> Any:
        yield from work(visits[request.session_hash], label, progress, *asked)

    def work(visit, label, progress, prompts, other, threshold):
        """Explain the visit's sound, and show it."""
        visit.stop.clear()

        def tell(share):
            if visit.stop.is_set():
                raise UserError("Stopped.")
            progress(share, desc="Explaining, window by window")

        yield {parts.stop: gr.Button(visible=True)}
        shown = {}
        try:
            listening.explain(visit, label, prompts, other, tell)
            shown = {
                parts.says: listening.says(visit),
                parts.why: listening.why(visit, threshold),
                parts.own: "",
                parts.files: "",
            }
        except UserError as error:
            gr.Warning(str(error))
        shown[parts.heard] = gr.Column(visible=bool(visit.found))
        shown[parts.stop] = gr.Button(visible=False)
        yield shown

    def render_anew(threshold: float, request: gr.Request) -> str:
        return listening.why(visits[request.session_hash], threshold)

    def mark(request: gr.Request, event: gr.EventData) -> str:
        visit = visits[request.session_hash]
        return listening.own(visit, event.action, event.boxes)

    def write(threshold: float, request: gr.Request) -> str:
        return listening.files(visits[request.session_hash], threshold)

    def halt(request: gr.Request) -> None:
        if request.session_hash in visits:
            visits[request.session_hash].stop.set()

    def end(request: gr.Request) -> None:
        halt(request)
        visits.pop(request.session_hash, None)

    private: dict[str, Any] = {"api_visibility": "private"}
    model = {"concurrency_id": "model", "concurrency_limit": 1, **private}
    shown = [parts.stop, parts.heard, parts.says, parts.why, parts.own]
    shown.append(parts.files)
    asked = [parts.prompts, parts.other, parts.threshold]
    early = {"show_progress_on": [parts.sound], **model}
    late = {"show_progress_on": [parts.why], **model}
    for event in (parts.sound.upload, parts.sound.stop_recording):
        read = event(hear, parts.sound, parts.sound, **private)
        read.then(first, asked, shown, **early)
    parts.go.click(again, asked, shown, **early)
    parts.says.choose(again, asked, shown, **late)
    parts.other.input(again, asked, shown, **late)
    parts.more.input(choose, [parts.more, *asked], shown, **late)
    least, often = parts.threshold, "always_last"
    least.input(render_anew, least, parts.why, trigger_mode=often, **model)
    parts.why.brush(mark, None, parts.own, **model)
    parts.make.click(write, least, parts.files, **model)
    parts.stop.click(halt, queue=False, **private)
    page.unload(end)
