"""Loops that the host drives: the same numbers as a scan, and reports in order."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from jaxdnn.runs.execution import Program
from jaxdnn.runs.host_loop import Loop, run_epochs


def _congruential(x: Any, i: Array, factor: Any) -> tuple[Any, tuple[Any, Array]]:
    x = (factor * x + i) % 101
    return x, (x, i)


@pytest.mark.parametrize("length", [0, 1, 39, 40, 41, 97])
def test_pieces_make_the_scan(length: int) -> None:
    factor = np.float32(7)
    expected = jax.lax.scan(lambda x, i: _congruential(x, i, factor), 3.0, jnp.arange(length))
    seen: list[tuple[int, float]] = []
    state, outputs = Loop(_congruential, length)(
        np.float32(3), factor, report=lambda done, last: seen.append((done, float(last[0])))
    )
    jax.tree.map(np.testing.assert_array_equal, (state, outputs), expected)
    assert len(seen) == min(length, 40)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert [last for _, last in seen] == [outputs[0][done - 1] for done, _ in seen]
    assert not seen or seen[-1][0] == length


@pytest.mark.parametrize("ahead", [False, True])
def test_one_program_serves_every_piece_and_every_call(ahead: bool) -> None:
    traced = 0

    def body(x: Array, i: Array, by: Array) -> tuple[Array, Array]:
        nonlocal traced
        traced += 1
        return x + by, x

    loop = Loop(body, 50)
    if ahead:
        loop.compile_ahead(np.float32(0), np.float32(1))
    for by in (1.0, 2.0):
        assert float(loop(np.float32(0), np.float32(by))[0]) == 50 * by
    assert traced == 1
    assert ahead or loop.program.compile_seconds > 0


@pytest.mark.parametrize("length", [0, 1, 2, 40, 41])
def test_meanwhile_comes_once_before_the_first_report(length: int) -> None:
    calls: list[Any] = []
    Loop(lambda x, i: (x + 1, x), length)(
        np.float32(0),
        report=lambda done, last: calls.append(done),
        meanwhile=lambda: calls.append("meanwhile"),
    )
    assert calls.count("meanwhile") == bool(length)
    assert calls[:1] == ["meanwhile"] * bool(length)


def test_a_program_takes_over_what_it_is_given() -> None:
    kept, given = jnp.arange(4.0), jnp.arange(4.0)
    total = Program(lambda a, b: a + b, donate_argnums=0)(given, kept)
    assert given.is_deleted()
    assert not kept.is_deleted()
    assert total.tolist() == [0, 2, 4, 6]


def test_epochs_are_counted_and_timed() -> None:
    calls: list[Any] = []

    class Recorder:
        def on_start(self, **numbers: int) -> None:
            calls.append(numbers)

        def on_step(self, epoch: int, step: int, loss: float) -> None:
            calls.append((epoch, step, loss))

        def on_epoch(self, epoch: int, test_accuracy: float) -> None:
            raise AssertionError

    (state, losses), timing = run_epochs(
        lambda x, i: (x + 1, jnp.stack([x, 2 * x])),
        np.float32(0),
        epochs=3,
        samples=5,
        progress=Recorder(),
    )
    assert float(state) == 3
    assert losses.tolist() == [[0, 0], [1, 2], [2, 4]]
    assert calls[0] == {"epochs": 3, "samples": 5, "batch_size": 5}
    assert calls[1:] == [(0, 0, 0), (1, 0, 2), (2, 0, 4)]
    assert timing.compile_seconds > 0
    assert timing.run_seconds > 0
