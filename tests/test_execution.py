"""Running a compiled program."""

import jax.numpy as jnp

from jaxdnn import execution


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
