"""The table of right ports, each composed from a seed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import nn

from jaxdnn import parity
from tests.parity.right_ports import objectives, optimizers
from tests.parity.right_ports.bodies import BODIES
from tests.parity.right_ports.objectives import Objective
from tests.parity.right_ports.parts import Body, Layer, Params, below, linear
from tests.parity.right_ports.sequences import LENGTH, SEQUENCES

__all__ = ["FAMILIES", "PORTS", "RightPort", "check", "compose", "numbered"]

FAMILIES: Mapping[str, Callable[[np.random.Generator], Body]] = BODIES | SEQUENCES


class RightPort(NamedTuple):
    """A row of the table.

    Attributes:
      family: of layers.
      seed: which draws everything else.
    """

    family: str
    seed: int

    @property
    def id(self) -> str:
        """Its name in a test."""
        return f"{self.family.replace(' ', '-')}-{self.seed}"


def numbered(number: int) -> RightPort:
    """The row of a number: the families in turn, with seeds that count up."""
    seed, family = divmod(number, len(FAMILIES))
    return RightPort(list(FAMILIES)[family], seed)


PORTS = tuple(numbered(i) for i in range(3 * len(FAMILIES)))


def compose(port: RightPort) -> tuple[dict[str, Any], str]:
    """The arguments of `parity.check_port` for a row, and what it consists of."""
    number = list(FAMILIES).index(port.family)
    rng = np.random.default_rng([port.seed, number])
    with torch.random.fork_rng():
        torch.manual_seed(1000 * port.seed + number)
        body = FAMILIES[port.family](rng)
        name, objective = _objective(rng, body)
        layers = [*body.layers, *_head(body, objective)]
    module = nn.Sequential(*(layer.module for layer in layers))
    rows, steps = int(rng.integers(max(3, body.least_rows), 9)), int(rng.integers(6, 11))
    sizes = [rows] * steps
    if rng.random() < 0.2:
        sizes[-1] = max(rows // 2, body.least_rows)
    batches = [_batch(rng, body, objective, size) for size in sizes]
    layout = _layout(rng, [name for name, _ in module.named_parameters()])
    optimizer = list(optimizers.OPTIMIZERS)[(port.seed * 5 + number) % len(optimizers.OPTIMIZERS)]
    trained = optimizers.training(
        rng,
        module,
        optimizer,
        divisor=objective.divisor,
        steps=steps,
        frozen=body.frozen,
        labels=layout.labels,
    )
    forward = _forward(layers, layout)
    stateful = any(layer.stateful for layer in layers)
    stateless = lambda params, x: forward(params, {}, x)[0]  # noqa: E731
    said = f"{name}; {trained.description}; {steps} x {rows} rows, the last {sizes[-1]}"
    return {
        "torch_module": module,
        "torch_loss": objective.torch_loss,
        "torch_optimizer": trained.torch_optimizer,
        "apply": forward if stateful else stateless,
        "stateful": stateful,
        "loss": objective.loss,
        "optimizer": trained.optimizer,
        "batches": batches,
        "from_torch": layout.from_torch,
        "samples": 8 if port.family == "size of a million" else 12,
        "name": False,
        **trained.further,
    }, f"{said}; {layout.name}"


def check(port: RightPort) -> parity.Report:
    """Compare the two sides of a row."""
    with jax.numpy_rank_promotion("allow"):
        return parity.check_port(**compose(port)[0])


def _objective(rng: np.random.Generator, body: Body) -> tuple[str, Objective]:
    if body.kind == "image":
        return "images", objectives.of_image(rng)
    if body.kind == "tokens":
        return "tokens", objectives.of_tokens(rng, LENGTH)
    if body.kind == "classes":
        make = objectives.OF_CLASSES[int(rng.integers(2))]
        return "classes", make(rng, body.features)
    name = str(rng.choice(list(objectives.VECTORS)))
    return name, objectives.VECTORS[name](rng)


def _head(body: Body, objective: Objective) -> list[Layer]:
    if body.kind in ("image", "classes"):
        return list(objective.head)
    last = nn.Linear(body.features, objective.outputs)
    if body.head == "zero":
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return [Layer(last, linear), *objective.head]


def _batch(
    rng: np.random.Generator, body: Body, objective: Objective, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    x = body.inputs(rng, rows)
    return x, x if objective.targets is None else objective.targets(rng, rows)


# Layouts of the port's parameters.


class _Layout(NamedTuple):
    """How the port keeps its parameters.

    Attributes:
      name: in a few words.
      from_torch: from torch's.
      arrays: back, inside the port.
      labels: ``(params, function of a torch name) -> a tree of its results``.
    """

    name: str
    from_torch: Callable[[dict[str, np.ndarray]], Any]
    arrays: Callable[[Any], dict[str, Any]]
    labels: Callable[[Any, Callable[[str], str]], Any]


def _layout(rng: np.random.Generator, names: list[str]) -> _Layout:
    match int(rng.integers(3)):
        case 0:
            return _Layout(
                "as in torch", dict, dict, lambda params, label: {n: label(n) for n in names}
            )
        case 1:
            return _Layout(
                "transposed",
                lambda arrays: {n: {"kernel": a.T, "empty": ()} for n, a in arrays.items()},
                lambda params: {n: own["kernel"].T for n, own in params.items()},
                lambda params, label: {n: {"kernel": label(n), "empty": ()} for n in names},
            )
        case _:
            return _Layout(
                "as a tuple",
                lambda arrays: tuple(arrays[n] for n in reversed(names)),
                lambda params: dict(zip(reversed(names), params, strict=True)),
                lambda params, label: tuple(label(n) for n in reversed(names)),
            )


def _forward(layers: list[Layer], layout: _Layout) -> Callable[..., Any]:
    """``(params, buffers, x) -> (output, buffers)``."""

    def forward(params: Any, buffers: Params, x: jax.Array) -> tuple[jax.Array, Params]:
        arrays, after = layout.arrays(params), dict(buffers)
        for i, layer in enumerate(layers):
            own = below(str(i), arrays)
            if layer.stateful:
                x, changed = layer.apply(own, below(str(i), buffers), x)
                after |= {f"{i}.{name}": array for name, array in changed.items()}
            else:
                x = layer.apply(own, x)
        return x, after

    return forward
