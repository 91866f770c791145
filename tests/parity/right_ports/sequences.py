"""Families of layers for sequences: attention, recurrences, embeddings, positions."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from tests.parity.right_ports.parts import (
    Body,
    Layer,
    Params,
    below,
    linear,
    mean_of_tokens,
    normal,
)

__all__ = ["SEQUENCES"]

Rng = np.random.Generator

LENGTH, WIDTH, HEADS = 5, 4, 2


def _ending(rng: Rng, layers: list[Layer], width: int = WIDTH, **settings: Any) -> Body:
    """A vector by the mean of the positions, or all of them."""
    inputs = settings.pop("inputs", normal(LENGTH, WIDTH))
    if rng.random() < 0.5:
        return Body(layers, inputs, width, "tokens", **settings)
    return Body([*layers, mean_of_tokens()], inputs, width, **settings)


# Attention.


def _heads(x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:2], HEADS, -1)


def _attended(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    q, k, v = map(_heads, (q, k, v))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
    return y.reshape(*y.shape[:2], -1)


def _with_padding(rng: Rng, rows: int) -> np.ndarray:
    """The last feature says whether a position is padded; the first position never is."""
    x = rng.normal(size=(rows, LENGTH, WIDTH + 1)).astype(np.float32)
    lengths = rng.integers(1, LENGTH + 1, (rows, 1))
    x[..., -1] = np.arange(LENGTH)[None] >= lengths
    return x


class _Attention(nn.Module):
    """torch's own, with itself as query, key and value."""

    def __init__(self, *, causal: bool, padded: bool, **settings: Any) -> None:
        super().__init__()
        self.causal, self.padded = causal, padded
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **settings)
        with torch.no_grad():  # they begin at 0, where a mistake would hide
            for name, param in self.inner.named_parameters():
                if "bias" in name:
                    param.normal_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = None
        if self.padded:
            x, padding = x[..., :-1], x[..., -1] > 0
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH).to(x) if self.causal else None
        y, _ = self.inner(x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False)
        return y


def _torchs_attention(
    rng: Rng, *, causal: bool = False, padded: bool = False, extra: bool = False
) -> Body:
    module = _Attention(causal=causal, padded=padded, add_bias_kv=extra)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        own = below("inner", params)
        mask = jnp.ones((1, 1, LENGTH, LENGTH), bool)
        if causal:
            mask = jnp.tril(mask)
        if padded:
            x, padding = x[..., :-1], x[..., -1] > 0
            mask = mask & ~padding[:, None, None, :]
        projected = x @ own["in_proj_weight"].T + own["in_proj_bias"]
        q, k, v = jnp.split(projected, 3, -1)
        if extra:
            more = (len(x), 1, WIDTH)
            k = jnp.concatenate([k, jnp.broadcast_to(own["bias_k"], more)], 1)
            v = jnp.concatenate([v, jnp.broadcast_to(own["bias_v"], more)], 1)
            mask = jnp.concatenate([mask, jnp.ones((*mask.shape[:3], 1), bool)], 3)
        return linear(below("out_proj", own), _attended(q, k, v, mask))

    inputs = _with_padding if padded else normal(LENGTH, WIDTH)
    return _ending(rng, [Layer(module, apply)], inputs=inputs)


class _Projections(nn.Module):
    """Attention of separate projections, as models define it themselves."""

    def __init__(self, *, causal: bool, bias: bool = True) -> None:
        super().__init__()
        self.causal = causal
        for name in ("query", "key", "value", "out"):
            setattr(self, name, nn.Linear(WIDTH, WIDTH, bias=bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            getattr(self, name)(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.get_submodule("out")(y.transpose(1, 2).flatten(2))


def _projected(params: Params, x: jax.Array, *, by: str, causal: bool) -> jax.Array:
    q, k, v = (linear(below(name, params), x) for name in ("query", "key", "value"))
    if by == "jax":
        y = jax.nn.dot_product_attention(*map(_heads, (q, k, v)), is_causal=causal)
        y = y.reshape(x.shape)
    else:
        mask = jnp.tril(jnp.ones((1, 1, LENGTH, LENGTH), bool)) if causal else None
        y = _attended(q, k, v, mask)
    return linear(below("out", params), y)


def _own_attention(rng: Rng, *, by: str, bias: bool = True) -> Body:
    causal = bool(rng.random() < 0.5)
    apply = partial(_projected, by=by, causal=causal)
    return _ending(rng, [Layer(_Projections(causal=causal, bias=bias), apply)])


def _flax_attention(rng: Rng, *, by: str) -> Body:
    def arrays(params: Params) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in ("query", "key", "value"):
            own = below(name, params)
            found[name] = {
                "kernel": own["weight"].T.reshape(WIDTH, HEADS, -1),
                "bias": own["bias"].reshape(HEADS, -1),
            }
        own = below("out", params)
        found["out"] = {"kernel": own["weight"].T.reshape(HEADS, -1, WIDTH), "bias": own["bias"]}
        return found

    def by_linen(params: Params, x: jax.Array) -> jax.Array:
        module = linen.MultiHeadDotProductAttention(HEADS, qkv_features=WIDTH)
        return module.apply({"params": arrays(params)}, x)  # type: ignore[return-value]

    if by == "linen":
        return _ending(rng, [Layer(_Projections(causal=False), by_linen)])
    model = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=nnx.Rngs(0))
    graph, _, rest = nnx.split(model, nnx.Param, ...)

    def by_nnx(params: Params, x: jax.Array) -> jax.Array:
        state = nnx.State(jax.tree.map(nnx.Param, arrays(params)))
        return nnx.merge(graph, state, rest)(x)

    return _ending(rng, [Layer(_Projections(causal=False), by_nnx)])


def _block(rng: Rng) -> Body:
    """A block of a transformer, normalised first."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = _Projections(causal=True)
            self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 8), nn.Linear(8, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.attention(self.first(x))
            return x + self.down(nn.functional.gelu(self.up(self.second(x))))

    def normalise(params: Params, x: jax.Array) -> jax.Array:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(variance + 1e-5) * params["weight"] + params["bias"]

    def apply(params: Params, x: jax.Array) -> jax.Array:
        attention = partial(_projected, below("attention", params), by="einsum", causal=True)
        x = x + attention(normalise(below("first", params), x))
        y = linear(below("up", params), normalise(below("second", params), x))
        return x + linear(below("down", params), jax.nn.gelu(y, approximate=False))

    return _ending(rng, [Layer(Block(), apply)])


# Recurrences.


class _Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module], **settings: Any) -> None:
        super().__init__()
        self.inner = kind(WIDTH, WIDTH, batch_first=True, **settings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[0]


def _steps(
    params: Params, x: jax.Array, kind: str, *, layer: str = "l0", reverse: bool = False
) -> jax.Array:
    """A layer of a recurrence, by a scan."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_in, w_state, b_in, b_state = (params[f"inner.{name}_{layer}"] for name in names)
    from_input = x @ w_in.T + b_in

    def step(carry: Any, inner: jax.Array) -> tuple[Any, jax.Array]:
        h, c = carry
        from_state = h @ w_state.T + b_state
        match kind:
            case "gru":
                r, z, n = (
                    (a, b)
                    for a, b in zip(
                        jnp.split(inner, 3, -1), jnp.split(from_state, 3, -1), strict=True
                    )
                )
                reset, update = jax.nn.sigmoid(sum(r)), jax.nn.sigmoid(sum(z))
                new = jnp.tanh(n[0] + reset * n[1])
                h = (1 - update) * new + update * h
            case "lstm":
                i, f, g, o = jnp.split(inner + from_state, 4, -1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
            case "relu":
                h = jax.nn.relu(inner + from_state)
            case _:
                h = jnp.tanh(inner + from_state)
        return (h, c), h

    zeros = jnp.zeros((len(x), w_state.shape[1]), x.dtype)
    _, found = jax.lax.scan(step, (zeros, zeros), from_input.swapaxes(0, 1), reverse=reverse)
    return found.swapaxes(0, 1)


_KINDS: dict[str, Callable[..., nn.Module]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "tanh": nn.RNN,
    "relu": partial(nn.RNN, nonlinearity="relu"),
}


def _recurrent(rng: Rng, *, kind: str, ways: str = "one") -> Body:
    settings = {"both": {"bidirectional": True}, "deep": {"num_layers": 2}}.get(ways, {})
    module = _Recurrent(_KINDS[kind], **settings)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        forward = _steps(params, x, kind)
        if ways == "both":
            backward = _steps(params, x, kind, layer="l0_reverse", reverse=True)
            return jnp.concatenate([forward, backward], -1)
        return _steps(params, forward, kind, layer="l1") if ways == "deep" else forward

    width = WIDTH * (2 if ways == "both" else 1)
    return _ending(rng, [Layer(module, apply)], width)


def _flax_recurrent(rng: Rng, *, kind: str) -> Body:
    """A cell of flax, which has one bias where torch has two that are added."""
    cells: dict[str, Any] = {
        "gru": linen.GRUCell,
        "lstm": linen.OptimizedLSTMCell,
        "tanh": linen.SimpleCell,
    }
    gates = {"gru": "rzn", "lstm": "ifgo", "tanh": "x"}[kind]

    def arrays(params: Params) -> dict[str, Any]:
        own = below("inner", params)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parts = [jnp.split(own[f"{name}_l0"], len(gates)) for name in names]
        found: dict[str, Any] = {}
        for gate, w_in, w_state, b_in, b_state in zip(gates, *parts, strict=True):
            both = b_in + b_state
            ours, theirs = ("i", "h") if gate == "x" else (f"i{gate}", f"h{gate}")
            found[ours], found[theirs] = {"kernel": w_in.T}, {"kernel": w_state.T}
            if kind == "lstm":
                found[theirs]["bias"] = both
            elif gate == "n":
                found[ours]["bias"], found[theirs]["bias"] = b_in, b_state
            else:
                found[ours]["bias"] = both
        return found

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return linen.RNN(cells[kind](WIDTH, param_dtype=x.dtype)).apply(
            {"params": {"cell": arrays(params)}}, x
        )  # type: ignore

    return _ending(rng, [Layer(_Recurrent(_KINDS[kind]), apply)])


# Embeddings.


def _words(rng: Rng, rows: int) -> np.ndarray:
    words = rng.integers(1, 7, (rows, LENGTH))
    words[:, LENGTH - int(rng.integers(0, 3)) :] = 0
    return words


def _embedding(rng: Rng, *, padded: bool, by: str = "index") -> Body:
    module = nn.Embedding(7, WIDTH, padding_idx=0 if padded else None)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        weight = params["weight"]
        if padded:
            weight = weight.at[0].set(jax.lax.stop_gradient(weight[0]))
        if by == "one-hot":
            return jax.nn.one_hot(x, 7, dtype=weight.dtype) @ weight
        return weight[x]

    return _ending(rng, [Layer(module, apply)], inputs=_words)


def _tied(rng: Rng) -> Body:
    """Words predicted by the embedding that reads them."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, WIDTH)
            self.inner = nn.Linear(WIDTH, WIDTH)
            self.head = nn.Linear(WIDTH, 7, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.inner(self.embedding(x))).mean(1))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        table = params["embedding.weight"]
        y = jnp.tanh(linear(below("inner", params), table[x])).mean(1)
        return y @ table.T

    return Body([Layer(Tied(), apply)], _words, 7, "classes")


def _bag(rng: Rng) -> Body:
    mode = str(rng.choice(["mean", "sum", "max"]))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return getattr(jnp, mode)(params["weight"][x], 1)

    module = nn.EmbeddingBag(7, WIDTH, mode=mode)
    return Body([Layer(module, apply)], lambda rng, n: rng.integers(0, 7, (n, LENGTH)), WIDTH)


# Positions.


def _frequencies() -> np.ndarray:
    return (1e4 ** (-np.arange(0, WIDTH, 2, dtype=np.float32) / WIDTH)).astype(np.float32)


def _angles() -> np.ndarray:
    return np.arange(LENGTH, dtype=np.float32)[:, None] * _frequencies()[None]


def _positions(rng: Rng, *, learned: bool) -> Body:
    table = np.concatenate([np.sin(_angles()), np.cos(_angles())], 1).astype(np.float32)

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(WIDTH, WIDTH)
            if learned:
                self.table = nn.Parameter(torch.randn(LENGTH, WIDTH))
            else:
                self.register_buffer("table", torch.from_numpy(table))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.inner(x + self.table))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        added = params["table"] if learned else jnp.asarray(table, x.dtype)
        return jnp.tanh(linear(below("inner", params), x + added[None]))

    return _ending(rng, [Layer(Positions(), apply)])


def _rotary(rng: Rng, *, narrow: bool) -> Body:
    """Rotated in halves; the angles are made in the forward pass, in float32."""

    class Rotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(WIDTH, WIDTH)
            self.register_buffer("inv_freq", torch.from_numpy(_frequencies()), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            angles = torch.outer(torch.arange(LENGTH).float(), self.get_buffer("inv_freq"))
            cos, sin = (torch.cat([f(angles)] * 2, -1).to(x.dtype) for f in (torch.cos, torch.sin))
            y = self.inner(x).float() if narrow else self.inner(x)
            one, other = y.chunk(2, -1)
            return (y * cos + torch.cat([-other, one], -1) * sin).to(x.dtype)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        kind = jnp.float32 if narrow else x.dtype
        angles = jnp.outer(jnp.arange(LENGTH, dtype=kind), jnp.asarray(_frequencies(), kind))
        cos, sin = (
            jnp.concatenate([f(angles)] * 2, -1).astype(x.dtype)[None] for f in (jnp.cos, jnp.sin)
        )
        y = linear(below("inner", params), x).astype(kind)
        one, other = jnp.split(y, 2, -1)
        return (y * cos + jnp.concatenate([-other, one], -1) * sin).astype(x.dtype)

    return _ending(rng, [Layer(Rotary(), apply)])


def _masked_scores(rng: Rng) -> Body:
    """Scores of later positions have -inf added, as a mask of many a transformer does."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = torch.full((LENGTH, LENGTH), -torch.inf, dtype=x.dtype).triu(1)
            scores = self.query(x) @ self.key(x).mT / WIDTH**0.5
            return (scores + mask).softmax(-1) @ x

    def apply(params: Params, x: jax.Array) -> jax.Array:
        query, key = (linear(below(name, params), x) for name in ("query", "key"))
        mask = jnp.triu(jnp.full((LENGTH, LENGTH), -jnp.inf, x.dtype), 1)
        scores = query @ key.swapaxes(-1, -2) / WIDTH**0.5
        return jax.nn.softmax(scores + mask[None], -1) @ x

    return _ending(rng, [Layer(Masked(), apply)])


def _masked_maximum(rng: Rng) -> Body:
    """The largest of some positions; the others are filled with -inf or a large number."""
    fill = (-math.inf, -1e9)[int(rng.integers(2))]

    class Largest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = (x[..., :1] < 0) & (torch.arange(LENGTH) > 0)[:, None]
            return self.inner(x).masked_fill(hidden, fill).amax(1)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        hidden = (x[..., :1] < 0) & (jnp.arange(LENGTH) > 0)[None, :, None]
        return jnp.where(hidden, fill, linear(below("inner", params), x)).max(1)

    return Body([Layer(Largest(), apply)], normal(LENGTH, WIDTH), WIDTH)


SEQUENCES: dict[str, Callable[[Rng], Body]] = {
    "attention of torch": _torchs_attention,
    "attention of torch causal": partial(_torchs_attention, causal=True),
    "attention of torch padded": partial(_torchs_attention, padded=True),
    "attention of torch with bias_kv": partial(_torchs_attention, extra=True),
    "attention of projections": partial(_own_attention, by="einsum"),
    "attention of projections without bias": partial(_own_attention, by="einsum", bias=False),
    "attention of jax.nn": partial(_own_attention, by="jax"),
    "attention of linen": partial(_flax_attention, by="linen"),
    "attention of nnx": partial(_flax_attention, by="nnx"),
    "attention block": _block,
    "recurrent gru": partial(_recurrent, kind="gru"),
    "recurrent gru both ways": partial(_recurrent, kind="gru", ways="both"),
    "recurrent gru of linen": partial(_flax_recurrent, kind="gru"),
    "recurrent lstm": partial(_recurrent, kind="lstm"),
    "recurrent lstm of two layers": partial(_recurrent, kind="lstm", ways="deep"),
    "recurrent lstm of linen": partial(_flax_recurrent, kind="lstm"),
    "recurrent tanh": partial(_recurrent, kind="tanh"),
    "recurrent relu": partial(_recurrent, kind="relu"),
    "recurrent tanh of linen": partial(_flax_recurrent, kind="tanh"),
    "embedding": partial(_embedding, padded=False),
    "embedding padded": partial(_embedding, padded=True),
    "embedding one-hot": partial(_embedding, padded=False, by="one-hot"),
    "embedding tied": _tied,
    "embedding bag": _bag,
    "table of positions": partial(_positions, learned=False),
    "embedding of positions": partial(_positions, learned=True),
    "table of rotations": partial(_rotary, narrow=False),
    "table of rotations in float32": partial(_rotary, narrow=True),
    "attention masked by infinity": _masked_scores,
    "largest of unmasked positions": _masked_maximum,
}
