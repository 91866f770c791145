"""Mistakes in embeddings and tied weights."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jaxdnn import losses
from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.ports import linear, named, numbers

_TOKENS, _WIDTH, _LENGTH = 7, 4, 3


class _Embedded(nn.Module):
    """Vectors of the tokens, a function of them and of the tokens, and a layer."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_TOKENS, _WIDTH)
        self.out, self.function = nn.Linear(_WIDTH, 1), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.function(self.embedding(x), x)))


def embedded(
    torch_function: Callable[..., torch.Tensor], function: Callable[..., jax.Array]
) -> Case:
    """Tokens of which 0 is padding."""
    return named(
        lambda: _Embedded(torch_function), _reading(function), _tokens(), numbers(8, 8, 1, seed=1)
    )


def _tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, _TOKENS, shape or (8, 8, _LENGTH))


def _reading(
    function: Callable[..., jax.Array], at: Callable[[jax.Array], jax.Array] = lambda x: x
) -> Callable[..., Any]:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        return linear(params, "out", jnp.tanh(function(params["embedding.weight"][at(x)], x)))

    return apply


def _mean_without_padding(vectors: Any, x: Any) -> Any:
    real = (x != 0)[..., None]
    return (vectors * real).sum(1) / (real.sum(1) + 1)


class _Positioned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.place = nn.Embedding(_TOKENS, _WIDTH), nn.Embedding(5, _WIDTH)
        self.out = nn.Linear(_WIDTH, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        vectors = self.embedding(x) + self.place(torch.arange(x.shape[1]))
        return self.out(torch.tanh(vectors).sum(1))


def _positioned(params: Any, x: jax.Array, *, first: int = 0) -> jax.Array:
    places = params["place.weight"][first : first + _LENGTH]
    vectors = params["embedding.weight"][x] + places
    return linear(params, "out", jnp.tanh(vectors).sum(1))


def positioned() -> Case:
    """A vector for each place too."""
    return named(_Positioned, _positioned, _tokens(), numbers(8, 8, 1, seed=1))


class _Tied(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, _WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(torch.tanh(self.embedding(x)), self.embedding.weight)


def tied_head(count: int = _TOKENS) -> Case:
    """The next token's logits are products with the tokens' own vectors."""
    x = _tokens(8, 8) % count
    return named(
        lambda: _Tied(count),
        lambda params, x: _tied(params["embedding.weight"], params["embedding.weight"].T, x),
        x,
        np.roll(x, 1, 1),
        torch_loss=nn.CrossEntropyLoss(),
        loss=losses.cross_entropy,
    )


def _tied(table: jax.Array, head: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tanh(table[x]) @ head


_SUM = partial(embedded, lambda vectors, x: vectors.sum(1), lambda vectors, x: vectors.sum(1))
_SCALED = partial(
    embedded,
    lambda vectors, x: 2 * vectors.sum(1),
    lambda vectors, x: _WIDTH**0.5 * vectors.sum(1),
)


# fmt: off

EMBEDDING = of_kind("embedding", (
    row("embedding-unscaled", "0 output", None, _SCALED,
        apply=_reading(lambda vectors, x: vectors.sum(1))),
    row("embedding-scaled-by-width", "0 output", None, _SCALED,
        apply=_reading(lambda vectors, x: _WIDTH * vectors.sum(1))),
    row("embedding-mean-for-sum", "0 output", None, _SUM,
        apply=_reading(lambda vectors, x: vectors.mean(1))),
    row("embedding-padding-counted", "0 output", None,
        partial(embedded, _mean_without_padding, _mean_without_padding),
        apply=_reading(lambda vectors, x: (vectors * (x != 0)[..., None]).sum(1) / 4)),
    # The padding's vector is not 0.
    row("embedding-padding-zeroed", "0 output", None, _SUM,
        apply=_reading(lambda vectors, x: (vectors * (x != 0)[..., None]).sum(1))),
    # An index past the end is the last one.
    row("tokens-from-one", "0 output", None, _SUM,
        apply=_reading(lambda vectors, x: vectors.sum(1), lambda x: x + 1)),
    row("places-from-one", "0 output", None, positioned, apply=partial(_positioned, first=1)),
    row("tied-transposed", "0 output", "linear-transposed", partial(tied_head, _WIDTH),
        apply=lambda params, x: _tied(params["embedding.weight"], params["embedding.weight"], x)),
    row("tied-head-constant", "0 grad embedding.weight", None, tied_head,
        apply=lambda params, x: _tied(params["embedding.weight"],
            jax.lax.stop_gradient(params["embedding.weight"].T), x)),
))
