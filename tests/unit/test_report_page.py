"""The HTML page: well formed, self-contained, escaped, small, from disk."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from PIL import Image
from report_toys import (
    golden_rows,
    make_test,
    write_example,
    write_results_folder,
)

from speechbrain_lmac.data.audio import write_wav
from speechbrain_lmac.report.page import media as page_media
from speechbrain_lmac.report.page.data import (
    choose_clips,
    read_clips,
    read_rows,
)
from speechbrain_lmac.report.page.page import build_report, policy
from speechbrain_lmac.report.tables import write_csv
from speechbrain_lmac.utils.checks import UserError

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and text; checks that tags are nested."""

    def __init__(self, text):
        super().__init__()
        self.source, self.open, self.tags, self.text = text, [], [], ""
        self.script = ""
        self.feed(text)
        self.close()
        self.text = " ".join(self.text.split())
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Check that it closes the innermost open tag."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Note the text, without the style sheet and the script."""
        if self.open[-1:] == ["script"]:
            self.script += data
        elif self.open[-1:] != ["style"]:
            self.text += data

    def find(self, tag, name=None):
        """List the attributes of each such tag, of a class if one is given."""
        return [
            attrs
            for found, attrs in self.tags
            if found == tag
            and (name is None or name in attrs.get("class", "").split())
        ]


def read_page(*args, **kwargs):
    """Write a page and parse it."""
    return Page(build_report(*args, **kwargs).read_text(encoding="utf-8"))


def decode(uri):
    """Kind and content of a data: address."""
    kind, data = uri.removeprefix("data:").split(";base64,")
    return kind, base64.b64decode(data, validate=True)


@pytest.fixture
def results(tmp_path):
    """An evaluation's output folder: 6 clips, 2 methods, 2 conditions."""
    return write_results_folder(tmp_path / "results")


def test_page_is_well_formed_and_complete(results):
    page = read_page(results)
    assert (results / "report.html").is_file()
    clips = page.find("article", "clip")
    assert len(clips) == 6 and len(page.find("section", "method")) == 12
    # Input, two sounds of each method; the source alone of the two mixtures.
    players = page.find("audio")
    assert len(players) == 6 * 5 + 2
    for attrs in players:
        assert "controls" in attrs and attrs["preload"] == "none"
        assert attrs["aria-label"] and attrs["data-seconds"] == "1.000"
    assert all(attrs["alt"] for attrs in page.find("img"))
    assert all(attrs["aria-label"] for attrs in page.find("div", "picture"))
    assert len(page.find("div", "picture")) == 6 * (1 + 2 * 3)
    assert [c["data-condition"] for c in clips] == (
        ["clean"] * 4 + ["mixtures"] * 2
    )
    assert [c["data-decision"] for c in clips].count("wrong") == 2
    assert "L-MAC" in page.text and "Integrated Gradients" in page.text
    assert "in truth dog" in page.text
    # Sounds come first, under a question.
    parts = ("examples", "figures", "metrics")
    places = [page.source.index(f'<section id="{name}"') for name in parts]
    assert places == sorted(places)
    assert page.text.count("Why did it say “siren”, “rain”, “dog”?") == 2
    # Of the first method all is open, the others are a click away.
    assert page.text.count("Compare with 1 other method") == 6


def test_a_sound_of_which_nothing_is_left_says_so(tmp_path):
    write_example(tmp_path, "clean", "a", ["lmac"], warning="It is silent.")
    page = read_page(tmp_path)
    before = page.text.index("It is silent.")
    assert page.text.index("input") < before < page.text.index("explanation p(")


def test_only_an_explanation_that_loses_the_decision_is_red(tmp_path):
    changes = {"label_masked_in": "rain", "label_masked_out": "wind"}
    write_example(tmp_path / "a", "clean", "a", ["lmac"], **changes)
    source = read_page(tmp_path / "a").source
    assert 'p(dog) = 0.80, says <b class="other">rain</b>' in source
    assert "p(dog) = 0.10, says <b>wind</b>" in source
    changes |= {"is_decision": False, "probability_masked_out": None}
    write_example(tmp_path / "b", "clean", "a", ["lmac"], **changes)
    page = read_page(tmp_path / "b")
    assert 'class="other"' not in page.source
    assert "probability undefined" in page.text
    assert page.find("section", "method")[0]["data-out"] == "nan"


def test_table_marks_best_and_undefined(tmp_path):
    write_csv(golden_rows(), tmp_path / "results.csv")
    text = read_page(tmp_path).source
    assert text.count("<strong>") == 1
    assert "<td><strong>2.0</strong><small>[1.0, 3.0]</small></td>" in text
    assert "<td>undefined<small>8 clips</small></td>" in text
    assert "[-0.50, 1.50]<br>2 undefined" in text
    assert "nan" not in Page(text).text.lower().split()


def test_rows_come_back_from_the_table(tmp_path):
    rows = golden_rows()
    write_csv(rows, tmp_path / "results.csv")
    for row, again in zip(
        rows, read_rows(tmp_path / "results.csv"), strict=True
    ):
        for name, value in row.items():
            # NaN and None are both blank cells.
            blank = value is None or value != value
            assert again[name] == pytest.approx(None if blank else value)


def test_tests_against_lmac_are_marked(results):
    test = pd.DataFrame([make_test("ig", "AI", 3.0, 0.01)])
    test.to_csv(results / "comparisons.csv", index=False)
    assert "11.0</strong>*<small>" in read_page(results).source


def test_page_is_self_contained(results):
    page = read_page(results)
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "base", "object", "embed")
        for name, value in attrs.items():
            value = value or ""
            assert "http:" not in value.lower() and "https:" not in value
            assert not name.startswith("on")
            if name == "src":
                assert value.startswith("data:")
            if name == "href":
                assert value.startswith("#")
            if name == "style":
                urls = re.findall(r"url\((.{5})", value)
                assert set(urls) <= {"data:"}
    styles = page.source.split("<style>")[1].split("</style>")[0]
    assert "@import" not in styles and "prefers-color-scheme" in styles
    assert set(re.findall(r"url\((.)", styles)) == {"#"}
    assert "fetch(" not in page.script and "import(" not in page.script
    # Its own script alone may run.
    assert page.find("script") == [{}]
    [meta] = [m for m in page.find("meta") if "http-equiv" in m]
    assert meta["content"] == policy(page.script)
    assert "default-src 'none'" in meta["content"]


def test_all_text_is_escaped(tmp_path):
    bad = "<script>alert('x')</script>\"&"
    rows = [row | {"method": bad, "condition": bad} for row in golden_rows()]
    write_csv(rows, tmp_path / "results.csv")
    place = write_example(
        tmp_path / "examples", "clean", "a", ["lmac"], clip_id=bad,
        condition=bad, true_label=bad, label=bad + "2", method=bad,
        label_masked_in=bad + "3",
    )  # fmt: skip
    shutil.copytree(place, place.parent / "b")
    (tmp_path / "evaluation.json").write_text(
        json.dumps({"common": {"seed": bad}})
    )
    page = read_page(tmp_path, title=bad)
    assert len(page.find("script")) == 1 and "alert" not in page.script
    # title, h1, note, and each place of the tables, filters and clips.
    assert page.text.count(bad) >= 15
    assert page.find("audio")[0]["aria-label"] == f"input, {bad}"


def test_sounds_and_pictures_survive(tmp_path):
    place = write_example(tmp_path, "clean", "a", ["lmac"])
    page = read_page(tmp_path)
    kind, data = decode(page.find("audio")[1]["src"])
    samples, rate = sf.read(io.BytesIO(data))
    assert kind in ("audio/ogg", "audio/wav")
    assert (len(samples), rate) == (16000, 16000)
    wave, _ = sf.read(place / "lmac" / "explanation.wav")
    # Vorbis is lossy, and noise is the worst for it.
    assert np.corrcoef(samples, wave)[0, 1] > 0.9
    style = page.find("section", "method")[0]["style"]
    _, data = decode(re.search(r"url\((.*)\)", style)[1])
    with Image.open(io.BytesIO(data)) as drawn:
        pixels = np.asarray(drawn.convert("L"), float)
    with Image.open(place / "lmac" / "mask.png") as file:
        saved = np.asarray(file, float)
    assert pixels.shape == saved.shape
    assert np.abs(pixels - saved).mean() < 25


def test_loud_sounds_share_one_gain(tmp_path):
    """A file that would have clipped was scaled: its gain is taken back."""
    wave = torch.sin(torch.arange(16000) * 0.3)
    place = write_example(
        tmp_path, "clean", "a", ["lmac"], gains={"explanation": 0.25}
    )
    write_wav(place / "original.wav", wave, 16000)
    write_wav(place / "lmac" / "explanation.wav", wave, 16000)  # of 4 * wave
    write_wav(place / "lmac" / "masked_out.wav", 0.5 * wave, 16000)
    peaks = [
        abs(sf.read(io.BytesIO(decode(attrs["src"])[1]))[0]).max()
        for attrs in read_page(tmp_path).find("audio")
    ]
    # Vorbis changes the peak of a tone by a few percent.
    assert peaks == pytest.approx([0.25, 1.0, 0.125], rel=0.1)


def test_long_sounds_are_encoded_and_others_fall_back_to_wav(monkeypatch):
    wave = np.zeros(16000 * 90)
    _, data = decode(page_media.encode_audio(wave, 16000))
    assert sf.info(io.BytesIO(data)).frames == len(wave)

    def refuse(samples, sample_rate):
        raise ValueError("no Vorbis")

    monkeypatch.setattr(page_media, "_ogg_bytes", refuse)
    wave = 0.5 * np.sin(np.arange(16000) * 0.3)
    kind, data = decode(page_media.encode_audio(wave, 16000))
    assert kind == "audio/wav"
    samples, _ = sf.read(io.BytesIO(data))
    np.testing.assert_allclose(samples, wave, atol=1 / 32768)


# --- which clips and methods ---


def test_clips_are_chosen_evenly(results):
    clips = read_clips(results / "examples")
    assert len(choose_clips(clips)) == len(choose_clips(clips, (), -1)) == 6
    chosen = choose_clips(clips, ["mixtures", "clean"], 3)
    assert [c.condition for c in chosen] == ["mixtures"] * 2 + ["clean"]
    page = read_page(results, max_examples=2)
    assert len(page.find("article", "clip")) == 2
    assert "2 of the 6 clips" in page.text


def test_methods_are_chosen(results):
    page = read_page(results, methods=["ig"])
    found = {m["data-method"] for m in page.find("section", "method")}
    assert found == {"ig"} and len(page.find("article", "clip")) == 6
    with pytest.raises(UserError, match="no sounds of l2i; .* ig, lmac"):
        build_report(results, methods=["l2i"])


def write_class(folder, label, **facts):
    """An explanation as an interpreter saves it: no truth, no method."""
    folder.mkdir(parents=True)
    for sound in ("explanation", "masked_out", "original"):
        write_wav(folder / f"{sound}.wav", torch.rand(800), 16000)
    facts = {"label": label, "probability": 0.25, **facts}
    (folder / "explanation.json").write_text(json.dumps(facts))


def test_single_explanations(tmp_path):
    for name in ("a", "b"):
        write_class(tmp_path / name, "dog", is_decision=name == "a")
    (tmp_path / "b" / "original.wav").unlink()
    page = read_page(tmp_path, tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").is_file()
    assert len(page.find("article")) == 2 and len(page.find("audio")) == 5
    assert [c["data-decision"] for c in page.find("article")] == ["", ""]
    assert "The classifier says dog (probability 0.25)" in page.text
    assert "Explained is dog (probability 0.25)." in page.text
    # Without a saved spectrogram, each sound has a picture of its own.
    sounds = page.find("figure", "sound")
    assert len(page.find("div", "whole")) == len(sounds) == 5
    assert len({attrs["style"] for attrs in sounds}) == 5
    assert page.find("span", "wrong") == []


def test_classes_of_one_file_make_one_clip(tmp_path):
    top = [{"label": "c1", "probability": 0.75}]
    for k in range(1, 12):
        facts = {"is_decision": k == 1, "mask_depends_on_class": False}
        folder = tmp_path / "street" / f"{k}_c{k}"
        write_class(folder, f"c{k}", source="street.wav", top=top, **facts)
    # Sounds of one folder whose own names begin with a number.
    for name in ("1_a", "2_b"):
        write_class(tmp_path / name, "dog", source=f"in/{name}.wav")
    clips = read_clips(tmp_path)
    assert sorted(clip.clip_id for clip in clips) == ["1_a", "2_b", "street"]
    [street] = [clip for clip in clips if clip.clip_id == "street"]
    labels = [explained.facts["label"] for explained in street.explained]
    assert labels == [f"c{k}" for k in range(1, 12)]
    page = read_page(tmp_path / "street")
    assert len(page.find("article")) == 1
    assert "The classifier says c1 (probability 0.25)." in page.text
    assert "c1 the decision, probability 0.25" in page.text
    assert "c2 probability 0.25" in page.text
    assert page.text.count("does not depend on the class") == 1


def test_a_class_that_is_not_the_decision(tmp_path):
    top = [{"label": "rain", "probability": 0.75}]
    write_class(tmp_path / "a", "dog", is_decision=False, top=top)
    told = "says rain (probability 0.75); explained is dog (probability 0.25)."
    assert told in read_page(tmp_path).text


def test_wrong_folders(tmp_path):
    other = tmp_path / "other"
    with pytest.raises(UserError, match="no such folder"):
        build_report(other)
    other.mkdir()
    for file, told in (
        ("notes.txt", "explanation.json.*found notes.txt"),
        ("seeds.csv", "one of the seeds"),
    ):
        (other / file).touch()
        with pytest.raises(UserError, match=told):
            build_report(other)
    (other / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no column dataset, condition"):
        build_report(other)


@pytest.mark.parametrize(
    "name, content",
    [
        ("explanation.json", b"{"),
        ("explanation.json", b"[]"),
        ("explanation.json", b'{"probability": "high"}'),
        ("explanation.wav", b"RIFF"),
        ("explanation.wav", None),
        ("mask.png", b"\x89PNG"),
    ],
)
def test_damaged_files_are_named(results, name, content):
    path = results / "examples" / "clean" / "clip-0" / "lmac" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="Delete its folder") as caught:
        build_report(results)
    assert name in str(caught.value) and "clip-0" in str(caught.value)
