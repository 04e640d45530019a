"""The live page in a real browser, of a network that hears two tones."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile as sf
from zs_toys import zs_interpreter

import speechbrain_lmac
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.inference import AudioInterpreter, clips
from speechbrain_lmac.interpreters import Interpreter, build_decoder

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason="gradio is not installed")

RATE, LOW, HIGH = 8000, 500, 3000
CPU = {"device": "cpu"}
# A busy machine takes its time.
PATIENCE = 60  # s


class Served(NamedTuple):
    """The page as Gradio's Blocks, its address, where uploads go."""

    blocks: Any
    address: str
    uploads: Path

    def files(self):
        """What lies on the server."""
        return [p.name for p in self.uploads.rglob("*") if p.is_file()]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Serves the pages of interpreters; at most 6 s and a megabyte."""
    from speechbrain_lmac.cli.app import serve

    uploads, started = tmp_path_factory.mktemp("uploads"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")

        def make(interpreter):
            made, address = serve(interpreter, max_minutes=0.1, max_mb=1)
            started.append(made)
            return Served(made, address, uploads)

        yield make
        for made in started:
            made.close(verbose=False)


@pytest.fixture(scope="module")
def served(start):
    model = speechbrain_lmac.load_model(
        "tone_nets:Tones", "saliency", RATE, labels=["low", "high"]
    )
    return start(AudioInterpreter(model, CPU, window_s=1.0, overlap_s=0.2))


def tones(path, low, high, seconds=1.0):
    """A file of two tones with these levels."""
    time_s = np.arange(int(seconds * RATE)) / RATE
    low, high = (
        level * np.sin(2 * np.pi * f * time_s)
        for level, f in ((low, LOW), (high, HIGH))
    )
    sf.write(path, low + high, RATE)
    return path


@pytest.fixture
def both(tmp_path):
    """A low tone and a louder high one."""
    return tones(tmp_path / "both.wav", 0.2, 0.5, 3)


@pytest.fixture
def visitor(new_page, served):
    """Opens the page; at the end nothing went wrong, nothing left it."""
    pages = []

    def make():
        page = new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(served.address)
        page.wait_for_selector("text=Drop Audio Here")
        pages.append(page)
        return page

    yield make
    for page in pages:
        assert page.errors == []
        own = (served.address, "blob:" + served.address, "data:")
        assert [u for u in page.requested if not u.startswith(own)] == []


def give(page, path, name="high"):
    page.set_input_files("input[type=file]", path)
    page.wait_for_selector(f"text=Why “{name}”?")


def wait(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def says(page, number=0):
    return page.locator(".says").nth(number).inner_text()


def mark_upper_half(page):
    """Drag over the upper half of the first picture."""
    view = page.locator(".view").first
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    right, middle = box["x"] + box["width"] - 1, box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(right - 50, middle, steps=4)
    page.mouse.move(right, middle)
    page.mouse.up()


def test_a_sound_is_explained_by_class(visitor, both):
    page = visitor()
    give(page, both)
    assert says(page).startswith("The classifier says high")
    page.click("[data-class=low]")
    page.wait_for_selector("text=Why “low”?")
    pressed = page.locator("[aria-pressed=true]")
    assert pressed.get_attribute("data-class") == "low"
    assert page.locator(".sounds audio").count() == 3


def test_players_play_one_at_a_time_with_a_cursor(visitor, both):
    page = visitor()
    give(page, both)

    def left():
        return page.evaluate("document.querySelector('.cursor').style.left")

    page.click("[data-kind=original]")
    wait(lambda: left() not in ("", "0%"))
    page.click("[data-kind=rest]")
    page.wait_for_selector(".sounding [data-kind=rest]")
    assert page.locator(".sounding").count() == 1
    # A click on the picture plays from there.
    box = page.locator(".view").bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 9)
    wait(lambda: float(left()[:-1]) >= 50)
    page.wait_for_selector(".sounding", state="detached")


def test_what_is_marked_is_kept_or_removed(visitor, both):
    page = visitor()
    give(page, both)
    assert page.locator("[data-brush=remove]").is_disabled()
    mark_upper_half(page)
    times, frequencies = page.locator(".marked").inner_text().split(", ")
    assert (
        times.startswith("0.00 to ")
        and frequencies.endswith("4000 Hz")
        or (int(frequencies.split()[2]) > 3900)
    )
    page.click("[data-brush=remove]")
    page.wait_for_selector("text=Without what you marked")
    assert says(page, 1).startswith("Now the classifier says low")
    page.click("[data-brush=keep]")
    page.wait_for_selector("text=Only what you marked")
    assert says(page, 1).startswith("Now the classifier says high")
    page.click("[data-kind=own]")
    page.wait_for_selector(".sounding [data-kind=own]")
    page.click("[data-brush=clear]")
    assert page.locator(".box").count() == 0


def test_the_slider_makes_the_sound_anew_and_asks_nothing(
    visitor, both, served
):
    page = visitor()
    give(page, both)
    mark_upper_half(page)
    source = "document.querySelector('[data-kind=explanation] ~ audio').src"
    before = page.evaluate(source)
    (visit,) = served.blocks.visits.values()
    visit.found[0].mask.clamp_(0.2)  # so that 0.3 changes something
    page.locator("input[type=range]").fill("0.3")
    page.wait_for_selector("text=0.30 or more")
    assert page.evaluate(source) != before
    # The marks stay, and what plays goes on where it was.
    assert page.locator(".box").count() == 1
    page.click("[data-kind=explanation]")
    page.wait_for_function(
        "document.querySelector('[data-kind=explanation] ~ audio')"
        ".currentTime > 0.2"
    )
    page.locator("input[type=range]").fill("0.15")
    page.wait_for_selector("text=0.15 or more")
    page.wait_for_selector(".sounding [data-kind=explanation]")
    time_s = page.evaluate(source.replace(".src", ".currentTime"))
    assert time_s > 0.2


def test_two_methods_side_by_side(visitor, both):
    page = visitor()
    give(page, both)
    page.click("text=Compare with another method >> xpath=.. >> xpath=..")
    page.get_by_label("Compare with another method").fill("Integrated")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card >> nth=1")
    cards = page.locator(".card h3").all_inner_texts()
    assert "Saliency" in cards[0] and "Integrated Gradients" in cards[1]


def test_files_are_downloaded(visitor, both, tmp_path):
    page = visitor()
    give(page, both)
    page.click("text=Make files")
    page.wait_for_selector(".files a")
    saved = {}
    for link in page.locator(".files a").all():
        with page.expect_download() as download:
            link.click()
        name = download.value.suggested_filename
        download.value.save_as(tmp_path / "saved" / name)
        saved[name] = tmp_path / "saved" / name
    assert len(saved) == 7
    wave, rate = sf.read(saved["both.explanation.wav"])
    assert (len(wave), rate) == (3 * RATE, RATE)
    facts = json.loads(saved["both.explanation.json"].read_text())
    assert facts["label"] == "high"
    assert saved["both.explanation.png"].read_bytes()[:4] == b"\x89PNG"


def test_a_recording_is_explained(visitor):
    page = visitor()
    page.click("[aria-label='Record audio']")
    page.click("text=Record")
    page.wait_for_timeout(1200)
    page.click("text=Stop >> nth=0")
    page.wait_for_selector(".classes button")


def test_two_visitors_and_nothing_is_kept(visitor, served, tmp_path):
    one, two = visitor(), visitor()
    give(one, tones(tmp_path / "one.wav", 0.1, 0.5), "high")
    give(two, tones(tmp_path / "two.wav", 0.5, 0.1), "low")
    one.click("text=Make files")
    one.wait_for_selector(".files a")
    assert "one.explanation.wav" in one.locator(".files").inner_text()
    two.click("text=Make files")
    two.wait_for_selector(".files a")
    assert "one.explanation" not in two.content()
    assert "two.explanation" not in one.content()
    assert says(one).startswith("The classifier says high")
    assert says(two).startswith("The classifier says low")
    assert len(served.blocks.visits) >= 2 and served.files() == []
    for page in (one, two):
        page.close()
    wait(lambda: not served.blocks.visits)


def test_two_visitors_with_the_same_file(new_page, served, both):
    # Gradio's preview may come too late for the file: no matter here.
    one, two = new_page(), new_page()
    for page in (one, two):
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(served.address)
        page.wait_for_selector("text=Drop Audio Here")
    for page in (one, two):
        page.set_input_files("input[type=file]", both)
    for page in (one, two):
        page.wait_for_selector("text=Why “high”?")


def test_any_of_many_classes(new_page, start, both):
    labels = [f"class {k}" for k in range(20)]
    frontend, classifier = FrontEnd(), SlimCnn(n_classes=20).freeze()
    decoder = build_decoder(classifier, frontend).eval()
    made = Interpreter(frontend, classifier, decoder, labels)
    page = new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(start(AudioInterpreter(made, CPU)).address)
    page.set_input_files("input[type=file]", both)
    page.wait_for_selector(".classes button")
    shown = page.locator(".classes").inner_text()
    name = next(name for name in labels if f"{name} " not in shown)
    page.get_by_label("Any other class").fill(name)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"text=Why “{name}”?")
    assert page.locator(".classes button").count() == 13
    assert page.errors == []


def test_what_is_too_long_is_refused(visitor, served, tmp_path):
    page = visitor()
    page.set_input_files(
        "input[type=file]", tones(tmp_path / "long.wav", 0.1, 0.1, 7)
    )
    page.wait_for_selector("text=The sound is 0.1 minutes long")
    page.wait_for_selector("text=Drop Audio Here")
    assert page.locator(".card").count() == 0 and served.files() == []


def test_what_is_too_large_is_refused(visitor, served, tmp_path):
    page = visitor()
    noise = np.random.default_rng(0).uniform(-1, 1, (6 * 48000, 2))
    sf.write(tmp_path / "large.wav", noise, 48000)
    page.set_input_files("input[type=file]", tmp_path / "large.wav")
    page.wait_for_selector("text=/maximum/i")
    assert page.locator(".card").count() == 0 and served.files() == []


def test_a_long_sound_shows_progress_and_can_be_stopped(
    new_page, start, tmp_path, monkeypatch
):
    model = speechbrain_lmac.load_model(
        "tone_nets:Tones", "saliency", RATE, labels=["low", "high"]
    )
    model.classifier.register_forward_hook(lambda *_: time.sleep(0.5))
    # One window at a time.
    monkeypatch.setattr(clips, "MAX_FRAMES_ASKED", 1)
    served = start(AudioInterpreter(model, CPU, window_s=0.5, overlap_s=0.1))
    page = new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(served.address)
    page.set_input_files(
        "input[type=file]", tones(tmp_path / "long.wav", 0.1, 0.5, 5)
    )
    page.wait_for_selector("text=window by window")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_selector("text=Stopped.")
    page.wait_for_selector("text=Drop Audio Here")
    assert page.locator(".card").count() == 0 and page.errors == []


def test_it_is_bound_to_this_computer(served):
    assert served.address.startswith("http://127.0.0.1:")
    assert served.blocks.server_name == "127.0.0.1"


def test_prompts(new_page, start, tmp_path):
    served = start(AudioInterpreter(zs_interpreter(), CPU))
    page = new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(served.address)
    page.get_by_label("What to listen for").fill("dog\nrain")
    page.set_input_files(
        "input[type=file]", tones(tmp_path / "both.wav", 0.1, 0.1)
    )
    page.wait_for_selector(".classes button")
    shown = page.locator(".classes button")
    names = {shown.nth(k).get_attribute("data-class") for k in range(2)}
    assert names == {"dog", "rain"}
    page.get_by_label("What to listen for").fill("siren")
    page.get_by_role("button", name="Explain").click()
    page.wait_for_selector("text=Why “siren”?")
    page.get_by_label("What to listen for").fill("zebra")
    page.get_by_role("button", name="Explain").click()
    page.wait_for_selector("text=no word of 'zebra'")
    assert page.errors == []
