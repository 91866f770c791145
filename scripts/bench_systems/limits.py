"""Measured limits of the machine: rates of matrix products and of memory access."""

import time
from collections.abc import Callable

from bench_systems.settings import Run, Settings

__all__ = ["jax_copy", "jax_product", "torch_copy", "torch_product"]

_TIMES = 5  # the shortest of a few times is the least disturbed


def _shortest(function: Callable[[], object]) -> float:
    function()
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _sides(settings: Settings) -> tuple[int, ...]:
    return (4096, 8192) if settings.device == "gpu" else (1024, 2048)


def _floats(settings: Settings) -> int:
    """The size of the copied array, larger than every cache."""
    return 2**28 if settings.device == "gpu" else 2**26


def jax_product(settings: Settings) -> Run:
    """The highest rate of square float32 matrix products in XLA."""
    import jax
    import jax.numpy as jnp

    product = jax.jit(jnp.matmul)
    matrices = [jax.random.normal(jax.random.key(0), (side, side)) for side in _sides(settings)]

    def rate(matrix: jax.Array) -> float:
        seconds = _shortest(lambda: product(matrix, matrix).block_until_ready())
        return 2 * len(matrix) ** 3 / 1e9 / seconds

    return lambda turn: {"gflop_per_second": max(map(rate, matrices))}


def torch_product(settings: Settings) -> Run:
    """The highest rate of square float32 matrix products in torch."""
    import torch

    from bench_systems.torch_digits import synchronise, with_device

    device = with_device(settings)
    matrices = [torch.randn(side, side, device=device) for side in _sides(settings)]

    def rate(matrix: torch.Tensor) -> float:
        result = torch.empty_like(matrix)

        def product() -> None:
            torch.matmul(matrix, matrix, out=result)
            synchronise(device)

        return 2 * len(matrix) ** 3 / 1e9 / _shortest(product)

    return lambda turn: {"gflop_per_second": max(map(rate, matrices))}


def jax_copy(settings: Settings) -> Run:
    """Bytes read and written per second when XLA adds 1 to a large array in place."""
    import jax
    import jax.numpy as jnp

    add = jax.jit(lambda array: array + 1, donate_argnums=0)
    array = jnp.zeros(_floats(settings))

    def copy() -> None:
        nonlocal array
        array = add(array).block_until_ready()

    return lambda turn: {"gb_per_second": 2 * array.nbytes / 1e9 / _shortest(copy)}


def torch_copy(settings: Settings) -> Run:
    """Bytes read and written per second when torch copies a large array or adds 1 to it."""
    import torch

    from bench_systems.torch_digits import synchronise, with_device

    device = with_device(settings)
    source = torch.zeros(_floats(settings), device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        synchronise(device)

    def add() -> None:
        source.add_(1)
        synchronise(device)

    def run(turn: int) -> dict[str, float]:
        seconds = min(_shortest(copy), _shortest(add))
        return {"gb_per_second": 2 * source.nbytes / 1e9 / seconds}

    return run
