"""The live page without a browser: what it answers, refuses and exports."""

import base64
import json
import re
import sys

import pytest
import soundfile as sf
from zs_toys import tones, zs_interpreter

import speechbrain_lmac
from speechbrain_lmac.classifiers.slim import SlimCnn
from speechbrain_lmac.cli import build_parser
from speechbrain_lmac.cli.app import export
from speechbrain_lmac.cli.app_page import MANY, Listening
from speechbrain_lmac.features import FrontEnd
from speechbrain_lmac.inference import (
    AudioInterpreter,
    clips,
    load_package,
)
from speechbrain_lmac.interpreters import Interpreter, build_decoder
from speechbrain_lmac.utils.checks import UserError

RATE, LOW, HIGH = 8000, 500, 3000
CPU = {"device": "cpu"}


def wrap(interpreter, **options):
    return AudioInterpreter(interpreter, CPU, **options)


@pytest.fixture(scope="module")
def listening():
    """Of a network that hears two tones; its windows are a second."""
    model = speechbrain_lmac.load_model(
        "tone_nets:Tones", "saliency", RATE, labels=["low", "high"]
    )
    return Listening(wrap(model, window_s=1.0, overlap_s=0.2), 0.1)


@pytest.fixture
def visit(listening, tmp_path):
    """A low tone and a louder high one, explained."""
    made = listening.hear(write(tmp_path))
    listening.explain(made)
    return made


def write(folder, seconds=0.5, name="both.wav"):
    n = int(seconds * RATE)
    low, high = (tones(f, 1, n, RATE)[0] for f in (LOW, HIGH))
    (folder / "upload").mkdir()
    path = folder / "upload" / name
    sf.write(path, (low + 2 * high).numpy() / 4, RATE)
    return str(path)


def text(html):
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_a_sound_is_read_and_its_file_goes(listening, tmp_path):
    made = listening.hear(write(tmp_path))
    assert (len(made.sound), made.name) == (RATE // 2, "both.wav")
    assert [*tmp_path.iterdir()] == []


def test_the_same_file_of_two_visitors(listening, tmp_path):
    path = write(tmp_path)
    one = listening.hear(path)
    assert listening.hear(path, [one]).sound is one.sound
    with pytest.raises(UserError, match="both.wav"):
        listening.hear(path)


def test_a_long_sound_is_refused(listening, tmp_path):
    with pytest.raises(UserError, match=r"0\.2 minutes long; at most 0\.1 "):
        listening.hear(write(tmp_path, 12))
    assert [*tmp_path.iterdir()] == []


def test_what_is_no_sound_is_refused_without_its_place(listening, tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear friend")
    with pytest.raises(UserError) as error:
        listening.hear(str(path))
    assert "letter.txt" in str(error.value)
    assert str(tmp_path) not in str(error.value) and not path.exists()


def test_the_decision_then_another_class(listening, visit):
    assert "The classifier says high" in text(listening.says(visit))
    assert "Why “high”?" in text(listening.why(visit))
    listening.explain(visit, "low", other="ig")
    assert [(one.label, one.method) for one in visit.found] == [
        ("low", "saliency"),
        ("low", "ig"),
    ]
    assert 'data-class="low" style="--p:0.0%" aria-pressed="true"' in re.sub(
        r"--p:\d\.\d%", "--p:0.0%", listening.says(visit)
    )
    shown = listening.why(visit)
    assert text(shown).count("Why “low”?") == 2
    assert shown.count("<audio") == 6 and "What speaks for it" in shown


def test_what_is_stopped_changes_nothing(listening, tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "MAX_FRAMES_ASKED", 1)  # a window at a time
    visit = listening.hear(write(tmp_path, 3))
    listening.explain(visit)
    before = visit.found

    def stop(share):
        if share > 0:
            raise UserError("Stopped.")

    with pytest.raises(UserError, match="Stopped"):
        listening.explain(visit, "low", progress=stop)
    assert visit.found is before and before[0].label == "high"


def test_without_the_high_tone_it_says_low(listening, visit):
    removed = text(listening.own(visit, "remove", [(0, 1, 0.5, 1)]))
    assert "Without what you marked" in removed
    assert "Now the classifier says low" in removed
    kept = text(listening.own(visit, "keep", [(0, 1, 0.5, 1)]))
    assert "Now the classifier says high" in kept


def test_the_files_are_those_that_are_heard(listening, visit):
    def links(threshold):
        html = listening.files(visit, threshold)
        found = re.findall(r'download="both\.(.*?)" href=".*?,(.*?)"', html)
        return {name: base64.b64decode(data) for name, data in found}

    files = links(0)
    assert set(files) == {
        *("explanation.wav", "masked_out.wav", "original.wav"),
        *("explanation.png", "explanation.json"),
        *("events.txt", "events.Table.1.selections.txt"),
    }
    assert files["explanation.png"][:4] == b"\x89PNG"
    facts = json.loads(files["explanation.json"])
    assert (facts["label"], facts["source"]) == ("high", "both.wav")
    assert links(0.5)["explanation.wav"] != files["explanation.wav"]


def test_prompts_are_lines(tmp_path):
    listening = Listening(wrap(zs_interpreter()))
    visit = listening.hear(write(tmp_path))
    with pytest.raises(UserError, match="Type what to listen for"):
        listening.explain(visit, prompts=" \n")
    with pytest.raises(UserError, match="no word of 'zebra'"):
        listening.explain(visit, prompts="zebra")
    listening.explain(
        visit, prompts="dog <b>\n\n rain \nrain", other="saliency"
    )
    assert visit.prompts == ["dog <b>", "rain"]
    assert [one.method for one in visit.found] == ["lmac_zs", "saliency"]
    page = listening.says(visit) + listening.why(visit)
    assert "dog &lt;b&gt;" in page and "dog <b>" not in page
    listening.explain(visit, "rain", "dog\nrain")
    assert visit.found[0].label == "rain" and visit.prompts == ["dog", "rain"]
    # A softmax over one prompt says nothing.
    listening.explain(visit, "rain", "siren")
    assert "The classifier says siren ." in text(listening.says(visit))
    assert "before" not in listening.own(visit, "keep", [(0, 1, 0, 1)])


def tiny(labels):
    frontend = FrontEnd()
    classifier = SlimCnn(len(labels), channels=(4, 8, 8, 8, 8)).freeze()
    decoder = build_decoder(classifier, frontend, (8, 4)).eval()
    return wrap(Interpreter(frontend, classifier, decoder, labels))


def test_of_many_classes_the_surest_have_buttons(tmp_path):
    labels = [f"class {k}" for k in range(MANY + 5)]
    listening = Listening(tiny(labels))
    visit = listening.hear(write(tmp_path))
    listening.explain(visit)
    assert listening.says(visit).count("data-class") == MANY
    listening.explain(visit, [*visit.probs][-1])
    assert listening.says(visit).count("data-class") == MANY + 1


def test_a_space_has_all_that_it_needs(tmp_path):
    folder = export(tiny(["dog", "rain"]), tmp_path / "space")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("app.py", "requirements.txt", "README.md"),
        *("package", "speechbrain_lmac"),
    }
    head = (folder / "README.md").read_text().split("---")[1]
    assert "sdk: gradio" in head and "app_file: app.py" in head
    needed = (folder / "requirements.txt").read_text().split("\n")
    assert "speechbrain<2,>=1.1" in needed and "pytest" not in str(needed)
    assert any(line.startswith("transformers") for line in needed)
    assert load_package(folder / "package").labels == ["dog", "rain"]
    source = folder / "speechbrain_lmac"
    assert (source / "report/templates/app.js").is_file()
    assert not [*source.rglob("__pycache__")]
    compile((folder / "app.py").read_text(), "app.py", "exec")
    with pytest.raises(UserError, match="give a new folder"):
        export(tiny(["dog"]), folder)


def test_a_model_without_training_is_no_space(listening, tmp_path):
    with pytest.raises(UserError, match="nothing to package"):
        export(listening.interpreter, tmp_path / "space")
    assert not [*tmp_path.rglob("*.py")]


def test_the_page_is_for_this_computer_unless_asked():
    args = build_parser().parse_args(["app", "--interpreter", "x"])
    assert args.host == "127.0.0.1"


def test_gradio_is_asked_for(lmac, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, out, err = lmac("app", "--interpreter", "x")
    assert (code, out) == (1, "") and "speechbrain_lmac[app]" in err
