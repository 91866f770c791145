"""The numbers that the tutorials print, computed in torch as the tutorials compute them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from reference_torch.workflows import autograd, data_loading, gradient_descent, momentum_sgd

__all__ = ["WORKFLOWS", "compute"]

Figures = dict[str, dict[str, Any]]


def compute(workflow: str) -> Figures:
    """The figures of one workflow, under the names that ``jaxdnn run --json`` gives them.

    Args:
      workflow: name of its module.

    Returns:
      Numbers and nested lists by entry and name; empty if its document prints none that a short
      run reproduces.

    Example:
      >>> compute("autograd")["autograd.power"]
      {'grad': 2.0}
    """
    with torch.random.fork_rng():  # every document seeds the global generator
        found = WORKFLOWS[workflow]() if workflow in WORKFLOWS else {}
    return {
        entry: {name: _plain(value) for name, value in figures.items()}
        for entry, figures in found.items()
    }


def _autograd() -> Figures:
    one, two, ones = torch.tensor(1.0), torch.tensor(2.0), torch.ones(2, 2)
    return {
        "autograd.power": {"grad": autograd.power_gradient(one)},
        "autograd.sigmoid_cross_entropy": {
            "dloss_dy": autograd.sigmoid_cross_entropy_gradient(one, two)
        },
        "autograd.mean_of_squares": {
            "z": autograd.mean_of_squares(ones),
            "grad_each": autograd.mean_of_squares_gradient(ones)[0, 0],
        },
    }


def _gradient_descent() -> Figures:
    lesson, config = gradient_descent, gradient_descent.Config()

    def descend(loss: Callable[..., torch.Tensor], w: Any, *batch: torch.Tensor, steps: int) -> Any:
        w = torch.as_tensor(w).clone().requires_grad_()
        return w, lesson.train(lambda w: lesson.step(loss, w, *batch, lr=config.lr), w, steps=steps)

    lowest = torch.tensor(0.0, dtype=torch.float64)  # Python's own floats in the document
    lesson.train(lambda x: lesson.step_by_hand(x, lr=config.lr), lowest, steps=10)
    end, history = descend(lesson.parabola, torch.tensor(1.0), steps=10)
    rows = lesson.design_matrix(torch.arange(3, dtype=torch.float64))
    y = rows @ torch.tensor([2, 3, 4], dtype=torch.float64)
    fit, _ = descend(lesson.quadratic_loss, torch.ones(3, dtype=torch.float64), rows, y, steps=400)
    points = torch.tensor([1.0, 2.0, 3.0])
    one, _ = descend(lesson.one_weight_loss, torch.tensor(0.0), points, 2 * points, steps=20)
    layer, column = lesson.layer_init(2), points[:, None]
    lesson.layer_train(layer, column, 2 * column, config, steps=30)
    (weight,) = layer.parameters()
    return {
        "gradient_descent.by_hand": {"x": lowest},
        "gradient_descent.autograd": {
            "start": 1.0,
            "grads": torch.stack([torch.as_tensor(info.grads) for info in history]),
            "x": end,
        },
        "gradient_descent.quadratic_fit": {"w": fit},
        "gradient_descent.one_weight": {"w": one},
        "gradient_descent.linear_layer": {"w": weight[0, 0]},
    }


def _momentum_sgd() -> Figures:
    lesson, config = momentum_sgd, momentum_sgd.Config()
    samples, model = lesson.data(420), lesson.init(420)
    weight = model.linear1.weight
    loss = lesson.criterion(model(samples.inputs), samples.labels)
    gradient, accumulated = (
        lesson.accumulated_gradients(model, samples, passes=passes)["linear1.weight"]
        for passes in (1, 2)  # the document's second pass adds to the first one's gradient
    )
    lesson.gradient_step(weight, accumulated, lr=config.plain_lr)
    stepped, v = weight.detach().clone(), torch.zeros_like(weight)
    for _ in range(4):  # as often as the document ran the cell
        lesson.momentum_step(weight, v, accumulated, config)

    network = lesson.init(420)
    optimizer = lesson.optimizer(network, config)
    losses = lesson.train_full_batch(network, optimizer, samples, steps=config.steps)
    return {
        "momentum_sgd.first_loss": {"value": loss},
        "momentum_sgd.linear1_grad": {"rows": gradient, "shape": list(gradient.shape)},
        "momentum_sgd.second_backward": {"shape": list(accumulated.shape)},
        "momentum_sgd.linear1_weight_after_gd": {"rows": stepped},
        "momentum_sgd.linear1_weight_after_momentum": {"rows": weight},
        "momentum_sgd.optimizer": {
            "loss_before_step_17": losses[-1],
            "linear1_weight_row0_first10_after_step_17": network.linear1.weight[0, :10],
        },
    }


def _data_loading() -> Figures:
    config = data_loading.Config()
    drawn = data_loading.normals(420)
    samples = TensorDataset(drawn.b, drawn.c)
    shuffled, _ = data_loading.shuffled_batch(drawn, config)
    single = next(iter(DataLoader(samples)))
    b, c = samples[0]
    loader = data_loading.loader(samples, config)
    return {
        "data.randn": {
            "a[0]": drawn.a[0],
            **{f"b[0,{i}]": drawn.b[0, i] for i in range(3)},
            "c[0]": drawn.c[0],
        },
        "data.default_batch": {"b": single[0], "c": single[1]},
        "data.sample": {"b": b, "c": c, "label": c},
        "data.loader": {
            "batches": len(loader),
            "samples": len(samples),
            "batch_size": loader.batch_size,
        },
        "data.shuffled_batch": {"b": shuffled},
    }


WORKFLOWS: Mapping[str, Callable[[], Figures]] = {
    "autograd": _autograd,
    "gradient_descent": _gradient_descent,
    "momentum_sgd": _momentum_sgd,
    "data_loading": _data_loading,
}
"""The workflows whose documents print figures of a short run."""


def _plain(value: Any) -> Any:
    return value.detach().tolist() if isinstance(value, torch.Tensor) else value
