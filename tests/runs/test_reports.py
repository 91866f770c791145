"""Every number that a report gives, computed again with the torch mirror of its lesson.

The settings are mostly not the document's, so that a number that does not follow them is seen.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import torch

from jaxdnn import torch_compat
from jaxdnn.data import tabular
from jaxdnn.errors import ConfigError, DataError
from jaxdnn.runs import catalogue, documented
from jaxdnn.runs.drawing import Panel
from jaxdnn.runs.reports import sum_classifier as sum_classifier_report
from jaxdnn.runs.workflow import Request, Silent
from jaxdnn.workflows import lenet, mnist_dnn
from jaxdnn.workflows import two_layer_net as two_layer_lesson
from reference_torch import training as torch_training
from reference_torch.workflows import autograd as torch_autograd
from reference_torch.workflows import gradient_descent as torch_gradient_descent
from reference_torch.workflows import linear_regression as torch_linear_regression
from reference_torch.workflows import momentum_sgd as torch_momentum_sgd
from reference_torch.workflows import sum_classifier as torch_sum_classifier
from reference_torch.workflows import tabular_dnn as torch_tabular_dnn
from reference_torch.workflows import two_layer_net as torch_two_layer_net

SEEDS = {"gradient-descent": 2, "momentum-sgd": 420, "data-loading": 420}
SEEDS |= {"linear-regression": 1, "tabular-dnn": 1}


def test_seeds_are_the_documents() -> None:
    for workflow_id in catalogue.WORKFLOWS:
        report = catalogue.report(workflow_id)
        assert SEEDS.get(workflow_id, 0) == report.SEED


class Expected(NamedTuple):
    """What a report should give: all figures, the numbers in each remark, losses and so on."""

    figures: Mapping[str, Mapping[str, Any]]
    remarks: Sequence[Sequence[Any]]
    curves: Mapping[str, Any] = {}
    panels: tuple[Panel, ...] = ()
    by_epoch: Mapping[str, Any] = {}
    samples: int | None = None
    accuracies: Sequence[float] | None = None
    params: Mapping[str, torch.Tensor] = {}
    preprocessing: Mapping[str, Any] = {}


class Watch(Silent):
    """Remembers the announcement of a run."""

    epochs = samples = 0

    def on_start(self, *, epochs: int, samples: int) -> None:
        self.epochs, self.samples = epochs, samples


def close(actual: Any, expected: Any, name: str = "") -> None:
    """Names and whole numbers are equal; others differ by float32's rounding at most."""
    if expected is None:
        return
    if isinstance(expected, Mapping):
        assert list(actual) == list(expected), name
        for key in expected:
            close(actual[key], expected[key], f"{name} {key}")
        return
    if isinstance(expected, torch.Tensor):
        expected = expected.detach().numpy()
    ours, theirs = np.asarray(actual), np.asarray(expected)
    assert ours.shape == theirs.shape, name
    if theirs.dtype.kind != "f":
        assert ours.tolist() == theirs.tolist(), name
        return
    atol = 2e-6 + 1e-4 * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)


NUMBER = re.compile(r"(?<!\w)-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]\d+)?%?")


def close_remark(remark: str, expected: Sequence[Any]) -> None:
    """Its numbers, in their order, to one unit of the last digit that is shown.

    None is any number, and at the end `...` is any text: errors of rounding differ by processor.
    """
    found = NUMBER.findall(remark)
    if expected[-1] is ...:
        expected = expected[:-1]
        found = found[: len(expected)]
    assert len(found) == len(expected), remark
    for text, number in zip(found, expected, strict=True):
        if number is None:
            continue
        digits, _, exponent = text.replace(",", "").rstrip("%").partition("e")
        decimals = len(digits.partition(".")[2])
        scale = 10.0 ** int(exponent or 0) * (0.01 if text.endswith("%") else 1)
        unit = 10.0**-decimals * scale if decimals or scale < 1 else 0
        if exponent:  # zero is printed with the exponent 0, which is no unit
            unit = 10.0**-decimals * abs(float(number))
        assert float(digits) * scale == pytest.approx(float(number), abs=unit * 1.001), remark


def autograd(seed: int, config: Any) -> Expected:
    lesson, limit = torch_autograd, config.norm_limit
    one, two, three = map(torch.tensor, (1.0, 2.0, 3.0))
    x, v, ones = torch.randn(3), torch.tensor([0.1, 1.0, 0.0001]), torch.ones(2, 2)
    y, doublings = lesson.doubled(x, limit)
    square = lesson.jacobian_products(lambda x: lesson.doubled(x, limit)[0], x, v, v)
    oblong = lesson.jacobian_products(lesson.vector_function, x, v[:2], v)
    dx, dw, db = lesson.line_gradients(one, two, three)

    def jacobian(products: Any) -> dict[str, Any]:
        return {
            "vector_jacobian_product": products.vector_jacobian,
            "jacobian_vector_product": products.jacobian_vector,
            "jacobian": products.by_rows,
            "forward_minus_reverse": torch.zeros_like(products.by_rows),
        }

    return Expected(
        {
            "autograd.power": {"grad": lesson.power_gradient(one)},
            "autograd.sigmoid_cross_entropy": {
                "x": 1.0,
                "y": 2.0,
                "dloss_dy": lesson.sigmoid_cross_entropy_gradient(one, two),
            },
            "autograd.mean_of_squares": {
                "z": (3 * (ones + 2) ** 2)[0, 0],
                "grad_each": lesson.mean_of_squares_gradient(ones)[0, 0],
            },
            "autograd.linear_node": {"x": 1.0, "w": 2.0, "b": 3.0, "dx": dx, "dw": dw, "db": db},
            "autograd.jacobian": {"x": x, "doublings": doublings, "y": y, **jacobian(square)},
            "autograd.jacobian_of_vector_function": jacobian(oblong),
            "autograd.untracked": {
                "grad": lesson.untracked_gradient(x),
                "grad_of_constant": torch.zeros(3),
            },
        },
        [[0, 7, 2, -1], [1, 2, 3, 2]],
    )


def gradient_descent(seed: int, config: Any) -> Expected:
    lesson = torch_gradient_descent
    settings = lesson.Config(config.lr, config.layer_lr)

    def descend(loss: Callable[..., Any], w: Any, *batch: Any, steps: int) -> tuple[Any, Any, Any]:
        w = w.clone().requires_grad_()
        infos = lesson.train(lambda w: lesson.step(loss, w, *batch, lr=config.lr), w, steps=steps)
        losses, grads = zip(*infos, strict=True)
        return w, torch.stack(losses), torch.stack([grad.clone() for grad in grads])

    by_hand = torch.tensor(0.0, dtype=torch.float64)
    lesson.train(lambda x: lesson.step_by_hand(x, lr=config.lr), by_hand, steps=10)
    end, losses, grads = descend(lesson.parabola, torch.tensor(1.0), steps=10)
    rows = lesson.design_matrix(torch.arange(3.0, dtype=torch.float64))
    coefficients, initial = torch.tensor([[2, 3, 4], [1, 1, 1]], dtype=torch.float64)
    y = rows @ coefficients
    fit, fit_losses, _ = descend(lesson.quadratic_loss, initial, rows, y, steps=400)
    points = torch.tensor([1.0, 2.0, 3.0])
    one, one_losses, _ = descend(
        lesson.one_weight_loss, torch.tensor(0.0), points, 2 * points, steps=20
    )
    layer, column = lesson.layer_init(seed), points[:, None]
    [weight] = layer.parameters()
    start = weight.item()
    layer_losses = lesson.layer_train(layer, column, 2 * column, settings, steps=30)

    def layer_end(w: float, steps: int) -> float:
        for _ in range(steps):
            w -= config.layer_lr * sum(2 * (w - 2) * x**2 for x in (1, 2, 3)) / 3
        return w

    value = (by_hand + 1) ** 2
    remarks = [[4, 6, value]]
    if config == catalogue.report("gradient-descent").Config():
        ends = [layer_end(w, steps) for steps in (30, 60) for w in (-1.0, 1.0)]
        remarks.append([4, 72, 1.9871, start, 30, layer_end(start, 30), *ends[:2], 60, *ends[2:]])
    curves = {
        "x² + 2x + 1 from 1": losses,
        "a parabola to three points": fit_losses,
        "one weight": one_losses,
        "a layer of one weight": layer_losses,
    }
    return Expected(
        {
            "gradient_descent.by_hand": {"x": by_hand, "value": value},
            "gradient_descent.autograd": {"start": 1.0, "grads": grads, "x": end},
            "gradient_descent.quadratic_fit": {"w": fit},
            "gradient_descent.one_weight": {"w": one},
            "gradient_descent.linear_layer": {
                "w": weight.item(),
                "start": start,
                "closed_form": layer_end(start, 30),
                "closed_form_after_60": layer_end(start, 60),
            },
            "gradient_descent.newton": {"w": coefficients},
        },
        remarks,
        curves,
        tuple(Panel("", (name,), {name: 1}) for name in curves),
        {"loss": losses, "gradient": grads},
    )


def two_layer_net(seed: int, config: Any) -> Expected:
    lesson = torch_two_layer_net
    settings = lesson.Config(config.epochs, config.lr, config.as_printed)
    curves = []
    for by_hand in (True, False):
        x, y, weights = lesson.data_and_params(seed)
        for weight in weights.values():
            weight.requires_grad_(not by_hand)
        curves.append(lesson.train(weights, x, y, settings, by_hand=by_hand))
    x, y, weights = lesson.data_and_params(seed)
    printed, masked = (
        lesson.gradients_by_hand(weights, x, y, as_printed=flag)
        for flag in (config.as_printed, False)
    )
    active, hidden = x @ weights["w1"] > 0, printed[2]
    zeroed, passed = int(((hidden == 0) & active).sum()), int(((hidden != 0) & ~active).sum())
    error = ((printed[1]["w1"] - masked[1]["w1"]).norm() / masked[1]["w1"].norm()).item()
    name = "by hand, clamped" if config.as_printed else "by hand, masked"
    by_hand_remark: list[Any] = [1, ...]
    if config.as_printed:
        by_hand_remark = [1, error, None, hidden.numel(), zeroed, 0, passed]
    losses = {name: curves[0], "automatic": curves[1]}
    return Expected(
        {
            "two_layer_net.by_hand": {
                "losses": curves[0],
                "relative_error_w1": error,
                "relative_error_w2": 0.0,
                "wrongly_zeroed": zeroed,
                "wrongly_passed": passed,
            },
            "two_layer_net.autograd": {"losses": curves[1]},
            "two_layer_net.module": {
                "loss_minus_autograd": None,
                "relative_error_w1": 0.0,
                "relative_error_w2": 0.0,
            },
        },
        [by_hand_remark, [1, ...]],
        losses,
        (Panel("", tuple(losses), dict.fromkeys(losses, 1)),),
        {f"loss {name}": curves[0], "automatic": curves[1]},
    )


def momentum_sgd(seed: int, config: Any) -> Expected:
    lesson, settings = torch_momentum_sgd, torch_momentum_sgd.Config(**vars(config))
    passes, momentum_steps = (2, 4) if config.as_printed else (1, 1)
    samples, model = lesson.data(seed), lesson.init(seed)
    classes = lesson.class_count(samples.labels)
    outputs = model(samples.inputs)
    first_loss = lesson.criterion(outputs, samples.labels)
    in_two_parts = lesson.criterion_in_two_parts(outputs, samples.labels)
    gradient = lesson.accumulated_gradients(model, samples, passes=1)["linear1.weight"].clone()
    dw = passes * gradient
    w = model.linear1.weight.detach().clone()
    lesson.gradient_step(w, dw, lr=config.plain_lr)
    positions, v = [w.clone()], torch.zeros_like(w)
    for _ in range(4):
        lesson.momentum_step(w, v, dw, settings)
        positions.append(w.clone())
    moves = [(position - positions[0]).abs().max() for position in positions]

    network = lesson.init(seed)
    optimizer = lesson.optimizer(network, settings)
    losses = lesson.train_full_batch(network, optimizer, samples, steps=config.steps)
    shown = network.linear1.weight[0, :10].detach().clone()
    limits = [config.batches - k for k in range(config.epochs)]
    loop_steps = sum(limit for limit in limits if limit > 0)
    if config.as_printed:
        loop = lesson.train_full_batch(network, optimizer, samples, steps=loop_steps)
    else:
        torch.manual_seed(seed)
        batches = lesson.batches(samples, settings)
        loop = lesson.train_mini_batches(network, optimizer, batches, settings)
    name = "the loop as printed, from there" if config.as_printed else "mini-batches, from there"
    mini_batches = config.epochs * config.batches
    return Expected(
        {
            "momentum_sgd.classes": {"count": classes},
            "momentum_sgd.first_loss": {
                "value": first_loss,
                "as_log_softmax_and_nll": in_two_parts,
            },
            "momentum_sgd.linear1_grad": {"shape": [13, 20], "rows": gradient},
            "momentum_sgd.second_backward": {"shape": [13, 20]},
            "momentum_sgd.linear1_weight_after_gd": {"rows": positions[0]},
            "momentum_sgd.linear1_weight_after_momentum": {"rows": positions[momentum_steps]},
            "momentum_sgd.optimizer": {
                f"loss_before_step_{config.steps}": losses[-1],
                f"linear1_weight_row0_first10_after_step_{config.steps}": shown,
            },
            "momentum_sgd.loop": {
                "steps": len(loop),
                "first_loss": loop[0],
                "last_loss": loop[-1],
            },
        },
        [
            [0, 24, 33, passes, config.plain_lr * gradient.abs().max()],
            [0, 49, momentum_steps, moves[1], moves[4]],
            [0, 71, 17, config.steps, losses[0], losses[-1]],
            [0, 80, len(loop), loop_steps, 500, mini_batches],
        ],
        {"full batch": losses, name: loop},
        (Panel("", ("full batch", name), steps_before={name: config.steps}),),
    )


def linear_regression(seed: int, config: Any) -> Expected:
    lesson, settings = torch_linear_regression, torch_linear_regression.Config(**vars(config))
    permutations = lesson.permutations(seed, config.epochs, config.samples)

    def from_scratch(batch_size: int) -> tuple[Any, Any]:
        data, weights = lesson.data_and_params(seed, config.samples)
        sized = lesson.Config(config.epochs, config.lr, batch_size, config.samples)
        return weights, lesson.train(weights, permutations, sized, data)

    trained, history = from_scratch(config.batch_size)
    layer_data, layer = lesson.layer_data_and_params(seed, config.samples)
    batches = lesson.layer_batches(layer_data, settings)
    layer_history = lesson.layer_train(layer, batches, settings, layer_data)
    layer_w, layer_b = layer.parameters()

    data, weights = lesson.data_and_params(seed, config.samples)
    x, y = (tensor[permutations[0][: config.batch_size]] for tensor in data)
    squared_errors = ((x @ weights["w"] + weights["b"] - y) ** 2).detach()
    of_each = lesson.example_gradients(weights, x, y)["w"]
    true_w, true_b = torch.tensor([2, -3.4]), 4.2
    scratch, by_layer = "from scratch, ½(ŷ - y)²", "layer, (ŷ - y)²"
    sizes = {"batch": config.samples, "stochastic": 1, "mini-batch": config.batch_size}
    descents = {f"{n}, {size} a step": from_scratch(size)[1].losses for n, size in sizes.items()}
    steps = history.losses.shape[1]
    return Expected(
        {
            "linear_regression.first_sample": {
                "features": data.features[0],
                "label": data.labels[0],
            },
            "linear_regression.first_batch": {"features": x, "labels": y},
            "linear_regression.from_scratch": {
                "epoch_losses": history.epoch_losses,
                "error_of_w": true_w - trained["w"].ravel(),
                "error_of_b": true_b - trained["b"],
            },
            "linear_regression.layer": {
                "epoch_losses": layer_history.epoch_losses,
                "error_of_w": true_w - layer_w.ravel(),
                "error_of_b": true_b - layer_b,
            },
            "linear_regression.gradient": {
                "of_first_batch": of_each.sum(0).ravel(),
                "of_losses_pulled_back_with_ones": of_each.sum(0).ravel(),
                "of_its_first_sample": of_each[0].ravel(),
                "sum_over_samples": of_each.sum(0).ravel(),
                "layer_over_scratch": torch.full((2,), 2.0),
            },
        },
        [[3, 2], [3, squared_errors.mean(), squared_errors.sum()], [3, 1]],
        {scratch: history.losses, by_layer: layer_history.losses, **descents},
        (
            Panel(
                "from scratch and by the layer",
                (scratch, by_layer),
                dict.fromkeys((scratch, by_layer), steps),
            ),
            Panel(
                "three gradient descents, from scratch",
                tuple(descents),
                {name: losses.shape[1] for name, losses in descents.items()},
            ),
        ),
        {
            "loss from scratch": history.epoch_losses,
            "by the layer": layer_history.epoch_losses,
        },
        2 * config.epochs * config.samples,
        params=dict(layer.named_parameters()),
        preprocessing={"outputs": "number", "feature_names": ["feature_1", "feature_2"]},
    )


def sum_classifier(seed: int, config: Any) -> Expected:
    lesson, settings = torch_sum_classifier, torch_sum_classifier.Config(**vars(config))
    data, model = lesson.data_and_params(seed, config.samples)
    losses = torch_training.fit(
        model,
        lesson.criterion,
        lesson.optimizer(model, settings),
        [(data.train_features, data.train_labels)],
        epochs=config.epochs,
    ).losses.ravel()
    with torch.no_grad():
        outputs = model(data.test_features)
    right = data.test_labels
    as_printed, as_meant = (
        lesson.accuracy_as_printed(outputs, right),
        lesson.accuracy(outputs, right),
    )
    predicted = outputs.argmax(1).unique()
    perfect = lesson.accuracy_as_printed(right, right)
    remarks = [[2, 3.6, as_printed, len(predicted), 3, as_meant, perfect]]
    if len(predicted) == 1:
        share = right[:, predicted[0]].mean()
        remarks.append([predicted[0], len(right), share, 20_000])
    return Expected(
        {
            "sum_classifier.accuracy": {"as_printed": as_printed, "as_meant": as_meant},
            "sum_classifier.loss": {"first": losses[0], "last": losses[-1]},
            "sum_classifier.parameters": dict(model.named_parameters()),
            "sum_classifier.reloaded": {"same_outputs": True},
        },
        remarks,
        {"all training samples": losses},
        (Panel("", ("all training samples",), {"all training samples": 1}),),
        {"loss": losses},
        config.epochs * len(data.train_labels),
        [as_printed if config.as_printed else as_meant],
        dict(model.named_parameters()),
        {"outputs": "classes", "feature_names": ["feature_1", "feature_2", "feature_3"]},
    )


TABLE = tabular.generate(3, rows=100)


def tabular_dnn(seed: int, config: Any) -> Expected:
    lesson, settings = torch_tabular_dnn, torch_tabular_dnn.Config(**vars(config))
    rows = torch.tensor(TABLE.features), torch.tensor(TABLE.labels)
    data, model = lesson.data_and_params(seed, *rows, standardise=config.standardise)
    x, y = data.train_features, data.train_labels
    at_first = {
        "bce_after_sigmoid": lesson.criterion(model(x), y),
        "bce_with_logits": lesson.criterion_from_logits(model.net[:-1](x), y),
    }
    losses = torch_training.fit(
        model,
        lesson.criterion,
        lesson.optimizer(model, settings),
        lesson.batches(data, settings),
        epochs=config.epochs,
    ).losses
    with torch.no_grad():
        accuracy = lesson.accuracy(model(data.test_features), data.test_labels)
    counts = data.test_labels.ravel().long().bincount()
    preprocessing: dict[str, Any] = {
        "outputs": "probability",
        "feature_names": list(TABLE.feature_names),
        "label_name": TABLE.label_name,
    }
    if config.standardise:
        unscaled, _ = lesson.data_and_params(seed, *rows)
        std, mean = torch.std_mean(unscaled.train_features, 0, correction=0)
        preprocessing |= {"mean": mean, "std": std}
    mini_batches = config.batch_size is not None
    name = f"{losses.shape[1]} mini-batches an epoch" if mini_batches else "all training rows"
    return Expected(
        {
            "tabular_dnn.accuracy": {
                "value": accuracy,
                "larger_class": float(counts.max() / counts.sum()),
            },
            "tabular_dnn.loss": {
                "first": losses[0, 0],
                "last": losses[-1, -1],
                "steps": losses.numel(),
            },
            "tabular_dnn.first_loss_in_two_ways": at_first,
            "tabular_dnn.parameters": {n: list(p.shape) for n, p in model.named_parameters()},
        },
        [[2, 5, 4]] if mini_batches else [],
        {name: losses.ravel()},
        () if mini_batches else (Panel("", (name,), {name: 1}),),
        {"loss": losses[:, -1]},
        config.epochs * len(x),
        [accuracy],
        dict(model.named_parameters()),
        preprocessing,
    )


CASES: list[tuple[Callable[[int, Any], Expected], int, dict[str, Any]]] = [
    (autograd, 5, {"norm_limit": 10.0}),
    (gradient_descent, 2, {}),
    (gradient_descent, 3, {"lr": 0.05, "layer_lr": 0.02}),
    (two_layer_net, 1, {"epochs": 3, "lr": 5e-7}),
    (two_layer_net, 1, {"epochs": 3, "as_printed": False}),
    (momentum_sgd, 7, {"plain_lr": 5.0, "lr": 0.05, "steps": 3, "epochs": 2, "batches": 4}),
    (momentum_sgd, 7, {"momentum": 0.8, "steps": 3, "epochs": 2, "as_printed": False}),
    (linear_regression, 4, {"epochs": 2, "samples": 105, "batch_size": 20}),
    (sum_classifier, 1, {"epochs": 5, "samples": 100}),  # which predicts class 1 for all
    (sum_classifier, 0, {"epochs": 400, "samples": 300, "lr": 0.5, "as_printed": False}),
    (tabular_dnn, 4, {"epochs": 4, "lr": 0.02}),
    (tabular_dnn, 4, {"epochs": 40, "lr": 0.03, "batch_size": 32, "standardise": True}),
]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize(("compute", "seed", "settings"), CASES)
def test_report_is_torchs(
    compute: Callable[[int, Any], Expected], seed: int, settings: dict[str, Any]
) -> None:
    workflow_id = compute.__name__.replace("_", "-")
    report = catalogue.report(workflow_id)
    config, watch = report.Config(**settings), Watch()
    data = TABLE if workflow_id == "tabular-dnn" else None
    torch_seed = seed if workflow_id == "tabular-dnn" else None  # which decides the shuffles too
    result = report.run(Request(seed, config, data, progress=watch, torch_seed=torch_seed))
    torch.manual_seed(seed)
    expected = compute(seed, config)

    assert (result.workflow, result.seed, result.config) == (workflow_id, seed, config)
    close(result.figures, expected.figures)
    assert len(result.remarks) == len(expected.remarks)
    for remark, numbers in zip(result.remarks, expected.remarks, strict=True):
        close_remark(remark, numbers)
    close(result.curves, {name: np.ravel(c.detach()) for name, c in expected.curves.items()})
    assert result.panels == expected.panels
    close(result.by_epoch, expected.by_epoch)
    assert (result.training is None) == (expected.samples is None)
    if result.training is not None:
        assert result.training.samples == expected.samples
        accuracies = result.training.test_accuracy_by_epoch
        assert (accuracies is None) == (expected.accuracies is None)
        close(accuracies, expected.accuracies)
        if watch.epochs:
            assert (watch.epochs, watch.samples * watch.epochs) == (config.epochs, expected.samples)

    assert (result.network is None) == (not expected.params)
    if result.network is not None:
        close(torch_compat.to_torch(result.network.params), expected.params)
        close(result.network.preprocessing, expected.preprocessing)
        features = TABLE.features.shape[1] if data is TABLE else 0
        key = jax.random.key(0)
        like = jax.eval_shape(report.network(features).init, key)  # type: ignore[attr-defined]
        shapes = jax.tree.map(np.shape, result.network.params)
        assert jax.tree.map(np.shape, like) == shapes


def test_second_feature_of_the_plane_is_drawn() -> None:
    report = catalogue.report("linear-regression")
    result = report.run(Request(4, report.Config(epochs=2, samples=105, batch_size=20)))
    data, _ = torch_linear_regression.data_and_params(4, 105)
    assert result.scatter is not None
    close(result.scatter.x, data.features[:, 1])
    close(result.scatter.y, data.labels[:, 0])
    assert (result.scatter.x_label, result.scatter.y_label) == ("feature 2", "label")


def test_printed_gradient_is_as_far_from_the_exact_one_as_it_is_said_to_be() -> None:
    """The last remark, of the document's settings only; the other's rounding is the processor's."""
    report = catalogue.report("momentum-sgd")
    result = report.run(Request(report.SEED, report.Config()))
    samples, model = torch_momentum_sgd.data(420), torch_momentum_sgd.init(420).double()
    samples = samples._replace(inputs=samples.inputs.double())
    exact = torch_momentum_sgd.accumulated_gradients(model, samples, passes=1)["linear1.weight"]
    figures = documented.entries()["momentum_sgd.linear1_grad"].figures
    theirs = 0.0
    for row, exact_row in zip(figures["rows"], exact.tolist(), strict=False):
        for number, e in zip(row, exact_row, strict=False):
            half = 0.5 * 10.0 ** (int(f"{number:e}".partition("e")[2]) - 4)
            theirs = max(theirs, abs(number - e) - half)
    ours = (torch.tensor(result.figures["momentum_sgd.linear1_grad"]["rows"]) - exact).abs().max()
    close_remark(result.remarks[-1], [0, 22, 50, theirs, ours, 22])


def test_network_that_is_not_as_it_was_saved_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    report = catalogue.report("sum-classifier")
    load = sum_classifier_report.from_bytes
    broken = lambda content: jax.tree.map(lambda leaf: leaf + 1, load(content))  # noqa: E731
    monkeypatch.setattr(sum_classifier_report, "from_bytes", broken)
    result = report.run(Request(0, report.Config(epochs=5, samples=100)))
    assert result.figures["sum_classifier.reloaded"] == {"same_outputs": False}


@pytest.mark.parametrize(
    ("factor", "error", "said"), [(1.0, 0.0, ""), (1.5, 0.5, "from jax.grad's by 5e-01")]
)
def test_another_loss_of_the_module_is_seen(
    monkeypatch: pytest.MonkeyPatch, factor: float, error: float, said: str
) -> None:
    """Half as much again has half the gradient more: a relative error of 0.5."""
    loss = two_layer_lesson.sequential_loss
    monkeypatch.setattr(two_layer_lesson, "sequential_loss", lambda *batch: factor * loss(*batch))
    report = catalogue.report("two-layer-net")
    result = report.run(Request(0, report.Config(epochs=1)))
    figures = result.figures["two_layer_net.module"]
    value = float(result.curves["automatic"][0])
    assert figures["loss_minus_autograd"] == pytest.approx(error * value, abs=1e-6 * value)
    for name in ("relative_error_w1", "relative_error_w2"):
        assert figures[name] == pytest.approx(error, abs=1e-5)
    assert said in result.remarks[1]


@pytest.mark.parametrize("lesson", [mnist_dnn, lenet])
def test_network_of_the_digits_is_the_lessons(lesson: Any) -> None:
    report: Any = catalogue.report(lesson.__name__.rpartition(".")[2].replace("_", "-"))
    network, key = report.network(784), jax.random.key(1)
    assert network.apply is lesson.predict
    params, state = jax.jit(network.init)(key), jax.jit(lesson.init)(key, lesson.Config())
    jax.tree.map(np.testing.assert_array_equal, params, state.params)


def test_table_is_read_or_generated(tmp_path: Path) -> None:
    inputs: Any = catalogue.report("tabular-dnn").Inputs
    table, source = inputs().load(3)
    assert source == "generated table"
    jax.tree.map(np.testing.assert_array_equal, table[:2], tabular.generate(3)[:2])
    assert inputs().files() == []

    file = tmp_path / "a.csv"
    file.write_text("a,b,c\n0,1,2\n1,3,5\n", encoding="utf-8")
    named = inputs(csv=file, label="a", index_column="c")
    table, source = named.load(3)
    assert (table.features.tolist(), table.labels.tolist()) == ([[1], [3]], [0, 1])
    assert source == f"{file}: 2 rows, 1 features ('b'), label 'a', index 'c'"
    assert named.files() == [file]
    for column in ("label", "index_column"):
        with pytest.raises(ConfigError, match="give --csv"):
            inputs(**{column: "a"}).load(3)


def test_training_rows_of_one_class_are_refused() -> None:
    """Whatever the test rows are: here one of them alone has the other class."""
    report = catalogue.report("tabular-dnn")
    ones = TABLE._replace(labels=np.ones_like(TABLE.labels))
    numbered = ones._replace(features=np.arange(100, dtype=np.float32)[:, None])
    split, _ = torch_tabular_dnn.data_and_params(
        4, torch.tensor(numbered.features), torch.tensor(numbered.labels)
    )
    ones.labels[int(split.test_features[0, 0])] = 0
    with pytest.raises(DataError, match="All 70 training rows with seed 4 have the label 1"):
        report.run(Request(4, report.Config(), ones))


def test_rows_are_shuffled_by_the_seed_unless_torch_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    report: Any = catalogue.report("tabular-dnn")

    class Began(Exception):  # noqa: N818
        """Carries the shuffles out of the run, which need not go on."""

    def drive(_train: Any, _run: Any, arguments: tuple[Any, ...], **_: Any) -> None:
        raise Began(arguments[0])

    monkeypatch.setattr(report, "drive", drive)
    with pytest.raises(Began) as began:
        report.run(Request(4, report.Config(batch_size=32), TABLE))
    assert began.value.args[0] == jax.random.key(4)


@pytest.mark.parametrize("as_printed", [True, False])
def test_larger_error_by_hand_is_the_one_that_is_told(
    monkeypatch: pytest.MonkeyPatch, as_printed: bool
) -> None:
    by_hand = two_layer_lesson.gradients_by_hand

    def wrong(*batch: Any, as_printed: bool) -> Any:
        value, grads, hidden = by_hand(*batch, as_printed=as_printed)
        return value, grads | {"w2": 1.5 * grads["w2"]}, hidden

    monkeypatch.setattr(two_layer_lesson, "gradients_by_hand", wrong)
    report = catalogue.report("two-layer-net")
    result = report.run(Request(0, report.Config(epochs=1, as_printed=as_printed)))
    said = "of 0.5 in w2's" if as_printed else "from jax.grad's by 5e-01"
    assert said in result.remarks[0]
