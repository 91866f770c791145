"""Mistakes in recurrent layers.

All biases of torch's cells are drawn, so a wrong formula shows in the output.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax.nn import sigmoid
from torch import nn

from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.ports import linear, named, numbers

Cell = Callable[[Any, Any, jax.Array], Any]
"""``(weights, state, x) -> state``, the state as torch has it, the output first."""

_SIZE = 4


class _Recurrent(nn.Module):
    def __init__(self, cell: Callable[..., nn.Module], *, both: bool, ragged: bool) -> None:
        super().__init__()
        self.cell = cell(3, _SIZE, batch_first=True, bidirectional=both)
        self.out = nn.Linear((1 + both) * _SIZE, 1)
        self.both, self.ragged = both, ragged

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, last = self.cell(x)
        if self.ragged:
            lengths = (x != 0).any(2).sum(1)
            return self.out(states[torch.arange(len(x)), lengths - 1])
        return self.out(torch.cat([*last], -1) if self.both else states[:, -1])


def _parts(weights: Any, state: jax.Array, x: jax.Array) -> list[jax.Array]:
    """Of the input, and then of the state, one for each gate."""
    w, u, b, c = weights
    gates = len(b) // _SIZE
    return [*jnp.split(x @ w.T + b, gates, -1), *jnp.split(state @ u.T + c, gates, -1)]


def _rnn(weights: Any, state: Any, x: jax.Array, activation: Any = jnp.tanh) -> Any:
    ours, theirs = _parts(weights, state[0], x)
    return (activation(ours + theirs),)


def _rnn_of_one_bias(weights: Any, state: Any, x: jax.Array) -> Any:
    w, u, b, c = weights
    return _rnn((w, u, b, jax.lax.stop_gradient(c)), state, x)


def _gru(
    weights: Any,
    state: Any,
    x: jax.Array,
    *,
    order: tuple[int, int] = (0, 1),
    reset_first: bool = False,
    kept: bool = True,
) -> Any:
    (h,) = state
    parts = _parts(weights, h, x)
    gates = [sigmoid(parts[i] + parts[i + 3]) for i in (0, 1)]
    reset, update = (gates[i] for i in order)
    if reset_first:
        _, u, _, c = weights
        inner = (reset * h) @ u[-_SIZE:].T + c[-_SIZE:]
    else:
        inner = reset * parts[5]
    new = jnp.tanh(parts[2] + inner)
    return (update * h + (1 - update) * new if kept else update * new + (1 - update) * h,)


def _gru_without_inner_bias(weights: Any, state: Any, x: jax.Array) -> Any:
    """The new state's second bias outside the reset gate, as if there were one for both."""
    w, u, b, c = weights
    new = -_SIZE
    return _gru((w, u, b.at[new:].add(c[new:]), c.at[new:].set(0)), state, x)


def _lstm(
    weights: Any,
    state: Any,
    x: jax.Array,
    *,
    order: tuple[int, int, int, int] = (0, 1, 2, 3),
    forget_bias: float = 0.0,
    squashed: bool = True,
) -> Any:
    h, cell = state
    parts = _parts(weights, h, x)
    gates = [parts[i] + parts[i + 4] for i in range(4)]
    enter, forget, new, leave = (gates[i] for i in order)
    cell = sigmoid(forget + forget_bias) * cell + sigmoid(enter) * jnp.tanh(new)
    return sigmoid(leave) * (jnp.tanh(cell) if squashed else cell), cell


def _last(states: Any) -> jax.Array:
    return states[0][-1]


def _states(params: Any, cell: Cell, x: jax.Array, *, suffix: str = "", several: int = 1) -> Any:
    """After each step, the steps first."""
    names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
    weights = [params[f"cell.{name}_l0{suffix}"] for name in names]
    start = (jnp.zeros((len(x), _SIZE), x.dtype),) * several

    def step(state: Any, x: jax.Array) -> tuple[Any, Any]:
        state = cell(weights, state, x)
        return state, state

    return jax.lax.scan(step, start, x.swapaxes(0, 1))[1]


def _network(
    cell: Cell, read: Callable[[Any], jax.Array] = _last, *, several: int = 1
) -> Callable[..., Any]:
    return lambda params, x: linear(params, "out", read(_states(params, cell, x, several=several)))


_WITH_CELL = partial(_network, several=2)


def recurrent(
    torch_cell: Callable[..., nn.Module],
    apply: Callable[..., Any],
    *,
    both: bool = False,
    ragged: bool = False,
) -> Case:
    """A recurrent layer over five steps, and a layer of its last state."""
    x = numbers(8, 6, 5, 3)
    if ragged:
        x[:, ::2, 3:] = 0
    return named(
        lambda: _Recurrent(torch_cell, both=both, ragged=ragged),
        apply,
        x,
        numbers(8, 6, 1, seed=1),
    )


_RNN = partial(recurrent, nn.RNN, _network(_rnn))
_GRU = partial(recurrent, nn.GRU, _network(_gru))
_LSTM = partial(recurrent, nn.LSTM, _WITH_CELL(_lstm))


def _both(params: Any, x: jax.Array, *, at: int = -1) -> jax.Array:
    """The last states of both directions."""
    forwards = _states(params, _rnn, x)[0][-1]
    backwards = _states(params, _rnn, x[:, ::-1], suffix="_reverse")[0][at]
    return linear(params, "out", jnp.concatenate([forwards, backwards], -1))


def _ragged(params: Any, x: jax.Array) -> jax.Array:
    states = _states(params, _rnn, x)[0]
    lengths = (x != 0).any(2).sum(1)
    return linear(params, "out", states[lengths - 1, jnp.arange(len(x))])


# fmt: off

RECURRENT = of_kind("recurrent", (
    row("rnn-relu", "0 output", None, _RNN,
        apply=_network(partial(_rnn, activation=jax.nn.relu))),
    # The sum of both biases is right; it takes one step instead of two.
    row("rnn-one-bias", "0 grad cell.bias_hh_l0", None, _RNN, apply=_network(_rnn_of_one_bias)),
    row("rnn-first-state", "0 output", None, _RNN,
        apply=_network(_rnn, lambda states: states[0][0])),
    row("rnn-backwards", "0 output", None, _RNN,
        apply=lambda params, x: _network(_rnn)(params, x[:, ::-1])),
    row("rnn-mean-of-states", "0 output", None, _RNN,
        apply=_network(_rnn, lambda states: states[0].mean(0))),
    row("rnn-lengths-ignored", "0 output", None,
        partial(recurrent, nn.RNN, _ragged, ragged=True), apply=_network(_rnn)),
    # What torch returns for the last place is the first state of the other direction.
    row("rnn-last-place-backwards", "0 output", None,
        partial(recurrent, nn.RNN, _both, both=True), apply=partial(_both, at=0)),
    row("gru-reset-before-product", "0 output", None, _GRU,
        apply=_network(partial(_gru, reset_first=True))),
    row("gru-update-exchanged", "0 output", None, _GRU,
        apply=_network(partial(_gru, kept=False))),
    row("gru-gates-exchanged", "0 output", None, _GRU,
        apply=_network(partial(_gru, order=(1, 0)))),
    row("gru-one-bias", "0 output", None, _GRU, apply=_network(_gru_without_inner_bias)),
    row("lstm-forget-bias", "0 output", None, _LSTM,
        apply=_WITH_CELL(partial(_lstm, forget_bias=1.0))),
    # Torch has input, forget, new and output; others input, new, forget and output.
    row("lstm-gates-exchanged", "0 output", None, _LSTM,
        apply=_WITH_CELL(partial(_lstm, order=(0, 2, 1, 3)))),
    row("lstm-not-squashed", "0 output", None, _LSTM,
        apply=_WITH_CELL(partial(_lstm, squashed=False))),
    row("lstm-cell-for-output", "0 output", None, _LSTM,
        apply=_WITH_CELL(_lstm, lambda states: states[1][-1])),
))
