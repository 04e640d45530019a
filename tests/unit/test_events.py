"""When an explanation is heard: spans, bands, probabilities, files."""

import json
from dataclasses import replace

import pytest
import torch
from zs_toys import zs_interpreter

from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.cli.explain import _line_of, _notes_of
from speechbrain_lmac.features import WaveformFrontEnd, build_frontend
from speechbrain_lmac.features.activity import (
    FRAME_S,
    active_spans,
    band_of,
    fade_gate,
    frame_energy,
)
from speechbrain_lmac.inference import AudioInterpreter
from speechbrain_lmac.inference.events import FADE_S, find_events
from speechbrain_lmac.interpreters.loading import Interpreter
from speechbrain_lmac.report.page.page import build_report

RATE = 16000
NAMES = ["dog", "rain", "siren"]


class BoxDecoder(torch.nn.Module):
    """Masks of 1 in boxes of seconds and Hz, else of 0."""

    def __init__(self, *boxes):
        super().__init__()
        self.boxes = boxes

    def forward(self, hidden, num_frames, rate=RATE / 185, bin_hz=RATE / 1024):
        logits = torch.full((len(hidden[0]), num_frames, 513), -200.0)
        for begin, end, low, high in self.boxes:
            times = slice(round(begin * rate), round(end * rate))
            bins = slice(round(low / bin_hz), round(high / bin_hz))
            logits[:, times, bins] = 200.0
        return logits


def tones(seconds, *frequencies):
    """A steady sound (1, samples)."""
    time = torch.arange(round(seconds * RATE)) / RATE
    waves = [torch.sin(2 * torch.pi * f * time) for f in frequencies]
    return sum(waves)[None]


def wrap(*boxes):
    torch.manual_seed(3)
    frontend = build_frontend("stft")
    classifier = SlimCnn(3, channels=(4, 8, 8, 8, 8)).freeze()
    return AudioInterpreter(
        Interpreter(frontend, classifier, BoxDecoder(*boxes), NAMES),
        {"device": "cpu"},
        window_s=2.0,
        overlap_s=0.5,
    )


@pytest.mark.parametrize("seconds", [2.0, 5.0])
def test_events_are_the_boxes_of_the_mask(seconds):
    # Of the long recording each window of 2 s has the boxes: the first ones
    # are those of the recording, too.
    boxes = (0.3, 0.6, 1000, 1400), (0.9, 1.2, 3000, 3300)
    wav = tones(seconds, 1030, 1370, 2000, 3030, 3270)
    (found,) = wrap(*boxes).interpret_batch(wav, events=True)
    assert len(found.events) >= 2 and bool(found.windows) == (seconds > 2)
    for event, (begin, end, low, high) in zip(
        found.events, boxes, strict=False
    ):
        hop = 185 / RATE + FRAME_S  # of the mask, and of the energies
        assert event.onset_s == pytest.approx(begin, abs=hop)
        assert event.offset_s == pytest.approx(end, abs=hop)
        assert event.low_hz == pytest.approx(low + 30, abs=RATE / 1024)
        assert event.high_hz == pytest.approx(high - 30, abs=RATE / 1024)
        assert 0 <= event.probability_without <= 1


def test_probabilities_are_those_of_the_sounds_themselves():
    toy = wrap((0.3, 0.6, 1000, 1400), (0.9, 1.2, 3000, 3300))
    (found,) = toy.interpret_batch(torch.randn(1, RATE * 3 // 2), events=True)
    for event in found.events:
        cut = round(event.onset_s * RATE), round(event.offset_s * RATE)
        gate = fade_gate(len(found.waveform), *cut, round(FADE_S * RATE))
        alone = gate * found.waveform
        asked = {"classes": event.label}
        said, rest = (
            toy.interpret_batch(x[None], **asked)[0].probability
            for x in (alone, found.original - alone)
        )
        assert event.probability == pytest.approx(said, abs=1e-5)
        assert event.probability_without == pytest.approx(rest, abs=1e-5)


@pytest.mark.parametrize("kind", ["mel", "zero-shot", "several", "quiet"])
def test_every_kind_of_model_has_events(kind):
    wav, asked = torch.randn(1, RATE), {}
    if kind == "zero-shot":
        toy, asked = AudioInterpreter(zs_interpreter()), {"prompts": "dog"}
    elif kind == "mel":
        made = wrap().interpreter
        ones = made._replace(
            frontend=build_frontend("mel"), decoder=None
        ).by_method("saliency")
        toy = AudioInterpreter(ones, {"device": "cpu"})
    else:
        toy, asked = wrap((0, 1, 500, 4000)), {"top_k": 2}
        wav = wav * (1e-3 if kind == "quiet" else 1)
    (found,) = toy.interpret_batch(wav, events=True, **asked)
    for one in found if isinstance(found, list) else [found]:
        assert one.events
        for event in one.events:
            assert event.label == one.label
            assert (event.probability is None) == (kind == "zero-shot")
            assert 0 <= event.low_hz <= event.high_hz <= RATE / 2
    (plain,) = toy.interpret_batch(wav, **asked)
    assert (plain[0] if asked.get("top_k") else plain).events is None


def test_a_gain_of_waveforms_has_events():
    frontend = WaveformFrontEnd(RATE)
    wav = torch.randn(1, RATE)
    spectrum = frontend(wav)
    mask = torch.zeros_like(spectrum.view)
    mask[:, 20:40] = 1  # 0.32 to 0.64 s
    kept = frontend.listen(mask, spectrum, RATE)
    (event,) = find_events(kept[0], wav[0], RATE, [("x", 1.0)])
    hop = frontend.hop_samples / RATE + FRAME_S
    assert event.onset_s == pytest.approx(0.32, abs=hop)
    assert event.offset_s == pytest.approx(0.64, abs=hop)


def test_a_class_that_changes_parts_an_event():
    sound = torch.randn(2 * RATE)
    labels = [("dog", 0.5), ("rain", 2.0)]
    found = find_events(sound, sound, RATE, labels)
    assert [(e.label, e.onset_s, e.offset_s) for e in found] == [
        ("dog", 0.0, 0.5),
        ("rain", 0.5, 2.0),
    ]


def test_gaps_are_closed_and_clicks_dropped():
    energy = torch.full((200,), 1e-4)
    energy[20:40] = energy[50:60] = 1.0  # 0.1 s apart
    energy[120:150] = 0.5
    energy[180] = 1.0  # 0.01 s
    assert active_spans(energy) == [(20, 60), (120, 150)]
    # A steady sound is one span, whatever its level; silence is none.
    assert active_spans(1e-9 + 1e-10 * torch.rand(80)) == [(0, 80)]
    assert active_spans(torch.ones(80), silence=2.0) == []


def test_energy_and_band_of_known_sounds():
    wav = torch.ones(2, 161)
    assert frame_energy(wav, RATE).tolist() == [[160.0, 1.0]] * 2
    low, high = tones(1, 500)[0], tones(1, 3000)[0]
    assert band_of(low + high, RATE) == pytest.approx((500, 3000), abs=16)
    # A twentieth of the energy lies outside, at either end.
    assert band_of(low + 0.1 * high, RATE) == pytest.approx((500, 500), abs=16)


def test_the_files_say_what_the_events_are(tmp_path):
    toy = wrap((0.3, 0.6, 1000, 1400), (0.9, 1.2, 3000, 3300))
    (found,) = toy.interpret_batch(torch.randn(1, 24000), events=True)
    found = replace(
        found,
        events=[replace(e, label="a\tdog\nbarks") for e in found.events],
    )
    folder = found.save(tmp_path / "a")
    known = [e.__dict__ for e in found.events]
    facts = json.loads((folder / "explanation.json").read_text())
    assert facts["events"] == known and len(known) == 2

    lines = (folder / "events.txt").read_text().splitlines()
    for event, times, band in zip(known, lines[::2], lines[1::2], strict=True):
        onset, offset, label = times.split("\t")
        mark, low, high = band.split("\t")
        assert mark == "\\" and label.startswith("a dog barks 0.")
        read = [float(x) for x in (onset, offset, low, high)]
        assert read == pytest.approx(list(event.values())[1:5], abs=0.01)

    table = (folder / "events.Table.1.selections.txt").read_text()
    head, *rows = (line.split("\t") for line in table.splitlines())
    for k, (event, row) in enumerate(zip(known, rows, strict=True), 1):
        row = dict(zip(head, row, strict=True))
        assert row["Selection"] == str(k) and row["Channel"] == "1"
        assert row["View"] == "Spectrogram 1" and row["Class"] == "a dog barks"
        for name, column in {
            "onset_s": "Begin Time (s)",
            "offset_s": "End Time (s)",
            "low_hz": "Low Freq (Hz)",
            "high_hz": "High Freq (Hz)",
            "probability": "Probability",
            "probability_without": "Probability Without",
        }.items():
            assert float(row[column]) == pytest.approx(event[name], abs=0.01)
    begin = f"{known[0]['onset_s']:.2f}"
    assert f"at {begin}-0.60" in _line_of({"file": "a", "folder": "a", **facts})
    page = build_report(tmp_path, tmp_path / "page.html").read_text()
    assert f"barks {begin} to 0.60 s, 1031 to 1359 Hz, alone 0." in page

    # Without events none of an earlier explanation stay.
    replace(found, events=None).save(folder, overwrite=True)
    assert not list(folder.glob("events*"))


def test_an_empty_mask_has_no_events_and_says_so(tmp_path):
    (found,) = wrap().interpret_batch(torch.randn(1, 9000), events=True)
    assert found.events == [] and found.facts()["events"] == []
    folder = found.save(tmp_path)
    assert (folder / "events.txt").read_text() == ""
    assert len((folder / "events.Table.1.selections.txt").read_text()) < 200
    (note, *_) = _notes_of({"file": "a.wav", **found.facts()})
    assert "a.wav: no events" in note
