"""The site, built once for all tests, and a headless Chromium to read it with."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from jaxdnn.study import site

PARTS = {
    # A page of each template; the two programs' pages and the workflows that are quickly run.
    "part": ("index", "mistakes", "parity", "glossary", "autograd", "two-layer-net", "mnist-dnn"),
    "whole": site.PAGES,
}


@pytest.fixture(
    scope="session",
    params=["part", pytest.param("whole", marks=pytest.mark.slow)],
)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site; the processes of a parallel run share it."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    out = shared / f"study-{request.param}"
    with FileLock(f"{out}.lock"):
        if not out.exists():
            site.build(out, only=PARTS[request.param])
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Debian's Chromium. A developer's machine may lack it; CI may not."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "chromium and chromedriver are needed: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--hide-scrollbars", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        chrome = webdriver.Chrome(options, Service(driver))
        chrome.set_page_load_timeout(60)
        # A page without the focus, as a headless window's may be, gets no focus events.
        chrome.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        yield chrome
        chrome.quit()
