"""The HTML page: well formed, self-contained, escaped, small."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile as sf
import torch
from test_report_tables import golden_rows

from speechbrain_lmac.report import page as page_module
from speechbrain_lmac.report.page import Example, encode_audio, write_page

VOID = {"meta", "img", "br", "link", "hr", "input"}
PNG = b"\x89PNG\r\n\x1a\n picture"


class Page(HTMLParser):
    """Collects tags, attributes and text; checks that tags are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
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
        """Note the text, without the style sheet."""
        if self.open[-1:] != ["style"]:
            self.text += data

    def find(self, tag):
        """List the attributes of each such tag."""
        return [attrs for name, attrs in self.tags if name == tag]


def make_example(**changes):
    """Make an explained clip: a second of a tone."""
    wave = torch.sin(torch.arange(16000) * 0.3)
    example = Example(
        "1-77-A", "clean", "dog", "dog", 0.912, 0.97, 0.1,
        wave, 0.5 * wave, 0.5 * wave, PNG, 16000,
    )  # fmt: skip
    return example._replace(**changes)


def read_page(tmp_path, *args, **kwargs):
    """Write a page and parse it."""
    path = write_page(tmp_path / "new" / "page.html", *args, **kwargs)
    return Page(path.read_text(encoding="utf-8"))


def decode(uri):
    """Kind and content of a data: address."""
    kind, data = uri.removeprefix("data:").split(";base64,")
    return kind, base64.b64decode(data, validate=True)


def test_page_is_well_formed_and_complete(tmp_path):
    figure = tmp_path / "a.png"
    figure.write_bytes(PNG)
    examples = [make_example(), make_example(label="cat", figure_png=figure)]
    page = read_page(tmp_path, golden_rows(), examples, "Title", ["one", "two"])
    assert len(page.find("audio")) == 6
    assert all("controls" in attrs for attrs in page.find("audio"))
    assert len(page.find("article")) == len(page.find("img")) == 2
    assert all(attrs["alt"] for attrs in page.find("img"))
    assert len(page.find("table")) == 2
    for text in ("p(dog) = 0.91", "p(dog) = 0.97", "p(dog) = 0.10"):
        assert text in page.text
    assert "wrong The classifier says cat, in truth dog." in page.text
    assert "right The classifier says dog." in page.text
    assert "one" in page.text and "two" in page.text


def test_table_marks_best_and_undefined(tmp_path):
    path = write_page(tmp_path / "page.html", golden_rows(), [])
    text = path.read_text(encoding="utf-8")
    assert text.count("<strong>") == 1
    assert "<td><strong>2.0</strong><small>[1.0, 3.0]</small></td>" in text
    assert "<td>undefined<small>8 clips</small></td>" in text
    assert "[-0.50, 1.50]<br>2 undefined" in text
    assert "nan" not in Page(text).text.lower().split()


def test_page_is_self_contained(tmp_path):
    page = read_page(tmp_path, golden_rows(), [make_example()])
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "base")
        for name, value in attrs.items():
            value = value or ""
            assert "http:" not in value.lower() and "https:" not in value
            if name == "src":
                assert value.startswith("data:")
            if name == "href":
                assert value.startswith("#")
    style = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "url(" not in style and "@import" not in style
    assert "prefers-color-scheme" in style


def test_all_text_is_escaped(tmp_path):
    bad = "<script>alert('x')</script>\"&"
    rows = [row | {"method": bad, "condition": bad} for row in golden_rows()]
    example = make_example(
        clip_id=bad, condition=bad, true_label=bad, label=bad + "2"
    )
    page = read_page(tmp_path, rows, [example], title=bad, notes=[bad])
    assert page.find("script") == []
    # title, h1, note, and each place of the tables and the example.
    assert page.text.count(bad) >= 10
    assert page.find("audio")[0]["aria-label"] == f"input, {bad}"


def test_sounds_and_picture_survive(tmp_path):
    page = read_page(tmp_path, [], [make_example()])
    kind, data = decode(page.find("audio")[1]["src"])
    samples, rate = sf.read(io.BytesIO(data))
    assert kind in ("audio/ogg", "audio/wav")
    assert (len(samples), rate) == (16000, 16000)
    # Vorbis is lossy, but a tone stays a tone.
    wave = make_example().explanation.numpy()
    assert np.corrcoef(samples, wave)[0, 1] > 0.99
    assert decode(page.find("img")[0]["src"]) == ("image/png", PNG)


def test_loud_sounds_share_one_gain(tmp_path):
    wave = make_example().original
    example = make_example(explanation=4 * wave)
    page = read_page(tmp_path, [], [example])
    peaks = [
        abs(sf.read(io.BytesIO(decode(attrs["src"])[1]))[0]).max()
        for attrs in page.find("audio")
    ]
    # Vorbis changes the peak of a tone by a few percent.
    assert peaks == pytest.approx([0.25, 1.0, 0.125], rel=0.1)


def test_falls_back_to_wav(monkeypatch):
    def refuse(samples, sample_rate):
        raise ValueError("no Vorbis")

    monkeypatch.setattr(page_module, "_ogg_bytes", refuse)
    wave = make_example().original
    kind, data = decode(encode_audio(wave, 16000, gain=0.5))
    assert kind == "audio/wav"
    samples, _ = sf.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_allclose(samples, 0.5 * wave, atol=1 / 32768)


def test_long_sounds_are_encoded():
    wave = torch.zeros(16000 * 90)
    _, data = decode(encode_audio(wave, 16000))
    assert sf.info(io.BytesIO(data)).frames == len(wave)


@pytest.mark.parametrize(
    "wave",
    [torch.zeros(2, 8), torch.zeros(0), torch.tensor([0.0, float("nan")])],
)
def test_wrong_sounds(wave):
    with pytest.raises(ValueError, match=r"finite sound of shape \(samples,\)"):
        encode_audio(wave, 16000)


def test_undefined_probability_is_said(tmp_path):
    example = make_example(probability_masked_out=float("nan"))
    assert "probability undefined" in read_page(tmp_path, [], [example]).text


def test_twelve_clips_stay_small(tmp_path):
    # Noise is the worst case for the encoder; a picture has about 100 kB.
    noise = 0.2 * torch.randn(
        5 * 16000, generator=torch.Generator().manual_seed(0)
    )
    example = make_example(
        original=noise, explanation=noise, masked_out=noise,
        figure_png=bytes(110_000),
    )  # fmt: skip
    path = write_page(tmp_path / "page.html", golden_rows(), [example] * 12)
    assert path.stat().st_size < 6_000_000
