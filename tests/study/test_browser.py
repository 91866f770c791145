"""The pages in a browser: quiet, self-contained, reachable, and no wider than the screen."""

import io
import json
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from jaxdnn.runs import catalogue

AXE = (files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

PHONE, LAPTOP = (390, 844), (1440, 900)


def resize(browser: webdriver.Chrome, size: tuple[int, int], scheme: str = "light") -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # no picture in mid-scroll
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def open_everything(browser: webdriver.Chrome) -> None:
    """Open what can be opened, and wait until the page's script has seen it.

    Of several tables of hundreds of numbers, one is enough.
    """
    browser.execute_async_script(
        """
        const closed = "details:not(.menu, .numbers ~ .numbers)";
        for (const details of document.querySelectorAll(closed)) details.open = true;
        requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()));
        """
    )


def pages(built: Path) -> Iterator[Path]:
    yield from sorted(built.glob("*.html"))


def test_pages_are_quiet_and_need_nothing_from_outside(
    browser: webdriver.Chrome, built: Path
) -> None:
    for log in ("performance", "browser"):  # what other tests have left, axe's requests among it
        browser.get_log(log)
    for page in pages(built):
        browser.get(page.as_uri())
        assert browser.get_log("browser") == []
    requested = set()
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] != "Network.requestWillBeSent":
            continue
        # Chromium's own first page may still be loading its parts.
        if event["params"]["documentURL"].startswith(built.as_uri()):
            requested.add(event["params"]["request"]["url"].partition("#")[0])
    assert {page.as_uri() for page in pages(built)} <= requested
    foreign = [url for url in requested if not url.startswith((f"{built.as_uri()}/", "data:"))]
    assert foreign == []


@pytest.mark.parametrize("size", [PHONE, LAPTOP])
def test_nothing_overflows_sideways(
    browser: webdriver.Chrome, built: Path, size: tuple[int, int]
) -> None:
    resize(browser, size)
    for page in pages(built):
        browser.get(page.as_uri())
        open_everything(browser)
        width, wide = browser.execute_script(
            """
            const width = document.documentElement.clientWidth;
            const clipped = (e) => e.parentElement?.closest("pre, .scroll, .visually-hidden, svg");
            const wide = [...document.body.querySelectorAll("*")].filter(
              (e) => e.getBoundingClientRect().right > width + 1 && !clipped(e)
                && !e.matches(".visually-hidden, .menu *"));
            const found = wide.map((e) => e.outerHTML.slice(0, 99));
            return [document.documentElement.scrollWidth, found];
            """
        )
        assert width <= size[0], f"{page.name}: {width}"
        assert wide == [], page.name


ALL_RULES: dict[str, Any] = {"resultTypes": ["violations"]}
CONTRAST = {**ALL_RULES, "runOnly": ["color-contrast"]}
LAYOUT = {**ALL_RULES, "rules": {"color-contrast": {"enabled": False}}}


@pytest.mark.parametrize(
    ("size", "scheme", "rules"),
    # What depends neither on the colours nor on the width is looked at once.
    [
        pytest.param(LAPTOP, "light", ALL_RULES, id="laptop"),
        pytest.param(LAPTOP, "dark", CONTRAST, id="dark", marks=pytest.mark.slow),
        pytest.param(PHONE, "light", LAYOUT, id="phone", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_no_violation(
    browser: webdriver.Chrome,
    built: Path,
    size: tuple[int, int],
    scheme: str,
    rules: dict[str, Any],
) -> None:
    resize(browser, size, scheme)
    for page in pages(built):
        browser.get(page.as_uri())
        open_everything(browser)
        browser.execute_script(AXE)
        result: dict[str, Any] = browser.execute_async_script(
            "axe.run(document, arguments[0]).then(arguments[1]);", rules
        )
        assert result["passes"], "axe has looked at nothing"
        found = [
            (violation["id"], [node["html"][:120] for node in violation["nodes"][:3]])
            for violation in result["violations"]
        ]
        assert found == [], page.name


def workflow_page(built: Path) -> Path:
    return built / "two-layer-net.html"


def lit(browser: webdriver.Chrome) -> list[str]:
    return [
        e.get_attribute("id") or "" for e in browser.find_elements(By.CSS_SELECTOR, ".cell.lit")
    ]


def test_twins_light_up_under_the_pointer(browser: webdriver.Chrome, built: Path) -> None:
    resize(browser, LAPTOP)
    browser.get(workflow_page(built).as_uri())
    assert lit(browser) == []
    cell = browser.find_element(By.ID, "jax-step")
    ActionChains(browser).scroll_to_element(cell).move_to_element(cell).perform()
    assert lit(browser) == ["torch-step", "jax-step"]
    # A call of another function lights that function's twins.
    call = browser.find_element(By.CSS_SELECTOR, "#torch-step pre a[data-twin=loss]")
    ActionChains(browser).move_to_element(call).perform()
    assert lit(browser) == ["torch-loss", "jax-loss"]
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h2")).perform()
    assert lit(browser) == []


def test_twins_light_up_by_keyboard(browser: webdriver.Chrome, built: Path) -> None:
    resize(browser, LAPTOP)
    browser.get(workflow_page(built).as_uri())
    link = browser.find_element(By.CSS_SELECTOR, "#torch-train .twin")
    browser.execute_script("arguments[0].focus()", link)
    assert lit(browser) == ["torch-train", "jax-train"]
    link.send_keys(Keys.ENTER)
    assert browser.current_url.endswith("#jax-train")


def test_the_first_tab_skips_to_the_content(browser: webdriver.Chrome, built: Path) -> None:
    browser.get((built / "index.html").as_uri())
    browser.switch_to.active_element.send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.text == "Skip to the content"
    first.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "content"


def test_the_menu_opens_and_closes_by_keyboard(browser: webdriver.Chrome, built: Path) -> None:
    resize(browser, LAPTOP)
    browser.get((built / "index.html").as_uri())
    menu = browser.find_element(By.CSS_SELECTOR, ".menu")
    summary = menu.find_element(By.TAG_NAME, "summary")
    summary.send_keys(Keys.ENTER)
    assert [a.text for a in menu.find_elements(By.TAG_NAME, "a")] == [
        workflow.title for workflow in catalogue.WORKFLOWS.values()
    ]
    summary.send_keys(Keys.ESCAPE)
    assert menu.get_attribute("open") is None
    assert browser.switch_to.active_element == summary


def test_definitions_stand_side_by_side_where_there_is_room(
    browser: webdriver.Chrome, built: Path
) -> None:
    def corners() -> list[tuple[int, int]]:
        cells = (browser.find_element(By.ID, f"{side}-step") for side in ("torch", "jax"))
        return [(cell.rect["x"], cell.rect["y"]) for cell in cells]

    resize(browser, LAPTOP)
    browser.get(workflow_page(built).as_uri())
    (left, top), (right, other_top) = corners()
    assert top == other_top
    assert left < right
    resize(browser, PHONE)
    (left, top), (right, other_top) = corners()
    assert left == right
    assert top < other_top


def test_formulas_are_drawn_as_mathematics(browser: webdriver.Chrome, built: Path) -> None:
    browser.get(workflow_page(built).as_uri())
    heights = browser.execute_script(
        "return [...document.querySelectorAll('.equations math')].map(m => m.offsetHeight ??"
        " m.getBoundingClientRect().height)"
    )
    assert heights
    assert min(h if h is not None else 1 for h in heights) > 0


def test_screenshot_for_the_readme(browser: webdriver.Chrome, built: Path, tmp_path: Path) -> None:
    """The picture in the README; ``JAXDNN_SCREENSHOT=.github/study.png`` renews it."""
    resize(browser, LAPTOP)
    browser.get(f"{workflow_page(built).as_uri()}#step")
    cell = browser.find_element(By.ID, "jax-step")
    ActionChains(browser).move_to_element(cell).perform()
    target = Path(os.environ.get("JAXDNN_SCREENSHOT", tmp_path / "study.png"))
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    assert picture.size == LAPTOP
    picture.convert("RGB").quantize(128).save(target, optimize=True)
    assert 20_000 < target.stat().st_size < 200_000
