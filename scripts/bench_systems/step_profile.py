"""Where a step of the MNIST DNN spends its time on a CPU, by XLA's own trace of its kernels."""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench_systems import digits
from bench_systems.settings import Run, Settings

__all__ = ["BETWEEN", "KINDS", "by_kind"]

KINDS = ("matrix products", "rest of the loss and its gradient", "update", "batch and copies")
BETWEEN = "between kernels"


class _Kernel(NamedTuple):
    """A kernel that ran, in nanoseconds."""

    name: str
    start: float
    end: float


def by_kind(settings: Settings) -> Run:
    """Microseconds a step: in all, in each of `KINDS`, and between kernels."""
    # Read when JAX first looks for devices.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_enable_xprof_traceme=1"
    import jax

    from jaxdnn.training import train_epoch
    from jaxdnn.workflows import mnist_dnn

    train_data = jax.device_put(tuple(digits.load(settings))[:2])
    config = mnist_dnn.Config()

    def epoch(state: Any, order: Any, config: mnist_dnn.Config, data: Any) -> Any:
        optimizer = mnist_dnn.optimizer(config)
        size = config.batch_size
        return train_epoch(mnist_dnn.loss, optimizer, state, data, order, batch_size=size)

    key = jax.random.key(0)
    state = jax.jit(mnist_dnn.init)(key, config)
    # Without a shorter last batch, which would be one more program.
    steps = settings.samples // config.batch_size
    order = jax.random.permutation(key, steps * config.batch_size)
    arguments = state, order, config, train_data
    program = jax.jit(epoch).lower(*arguments).compile()
    kinds = _kinds(program.as_text() or "")

    def run(turn: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                start = time.perf_counter()
                jax.block_until_ready(program(*arguments))
                wall = time.perf_counter() - start
            kernels = [kernel for kernel in _kernels(Path(folder)) if kernel.name in kinds]
        figures: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        for kernel in kernels:
            figures[kinds[kernel.name]] += (kernel.end - kernel.start) / 1e3 / steps
        microseconds = wall * 1e6 / steps
        return figures | {
            "step": microseconds,
            BETWEEN: microseconds - _covered(kernels) / 1e3 / steps,
        }

    return run


def _kinds(program: str) -> dict[str, str]:
    """The kind of each instruction of a compiled program, by the operation it was made of."""
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


def _kernels(folder: Path) -> Iterator[_Kernel]:
    import jax

    for path in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    yield _Kernel(event.name, event.start_ns, event.end_ns)


def _covered(kernels: list[_Kernel]) -> float:
    """Nanoseconds in which at least one kernel ran."""
    covered = reached = 0.0
    for kernel in sorted(kernels, key=lambda kernel: kernel.start):
        covered += max(0.0, kernel.end - max(kernel.start, reached))
        reached = max(reached, kernel.end)
    return covered
