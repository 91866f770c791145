"""The site: gather the measurements, lay the pages out, write them into a folder.

A site is a folder of HTML files that need nothing but each other. It is written beside its place
and renamed, so that a reader never sees half of it.
"""

import datetime
import functools
import importlib.resources
import json
import multiprocessing
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

import jaxdnn
from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue
from jaxdnn.runtime import startup
from jaxdnn.study import examples, gather, pages, recording

__all__ = ["MEASURED", "PAGES", "Built", "build", "check_folder"]

PAGES = ("index", "concepts", "mistakes", "parity", "glossary", *catalogue.WORKFLOWS)
"""The pages, by the names of their files."""

MEASURED = ("concepts", "mistakes", *catalogue.WORKFLOWS)
"""The pages whose numbers and outputs are computed when they are built."""

_MARK = "study.json"
"""A folder that contains this file was made by `build`, and may be replaced by it."""


class Built(NamedTuple):
    """What was built.

    Attributes:
      pages: the files.
      seconds: how long it took.
      torch: whether torch was there; otherwise its numbers are the recorded ones.
    """

    pages: tuple[Path, ...]
    seconds: float
    torch: bool


def check_folder(out: Path) -> None:
    """Raise unless a site may be written there.

    Args:
      out: a new folder, an empty one, or an earlier site.

    Raises:
      ConfigError: it is a file, or a folder with other contents, or cannot be written.

    Example:
      >>> check_folder(Path(jaxdnn.__file__))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxdnn.errors.ConfigError: --out ...__init__.py is a file; name a folder.
    """
    try:
        if out.exists() and not out.is_dir():
            raise ConfigError(f"--out {out} is a file; name a folder.")
        if out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file():
            raise ConfigError(
                f"--out {out} holds files that no earlier study wrote; name an empty or a new "
                "folder."
            )
        parent = out.resolve().parent
        if not parent.is_dir():
            raise ConfigError(f"--out {out}: the folder {parent} does not exist; create it first.")
        probe = _aside(out)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written ({error.strerror or error}); choose another place."
        ) from error


def build(
    out: Path,
    *,
    only: Collection[str] = PAGES,
    workers: int = 2,
    on_part: Callable[[str], object] = lambda _: None,
) -> Built:
    """Build the site.

    Args:
      out: where; see `check_folder`.
      only: the pages to write; the others' links lead nowhere then.
      workers: processes that run workflows at the same time; with 1, this process runs them.
      on_part: called with a description of each part that is done.

    Returns:
      The files, and how long it took.

    Raises:
      ConfigError: ``out`` cannot be replaced.
      OSError: the disk is full, or the like.
    """
    began = time.perf_counter()
    check_folder(out)
    measured = _measure(only, workers, on_part)
    templates = _templates()
    with _replaced(out) as folder:
        (folder / "data").mkdir()
        for name in only:
            page = templates.get_template(_template(name)).render(
                page=name, data=f"data/{name}.json" if name in measured else None,
                **_contents(name, measured.get(name, {})),
            )  # fmt: skip
            (folder / f"{name}.html").write_text(page, encoding="utf-8")
        for name, contents in measured.items():
            written = json.dumps(contents, ensure_ascii=False, allow_nan=False, indent=1)
            (folder / "data" / f"{name}.json").write_text(written + "\n", encoding="utf-8")
        for asset in ("study.css", "study.js"):
            source = importlib.resources.files("jaxdnn.study") / "assets" / asset
            (folder / asset).write_bytes(source.read_bytes())
        about = {"made by": f"jaxdnn study {jaxdnn.__version__}", "pages": list(only)}
        (folder / _MARK).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    files = tuple(out / f"{name}.html" for name in only)
    return Built(files, time.perf_counter() - began, gather.has_torch())


def _template(name: str) -> str:
    return "workflow.html" if name in catalogue.WORKFLOWS else f"{name}.html"


def _contents(name: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    if name in catalogue.WORKFLOWS:
        return pages.workflow(name, measured)
    makers: Mapping[str, Callable[[], dict[str, Any]]] = {
        "index": pages.index,
        "glossary": pages.glossary,
        "concepts": functools.partial(pages.concepts, measured),
        "mistakes": functools.partial(pages.mistakes, measured),
        "parity": functools.partial(pages.parity, measured),
    }
    return makers[name]()


def _measure(
    only: Collection[str], workers: int, on_part: Callable[[str], object]
) -> dict[str, dict[str, Any]]:
    """The JSON of each page that has numbers, by the page's name."""
    found: dict[str, dict[str, Any]] = {}
    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        name: _EXAMPLES.get(name, functools.partial(workflow, name))
        for name in MEASURED
        if name in only
    }
    if workers == 1:
        for name, task in tasks.items():
            found[name] = task()
            on_part(name)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, startup.end_with, (os.getpid(),)) as pool:
            futures = {name: pool.submit(task) for name, task in tasks.items()}
            for name, future in futures.items():
                found[name] = future.result()
                on_part(name)
    if "parity" in only:
        recorded = recording.load()
        found["parity"] = {"parity": recorded["parity"], "recorded": _recorded()}
    return found


def workflow(workflow_id: str) -> dict[str, Any]:
    """Everything that the page of a workflow shows, as JSON types.

    Args:
      workflow_id: a key of `jaxdnn.runs.catalogue.WORKFLOWS`.

    Returns:
      ``run``, ``figures``, ``losses``, ``parity`` and ``parameters``; each says by ``origin``
      whether it was ``"computed"`` now or is ``"recorded"``. ``recorded`` says when and with what.
    """
    recorded, torch = recording.load(), gather.has_torch()
    long = workflow_id in catalogue.LONG
    result = recorded["runs"][workflow_id] if long else gather.run(workflow_id)
    live = torch and not long
    rows = gather.rows_of(workflow_id)
    theirs = (gather.torch_figures if live else recorded["torch_figures"].get)(workflow_id)
    losses = {row: gather.losses(row) if live else recorded["losses"][row] for row in rows}
    parity = [row for row in recorded["parity"]["rows"] if row["workflow"] == workflow_id]
    return {
        "workflow": workflow_id,
        "run": {"origin": _origin(live=not long), "result": result},
        "figures": {
            "torch_origin": _origin(live=live),
            "rows": gather.compare(result["figures"], theirs),
        },
        "losses": {"origin": _origin(live=live), "rows": losses},
        "parity": {"origin": "recorded", "rows": parity},
        "parameters": gather.parameters(workflow_id),
        "recorded": _recorded(),
        "computed": _computed(),
    }


def _origin(*, live: bool) -> str:
    return "computed" if live else "recorded"


def _recorded() -> dict[str, Any]:
    recorded = recording.load()
    return {name: recorded[name] for name in ("date", "machine", "versions")}


def _computed() -> dict[str, Any]:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": today, "versions": recording.versions()}


def _concepts() -> dict[str, Any]:
    """What the programs of the concept map print."""
    pairs, ways = examples.pairs(), examples.gradients()
    ours = examples.execute([p for c in pairs for p in (c.jax, c.mistake)] + ways)
    torch = gather.has_torch()
    if torch:
        printed = examples.execute([concept.torch for concept in pairs])
        theirs = {c.torch.name: printed[str(c.torch.path)] for c in pairs}
    else:
        theirs = dict(recording.load()["torch_examples"])
    return {
        "torch_origin": _origin(live=torch),
        "concepts": {
            concept.jax.name: {
                "torch": theirs[concept.torch.name],
                "jax": ours[str(concept.jax.path)],
                "mistake": ours[str(concept.mistake.path)],
            }
            for concept in pairs
        },
        "gradients": {way.name: ours[str(way.path)] for way in ways},
        "recorded": _recorded(),
        "computed": _computed(),
    }


def _mistakes() -> dict[str, Any]:
    """What the mistakes print."""
    programs = examples.mistakes()
    printed = examples.execute(programs)
    found = {program.name: printed[str(program.path)] for program in programs}
    return {"mistakes": found, "computed": _computed()}


_EXAMPLES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "concepts": _concepts,
    "mistakes": _mistakes,
}


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxdnn", "study/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "version": jaxdnn.__version__,
        "all_workflows": list(catalogue.WORKFLOWS.values()),
        "built": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "scientific": lambda value: "0" if value == 0 else f"{value:.1e}",
        "times": lambda value: f"{value:.2f}",
        "percent": lambda value: f"{value:.2%}",
    }
    return environment


def _aside(out: Path) -> Path:
    out = out.resolve()
    return out.with_name(f".{out.name}.{secrets.token_hex(4)}")


@contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``out`` once it is complete."""
    folder, old = _aside(out), _aside(out)
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            out.resolve().rename(old)
        folder.rename(out.resolve())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
