"""A workflow in one call: the request that its arguments make, and whether it is the document's."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue, execute
from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import NoInputs, Request, Silent


@dataclass(frozen=True)
class Config:
    epochs: int = 3
    lr: float = 0.5


@dataclass(frozen=True)
class Inputs:
    file: str = "a.csv"

    def load(self, seed: int, progress: Any = None) -> tuple[str, str]:
        return f"{self.file} {seed}", f"from {self.file}"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the report of every workflow is asked; it reads a file, and has two epochs to tell."""
    asked: list[Request] = []

    def run(request: Request) -> Result:
        asked.append(request)
        request.progress.on_start(epochs=2, samples=10)
        request.progress.on_epochs(1, 0.123456, None)
        request.progress.on_epochs(2, 2.0, 0.0)
        return Result("a test", request.seed, request.config, {})

    report = SimpleNamespace(SEED=7, Config=Config, Inputs=Inputs, run=run)
    monkeypatch.setattr(catalogue, "report", lambda _: report)
    monkeypatch.setattr(execute, "is_watched", lambda: False)
    return asked


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Request(7, Config(), "a.csv 7", "from a.csv")),
        ({"seed": 0}, Request(0, Config(), "a.csv 0", "from a.csv")),
        ({"lr": 0.1, "file": "b.csv"}, Request(7, Config(lr=0.1), "b.csv 7", "from b.csv")),
        ({"torch_seed": 5}, Request(7, Config(), "a.csv 7", "from a.csv", torch_seed=5)),
    ],
)
def test_plain_arguments_make_a_request(
    requests: list[Request], settings: dict[str, Any], expected: Request
) -> None:
    execute.run("tabular-dnn", **settings)
    [request] = requests
    assert isinstance(request.progress, Silent)
    assert request._replace(progress=expected.progress) == expected


def test_settings_that_there_are_not_are_named(requests: list[Request]) -> None:
    with pytest.raises(ConfigError, match=r"tabular-dnn has no setting rate, files\."):
        execute.run("tabular-dnn", rate=0.1, lr=0.1, files="b.csv")
    assert requests == []


@pytest.mark.parametrize(
    ("inputs", "seed", "config", "documented"),
    [
        (NoInputs, 7, Config(), True),
        (NoInputs, 8, Config(), False),
        (NoInputs, 7, Config(lr=0.1), False),
        (Inputs, 8, Config(), True),  # the document's data come from a file, whatever the seed
        (Inputs, 8, Config(lr=0.1), False),
    ],
)
def test_figures_of_the_documents_settings_should_come_out(
    requests: list[Request], inputs: Any, seed: int, config: Config, documented: bool
) -> None:
    catalogue.report("autograd").Inputs = inputs
    assert execute.execute("autograd", Request(seed, config)).as_documented == documented


@pytest.mark.parametrize(
    ("watched", "progress", "shown"),
    [(True, True, True), (False, True, False), (True, False, False)],
)
def test_bar_is_moved_where_somebody_looks(
    requests: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    watched: bool,
    progress: bool,
    shown: bool,
) -> None:
    told: list[Any] = []

    @contextlib.contextmanager
    def bar(total: int | None, description: str) -> Iterator[Callable[[int, str], None]]:
        told.append((total, description))
        yield lambda done, text: told.append((done, text))

    monkeypatch.setattr(execute, "progress_bar", bar)
    monkeypatch.setattr(execute, "is_watched", lambda: watched)
    execute.run("tabular-dnn", epochs=2, progress=progress)
    moves = [(2, "tabular-dnn"), (1, "loss 0.1235"), (2, "loss 2.0000  test accuracy 0.00%")]
    assert told == (moves if shown else [])
    assert len(requests) == 1
