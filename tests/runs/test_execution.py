"""Running a compiled program."""

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array

from jaxdnn.runs import execution


def test_compile_and_run_donates_what_it_is_told_to() -> None:
    kept, donated = jnp.arange(4.0), jnp.arange(4.0)
    result, timing = execution.compile_and_run(
        lambda a, b: (a + b, a - b), donated, kept, donate_argnums=0
    )
    assert donated.is_deleted()
    assert not kept.is_deleted()
    assert result[0].tolist() == [0, 2, 4, 6]
    assert timing.compile_seconds > 0
    assert timing.run_seconds > 0


def test_what_is_compiled_ahead_is_traced_once_and_gives_the_same() -> None:
    traced = 0

    def scaled(x: Array, by: float) -> dict[str, Array]:
        nonlocal traced
        traced += 1
        return {"scaled": by * x}

    program = execution.Program(scaled)
    like = jax.ShapeDtypeStruct((3,), jnp.float32)
    assert program.shapes(like, 2.0) == {"scaled": like}
    for _ in range(2):
        program.compile_ahead(like, 2.0)
    assert program(jnp.arange(3.0, dtype=jnp.float32), 4.0)["scaled"].tolist() == [0, 4, 8]
    assert traced == 1


def test_only_waiting_for_the_compiler_counts() -> None:
    program = execution.Program(lambda x: x + 1)
    program.compile_ahead(1.0)
    assert program._compiled is not None
    program._compiled.result()
    assert float(program(1.0)) == 2
    assert program.compile_seconds == 0


def test_what_the_compiler_refuses_is_raised_by_the_call() -> None:
    unknown = jax.ffi.ffi_call("no_such_target", jax.ShapeDtypeStruct((), jnp.float32))
    program = execution.Program(unknown)
    program.compile_ahead(1.0)
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_target"):
        program(1.0)
