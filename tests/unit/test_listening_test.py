import csv
import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
import yaml
from listening_toys import make_examples, presentation_order

from speechbrain_lmac.evaluation.listening_test import (
    analyse,
    build,
    export_webmushra,
)
from speechbrain_lmac.evaluation.listening_test.analysis import (
    mean_opinion,
    screen_participants,
)
from speechbrain_lmac.evaluation.listening_test.blinding import (
    conceal,
    reveal,
)
from speechbrain_lmac.evaluation.listening_test.ratings import (
    COLUMNS,
    read_ratings,
)
from speechbrain_lmac.evaluation.listening_test.study import (
    read_sounds,
    select_items,
)
from speechbrain_lmac.evaluation.listening_test.summary import build_figure
from speechbrain_lmac.utils.checks import UserError

METHODS = ("lmac", "gradcam")
HEADER = ",".join(COLUMNS)


@pytest.fixture
def evaluation(tmp_path):
    return make_examples(tmp_path / "evaluation")


def change_facts(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# --- Orders and names ---------------------------------------------------


def test_every_sound_stands_everywhere_equally_often():
    counts = Counter()
    for k in range(2000):
        order = presentation_order("s", 1, f"p{k}", "i", "abcd")
        counts.update(enumerate(order))
    # 500 are expected in each of the 16 cells, with a deviation of 19.
    assert len(counts) == 16
    assert max(abs(n - 500) for n in counts.values()) < 90


def test_a_concealed_name_tells_nothing_and_comes_back():
    codes = [
        conceal(method, "study", stimulus)
        for method in ("lmac", "guided_backprop", "mélange")
        for stimulus in ("s1", "s2")
    ]
    assert len(set(codes)) == 6 and len({len(code) for code in codes}) == 1
    assert reveal(codes[4], "study", "s1") == "mélange"
    assert reveal("lmac", "study", "s1") == "lmac"
    with pytest.raises(ValueError):
        reveal(codes[0], "study", "s2")


# --- Choice of the items ------------------------------------------------


def test_items_are_spread_over_conditions_labels_and_clips(evaluation):
    items = select_items(evaluation, METHODS, 4)
    assert Counter(i.condition for i in items) == {"clean": 2, "mixtures": 2}
    assert Counter(i.label for i in items) == {"dog": 2, "rain": 2}
    assert len({i.clip for i in items}) == 4
    assert items == select_items(evaluation, METHODS, 4)
    assert items != select_items(evaluation, METHODS, 4, seed=1)
    methods = sorted(s.method for s in items[0].stimuli)
    assert methods == ["gradcam", "high_anchor", "lmac", "low_anchor"]


@pytest.mark.parametrize(
    "ideal, high_anchor, clean, mixtures",
    [
        (False, "auto", "original.wav", "target.wav"),
        (True, "auto", "original.wav", "explanation.wav"),
        (True, "target", "original.wav", "target.wav"),
    ],
)
def test_the_high_anchor(tmp_path, ideal, high_anchor, clean, mixtures):
    make_examples(tmp_path, clips=1, ideal=ideal)
    items = select_items(tmp_path, METHODS, None, high_anchor=high_anchor)
    paths = {
        i.condition: s.path.name
        for i in items
        for s in i.stimuli
        if s.method == "high_anchor"
    }
    assert paths == {"clean": clean, "mixtures": mixtures}


def test_wrong_decisions_are_left_out_unless_asked_for(evaluation):
    path = evaluation / "examples/clean/clip-0/lmac/explanation.json"
    change_facts(path, label="rain")
    assert len(select_items(evaluation, METHODS, None)) == 7
    every = select_items(evaluation, METHODS, None, correct_only=False)
    assert len(every) == 8


@pytest.mark.parametrize(
    "key, value, named",
    [
        ("methods", ["lmac", "l2i"], "l2i"),
        ("methods", ["lmac", "random"], "random"),
        ("methods", [], "`methods`"),
        ("methods", ["lmac", "lmac"], "lmac, lmac"),
        ("conditions", ["wham"], "wham"),
        ("high_anchor", "best", "best"),
        ("high_anchor", "ideal", "ideal"),
    ],
)
def test_what_cannot_be_chosen(evaluation, key, value, named):
    with pytest.raises(UserError, match=named):
        select_items(evaluation, **{"methods": METHODS, key: value})


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match="examples"):
        select_items(tmp_path, METHODS)
    make_examples(tmp_path, conditions=("clean",))
    path = tmp_path / "examples/clean/clip-1/lmac/explanation.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="clip-1.*explanation.json"):
        select_items(tmp_path, METHODS)
    for path in tmp_path.rglob("random/explanation.wav"):
        path.unlink()
    with pytest.raises(UserError, match="random in 4"):
        select_items(tmp_path, METHODS)


def test_equal_energy_and_one_gain(evaluation):
    item = select_items(evaluation, METHODS, 1)[0]
    kept, rate = read_sounds(item)
    equal, _ = read_sounds(item, equal_energy=True)
    assert rate == 16000
    energies = torch.stack([wave.norm() for wave in equal.values()])
    torch.testing.assert_close(energies, energies[:1].expand(5))
    for stimulus in item.stimuli:
        original, _ = sf.read(stimulus.path, dtype="float32")
        wave = kept[stimulus.code]
        torch.testing.assert_close(wave, torch.from_numpy(original))


def test_the_gain_of_a_file_is_undone(evaluation):
    before, _ = read_sounds(select_items(evaluation, METHODS, 1)[0])
    item = select_items(evaluation, METHODS, 1)[0]
    path = item.input.path.parent / "lmac" / "explanation.json"
    gains = {"explanation": 0.8, "original": 1.0}
    change_facts(path, gains=gains)
    after, _ = read_sounds(select_items(evaluation, METHODS, 1)[0])
    for stimulus in (item.input, *item.stimuli):
        factor = 1.25 if stimulus.method == "lmac" else 1
        expected = factor * before[stimulus.code]
        torch.testing.assert_close(after[stimulus.code], expected)


# --- The page -----------------------------------------------------------


def study_of(page):
    html = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="study">(.*?)</script>', html)[1])


def test_the_page_and_its_sounds(evaluation, tmp_path):
    page = build(evaluation, tmp_path / "study", METHODS, n_items=3)
    study = study_of(page)
    assert page == tmp_path / "study" / "index.html"
    assert len(study["items"]) == 3 and len(study["training"]) == 1
    files = {p.stem: p for p in (tmp_path / "study/sounds").iterdir()}
    codes = [
        code
        for item in study["items"] + study["training"]
        for code in (item["input"], *item["stimuli"])
    ]
    assert sorted(files) == sorted(codes) and len(codes) == 4 * 5
    html = page.read_text(encoding="utf-8")
    assert not re.search("lmac|gradcam|_anchor|https?:", html, re.I)
    # Nothing is lost of the sounds.
    for item in select_items(evaluation, METHODS, 3):
        for sound in (item.input, *item.stimuli):
            before, _ = sf.read(sound.path, dtype="int16")
            after, _ = sf.read(files[sound.code], dtype="int16")
            assert np.array_equal(after, before)


def test_equal_arguments_give_the_same_page(evaluation, tmp_path):
    pages = [
        build(evaluation, tmp_path / name, METHODS, 2, seed=seed).read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert pages[0] == pages[1] != pages[2]
    studies = {study_of(tmp_path / n / "index.html")["study"] for n in "abc"}
    assert len(studies) == 2


@pytest.mark.parametrize("n_items", [8, 9])
def test_all_clips_leave_none_for_practice(
    evaluation, tmp_path, n_items, caplog
):
    page = build(evaluation, tmp_path / "a", METHODS, n_items)
    assert len(study_of(page)["items"]) == 8
    assert study_of(page)["training"] == []
    assert ("8 in place of 9" in caplog.text) == (n_items == 9)


def test_nothing_is_overwritten_unasked(evaluation, tmp_path):
    folder = tmp_path / "study"
    build(evaluation, folder, METHODS, 2)
    (folder / "ratings").mkdir()
    (folder / "ratings" / "anna.csv").write_text("mine")
    with pytest.raises(UserError, match="`overwrite`"):
        build(evaluation, folder, METHODS, 2)
    before = set((folder / "sounds").iterdir())
    build(evaluation, folder, METHODS, 2, seed=5, overwrite=True)
    assert not before & set((folder / "sounds").iterdir())
    assert (folder / "ratings" / "anna.csv").read_text() == "mine"


def test_labels_cannot_break_the_page(tmp_path):
    label = '</script><b>"%SCRIPT%"</b>'
    make_examples(tmp_path, labels=(label,), conditions=("clean",))
    title = "A & B <i>%STYLE%"
    page = build(tmp_path, tmp_path / "study", METHODS, 2, title=title)
    html = page.read_text(encoding="utf-8")
    assert html.count("</script>") == 2
    assert study_of(page)["items"][0]["label"] == label
    assert "<title>A &amp; B &lt;i&gt;%STYLE%</title>" in html


# --- Files of listeners -------------------------------------------------


def answers(participant, opinions, n_items=5, study="study-1"):
    """Rows of a file; ``opinions(method, item, question)`` gives ratings."""
    methods = ("lmac", "gradcam", "low_anchor", "high_anchor")
    common = {"study": study, "seed": 0, "participant": participant}
    common |= {"condition": "clean", "label": "dog, big", "seconds": 30.0}
    common |= {"plays": 1, "input_plays": 2}
    return [
        {
            **common,
            **{"item": f"i{item}", "clip": f"clip {item}"},
            **{"item_position": item + 1, "position": position},
            **{"stimulus": f"s{item}{method}", "method": method},
            **{"question": question},
            "rating": opinions(method, item, question),
        }
        for item in range(n_items)
        for position, method in enumerate(methods, start=1)
        for question in ("correspondence", "quality")
    ]


LIKING = {"lmac": 70, "gradcam": 40, "low_anchor": 10, "high_anchor": 90}


def liking(method, item, question):
    return LIKING[method]


def write(path, rows):
    pd.DataFrame(rows).reindex(columns=COLUMNS).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "column, value",
    [
        *(("rating", value) for value in ("0", "101", "50.5", "", "²")),
        *(("seconds", value) for value in ("nan", "soon")),
        *(("participant", " "), ("method", "~zz"), ("plays", "-1")),
        *(("question", "beauty"), ("question", "correspondence")),  # twice
    ],
)
def test_a_broken_file_is_named_and_costs_no_other(tmp_path, column, value):
    rows = answers("anna", liking)
    rows[1][column] = value
    broken = write(tmp_path / "broken.csv", rows)
    good = write(tmp_path / "good.csv", answers("ben", liking))
    ratings = read_ratings([broken, good])
    assert set(ratings.table.participant) == {"ben"}
    (problem,) = ratings.problems
    assert "broken.csv, row 3" in problem
    assert value == "correspondence" or repr(value.strip()) in problem
    with pytest.raises(UserError, match="broken.csv"):
        read_ratings([broken])


@pytest.mark.parametrize("lines", [(), ("a;b", "1;2"), (HEADER, "s,0"), None])
def test_what_is_no_file_of_ratings(tmp_path, lines):
    path = tmp_path / "x.csv"
    if lines is not None:
        path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="x.csv"):
        read_ratings([path])


def test_files_of_one_participant_are_put_together(tmp_path):
    full = answers("anna", liking, n_items=2)
    changed = answers("anna", lambda *_: 33, n_items=1)
    beyond = [r for r in answers("anna", liking, 3) if r["item"] == "i2"]
    paths = [
        write(tmp_path / f"{k}.csv", rows)
        for k, rows in enumerate((changed, full, full, beyond))
    ]
    # A spreadsheet puts a byte-order mark in front.
    paths[0].write_bytes(b"\xef\xbb\xbf" + paths[0].read_bytes())
    ratings = read_ratings(paths)
    # Where they differ, the fullest file counts; beyond it, each one.
    assert len(ratings.table) == 3 * 8
    assert (ratings.table.rating == ratings.table.method.map(LIKING)).all()
    # All 16 answers came twice, 8 of them a third time and otherwise.
    assert ratings.duplicates == {"anna": (24, 8)}


def test_another_study_is_left_out_and_named(tmp_path):
    paths = [
        write(tmp_path / f"{name}.csv", answers(name, liking, 1, study))
        for name, study in (("a", "one"), ("b", "two"), ("c", "one"))
    ]
    ratings = read_ratings(paths)
    assert set(ratings.table.participant) == {"a", "c"}
    assert "b.csv: is of two, not of one" in ratings.problems[0]
    with pytest.raises(UserError, match="one, two"):
        read_ratings(paths[:2])


# --- Scores -------------------------------------------------------------


def table_of(ratings):
    """Answers from (participants, items) ratings; NaN is none."""
    return pd.DataFrame(
        [
            {"participant": f"p{p}", "item": f"i{i}", "rating": rating}
            for (p, i), rating in np.ndenumerate(np.asarray(ratings, float))
            if not np.isnan(rating)
        ]
    )


@pytest.mark.parametrize(
    "ratings, mean, low, high",
    [
        # Both draws are the same rating with a probability of 1/4 each.
        ([[20], [80]], 50, 20, 80),
        ([[20, 80]], 50, 20, 80),
        ([[10, 20], [60, np.nan]], 30, 10, 60),
    ],
)
def test_the_mean_is_that_of_all_ratings(ratings, mean, low, high):
    summary = mean_opinion(table_of(ratings))
    assert summary[:3] == (mean, low, high)
    assert summary.n == np.isfinite(ratings).sum()


def test_the_interval_holds_for_other_people_and_other_clips():
    generator = np.random.default_rng(0)
    people = generator.normal(0, 10, (40, 1))
    items = generator.normal(0, 6, (1, 30))
    summary = mean_opinion(table_of(50 + people + items))
    # Effects that add up: the variances of the two means add up.
    deviation = np.sqrt(people.var() / 40 + items.var() / 30)
    width = summary.high - summary.low
    assert width == pytest.approx(2 * 1.96 * deviation, rel=0.06)


# --- Screening ----------------------------------------------------------


@pytest.mark.parametrize(
    "reversed_items, equal, verdict, failures",
    [
        (0, False, "passed", 0),
        (1, False, "passed", 2),  # 2 of 10 trials are not more than a fifth
        (2, False, "failed", 4),
        (2, True, "failed", 4),  # equal ratings tell nothing apart
    ],
)
def test_who_fails_the_anchors(reversed_items, equal, verdict, failures):
    def opinions(method, item, question):
        if item < reversed_items and method == "low_anchor":
            return 90 if equal else 95
        return LIKING[method]

    table = pd.DataFrame(answers("anna", opinions)).assign(file="a")
    (row,) = screen_participants(table, {}).to_dict("records")
    assert (row["verdict"], row["failures"]) == (verdict, failures)
    assert row["trials"] == 10 and row["minutes"] == 2.5


# --- The whole analysis -------------------------------------------------


def shifted(shift):
    def opinions(method, item, question):
        ours = shift if method == "lmac" else 0
        return LIKING[method] + ours + item

    return opinions


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    """Six attentive listeners, one who is not, and a broken file."""
    tmp_path = tmp_path_factory.mktemp("analysis")
    swap = {"low_anchor": 90, "high_anchor": 10, "lmac": 40, "gradcam": 70}
    rows = {f"p{k}": answers(f"p{k}", shifted(k)) for k in range(6)}
    rows["careless"] = answers("careless", lambda method, *_: swap[method])
    rows["broken"] = [{"study": "x"}]
    files = [write(tmp_path / f"{n}.csv", own) for n, own in rows.items()]
    return analyse(files, tmp_path / "out"), tmp_path / "out"


def test_scores_with_and_without_the_careless(analysis):
    scores = analysis[0].scores.set_index(["screening", "question", "method"])
    ours = scores.loc[("passed", "quality", "lmac")]
    # 70, the shifts 0 to 5 and the items 0 to 4.
    assert ours["mean"] == 70 + 2.5 + 2
    assert (ours.n_ratings, ours.n_participants, ours.n_items) == (30, 6, 5)
    assert scores.loc[("all", "quality", "lmac")]["mean"] == pytest.approx(
        (30 * 74.5 + 5 * 40) / 35
    )
    assert scores.loc[("passed", "quality", "low_anchor")]["mean"] == 12
    verdicts = analysis[0].participants.set_index("participant").verdict
    assert verdicts["careless"] == "failed"
    assert (verdicts.drop("careless") == "passed").all()


def test_paired_tests_by_hand(analysis):
    tests = analysis[0].tests.set_index(["screening", "question"])
    passed = tests.loc[("passed", "correspondence")]
    # Six listeners, all for L-MAC: 2 of the 2^6 signs are as extreme.
    assert (passed["first"], passed["second"]) == ("lmac", "gradcam")
    assert passed.difference == 32.5 and passed.n == 6
    assert passed.p == passed.p_holm == pytest.approx(2 / 64)
    assert tests.loc[("all", "correspondence")].n == 7


def test_the_files_of_the_analysis(analysis):
    result, folder = analysis
    assert {p.name for p in folder.iterdir()} == {
        *("participants.csv", "ratings.csv", "tests.csv"),
        *("scores.csv", "scores.md", "scores.png"),
    }
    written = pd.read_csv(folder / "scores.csv")
    pd.testing.assert_frame_equal(written, result.scores)
    assert len(pd.read_csv(folder / "ratings.csv")) == 7 * 40
    text = (folder / "scores.md").read_text()
    assert r"| L-MAC | 74.5 \[" in text and "BS.1534-3" in text
    assert "careless | 5 | 40 | 10 of 10 | failed" in text
    assert "## Files left out" in text and "broken.csv" in text


def test_each_condition_has_scores_of_its_own(tmp_path):
    rows = answers("a", shifted(0), 4)
    for row in rows:
        if row["item"] in ("i2", "i3"):
            row["condition"] = "mixtures"
    result = analyse([write(tmp_path / "a.csv", rows)], tmp_path / "out")
    scores = result.scores[result.scores.screening == "passed"]
    scores = scores.set_index(["condition", "question", "method"])["mean"]
    means = scores[:, "quality", "gradcam"].to_dict()
    assert means == {"all": 41.5, "clean": 40.5, "mixtures": 42.5}
    assert "### Mixtures" in (tmp_path / "out" / "scores.md").read_text()


def test_the_figure_shows_the_scores(analysis):
    scores = analysis[0].scores
    panel = build_figure(scores).axes[0]
    own = scores[scores.question == "correspondence"]
    drawn = [float(line.get_xdata()[0]) for line in panel.lines]
    assert drawn == pytest.approx(own["mean"].tolist())
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["L-MAC", "GradCAM", "Low anchor", "High anchor"]


# --- webMUSHRA ----------------------------------------------------------


def flat(pages):
    for page in pages:
        if isinstance(page, list):
            yield from flat(page)
        elif page != "random":
            yield page


def test_the_export_to_webmushra(evaluation, tmp_path):
    out = tmp_path / "mushra"
    path = export_webmushra(evaluation, out, METHODS, n_items=3, title="A&B")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    pages = list(flat(config["pages"]))
    assert config["testname"] == "A&amp;B" and None not in pages[0].values()
    assert config["pages"][2][0] == "random"
    assert [p["type"] for p in pages] == [
        *("generic", "volume", *["mushra"] * 6, "finish")
    ]
    with open(out / "key.csv", newline="") as file:
        key = {r["rating_stimulus"]: r for r in csv.DictReader(file)}
    for page in pages[2:-1]:
        assert (out / page["reference"]).is_file()
        for code, sound in page["stimuli"].items():
            assert (out / sound).is_file()
            assert key[code]["item"] == page["id"].partition("_")[0]
        assert sorted(key[code]["method"] for code in page["stimuli"]) == [
            *("gradcam", "high_anchor", "lmac", "low_anchor")
        ]
    items = [p["id"].partition("_")[0] for p in pages[2:-1]]
    assert items[0::2] == items[1::2]  # both questions of an item in a row
    chosen = select_items(evaluation, METHODS, 3)
    assert {i.code for i in chosen} == set(items)
    assert not re.search("lmac|gradcam|anchor_", path.read_text())
    with pytest.raises(UserError, match="`overwrite`"):
        export_webmushra(evaluation, out, METHODS)
