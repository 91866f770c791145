"""Mistakes in attention, and in what tells it positions.

A wrong value shows in the output; torch's biases are 0 at first, so one that is missing shows in
its own gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.ports import linear, named, normalise, numbers

_LENGTH, _HEADS, _WIDTH = 4, 2, 3


class _Attention(nn.Module):
    def __init__(self, *, causal: bool, padded: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(_HEADS * _WIDTH, _HEADS, batch_first=True)
        self.out = nn.Linear(_HEADS * _WIDTH, 1)
        self.causal, self.padded = causal, padded

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ahead = torch.ones(_LENGTH, _LENGTH, dtype=torch.bool).triu(1) if self.causal else None
        padding = (x == 0).all(2) if self.padded else None
        mixed, _ = self.attention(
            x, x, x, key_padding_mask=padding, attn_mask=ahead, need_weights=False
        )
        return self.out(mixed)


def _split(x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:2], _HEADS, _WIDTH).transpose(0, 2, 1, 3)


def _softmax(scores: jax.Array, x: jax.Array) -> jax.Array:
    return jax.nn.softmax(scores, -1)


def _attention(
    params: Any,
    x: jax.Array,
    *,
    weigh: Callable[[jax.Array, jax.Array], jax.Array] = _softmax,
    scale: float = _WIDTH**-0.5,
    split: Callable[[jax.Array], jax.Array] = _split,
    order: tuple[int, int, int] = (0, 1, 2),
    biased: bool = True,
) -> jax.Array:
    """Torch's MultiheadAttention, and a layer."""
    projected = x @ params["attention.in_proj_weight"].T + params["attention.in_proj_bias"]
    each = [split(part) for part in jnp.split(projected, 3, -1)]
    query, key, value = (each[i] for i in order)
    weights = weigh(jnp.einsum("nhqd,nhkd->nhqk", query, key) * scale, x)
    mixed = jnp.einsum("nhqk,nhkd->nhqd", weights, value).transpose(0, 2, 1, 3).reshape(x.shape)
    if not biased:
        params = params | {"attention.out_proj.bias": 0.0}
    return linear(params, "out", linear(params, "attention.out_proj", mixed))


def _masked(scores: jax.Array, x: jax.Array, *, offset: int = 0, low: float = -jnp.inf) -> Any:
    seen = jnp.tri(_LENGTH, _LENGTH, offset, dtype=bool)
    return jax.nn.softmax(jnp.where(seen, scores, low), -1)


def _masked_afterwards(scores: jax.Array, x: jax.Array) -> jax.Array:
    return jax.nn.softmax(scores, -1) * jnp.tri(_LENGTH, dtype=scores.dtype)


def _mask_of_ones(scores: jax.Array, x: jax.Array) -> jax.Array:
    return jax.nn.softmax(scores + jnp.tri(_LENGTH, dtype=scores.dtype), -1)


def _without_padding(scores: jax.Array, x: jax.Array) -> jax.Array:
    padding = (x == 0).all(2)[:, None, None]
    return jax.nn.softmax(jnp.where(padding, -jnp.inf, scores), -1)


def attention(
    weigh: Callable[[jax.Array, jax.Array], jax.Array] = _softmax,
    *,
    causal: bool = False,
    padded: bool = False,
) -> Case:
    """Self-attention, without mask, causal, or beside padding of zeros."""
    shape = 8, 4, _LENGTH, _HEADS * _WIDTH
    x = numbers(*shape)
    if padded:
        x[:, ::2, -1] = 0
    return named(
        lambda: _Attention(causal=causal, padded=padded),
        partial(_attention, weigh=weigh),
        x,
        numbers(*shape[:3], 1, seed=1),
    )


_CAUSAL = partial(attention, _masked, causal=True)


def _angles(width: int) -> np.ndarray:
    return np.arange(_LENGTH)[:, None] / 100.0 ** (np.arange(0, width, 2) / width)


def _alternating(width: int) -> np.ndarray:
    """Sines at even places, cosines at odd ones."""
    angles = _angles(width)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(_LENGTH, width)


def _one_after_the_other(width: int) -> np.ndarray:
    angles = _angles(width)
    return np.concatenate([np.sin(angles), np.cos(angles)], -1)


class _Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(x + torch.as_tensor(_alternating(6), dtype=x.dtype)))


def _with_positions(table: np.ndarray) -> Callable[..., Any]:
    return lambda params, x: linear(params, "out", jnp.tanh(x + table))


def positions() -> Case:
    """Sines and cosines of the position, added."""
    return named(
        _Positions,
        _with_positions(_alternating(6)),
        numbers(8, 4, _LENGTH, 6),
        numbers(8, 4, _LENGTH, 1, seed=1),
    )


class _Rotated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 6), nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.hidden(x)
        angles = torch.as_tensor(_angles(6), dtype=x.dtype)
        first, second = hidden.chunk(2, -1)
        cosine, sine = angles.cos(), angles.sin()
        turned = [first * cosine - second * sine, second * cosine + first * sine]
        return self.out(torch.tanh(torch.cat(turned, -1)))


def _rotated(params: Any, x: jax.Array, *, adjacent: bool = False) -> jax.Array:
    hidden = linear(params, "hidden", x)
    cosine, sine = np.cos(_angles(6)), np.sin(_angles(6))
    if adjacent:
        first, second = hidden[..., ::2], hidden[..., 1::2]
    else:
        first, second = jnp.split(hidden, 2, -1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    joined = jnp.stack(turned, -1).reshape(x.shape) if adjacent else jnp.concatenate(turned, -1)
    return linear(params, "out", jnp.tanh(joined))


def rotated() -> Case:
    """Rotary positions, which turn the first half of the features against the second."""
    return named(_Rotated, _rotated, numbers(8, 4, _LENGTH, 6), numbers(8, 4, _LENGTH, 1, seed=1))


class _PreNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(5, 6), nn.Linear(6, 1)
        self.function = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.hidden(x)
        return self.out(hidden + torch.tanh(self.function(hidden)))


def pre_norm() -> Case:
    """A branch whose inputs are normalised, and not its sum."""
    return named(
        _PreNorm,
        _block(lambda norm, x: x + jnp.tanh(norm(x))),
        numbers(8, 8, 5),
        numbers(8, 8, 1, seed=1),
    )


def _block(function: Callable[[Callable[[jax.Array], jax.Array], jax.Array], jax.Array]) -> Any:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        own = {"scale": params["function.weight"], "bias": params["function.bias"]}
        hidden = linear(params, "hidden", x)
        return linear(params, "out", function(partial(normalise, own), hidden))

    return apply


# fmt: off

ATTENTION = of_kind("attention", (
    row("attention-unscaled", "0 output", None, attention, apply=partial(_attention, scale=1.0)),
    row("attention-scaled-by-all-heads", "0 output", None, attention,
        apply=partial(_attention, scale=(_HEADS * _WIDTH) ** -0.5)),
    row("attention-over-queries", "0 output", None, attention,
        apply=partial(_attention, weigh=lambda scores, x: jax.nn.softmax(scores, -2))),
    row("attention-heads-interleaved", "0 output", None, attention,
        apply=partial(_attention, split=lambda x: x.reshape(*x.shape[:2], _WIDTH, _HEADS)
            .transpose(0, 3, 1, 2))),
    row("attention-heads-not-moved", "0 output", None, attention,
        apply=partial(_attention, split=lambda x: x.reshape(len(x), _HEADS, -1, _WIDTH))),
    row("attention-query-is-key", "0 output", None, attention,
        apply=partial(_attention, order=(1, 0, 2))),
    # The bias is 0 at first; only its gradient is missing.
    row("attention-output-bias", "0 grad attention.out_proj.bias", None, attention,
        apply=partial(_attention, biased=False)),
    row("causal-missing", "0 output", None, _CAUSAL, apply=_attention),
    row("causal-sees-the-next", "0 output", None, _CAUSAL,
        apply=partial(_attention, weigh=partial(_masked, offset=1))),
    # A finite bound: the first position sees nothing, and so everything alike.
    row("causal-not-itself", "0 output", None, _CAUSAL,
        apply=partial(_attention, weigh=partial(_masked, offset=-1, low=-1e9))),
    row("causal-mask-after-softmax", "0 output", None, _CAUSAL,
        apply=partial(_attention, weigh=_masked_afterwards)),
    row("causal-mask-added-as-ones", "0 output", None, _CAUSAL,
        apply=partial(_attention, weigh=_mask_of_ones)),
    row("key-padding-ignored", "0 output", None,
        partial(attention, _without_padding, padded=True), apply=_attention),
    row("sines-before-cosines", "0 output", None, positions,
        apply=_with_positions(_one_after_the_other(6))),
    row("rotated-in-pairs", "0 output", None, rotated, apply=partial(_rotated, adjacent=True)),
    row("normalised-afterwards", "0 output", None, pre_norm,
        apply=_block(lambda norm, x: norm(x + jnp.tanh(x)))),
))
