"""The files of the site: every number from its JSON, every link to somewhere, nothing too large."""

import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jaxdnn.errors import ConfigError
from jaxdnn.study import numbers, site


class Page(HTMLParser):
    """What the tests read of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.numbers: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self._open: tuple[str, str] | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        elif "href" in given or "src" in given:
            self.sources.append(given.get("href", given.get("src", "")))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "data":
            self._open = given["data-from"], given["value"]

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.numbers.append((*self._open, data))
            self._open = None


def test_every_number_is_in_its_json(built: Path) -> None:
    counted = 0
    for path in built.glob("*.html"):
        page, source = Page(path), built / "data" / f"{path.stem}.json"
        document = json.loads(source.read_text(encoding="utf-8")) if source.exists() else None
        for pointer, value, shown in page.numbers:
            assert repr(numbers.resolve(document, pointer)) == value, f"{path.name} {pointer}"
            if value not in ("True", "False"):
                exact = float(value)
                assert float(shown) == pytest.approx(exact, rel=0.05, abs=0.01), path.name
        counted += len(page.numbers)
    assert counted > 300


def test_every_link_leads_somewhere(built: Path, request: pytest.FixtureRequest) -> None:
    pages = {path.name: Page(path) for path in built.glob("*.html")}
    for name, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), f"{name}: an id is not unique"
        for link in page.links:
            target, _, anchor = link.partition("#")
            if target.startswith("https://"):
                continue
            target = target or name
            if target.removesuffix(".html") in site.PAGES and target not in pages:
                continue  # a page that this build leaves out
            assert (built / target).is_file(), f"{name}: {link}"
            assert not anchor or anchor in pages[target].ids, f"{name}: {link}"
        for source in page.sources:
            assert source.startswith("data:") or (built / source).is_file()


def test_headings_follow_each_other(built: Path) -> None:
    for path in built.glob("*.html"):
        levels = Page(path).headings
        assert levels.count(1) == 1
        assert levels[0] == 1
        jumps = [b - a for a, b in itertools.pairwise(levels)]
        assert max(jumps, default=0) <= 1, path.name


def test_pages_are_small(built: Path) -> None:
    for path in built.glob("*.html"):
        assert path.stat().st_size < 1_000_000, path.name


def test_pages_name_no_folder_of_this_machine(built: Path) -> None:
    for path in built.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert str(Path(site.__file__).parents[2]) not in text, path
        assert sys.prefix not in text, path


def test_a_page_says_which_numbers_are_recorded(built: Path) -> None:
    page = (built / "mnist-dnn.html").read_text(encoding="utf-8")
    data = json.loads((built / "data" / "mnist-dnn.json").read_text(encoding="utf-8"))
    assert data["run"]["origin"] == "recorded"
    assert f"recorded on {data['recorded']['date']} with jax" in page
    page = (built / "two-layer-net.html").read_text(encoding="utf-8")
    assert "computed when this page was built" in page


def test_a_site_is_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    out = tmp_path / "study"
    site.build(out, only=["glossary"])
    (out / "glossary.html").write_text("old", encoding="utf-8")
    site.build(out, only=["index", "glossary"])
    assert (out / "index.html").is_file()
    assert (out / "glossary.html").read_text(encoding="utf-8") != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]

    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds files that no earlier study wrote"):
        site.build(own, only=["glossary"])
    assert [path.name for path in own.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("place", ["file", "missing/folder"])
def test_impossible_places_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^--out .*\.$"):
        site.check_folder(tmp_path / place)


def test_a_failed_build_leaves_the_old_site(tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "study"
    site.build(out, only=["glossary"])
    before = (out / "glossary.html").read_bytes()
    monkeypatch.setattr(site.pages, "index", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        site.build(out, only=["glossary", "index"])
    assert (out / "glossary.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


@pytest.mark.slow
def test_without_torch_the_recorded_numbers_are_shown(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    program = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else found(name, *rest)
sys.modules["torch"] = None
from pathlib import Path
from jaxdnn.study import site
built = site.build(Path("study"), only=("index", "two-layer-net", "mnist-dnn"), workers=1)
assert not built.torch
"""
    subprocess.run([sys.executable, "-c", program], env=clean_environment, cwd=tmp_path, check=True)
    data = json.loads((tmp_path / "study/data/two-layer-net.json").read_text(encoding="utf-8"))
    assert data["run"]["origin"] == "computed"
    assert data["losses"]["origin"] == data["figures"]["torch_origin"] == "recorded"
    assert data["losses"]["rows"]
