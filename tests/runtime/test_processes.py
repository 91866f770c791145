"""One run in several processes: the same run, an end when one dies, and going on."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

from jaxdnn.errors import ConfigError
from jaxdnn.runtime import startup
from jaxdnn.runtime.startup import Processes

# The installed command, with a small data set in the place of MNIST.
SCRIPT = """
import sys
import numpy as np
from jaxdnn import cli
from jaxdnn.data import mnist

rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (131, 28, 28), np.uint8), rng.integers(0, 10, 131, np.uint8)
data = mnist.MNIST(images, labels, images[:50], labels[:50])
mnist.load = lambda *_, **__: (data, "random bytes")
cli.main(sys.argv[1:])
"""
FLAGS = ("run", "mnist-dnn", "--precision", "float64", "--batch-size", "32")


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Leaves no process behind, whatever fails."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def start(folder: Path, *flags: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "XLA_FLAGS": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *FLAGS, *map(str, flags)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def start_all(
    folder: Path, count: int, *flags: object, others_in: Path | None = None
) -> list[subprocess.Popen[str]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    shared = ("--coordinator", address, "--processes", count)
    folders = [folder, *[others_in or folder] * (count - 1)]
    return [start(place, *flags, *shared, "--process", i) for i, place in enumerate(folders)]


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    outputs = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [standard_output for standard_output, _ in outputs]


def compare(expected: Path, actual: Path) -> None:
    runs = [json.loads((path / "run.json").read_text()) for path in (expected, actual)]
    np.testing.assert_allclose(runs[1]["losses"], runs[0]["losses"], rtol=1e-12)
    assert runs[1]["test_accuracy_by_epoch"] == runs[0]["test_accuracy_by_epoch"]
    nets = [safetensors.numpy.load_file(path / "net") for path in (expected, actual)]
    for name, array in nets[0].items():
        assert array.dtype == np.float64
        np.testing.assert_allclose(nets[1][name], array, rtol=1e-12, atol=1e-13)


FILES = ("--json", "run.json", "--checkpoint", "net")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    finish([start(folder, "--epochs", 3, *FILES)])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_a_run_in_several_processes_is_the_run(count: int, alone: Path, tmp_path: Path) -> None:
    outputs = finish(start_all(tmp_path, count, "--epochs", 3, *FILES))
    compare(alone, tmp_path)
    assert "epoch 3/3" in outputs[0]
    # The others say nothing, but for what the transport says.
    assert all("epoch" not in output and "written" not in output for output in outputs[1:])


@pytest.mark.slow
def test_only_the_first_process_needs_a_place_to_write(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "elsewhere").mkdir()
    flags = ("--epochs", 3, "--resume", "saved/state", *FILES)
    finish(start_all(tmp_path, 2, *flags, others_in=tmp_path / "elsewhere"))
    compare(alone, tmp_path)
    assert (tmp_path / "saved/state").exists()
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_dead_process_ends_the_others_and_the_run_goes_on(
    victim: int, alone: Path, tmp_path: Path
) -> None:
    processes = start_all(tmp_path, 2, "--epochs", 100_000, "--resume", "state")
    while not (tmp_path / "state").exists():
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, ended[0].communicate()[1]
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    died = time.monotonic()
    _, errors = processes[1 - victim].communicate(timeout=60)
    assert time.monotonic() - died < 60
    assert processes[1 - victim].returncode != 0
    assert "nother task died" in errors or "Another process of the run is gone" in errors
    processes[victim].communicate()

    # On from where it was, with as many processes as one likes.
    done = len(safetensors.numpy.load_file(tmp_path / "state")[".test_accuracy"])
    assert done >= 1
    epochs = ("--epochs", done + 2)
    finish(start_all(tmp_path, 2, *epochs, "--resume", "state", *FILES))
    straight = tmp_path / "straight"
    straight.mkdir()
    finish([start(straight, *epochs, *FILES)])
    compare(straight, tmp_path)


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        (Processes(coordinator="host:1"), "go together"),
        (Processes(process=0), "go together"),
        (Processes(coordinator="host", processes=2, process=0), "must be HOST:PORT"),
        (Processes(coordinator="host:0", processes=2, process=0), "must be HOST:PORT"),
        (Processes(coordinator="host:99999", processes=2, process=0), "must be HOST:PORT"),
        (Processes(coordinator="no.such.invalid:1", processes=2, process=0), "no host"),
        (
            Processes(coordinator="host:1", processes=0, process=0),
            "--processes must be at least 1",
        ),
        (
            Processes(coordinator="host:1", processes=2, process=2),
            "--process must be from 0 to 1",
        ),
        (
            Processes(coordinator="host:1", processes=2, process=-1),
            "--process must be from 0 to 1",
        ),
        (
            Processes(distributed=True, coordinator="host:1", processes=2, process=1),
            "leave out --coordinator",
        ),
    ],
)
def test_flags_that_contradict_each_other(processes: Processes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        startup.start_processes(processes, startup.Machine())


def test_processes_are_joined_with_our_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead one ends the others within a minute; and where one does not come, we say it first."""
    joined: list[tuple[Any, ...]] = []
    patience: dict[str, int] = {}

    def initialize(*address: Any, **seconds: int) -> None:
        joined.append(address)
        patience.update(seconds)

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(startup, "_joining", threading.Event())
    processes = Processes(coordinator="localhost:1234", processes=2, process=1)
    mesh = startup.start_processes(processes, startup.Machine(compile_cache=False))
    assert joined == [("localhost:1234", 2, 1)]
    assert mesh is not None
    assert startup.many_processes()
    assert patience["heartbeat_timeout_seconds"] <= 30
    assert patience["shutdown_timeout_seconds"] <= 30
    assert patience["initialization_timeout"] > startup._START_SECONDS
