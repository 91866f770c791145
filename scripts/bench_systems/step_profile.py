"""A profile of the CPU threads in a step of the MNIST DNN, from XLA's trace."""

import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench_systems import digits
from bench_systems.settings import Run, Settings

__all__ = ["BETWEEN", "IDLE", "KINDS", "PRODUCTS", "SHARED", "by_kind"]

KINDS = ("matrix products", "rest of the loss and its gradient", "update", "batch and copies")
PRODUCTS = KINDS[0]
BETWEEN = "between kernels"
SHARED = "parts of kernels that another thread began"
IDLE = "nothing"


class _Span(NamedTuple):
    """An interval of a thread's trace, in nanoseconds."""

    name: str
    start: float
    end: float


def by_kind(settings: Settings) -> Run:
    """Microseconds per step: wall time, and the sum over threads for each kind of work."""
    # Set before JAX initialises its devices, when XLA reads it.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_enable_xprof_traceme=1"
    import jax

    from jaxdnn.training import train_steps
    from jaxdnn.workflows import mnist_dnn

    train_data = jax.device_put(tuple(digits.load(settings))[:2])
    config = mnist_dnn.Config()

    def epoch(state: Any, batches: Any, config: mnist_dnn.Config, data: Any) -> Any:
        return train_steps(mnist_dnn.loss, mnist_dnn.optimizer(config), state, data, batches)

    key = jax.random.key(0)
    state = jax.jit(mnist_dnn.init)(key, config)
    # Without the smaller last batch, which would be a second program.
    steps = settings.samples // config.batch_size
    order = jax.random.permutation(key, steps * config.batch_size)
    arguments = state, order.reshape(steps, config.batch_size), config, train_data
    program = jax.jit(epoch).lower(*arguments).compile()
    kinds = _kinds(program.as_text() or "")

    def run(turn: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                start = time.perf_counter()
                jax.block_until_ready(program(*arguments))
                wall = time.perf_counter() - start
            spans_of_threads = list(_threads(Path(folder)))
        step = wall * 1e6 / steps
        nanoseconds: dict[str, float] = dict.fromkeys((*KINDS, BETWEEN, SHARED), 0.0)
        for spans in spans_of_threads:
            kernels = [span for span in spans if span.name in kinds]
            for kernel in kernels:
                nanoseconds[kinds[kernel.name]] += kernel.end - kernel.start
            begun = [span for span in spans if span.name == _EXECUTOR]
            nanoseconds[BETWEEN] += _covered(kernels + begun) - _covered(kernels)
            # A task longer than a step is a thread that waits for the whole run.
            tasks = [s for s in spans if s.name == _TASK and s.end - s.start < step * 1e3]
            nanoseconds[SHARED] += _covered(kernels + begun + tasks) - _covered(kernels + begun)
        figures = {name: time / 1e3 / steps for name, time in nanoseconds.items()}
        return figures | {"step": step, IDLE: settings.threads * step - sum(figures.values())}

    return run


def _kinds(program: str) -> dict[str, str]:
    """The kind of each instruction of a compiled program, from its JAX operation."""
    found = {}
    for line in program.splitlines():
        name = re.match(r"\s*(?:ROOT )?%?([\w.-]+) = ", line)
        if name is None or re.search(r"\b(while|call|conditional|parameter|tuple)\(", line):
            continue
        operation = re.search(r'op_name="([^"]*)"', line)
        path = operation[1] if operation else ""
        if " dot(" in line or "dot_general" in path:
            kind = 0
        elif "jvp(" in path:
            kind = 1
        elif re.search(r"/(mul|add|sub)$", path):
            kind = 2
        else:
            kind = 3
        found[name[1]] = KINDS[kind]
    return found


_EXECUTOR = "ThunkExecutor::Execute"
_TASK = "task of the thread pool"


def _threads(folder: Path) -> Iterator[list[_Span]]:
    """The spans of each thread in a trace."""
    import jax

    for path in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                yield list(_spans(line.events))


def _spans(events: Iterable[Any]) -> Iterator[_Span]:
    """The spans of a thread; the trace has tasks of the thread pool as a start and a stop event."""
    began = None
    for event in sorted(events, key=lambda event: event.start_ns):
        if event.name == "ThreadpoolListener::StartRegion":
            began = event.start_ns
        elif event.name == "ThreadpoolListener::StopRegion":
            if began is not None:
                yield _Span(_TASK, began, event.start_ns)
            began = None
        else:
            yield _Span(event.name, event.start_ns, event.end_ns)


def _covered(spans: list[_Span]) -> float:
    """The length of the union of spans, in nanoseconds."""
    covered = reached = 0.0
    for span in sorted(spans, key=lambda span: span.start):
        covered += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return covered
