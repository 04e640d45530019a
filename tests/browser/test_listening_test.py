"""Listeners take the test in a real browser; their files are analysed."""

import csv
from pathlib import Path
from typing import NamedTuple

import pytest
from listening_toys import make_examples, presentation_order

from speechbrain_lmac.evaluation.listening_test import analyse, build
from speechbrain_lmac.evaluation.listening_test.study import (
    QUESTIONS,
    select_items,
)

METHODS = ("lmac", "gradcam")
# What the simulated listeners think of what they hear.
TASTE = {"lmac": 70, "gradcam": 40, "low_anchor": 10, "high_anchor": 90}
SECRETS = ("lmac", "gradcam", "low_anchor", "high_anchor", "ideal")


class Study(NamedTuple):
    """A page, its address and the method behind each sound's code."""

    page: Path
    address: str
    methods: dict


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A page with three items and one for practice."""
    folder = tmp_path_factory.mktemp("study")
    make_examples(folder / "evaluation", seconds=0.1)
    page = build(folder / "evaluation", folder / "page", METHODS, n_items=3)
    items = select_items(folder / "evaluation", METHODS, None)
    methods = {s.code: s.method for i in items for s in i.stimuli}
    return Study(page, page.as_uri(), methods)


def opinion(method, question, shift=0):
    return TASTE[method] + shift - (5 if question == "quality" else 0)


def text(page):
    return page.locator("main").inner_text()


def begin(page, address, participant):
    page.goto(address)
    page.fill("#participant", participant)
    page.click("text=Start")
    play_all(page)
    page.click("#next")


def play_all(page):
    for button in page.locator("button.play").all():
        button.click()
        code = button.get_attribute("data-code")
        page.wait_for_function(
            "code => !document.querySelector(`button[data-code=${code}]`)"
            ".parentElement.querySelector('.heard').hidden",
            arg=code,
        )


def codes_on(page):
    """Codes of the explanations in the order in which they stand."""
    cards = page.locator("main section[aria-label]").all()
    return [card.get_attribute("data-code") for card in cards]


def rate(page, rating):
    """Move every slider; ``rating(code, question)`` says where to."""
    for card in page.locator("main section[aria-label]").all():
        code = card.get_attribute("data-code")
        for slider in card.locator("input[type=range]").all():
            question = slider.get_attribute("data-question")
            slider.fill(str(rating(code, question)))


def save(page, button, folder):
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def take_test(page, study, participant, shift, folder, reverse=False):
    """Take the whole test; returns the file and the orders on the way."""
    methods = study.methods
    swap = {"low_anchor": "high_anchor", "high_anchor": "low_anchor"}

    def rating(code, question):
        method = methods[code]
        method = swap.get(method, method) if reverse else method
        return opinion(method, question, shift)

    begin(page, study.address, participant)
    orders = []
    for _ in range(4):
        if "Practice" not in text(page):
            orders += [codes_on(page)]
        assert_blind(page)
        play_all(page)
        rate(page, rating)
        assert_blind(page)
        page.click("#next")
    assert "Thank you" in text(page)
    assert_blind(page)
    return save(page, "#download", folder), orders


def assert_blind(page):
    """Neither the page nor what the browser keeps names a method."""
    seen = page.content() + page.evaluate("JSON.stringify(localStorage)")
    assert [word for word in SECRETS if word in seen.lower()] == []


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def assert_quiet(page):
    assert page.errors == []
    assert {url.split(":")[0] for url in page.requested} <= {"file", "blob"}


def test_listeners_from_the_first_click_to_the_scores(
    study, browser_page, tmp_path
):
    listeners = {"anna": 0, "ben": 4, "cleo": -3}
    files, orders = [], {}
    for name, shift in listeners.items():
        path, orders[name] = take_test(
            browser_page, study, name, shift, tmp_path
        )
        files += [path]
        browser_page.click("#another")
    path, _ = take_test(browser_page, study, "dora", 0, tmp_path, reverse=True)
    files += [path]
    assert_quiet(browser_page)

    rows = [row for path in files for row in read(path)]
    assert len(rows) == 4 * 3 * 4 * 2
    for row in rows:
        assert row["method"] == study.methods[row["stimulus"]]
        assert int(row["plays"]) == 1 and float(row["seconds"]) > 0
    assert len({str(order) for order in orders.values()}) == 3
    assert_order_as_computed(orders["anna"], rows)

    result = analyse(files, tmp_path / "analysis")
    verdicts = dict(
        zip(
            result.participants.participant,
            result.participants.verdict,
            strict=True,
        )
    )
    assert verdicts == {**dict.fromkeys(listeners, "passed"), "dora": "failed"}
    scores = result.scores[result.scores.condition == "all"]
    scores = scores.set_index(["screening", "question", "method"])["mean"]
    mean_shift = sum(listeners.values()) / 3
    for method in TASTE:
        for question in QUESTIONS:
            mean = scores["passed", question, method]
            assert mean == pytest.approx(opinion(method, question, mean_shift))
    # dora hears it the other way round: (3 (90 + 1/3) + 10) / 4.
    all_high = scores["all", "correspondence", "high_anchor"]
    assert all_high == pytest.approx((3 * (90 + 1 / 3) + 10) / 4)


def assert_order_as_computed(orders, rows):
    """Python computes the order that the page has shown and noted."""
    own = [r for r in rows if r["participant"] == "anna"]
    for position, shown in enumerate(orders, start=1):
        here = [r for r in own if int(r["item_position"]) == position]
        row = here[0]
        expected = presentation_order(
            row["study"], row["seed"], "anna", row["item"], shown
        )
        assert shown == expected
        noted = {int(r["position"]): r["stimulus"] for r in here}
        assert [noted[k] for k in range(1, 5)] == shown
    items = {r["item"]: int(r["item_position"]) for r in own}
    expected = presentation_order(row["study"], row["seed"], "anna", "", items)
    assert sorted(items, key=items.get) == expected


@pytest.mark.slow
def test_a_reload_loses_nothing(study, browser_page, tmp_path):
    page = browser_page
    begin(page, study.address, "eve")
    play_all(page)
    rate(page, lambda code, question: 30)
    page.click("#next")
    play_all(page)
    rate(page, lambda code, question: 30)
    page.click("#next")
    page.locator("button.play").nth(1).click()
    page.wait_for_selector(".heard:not([hidden])")
    page.locator("input[type=range]").nth(3).fill("62")
    order, where = codes_on(page), page.locator("#where").inner_text()
    assert where == "Item 2 of 3"

    page.reload()
    assert page.locator("#where").inner_text() == where
    assert codes_on(page) == order
    assert page.locator("input[type=range]").nth(3).input_value() == "62"
    assert page.locator("input.open").count() == 7
    assert page.locator(".heard:visible").count() == 1

    path = save(page, "#copy", tmp_path)
    assert path.name.endswith("_eve_partial.csv")
    rows = read(path)
    assert len(rows) == 9 and all(r["method"].startswith("~") for r in rows)
    result = analyse([path], tmp_path / "analysis")
    assert set(result.scores.method) == set(TASTE)

    # Someone else takes the device; who comes back finds it as it was.
    play_all(page)
    rate(page, lambda code, question: 50)
    page.click("#next")
    page.goto(study.address + "?participant=fred")
    assert page.locator("#participant").input_value() == "fred"
    page.click("text=Start")
    assert page.locator("#where").inner_text() == "Loudness"
    page.goto(study.address + "?participant=Eve")
    page.click("text=Start")
    assert page.locator("#where").inner_text() == "Item 3 of 3"
    assert_quiet(page)


@pytest.mark.slow
def test_what_is_missing_is_asked_for(study, browser_page):
    page = browser_page
    page.goto(study.address)
    page.fill("#participant", "Jane Doe!")
    page.click("text=Start")
    assert "at most 32" in page.locator("#alert").inner_text()
    page.fill("#participant", "")
    page.click("text=Start")
    page.click("#next")
    assert "play the sound to its end" in page.locator("#todo").inner_text()
    play_all(page)
    page.click("#next")

    rate(page, lambda code, question: 30)
    page.click("#next")
    todo = page.locator("#todo").inner_text()
    assert "play the input to its end" in todo and "2 more" in todo
    play_all(page)
    assert not page.locator("#todo").is_visible()
    page.click("#next")

    play_all(page)
    sliders = page.locator("input[type=range]")
    for k in range(1, 8):
        sliders.nth(k).fill("20")
    page.click("#next")
    assert (
        "explanation 1 (correspondence)" in page.locator("#todo").inner_text()
    )
    assert page.locator("#where").inner_text() == "Item 1 of 3"
    # The middle of the scale is an answer when it is clicked.
    sliders.nth(0).click()
    assert page.locator("output").first.inner_text() in ("50", "51")
    page.click("#next")
    assert page.locator("#where").inner_text() == "Item 2 of 3"


@pytest.mark.slow
def test_the_keyboard_is_enough(study, browser_page):
    page = browser_page
    page.goto(study.address)
    page.keyboard.press("Tab")
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    page.keyboard.press("0")
    page.wait_for_selector(".heard:not([hidden])")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for key in "01234":
        before = page.locator(".heard:visible").count()
        page.keyboard.press(key)
        page.wait_for_function(
            "n => [...document.querySelectorAll('.heard')]"
            ".filter(e => !e.hidden).length == n",
            arg=before + 1,
        )
    page.keyboard.press("Tab")
    for _ in range(4):
        page.keyboard.press("Tab")
        for _ in range(2):
            page.keyboard.press("Tab")
            page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "next"
    assert set(page.locator("output").all_inner_texts()) == {"52"}
    page.keyboard.press("Enter")
    assert page.locator("#where").inner_text() == "Item 1 of 3"
    assert_quiet(page)


@pytest.mark.slow
def test_it_goes_on_where_nothing_can_be_kept(study, browser_page):
    browser_page.add_init_script(
        "Object.defineProperty(window, 'localStorage',"
        " {get() { throw new DOMException('no', 'SecurityError'); }})"
    )
    begin(browser_page, study.address, "private")
    assert "keeps nothing" in browser_page.locator("#alert").inner_text()
    assert "Practice" in text(browser_page)
    assert browser_page.errors == []


@pytest.mark.slow
def test_a_missing_sound_is_said(study, browser_page, tmp_path):
    page = tmp_path / "index.html"
    page.write_bytes(study.page.read_bytes())
    browser_page.goto(page.as_uri())
    browser_page.click("text=Start")
    browser_page.wait_for_selector("#alert:visible")
    message = browser_page.locator("#alert").inner_text()
    assert "could not be loaded" in message
