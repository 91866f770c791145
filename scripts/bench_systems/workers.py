"""Worker processes, one for each system, which take turns; a waiting process uses no processor."""

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

from bench_systems.settings import ROOT, Settings, SkippedError, child_environment

__all__ = ["System", "WorkerError", "serve", "take_turns"]


class System(NamedTuple):
    """A system to measure.

    Attributes:
      name: its name in the table.
      prepare: ``"module:function"`` in this package, with ``function(settings) -> Run``.
      ours: whether the bench fails if the system cannot be measured; otherwise it is skipped.
      devices: the devices on which it can be measured.
    """

    name: str
    prepare: str
    ours: bool = False
    devices: tuple[str, ...] = ("cpu", "gpu")


class WorkerError(Exception):
    """A system of ours failed; the message gives the reason."""


class _OutOfTimeError(SkippedError):
    """A system did not answer before the deadline."""


def serve(prepare: str, settings: Settings) -> None:
    """The main function of a worker: prepare, then answer every turn with one line of JSON.

    The output of libraries is redirected to the standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: Mapping[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    module, _, name = prepare.partition(":")
    try:
        run = getattr(importlib.import_module(f"bench_systems.{module}"), name)(settings)
        answer({})
        for line in sys.stdin:
            answer(run(int(line)))
    except ModuleNotFoundError as error:
        answer({"error": f"{error.name} is not installed"})
    except SkippedError as error:
        answer({"error": str(error)})
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        answer({"error": f"{type(error).__name__}: {text}"})
        raise


class _Worker:
    def __init__(self, system: System, settings: Settings) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        bench = ROOT / "scripts" / "bench.py"
        arguments = ["--worker", system.prepare, "--settings", settings.to_json()]
        self._process = subprocess.Popen(
            [sys.executable, str(bench), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=child_environment(settings),
        )

    def read(self, deadline: float | None) -> dict[str, float]:
        assert self._process.stdout
        if deadline is not None:
            # An answer is one line in one write, so the buffer of stdout is empty before it.
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                self._process.kill()
                raise _OutOfTimeError("no time was left")
        line = self._process.stdout.readline()
        if not line:
            raise SkippedError(
                f"its process ended with {self._process.wait()}: {self._last_words()}"
            )
        content = json.loads(line)
        if "error" in content:
            raise SkippedError(content["error"])
        return content

    def __call__(self, turn: int, deadline: float | None) -> dict[str, float]:
        assert self._process.stdin
        print(turn, file=self._process.stdin, flush=True)
        return self.read(deadline)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def close(self) -> None:
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):  # it may have died
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._errors.close()


def take_turns(
    systems: Sequence[System],
    settings: Settings,
    *,
    repetitions: int,
    on_turn: Callable[[str], object],
    deadline: float | None = None,
) -> tuple[dict[str, list[dict[str, float]]], dict[str, str]]:
    """Measure systems in turn, after a warm-up turn that is not counted.

    Every turn begins with another system, because the first one in a turn may have an advantage.

    Args:
      systems: the systems to measure.
      settings: the settings of the run.
      repetitions: the number of counted turns.
      on_turn: a callback with a system's name at the end of its turn.
      deadline: a time of `time.monotonic`, at which the measurement ends. A system without a
        complete turn is skipped, and the others are cut to the same number of turns.

    Returns:
      The figures of each system's turns, and the reasons why other systems were skipped.

    Raises:
      WorkerError: a system of ours could not be measured.
    """
    skipped: dict[str, str] = {}
    measured: dict[str, list[dict[str, float]]] = {}
    workers: dict[System, _Worker] = {}

    def leave_out(system: System, error: SkippedError) -> None:
        if system.ours and not isinstance(error, _OutOfTimeError):
            raise WorkerError(f"{system.name}: {error}") from error
        skipped[system.name] = str(error)
        workers.pop(system, None)
        measured.pop(system.name, None)

    with ExitStack() as stack:
        for system in systems:
            if settings.device not in system.devices:
                continue
            worker = _Worker(system, settings)
            stack.callback(worker.close)
            try:
                worker.read(deadline)
            except SkippedError as error:
                leave_out(system, error)
            else:
                workers[system] = worker
                measured[system.name] = []
        for turn in range(-1, repetitions):
            order = list(workers)
            first = turn % len(order) if order else 0
            for system in order[first:] + order[:first]:
                try:
                    figures = workers[system](max(turn, 0), deadline)
                except _OutOfTimeError as error:
                    workers.pop(system)
                    if not measured[system.name]:
                        leave_out(system, error)
                    continue
                except SkippedError as error:
                    leave_out(system, error)
                    continue
                if turn >= 0:
                    measured[system.name].append(figures)
                on_turn(system.name)
    turns = min(map(len, measured.values()), default=0)
    return {name: figures[:turns] for name, figures in measured.items()}, skipped
