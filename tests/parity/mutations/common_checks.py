"""Four checks that are common in ports, to compare the verifier with."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxdnn.parity.port import State, take_step
from jaxdnn.parity.runner import layout_of
from tests.parity.mutations.case import Case, Tensors
from tests.parity.mutations.initialisation import Draw

__all__ = ["COMMON", "UNSEEN", "common_checks"]

COMMON = {
    "assert_close": "torch.testing.assert_close with its defaults, of output and loss",
    "1e-3": "loss, each gradient and each new parameter, elementwise: |a - b| <= 1e-3 |b| + 1e-6",
    "1e-5": "output, elementwise: |a - b| <= 1e-5",
    "mean": "output, loss, each gradient, each new parameter: means within 1e-3 |mean| + 1e-6",
}
"""All in float32, of torch's first batch, from the same parameters, on both sides."""

UNSEEN = ("initialisation", "data")
"""Kinds of mistakes that the common checks cannot see, since they give both sides the same."""


def common_checks(case: Case | Draw) -> dict[str, bool]:
    """Whether each of the common checks lets a port pass."""
    if isinstance(case, Draw):  # these checks give both sides the same parameters
        return dict.fromkeys(COMMON, True)
    try:
        theirs, ours = _torch_step(case), _port_step(case)
    except (TypeError, ValueError, IndexError):
        return dict.fromkeys(COMMON, False)  # a port that does not run

    def within(keys: Iterable[str], tolerance: Callable[[Any, Any], Any]) -> bool:
        return all(
            theirs[key].shape == ours[key].shape and bool(np.all(tolerance(ours[key], theirs[key])))
            for key in keys
        )

    def near(a: Any, b: Any) -> Any:
        return np.abs(a - b) <= 1e-3 * np.abs(b) + 1e-6

    later = [key for key in theirs if key != "output" and key in ours]
    with np.errstate(invalid="ignore"):
        return {
            "assert_close": _assert_close(theirs, ours),
            "1e-3": within(later, near),
            "1e-5": within(["output"], lambda a, b: np.abs(a - b) <= 1e-5),
            "mean": within(["output", *later], lambda a, b: near(np.mean(a), np.mean(b))),
        }


def _assert_close(theirs: Tensors, ours: Tensors) -> bool:
    try:
        for key in ("output", "loss"):
            torch.testing.assert_close(torch.tensor(ours[key]), torch.tensor(theirs[key]))
    except AssertionError:
        return False
    return True


def _torch_step(case: Case) -> Tensors:
    run = case.run
    module, optimizer, loss_function = copy.deepcopy((run.module, run.optimizer, run.loss))
    x, y = (torch.tensor(array) for array in case.batches[0])
    with torch.random.fork_rng():
        output = module(x)
    loss = loss_function(output, y)
    loss.backward()
    params = dict(module.named_parameters())
    seen = {"output": output, "loss": loss}
    seen |= {f"grad/{k}": p.grad.clone() for k, p in params.items() if p.grad is not None}
    if run.accumulate == 1:
        if run.before_step is not None:
            run.before_step(list(params.values()))
        optimizer.step()
    seen |= {f"param/{k}": p for k, p in params.items()}
    return {key: tensor.detach().numpy().copy() for key, tensor in seen.items()}


def _port_step(case: Case) -> Tensors:
    module, port = case.run.module, case.port
    tensors = {k: p.detach().numpy() for k, p in module.named_parameters()}
    buffers = {k: b.numpy() for k, b in module.named_buffers() if b.is_floating_point()}
    shapes = {name: array.shape for name, array in tensors.items()}
    to_torch = layout_of(port, shapes).to_torch
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        params = jax.tree.map(jnp.asarray, port.from_torch(tensors))
        state = State(params, port.optimizer.init(params), jax.tree.map(jnp.asarray, buffers))
        batch = tuple(jnp.asarray(array) for array in case.batches[0])
        state, info, observed = take_step(port, state, batch)
        seen = {"output": np.asarray(observed["output"]), "loss": np.asarray(info.loss)}
        seen |= {f"grad/{name}": array for name, array in to_torch(info.grads).items()}
        return seen | {f"param/{name}": a for name, a in to_torch(state.params).items()}
