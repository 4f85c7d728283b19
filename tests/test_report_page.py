"""The page of a report in a browser: search, filters, links, keys, a phone; texts do nothing, and nothing is fetched.

Where there is no Chromium with its driver, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from report_sets import HOSTILE, check, dataset

import whoseboat
from whoseboat.quality.pairs import CheckedPair, read_pairs

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402 - only where it is installed
from selenium.webdriver.common.by import By  # noqa: E402 - only where it is installed
from selenium.webdriver.common.keys import Keys  # noqa: E402 - only where it is installed
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402 - only where it is installed

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver on this machine, so no page can be opened"
)

PAIRS = 60
Browser = Any  # a driver has few types


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a checked set of hostile texts."""
    folder = dataset(tmp_path_factory.mktemp("page"), PAIRS)
    check(folder)
    return whoseboat.report(folder).path


@pytest.fixture(scope="module")
def pairs(page: Path) -> list[CheckedPair]:
    """Return the pairs of the set, as they are stored."""
    return list(read_pairs(page.parent))


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    """Start a browser that tells what its console says and what it asks for."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
        "--force-prefers-reduced-motion",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to start otherwise
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(started: Browser, page: Path) -> Iterator[Browser]:
    """Give the page, just opened; after each test nothing was attacked, fetched or complained about."""
    started.get("about:blank")
    for kind in ("browser", "performance"):
        started.get_log(kind)
    started.get(page.as_uri())
    yield started
    assert started.execute_script("return window.attacked") is None
    assert started.get_log("browser") == []
    assert {url.partition(":")[0] for url in asked_for(started)} <= {"file", "data"}


def asked_for(browser: Browser) -> list[str]:
    """Return the addresses that a page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert sent, "the log of requests tells nothing"
    return sent


def at(browser: Browser, name: str) -> Browser:
    """Return an element by its id."""
    return browser.find_element(By.ID, name)


def listed(browser: Browser) -> list[str]:
    """Return the ids of the pairs on the page of the list."""
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('#list a')].map((link) => link.dataset.id)"
    )
    return found


def counted(browser: Browser) -> str:
    """Return what is said of how many pairs there are."""
    return str(at(browser, "count").text)


def choose(browser: Browser, name: str, value: str) -> None:
    """Choose one of the values of a filter."""
    at(browser, name).find_element(By.CSS_SELECTOR, f"option[value={json.dumps(value)}]").click()


def press(browser: Browser, *keys: str) -> None:
    """Press keys where the focus is."""
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def is_open(browser: Browser) -> bool:
    """Say whether a pair is open."""
    return bool(browser.execute_script("return document.getElementById('pair').open"))


def wait_until_closed(browser: Browser) -> None:
    """Wait until no pair is open, and the list has what the page does then behind it."""
    script = "return !document.getElementById('pair').open && !location.hash.includes('pair=')"
    WebDriverWait(browser, 30).until(lambda driver: driver.execute_script(script))


def opened(browser: Browser) -> str:
    """Return what is shown of the pair that is open."""
    WebDriverWait(browser, 30).until(is_open)
    return str(browser.execute_script("return document.getElementById('pair').textContent"))


def test_nothing_is_fetched(browser: Browser, page: Path) -> None:
    """The page asks for itself alone, and shows all its pairs."""
    assert [url for url in asked_for(browser) if not url.startswith("data:")] == [page.as_uri()]
    assert counted(browser) == f"{PAIRS} pairs"
    assert len(listed(browser)) == 25
    browser.get(page.as_uri() + "?again")  # what the last step looks at


def test_search_looks_for_all_words_in_all_texts(browser: Browser, pairs: list[CheckedPair]) -> None:
    """In prompts, responses, personas and ids; small or capital letters do not matter."""
    box = at(browser, "q")
    for words, expected in {
        "TRAINS": {pair.id for pair in pairs if "trains" in pair.prompt[-1].content},
        "calm number": {pair.id for pair in pairs},
        "calm trains hasty": {pair.id for pair in pairs if "trains" in pair.prompt[-1].content},
        pairs[7].id[:16]: {pairs[7].id},
        "window.attacked=5": {pair.id for pair in pairs if "attacked=5" in pair.chosen},
        "nowhere to be found": set(),
    }.items():
        box.clear()
        box.send_keys(words)
        told = f"{PAIRS} pairs" if len(expected) == PAIRS else f"{len(expected)} of {PAIRS} pairs"
        assert counted(browser) == told, words
        assert set(listed(browser)) <= expected
        assert len(listed(browser)) == min(25, len(expected))
    at(browser, "reset").click()
    assert counted(browser) == f"{PAIRS} pairs"
    assert box.get_attribute("value") == ""


def test_filters_by_split_side_and_flag(browser: Browser, pairs: list[CheckedPair]) -> None:
    """Each takes away what is not asked for; together they do, too."""
    split = min({pair.split for pair in pairs}, key=lambda name: sum(pair.split == name for pair in pairs))
    choose(browser, "split", split)
    assert set(listed(browser)) == {pair.id for pair in pairs if pair.split == split}
    choose(browser, "split", "")
    every = {number: pair.id for number, pair in enumerate(pairs)}
    choose(browser, "check", "accuracy")
    assert set(listed(browser)) == {id_ for number, id_ in every.items() if number % 5 == 0}
    choose(browser, "check", "words")
    assert counted(browser) == f"{sum(number > 20 for number in every)} of {PAIRS} pairs"
    choose(browser, "side", "rejected")
    assert counted(browser) == f"0 of {PAIRS} pairs"  # that check looks at chosen personas alone
    choose(browser, "check", "")
    assert set(listed(browser)) == {id_ for number, id_ in every.items() if number % 5 == 0}
    choose(browser, "side", "pair")
    assert set(listed(browser)) == {id_ for number, id_ in every.items() if number % 7 == 0}
    choose(browser, "side", "")
    choose(browser, "check", "none")
    clean = {id_ for number, id_ in every.items() if number % 5 and number % 7 and number <= 20}
    assert set(listed(browser)) == clean


def test_the_worst_come_first(browser: Browser, pairs: list[CheckedPair]) -> None:
    """By each check the worse end of its values leads; else pairs are as stored."""
    choose(browser, "sort", "worst words")
    assert listed(browser) == [pair.id for pair in pairs[::-1][:25]]
    choose(browser, "sort", "worst accuracy")
    assert listed(browser)[: PAIRS // 5] == [pair.id for pair in pairs[::5]]
    choose(browser, "sort", "stored")
    assert listed(browser) == [pair.id for pair in pairs[:25]]
    at(browser, "on").click()
    assert listed(browser) == [pair.id for pair in pairs[25:50]]


def test_a_pair_is_shown_side_by_side_as_it_is(browser: Browser, pairs: list[CheckedPair]) -> None:
    """Prompt, both responses, both personas and what was found of them; markup in them is text."""
    choose(browser, "sort", "stored")
    for pair in pairs[: len(HOSTILE)]:
        browser.find_element(By.CSS_SELECTOR, f'#list a[data-id="{pair.id}"]').click()
        text = opened(browser)
        for part in (pair.prompt[-1].content, pair.chosen, pair.rejected, pair.chosen_persona, pair.rejected_persona):
            assert part in text
        left, right = browser.find_elements(By.CSS_SELECTOR, "#shown .of-side")
        assert left.location["y"] == right.location["y"]
        assert left.location["x"] + left.size["width"] <= right.location["x"]
        at(browser, "close").click()
        wait_until_closed(browser)
    assert not browser.find_elements(By.CSS_SELECTOR, "img, iframe, svg style, #shown script")


def test_flags_have_values_and_details(browser: Browser, pairs: list[CheckedPair]) -> None:
    """Those of each persona stand beside it, those of both below."""
    browser.get(browser.current_url.partition("#")[0] + f"#pair={pairs[35].id}")
    opened(browser)
    labels = [label.text for label in browser.find_elements(By.CSS_SELECTOR, "#shown .labels .bad")]
    told = f"\u2691 accuracy 0: {HOSTILE[0]}"
    assert labels == [told, "\u2691 words 35", told, f"\u2691 sides alike: {HOSTILE[1]}"]


def test_a_link_opens_the_pair_again_with_its_filters(browser: Browser, pairs: list[CheckedPair], page: Path) -> None:
    """What is in the address is what is shown, also after the page is loaded anew, and after going back."""
    at(browser, "q").send_keys("boats")
    choose(browser, "check", "any")
    before = counted(browser)
    first = listed(browser)[0]
    browser.find_element(By.CSS_SELECTOR, "#list a").click()
    opened(browser)
    address = browser.current_url
    assert f"pair={first}" in address
    assert "q=boats" in address
    assert at(browser, "permalink").get_attribute("href") == address
    browser.get("about:blank")
    browser.get(address)
    assert first in opened(browser)
    assert counted(browser) == before
    assert at(browser, "q").get_attribute("value") == "boats"
    browser.get("about:blank")
    browser.get(f"{page.as_uri()}#pair={quote(HOSTILE[0])}&sort=nonsense&page=-3")
    assert not is_open(browser)
    assert "is not among them" in counted(browser)
    browser.get("about:blank")
    browser.get(page.as_uri())
    browser.find_element(By.CSS_SELECTOR, "#list a").click()
    opened(browser)
    browser.back()
    wait_until_closed(browser)
    WebDriverWait(browser, 30).until(
        lambda driver: driver.switch_to.active_element.get_attribute("data-id") == listed(driver)[0]
    )


def test_all_can_be_done_by_keys(browser: Browser) -> None:
    """Search, the list, a pair, the next one, and back where one was."""
    press(browser, "/")
    assert browser.switch_to.active_element.get_attribute("id") == "q"
    press(browser, "boats", Keys.ENTER)
    ids = listed(browser)
    assert browser.switch_to.active_element.get_attribute("data-id") == ids[0]
    press(browser, "j", Keys.ARROW_DOWN, "k")
    assert browser.switch_to.active_element.get_attribute("data-id") == ids[1]
    press(browser, Keys.ENTER)
    assert ids[1] in opened(browser)
    press(browser, "j")
    assert ids[2] in opened(browser)
    press(browser, Keys.ARROW_LEFT, "k")
    assert ids[0] in opened(browser)
    press(browser, "j", Keys.ESCAPE)
    wait_until_closed(browser)
    assert browser.switch_to.active_element.get_attribute("data-id") == ids[1]
    assert "pair=" not in browser.current_url
    assert "q=boats" in browser.current_url


def test_the_first_key_leads_past_the_navigation(browser: Browser) -> None:
    """Who goes by keys can skip it, and sees where the focus is."""
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = browser.switch_to.active_element
    assert link.text == "Skip to the figures"
    assert link.location["x"] >= 0
    assert link.value_of_css_property("outline-style") == "solid"
    link.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"


def test_the_theme_can_be_chosen(browser: Browser) -> None:
    """Colours of page and charts change, and charts have no others."""

    def colours() -> tuple[str, str]:
        script = "return getComputedStyle(arguments[0])[arguments[1]]"
        body, mark = browser.find_element(By.TAG_NAME, "body"), browser.find_element(By.CSS_SELECTOR, "figure svg text")
        return browser.execute_script(script, body, "backgroundColor"), browser.execute_script(script, mark, "fill")

    seen = {}
    button = at(browser, "theme")
    for _ in range(3):
        button.click()
        seen[button.text] = colours()
    assert all(light != dark for light, dark in zip(seen["Theme: light"], seen["Theme: dark"], strict=True))
    assert seen.keys() == {"Theme: auto", "Theme: light", "Theme: dark"}
    fills = browser.execute_script(
        "return [...document.querySelectorAll('figure svg [fill], figure svg [stroke]')]"
        ".flatMap((one) => [one.getAttribute('fill'), one.getAttribute('stroke')])"
    )
    assert {fill for fill in fills if fill} <= {"none", *(f"var(--{name})" for name in
        ("ink", "soft", "line", "chosen", "rejected", "both", "other", "tie", "card"))}  # fmt: skip


def test_on_a_phone_nothing_is_cut_off(browser: Browser, pairs: list[CheckedPair]) -> None:
    """Nothing is wider than the window, and the two sides stand one below the other."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(browser.current_url.partition("#")[0] + "?phone")
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
        assert browser.find_element(By.CSS_SELECTOR, "figure .narrow").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, "figure .wide").is_displayed()
        browser.execute_script("location.hash = arguments[0]", f"pair={pairs[0].id}")
        opened(browser)
        left, right = browser.find_elements(By.CSS_SELECTOR, "#shown .of-side")
        assert left.location["y"] + left.size["height"] <= right.location["y"]
        assert browser.execute_script("return document.getElementById('pair').scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_navigation_wider_than_a_phone_shows_that_it_scrolls(browser: Browser) -> None:
    """It fades at its end; scrolled there, the last link stands before what fades."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        script = """
            const nav = document.querySelector('.bar nav'), style = getComputedStyle(nav);
            nav.scrollLeft = 10000;
            const end = nav.getBoundingClientRect().right - parseFloat(style.paddingRight);
            return [nav.scrollLeft, style.maskImage, end - nav.lastElementChild.getBoundingClientRect().right];
        """
        scrolled, fade, room = browser.execute_script(script)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert scrolled > 0
    assert fade.startswith("linear-gradient(to right")
    assert room >= -1
