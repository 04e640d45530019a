"""The report in a real browser: it plays, points, filters, sorts and fits."""

import time

import pytest
from report_toys import write_results_folder

from speechbrain_lmac.report.page.page import build_report

MAX_BYTES = 20e6
# Playback in a busy container starts late.
PATIENCE = 15  # s


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of 6 clips under 2 methods; sounds of 2 s."""
    folder = tmp_path_factory.mktemp("report") / "results"
    folder.mkdir()
    return build_report(write_results_folder(folder, seconds=2.0))


@pytest.fixture
def page(browser_page, report):
    """The page, opened from disk; nothing may have gone wrong at the end."""
    browser_page.goto(report.as_uri())
    browser_page.evaluate("document.getElementById('choose').open = true")
    yield browser_page
    assert browser_page.errors == []
    assert {url[:5] for url in browser_page.requested} <= {"file:", "data:"}
    assert sum(u.startswith("file:") for u in browser_page.requested) == 1


def shown(page):
    """Names of the clips that are visible, from top to bottom."""
    # Text of clips far below is not laid out: it has no innerText.
    return page.locator(".clip:not([hidden]) h3").all_text_contents()


def wait(page, condition):
    """Until a condition holds; the page's policy forbids the browser's own."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"waited in vain for {condition}"
        page.wait_for_timeout(50)


def playing(page):
    """Labels of the sounds that play."""
    return page.eval_on_selector_all(
        "audio",
        "all => all.filter(a => !a.paused && !a.ended)"
        ".map(a => a.getAttribute('aria-label'))",
    )


def play(page, number):
    """Start a player by its number on the page, and wait until it sounds."""
    page.locator("audio").nth(number).evaluate("a => a.play()")
    wait(
        page,
        f"document.querySelectorAll('audio')[{number}].currentTime > 0.05",
    )


def test_it_opens_from_disk(page):
    assert page.title() == "Why did it say “siren”, “rain”, “dog”?"
    assert len(shown(page)) == 6
    assert page.locator("#count").inner_text() == "6 of 6 clips"
    assert page.locator("table").count() == 2
    page.locator("#figures img").scroll_into_view_if_needed()
    wait(page, "document.querySelector('#figures img').naturalWidth == 40")


def test_every_sound_can_be_decoded(page):
    page.evaluate(
        "document.querySelectorAll('audio').forEach(a => {"
        "a.preload = 'metadata'; a.load(); })"
    )
    wait(
        page,
        "[...document.querySelectorAll('audio')].every("
        "a => a.error === null && Math.abs(a.duration - 2) < 0.05)",
    )


def test_one_sound_plays_at_a_time(page):
    play(page, 1)
    first = playing(page)
    assert len(first) == 1 and first[0].startswith("explanation, L-MAC")
    play(page, 2)
    assert playing(page) != first and len(playing(page)) == 1


def test_the_cursor_moves_with_the_sound(page):
    clip = page.locator(".clip").first
    cursor = clip.locator(".method .cursor").first
    assert not cursor.is_visible()
    play(page, 1)
    assert cursor.is_visible()
    left = "c => parseFloat(c.style.left)"
    before = cursor.evaluate(left)
    page.wait_for_timeout(400)
    assert cursor.evaluate(left) > before
    # At the end of the sound it stands at the right edge, where time ends.
    wait(page, "document.querySelectorAll('audio')[1].ended")
    assert cursor.evaluate(left) == pytest.approx(100, abs=1)
    assert page.locator(".cursor:visible").count() == 4
    # It is only shown for the clip that was heard last.
    play(page, 8)
    assert not cursor.is_visible()


def test_a_click_on_a_picture_plays_from_there(page):
    view = page.locator(".method .sound .view").first
    box = view.bounding_box()
    view.click(position={"x": box["width"] / 2, "y": 20})
    wait(page, "document.querySelectorAll('audio')[1].currentTime > 1.05")
    assert len(playing(page)) == 1


def test_pictures_are_drawn(page):
    """The explanation's picture is the spectrogram under the mask."""
    views = page.locator(".clip").first.locator(".picture")
    images = [
        views.nth(k).evaluate("v => getComputedStyle(v).backgroundImage")
        for k in range(4)
    ]
    whole, kept, rest, mask = images
    assert whole.startswith('url("data:image/') and mask != whole
    assert kept == f"{mask}, {whole}"
    assert rest == f"{whole}, {mask}, {whole}"
    assert len(set(views.nth(1).screenshot())) > 50


def test_filters(page):
    page.get_by_label("Condition").select_option("mixtures")
    assert shown(page) == ["clip-2", "clip-3"]
    page.get_by_label("Decisions").select_option("wrong")
    assert shown(page) == ["clip-3"]
    assert page.locator("#count").inner_text() == "1 of 6 clips"
    page.get_by_label("Condition").select_option("*")
    assert shown(page) == ["clip-0", "clip-3"]
    page.get_by_label("Class").select_option("rain")
    assert shown(page) == ["clip-3"]
    page.get_by_label("Condition").select_option("clean")
    assert shown(page) == []
    assert "none fits" in page.locator("#count").inner_text()


def uncheck(page, method):
    page.get_by_role("checkbox", name=method, exact=True).uncheck()


def test_methods_are_chosen(page):
    uncheck(page, "Integrated Gradients")
    assert page.locator(".method:not([hidden])").count() == 6
    assert set(
        page.locator(".method:not([hidden]) h4").all_text_contents()
    ) == {"L-MAC"}
    uncheck(page, "L-MAC")
    assert page.locator(".method:not([hidden])").count() == 0


def test_a_sound_that_is_filtered_away_stops(page):
    play(page, 3)
    uncheck(page, "Integrated Gradients")
    assert playing(page) == []


def test_worst_and_best_cases_come_first(page):
    as_evaluated = shown(page)
    order = page.get_by_label("Order")
    order.select_option("drop-")
    assert shown(page) == [f"clip-{k}" for k in (5, 4, 3, 2, 1, 0)]
    order.select_option("drop")
    assert shown(page) == [f"clip-{k}" for k in range(6)]
    order.select_option("in")
    assert shown(page)[0] == "clip-5"
    order.select_option("")
    assert shown(page) == as_evaluated


def test_the_keyboard_reaches_everything(page):
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        tag = page.evaluate(
            "document.activeElement.name || document.activeElement.id || "
            "document.activeElement.className || document.activeElement.tagName"
        )
        if tag not in reached:
            reached.append(tag)
            outline = page.evaluate(
                "getComputedStyle(document.activeElement).outlineStyle"
            )
            assert outline != "none", f"{tag}: the focus is not visible"
        if tag == "AUDIO":
            break
    wanted = "A theme SUMMARY condition class decision order judge"
    wanted += " method AUDIO"
    assert [tag for tag in reached if tag in wanted.split()] == wanted.split()
    page.keyboard.press("Space")
    wait(page, "document.activeElement.currentTime > 0.05")
    assert playing(page)[0].startswith("input")
    page.keyboard.press("Space")
    assert playing(page) == []


def test_filters_by_keyboard(page):
    page.get_by_label("Condition").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait(page, "document.querySelectorAll('.clip[hidden]').length > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_in_light_and_dark(page, tmp_path, scheme, width):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    overflow = page.evaluate(
        "document.documentElement.scrollWidth - innerWidth"
    )
    assert overflow <= 0
    wide = page.eval_on_selector_all(
        ".clip, .clip *, #filters *",
        "all => all.filter(e => e.getBoundingClientRect().right > innerWidth"
        ").length",
    )
    assert wide == 0
    background = page.evaluate("getComputedStyle(document.body).color")
    light = sum(map(int, background.strip("rgb()").split(","))) > 3 * 128
    assert light == (scheme == "dark")
    shot = page.screenshot(path=tmp_path / f"{width}-{scheme}.png")
    assert len(shot) > 10000


def test_wide_tables_say_so_and_keep_their_methods_in_sight(page):
    box = page.locator(".scroll:has(table)").first
    hint = "b => getComputedStyle(b.querySelector('caption span'), '::after')"
    box.evaluate("b => { b.querySelector('table').style.width = '90rem'; }")
    page.set_viewport_size({"width": 390, "height": 844})
    wait(page, "document.querySelector('.scroll.wide') !== null")
    assert "scroll" in box.evaluate(f"{hint}.content")
    method = box.locator("tbody th").first
    before = method.bounding_box()["x"]
    box.evaluate("b => { b.scrollLeft = 200; }")
    assert abs(method.bounding_box()["x"] - before) < 2


def test_bars_are_in_line(page):
    page.set_viewport_size({"width": 1280, "height": 844})
    clip = page.locator(".clip").first
    clip.locator("figcaption > span:not(.bar)").nth(1).evaluate(
        "s => { s.textContent += ', says a class of a very long name'; }"
    )
    bars = clip.locator(".method").first.locator(".bar")
    places = [bars.nth(k).bounding_box()["y"] for k in range(2)]
    assert abs(places[0] - places[1]) < 1


def test_a_switch_between_light_and_dark(page):
    color = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(color)
    button = page.get_by_role("button", name="Dark page")
    button.click()
    assert page.evaluate(color) != before
    page.reload()
    page.requested.pop()  # the reload's own
    assert page.evaluate(color) != before
    page.get_by_role("button", name="Light page").click()
    assert page.evaluate(color) == before


def test_without_a_script(chromium, report):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".clip").count() == 6
    assert page.locator("table").first.is_visible()
    player = page.locator("audio").first
    assert player.is_visible() and player.get_attribute("src")[:5] == "data:"
    assert not page.locator("#filters").is_visible()
    context.close()


def test_forty_clips_of_four_methods(browser_page, tmp_path):
    """Noise of 5 s, the worst for the encoder, stays below 20 MB."""
    methods = ("lmac", "l2i", "gradcam", "ig")
    folder = tmp_path / "results"
    folder.mkdir()
    write_results_folder(folder, 40, methods, seconds=5.0)
    path = build_report(folder)
    assert path.stat().st_size < MAX_BYTES
    browser_page.goto(path.as_uri())
    assert len(shown(browser_page)) == 40
    # The mixtures' source alone is a further sound.
    assert browser_page.locator("audio").count() == 40 * 9 + 20
    loaded = browser_page.evaluate(
        "performance.getEntriesByType('navigation')[0].domComplete"
    )
    # About a second on two idle cores.
    assert loaded < 15000
    browser_page.locator("#choose summary").click()
    browser_page.get_by_label("Order").select_option("drop-")
    assert shown(browser_page)[0] == "clip-39"
    assert browser_page.errors == []
