"""Both sides in float64 throughout, and torch with each operation rounded at random."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from jaxdnn.parity import widening
from reference_torch.parity.rounding import FLOAT32, Rounding
from reference_torch.parity.widening import Widening

NARROW = jnp.float32


def scanned(x: Any, dtype: Any) -> Any:
    def body(total: Any, row: Any) -> Any:
        total = total + jnp.sum(jnp.exp(row.astype(dtype)))
        return total, total * row.astype(dtype)

    return jax.lax.scan(body, jnp.zeros((), dtype), x)


def looped(x: Any, dtype: Any) -> Any:
    return jax.lax.while_loop(
        lambda carry: carry[0] < 3,
        lambda carry: (carry[0] + 1, jnp.sin(carry[1]).astype(dtype)),
        (0, x.astype(dtype)),
    )[1]


def chosen(x: Any, dtype: Any) -> Any:
    return jax.lax.cond(x[0, 0] > 0, jnp.exp, jnp.cos, x.astype(dtype))


@jax.custom_vjp
def doubled(x: Any) -> Any:
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))


def custom(x: Any, dtype: Any) -> Any:
    return jax.grad(lambda x: jnp.sum(doubled(jnp.sin(x.astype(dtype)))).astype(x.dtype))(x)


def attention(x: Any, dtype: Any) -> Any:
    """As `jax.nn.dot_product_attention`, whose softmax is float32."""
    scores = (x @ x.T).astype(dtype)
    return jax.nn.softmax(scores).astype(x.dtype) @ x


def rounded_by_hand(x: Any, dtype: Any) -> Any:
    # float64's own precision where nothing is to be narrowed.
    bits = (8, 23) if dtype == NARROW else (11, 52)
    return jax.lax.reduce_precision(x, *bits)


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "cast": lambda x, dtype: jnp.exp(x.astype(dtype)),
    "nested": lambda x, dtype: jax.jit(jax.jit(lambda x: jnp.log(jnp.abs(x.astype(dtype)))))(x),
    "gradient": lambda x, dtype: jax.grad(lambda x: jnp.sum(x.astype(dtype) ** 3).astype(x.dtype))(
        x
    ),
    "rematerialised": lambda x, dtype: jax.checkpoint(lambda x: jnp.tanh(x.astype(dtype)))(x),
    "custom derivative": custom,
    "scan": scanned,
    "while": looped,
    "cond": chosen,
    "scatter": lambda x, dtype: (
        jnp.asarray(x, dtype).at[jnp.array([0, 0, 1])].add(x[:3].astype(dtype))
    ),
    "product": lambda x, dtype: jnp.matmul(x, x.T, preferred_element_type=dtype),
    "attention": attention,
    "precision": rounded_by_hand,
    "ints": lambda x, dtype: jnp.floor(x).astype(int).astype(dtype) / 3,
    "numbers": lambda x, dtype: (x.astype(dtype) * 0.1 + 1e-5) / 3.0,
    "sort": lambda x, dtype: jnp.sort(x.astype(dtype), axis=0),
    "pooled": lambda x, dtype: jax.lax.reduce_window(
        x.astype(dtype), jnp.zeros((), dtype), jnp.logaddexp, (2, 2), (1, 1), "VALID"
    ),
    "reduced": lambda x, dtype: jax.lax.reduce(
        x.astype(dtype), jnp.zeros((), dtype), lambda a, b: a + b * b, (1,)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_widened_function_is_the_one_that_never_narrowed(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(4, 5))
    with jax.enable_x64(True):
        narrow = jax.jit(lambda x: FUNCTIONS[name](x, NARROW))
        wide = FUNCTIONS[name](x, jnp.float64)
        widened = jax.jit(widening.widened(narrow))(x)
        for ours, theirs, given in zip(
            *map(jax.tree.leaves, (widened, wide, narrow(x))), strict=True
        ):
            assert ours.dtype == jnp.float64
            np.testing.assert_allclose(ours, theirs, 1e-14, 1e-15)
            if name != "ints":
                assert np.max(np.abs(given - theirs)) > 1e-9
        program = jax.make_jaxpr(narrow)(x)
    assert widening.narrows(program)
    assert widening.narrowings(program) or name == "ints"


def test_a_layer_of_a_library_is_widened() -> None:
    """nnx's attention takes its softmax in float32, whatever its type."""
    with jax.enable_x64(True):
        layer = nnx.MultiHeadAttention(
            2, 8, decode=False, rngs=nnx.Rngs(0), dtype=jnp.float64, param_dtype=jnp.float64
        )
        x = np.random.default_rng(0).normal(size=(1, 3, 8))
        exact = widening.widened(layer)(x)
        q, k, v = (getattr(layer, n)(x).transpose(0, 2, 1, 3) for n in ("query", "key", "value"))
        weights = jax.nn.softmax(q @ k.swapaxes(2, 3) / 2)
        expected = layer.out((weights @ v).transpose(0, 2, 1, 3))
        np.testing.assert_allclose(exact, expected, 1e-14, 1e-15)


def test_where_a_program_narrows_is_said() -> None:
    with jax.enable_x64(True):
        program = jax.make_jaxpr(lambda x: x.astype(jnp.bfloat16) + 1)(jnp.ones(2))
        [found] = widening.narrowings(program, below=32)
        assert found.dtype == "bfloat16"
        assert "test_widening.py" in found.line
        assert not widening.narrowings(jax.make_jaxpr(jnp.sin)(jnp.ones(2)))
        assert not widening.narrows(jax.make_jaxpr(jnp.sin)(jnp.ones(2)))
        table = np.linspace(0, 1, 7, dtype=np.float32)
        holding = jax.make_jaxpr(lambda x: x * table)(jnp.ones(7))
        assert widening.narrows(holding)
        [constant] = widening.rounded_constants(holding)
        assert constant.name == "float32 constant of shape (7,)"
        exact = jax.make_jaxpr(lambda x: x @ np.eye(7, dtype=np.float32))(jnp.ones(7))
        assert not widening.rounded_constants(exact)


def test_what_float32_scalars_change_is_computed() -> None:
    """The bias correction of optax.adam, whose power and difference are float32."""
    optimizer = optax.adam(1e-3)
    params = {"w": np.ones(3, np.float32)}
    grads = {"w": np.array([1, -2, 3], np.float32)}
    kept = widening.scalars_kept(optimizer.update, grads, optimizer.init(params), params)
    beta, power = np.float32(0.999), np.float32(0.999) ** np.float32(1)
    expected = np.sqrt((1 - float(power)) / (1 - 0.999)) - 1
    with jax.enable_x64(True):
        wide = {"w": np.asarray(grads["w"], float)}, {"w": np.ones(3)}
        state = optimizer.init(wide[1])
        narrow_count = jax.tree.map(
            lambda leaf: leaf.astype(np.int32) if leaf.dtype == np.int64 else leaf, state
        )
        ours: Any = kept(wide[0], narrow_count, wide[1])[0]
        exact: Any = optimizer.update(wide[0], state, wide[1])[0]
    changed = np.asarray(ours["w"]) / np.asarray(exact["w"]) - 1
    np.testing.assert_allclose(changed, expected, rtol=0.05)
    assert abs(expected) > 1e-6
    assert beta == power


class Table(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.eye = torch.eye(3)


TORCH: dict[str, Callable[[torch.Tensor, torch.dtype], torch.Tensor]] = {
    "cast": lambda x, dtype: x.to(dtype).exp(),
    "float": lambda x, dtype: (x.float() if dtype == torch.float32 else x).sin().to(x.dtype),
    "factory": lambda x, dtype: x * torch.full((3,), 0.1, dtype=dtype),
    "softmax": lambda x, dtype: x.softmax(-1, dtype=dtype),
    "constant": lambda x, dtype: (x @ Table().eye.to(dtype)).tanh(),
    "sum": lambda x, dtype: x.sum(0, dtype=dtype),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_is_widened_with_its_gradient(name: str) -> None:
    def value_and_grad(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3).requires_grad_()
        y = TORCH[name](x, dtype)
        (y.double() ** 2).sum().backward()
        assert x.grad is not None
        return y.detach(), x.grad

    with Widening() as widened:
        ours = value_and_grad(torch.float32)
    expected = value_and_grad(torch.float64)
    assert widened.used
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-15)


def test_torch_in_float64_is_left_alone() -> None:
    model = torch.nn.Linear(3, 2).double()
    optimizer = torch.optim.AdamW(model.parameters())
    with Widening() as widening:
        model(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
        optimizer.step()
    assert not widening.used


SUMS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "product": (lambda x: x @ x.T, 400.0),
    "sum": (lambda x: x.sum(1), 400.0),
    "mean": (lambda x: x.mean(1), 400.0),
    "loss": (lambda x: torch.nn.functional.mse_loss(x, -x), 20_000.0),
    "elementwise": (lambda x: x.exp(), 1.0),
    "convolution": (lambda x: torch.nn.functional.conv1d(x[None], x[:, :50, None]), 50.0),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_rounded_by_the_root_of_its_number_of_terms(name: str) -> None:
    function, terms = SUMS[name]
    x = torch.rand((50, 400), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 2.0**-24 * terms**0.5 * function(x).abs()
    errors = []
    for seed in range(40):
        with Rounding(seed, FLOAT32):
            errors.append(function(x))
    spread = (torch.stack(errors) - function(x)) / expected
    assert spread.std().item() == pytest.approx(1, abs=0.3)


def test_moving_numbers_rounds_nothing() -> None:
    x = torch.rand((4, 5), dtype=torch.float64)
    with Rounding(0, FLOAT32):
        moved = x.T.reshape(-1).flip(0)[None].expand(2, -1).clone()
    torch.testing.assert_close(moved, x.T.reshape(-1).flip(0)[None].expand(2, -1), rtol=0, atol=0)
