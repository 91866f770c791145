"""Every workflow in JAX against its torch mirror, one row of the tutorials a case.

In float64 both sides take the same steps from the same start on the same batches, over the row's
whole run or 1,000 steps of it. In float32 both take one step from each of many states of torch's
run, and JAX may be no further from float64 than torch is.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import reference_torch.models
import reference_torch.observe
from jaxdnn import interop, losses, models, parity, torch_rng
from jaxdnn.data import tabular
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity import Observation
from jaxdnn.training import TrainState
from jaxdnn.workflows import (
    gradient_descent,
    lenet,
    linear_regression,
    mnist_dnn,
    momentum_sgd,
    sum_classifier,
    tabular_dnn,
    two_layer_net,
)
from reference_torch.workflows import gradient_descent as torch_gradient_descent
from reference_torch.workflows import lenet as torch_lenet
from reference_torch.workflows import linear_regression as torch_linear_regression
from reference_torch.workflows import mnist_dnn as torch_mnist_dnn
from reference_torch.workflows import momentum_sgd as torch_momentum_sgd
from reference_torch.workflows import sum_classifier as torch_sum_classifier
from reference_torch.workflows import tabular_dnn as torch_tabular_dnn
from reference_torch.workflows import two_layer_net as torch_two_layer_net

Arrays = dict[str, np.ndarray]
Batch = tuple[np.ndarray, ...]


class State(NamedTuple):
    """Where a step starts: parameters and optimiser tensors by name, and the steps taken."""

    params: Arrays
    moments: Arrays
    steps: int = 0


Run = Callable[[State, Iterable[Batch]], Iterator[Observation]]


class Case(NamedTuple):
    """A row: its start and batches in float32, and how either side runs it.

    Attributes:
      free_steps: in float64, after so many steps JAX starts again from torch's state; for rows
        whose rounding grows so fast that torch parts from itself.
      float32_every: in float32, how many steps lie between two states.
      float32_batches: in float32, the part of a batch that is taken.
    """

    start: Arrays
    batches: Sequence[Batch]
    jax_run: Run
    torch_run: Run
    free_steps: int = 1000
    float32_every: int = 1
    float32_batches: Callable[[Batch], Batch] = lambda batch: batch


# How either side runs a row.


def bare(jax_step: Callable[..., Any], torch_step: Callable[..., Any]) -> tuple[Run, Run]:
    """Rows written from scratch: ``step(params, *batch)``, in torch in place."""
    compiled = jax.jit(jax_step)

    def jax_run(state: State, batches: Iterable[Batch]) -> Iterator[Observation]:
        params = {name: jnp.asarray(array) for name, array in state.params.items()}
        for batch in batches:
            params, info = compiled(params, *batch)
            yield observation(batch, info.loss, info.grads, params)

    def torch_run(state: State, batches: Iterable[Batch]) -> Iterator[Observation]:
        params = {name: torch.tensor(array) for name, array in state.params.items()}
        for batch in batches:
            info = torch_step(params, *(torch.tensor(array) for array in batch))
            yield observation(batch, info.loss, info.grads, params)

    return jax_run, torch_run


def observation(batch: Batch, loss: Any, grads: Any, params: Any) -> Observation:
    def arrays(phase: str, tree: Mapping[str, Any]) -> Observation:
        return {
            f"{phase}/{name}": value.detach().numpy().copy()
            if torch.is_tensor(value)
            else np.array(value)
            for name, value in tree.items()
        }

    seen = {f"batch/{i}": np.array(array) for i, array in enumerate(batch)}
    return seen | arrays("loss", {"": loss}) | arrays("grad", grads) | arrays("param", params)


def alone(step: Callable[..., Any], *, in_place: bool) -> Callable[..., Any]:
    """A step of one array, as a step of ``{"w": array}``."""

    def named(params: Mapping[str, Any], *batch: Any) -> Any:
        w = params["w"]
        if in_place:
            info = step(w, *batch)
            return info._replace(grads={"w": info.grads})
        w, info = step(w, *batch)
        return {"w": w}, info._replace(grads={"w": info.grads})

    return named


def tracked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A torch step whose parameters require gradients."""

    def with_gradients(params: dict[str, torch.Tensor], *batch: torch.Tensor) -> Any:
        for tensor in params.values():
            tensor.requires_grad_()
        return step(params, *batch)

    return with_gradients


def network(
    model: models.Model,
    module: Callable[[], torch.nn.Module],
    loss: Callable[..., Any],
    torch_loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    torch_optimizer: Callable[[torch.nn.Module], torch.optim.Optimizer],
) -> tuple[Run, Run]:
    """Rows written as a module under an optimiser."""

    def jax_run(state: State, batches: Iterable[Batch]) -> Iterator[Observation]:
        like = jax.eval_shape(model.init, jax.random.key(0))
        params = interop.from_torch(state.params, like)

        def restore(part: Any) -> Any:
            def moment(field: str) -> models.Params:
                tensors = {n: state.moments[f"{n}/{field}"] for n in state.params}
                return interop.from_torch(tensors, like)

            if state.moments and isinstance(part, optax.TraceState):
                return optax.TraceState(moment("momentum_buffer"))
            if state.moments and isinstance(part, optax.ScaleByAdamState):
                count = jnp.array(state.steps, jnp.int32)
                return optax.ScaleByAdamState(count, moment("exp_avg"), moment("exp_avg_sq"))
            return part

        states = (optax.TraceState, optax.ScaleByAdamState)
        opt_state = jax.tree.map(
            restore, optimizer.init(params), is_leaf=lambda part: isinstance(part, states)
        )
        return parity.observe(loss, optimizer, TrainState(params, opt_state), batches)

    def torch_run(state: State, batches: Iterable[Batch]) -> Iterator[Observation]:
        network = reference_torch.models.load_start(module(), state.params)
        descent = torch_optimizer(network)
        for name, param in network.named_parameters():
            fields = {
                key.rsplit("/", 1)[1]: torch.tensor(array)
                for key, array in state.moments.items()
                if key.rsplit("/", 1)[0] == name
            }
            if "exp_avg" in fields:
                fields["step"] = torch.tensor(float(state.steps))
            descent.state[param].update(fields)
        tensors = (tuple(torch.tensor(array) for array in batch) for batch in batches)
        return reference_torch.observe.observe(torch_loss, descent, network, tensors)

    return jax_run, torch_run


# The rows.


def by_hand() -> Case:
    sides = bare(
        alone(
            functools.partial(gradient_descent.step_by_hand, lr=gradient_descent.Config().lr),
            in_place=False,
        ),
        alone(
            functools.partial(
                torch_gradient_descent.step_by_hand, lr=torch_gradient_descent.Config().lr
            ),
            in_place=True,
        ),
    )
    return Case({"w": np.zeros((), np.float32)}, [()] * 10, *sides)


def descent(name: str, start: Any, batch: Batch, steps: int) -> Callable[[], Case]:
    def case() -> Case:
        ours = functools.partial(gradient_descent.step, getattr(gradient_descent, name))
        theirs = functools.partial(
            torch_gradient_descent.step, getattr(torch_gradient_descent, name)
        )
        sides = bare(
            alone(
                lambda w, *batch: ours(w, *batch, lr=gradient_descent.Config().lr), in_place=False
            ),
            tracked(
                alone(
                    lambda w, *batch: theirs(w, *batch, lr=torch_gradient_descent.Config().lr),
                    in_place=True,
                )
            ),
        )
        return Case({"w": np.asarray(start, np.float32)}, [batch] * steps, *sides)

    return case


POINTS = np.array([1, 2, 3], np.float32)
ROWS = np.array([[0, 0, 1], [1, 1, 1], [4, 2, 1]], np.float32)
COEFFICIENTS = np.array([2, 3, 4], np.float32)


def layer() -> Case:
    config = gradient_descent.Config()
    sides = network(
        gradient_descent.MODEL,
        lambda: reference_torch.models.linear(1, 1, bias=False),
        gradient_descent.layer_loss,
        torch_gradient_descent.layer_loss,
        gradient_descent.layer_optimizer(config),
        lambda model: torch_gradient_descent.layer_optimizer(
            model, torch_gradient_descent.Config()
        ),
    )
    start = interop.to_torch(gradient_descent.layer_start(2))
    return Case(start, [(POINTS[:, None], 2 * POINTS[:, None])] * 30, *sides)


def two_layer(*, as_printed: bool | None) -> Callable[[], Case]:
    def case() -> Case:
        x, y, start = two_layer_net.data_and_start(0)
        ours, theirs = two_layer_net.Config(), torch_two_layer_net.Config()
        if as_printed is None:
            sides = bare(
                functools.partial(two_layer_net.step, lr=ours.lr),
                tracked(functools.partial(torch_two_layer_net.step, lr=theirs.lr)),
            )
        else:
            sides = bare(
                functools.partial(two_layer_net.step_by_hand, lr=ours.lr, as_printed=as_printed),
                functools.partial(
                    torch_two_layer_net.step_by_hand, lr=theirs.lr, as_printed=as_printed
                ),
            )
        return Case(start, [(x, y)] * 20, *sides)

    return case


def sequential() -> Case:
    x, y, weights = two_layer_net.data_and_start(0)
    start = {
        "net.0.weight": weights["w1"].T,
        "net.0.bias": np.zeros(100, np.float32),
        "net.2.weight": weights["w2"].T,
        "net.2.bias": np.zeros(10, np.float32),
    }
    sides = network(
        two_layer_net.SEQUENTIAL,
        lambda: reference_torch.models.mlp((1000, 100, 10)),
        two_layer_net.sequential_loss,
        torch_two_layer_net.sequential_loss,
        optax.sgd(two_layer_net.Config().lr),
        lambda model: torch.optim.SGD(model.parameters(), lr=torch_two_layer_net.Config().lr),
    )
    return Case(start, [(x, y)] * 20, *sides)


def momentum_network() -> tuple[Run, Run]:
    return network(
        momentum_sgd.MODEL,
        reference_torch.models.three_layer,
        momentum_sgd.loss,
        torch_momentum_sgd.loss,
        momentum_sgd.optimizer(momentum_sgd.Config()),
        lambda model: torch_momentum_sgd.optimizer(model, torch_momentum_sgd.Config()),
    )


def full_batch_momentum() -> Case:
    data = momentum_sgd.data(420)
    batch = np.array(data.inputs), np.array(data.labels)
    start = interop.to_torch(momentum_sgd.start(420))
    return Case(start, [batch] * (17 + 55), *momentum_network(), free_steps=10)


def mini_batch_momentum() -> Case:
    data = momentum_sgd.data(420)
    inputs, labels = np.array(data.inputs), np.array(data.labels)
    indices = momentum_sgd.orders(420, 60).reshape(-1, 50)
    start = interop.to_torch(momentum_sgd.start(420))
    return Case(
        start,
        [(inputs[i], labels[i]) for i in indices],
        *momentum_network(),
        free_steps=10,
        float32_every=5,
    )


def from_scratch() -> Case:
    data, start = linear_regression.data_and_start(0, 1000)
    indices = linear_regression.orders(0, 3, 1000).reshape(-1, 10)
    sides = bare(
        functools.partial(linear_regression.step, lr=linear_regression.Config().lr),
        tracked(
            functools.partial(torch_linear_regression.step, lr=torch_linear_regression.Config().lr)
        ),
    )
    return Case(start, [(data.features[i], data.labels[i]) for i in indices], *sides)


def regression_layer() -> Case:
    data, params, generator = linear_regression.layer_start(0, 1000)
    indices = linear_regression.layer_orders(generator, 3, 1000).reshape(-1, 10)
    sides = network(
        linear_regression.MODEL,
        lambda: reference_torch.models.mlp((2, 1)),
        linear_regression.layer_loss,
        torch_linear_regression.layer_loss,
        linear_regression.layer_optimizer(linear_regression.Config()),
        lambda model: torch_linear_regression.layer_optimizer(
            model, torch_linear_regression.Config()
        ),
    )
    batches = [(data.features[i], data.labels[i]) for i in indices]
    return Case(interop.to_torch(params), batches, *sides)


def sums() -> Case:
    data, params = sum_classifier.data_and_start(0, 10_000)
    sides = network(
        sum_classifier.MODEL,
        lambda: reference_torch.models.mlp(sum_classifier.SIZES),
        sum_classifier.loss,
        torch_sum_classifier.loss,
        sum_classifier.optimizer(sum_classifier.Config()),
        lambda model: torch_sum_classifier.optimizer(model, torch_sum_classifier.Config()),
    )
    batch = data.train_features, data.train_labels
    few = lambda batch: tuple(array[:50] for array in batch)  # noqa: E731
    return Case(
        interop.to_torch(params), [batch] * 1000, *sides, float32_every=10, float32_batches=few
    )


def table(batch_size: int | None) -> Callable[[], Case]:
    def case() -> Case:
        data, params, _ = tabular_dnn.data_and_start(
            tabular_dnn.SEED, tabular.generate(tabular_dnn.SEED)
        )
        rows = data.train_features, data.train_labels
        batches: list[Batch] = [rows] * 1000
        if batch_size is not None:
            order = [torch_rng.Generator(epoch).randperm(len(rows[0])) for epoch in range(200)]
            split = (np.split(o, range(batch_size, len(o), batch_size)) for o in order)
            indices = itertools.islice(itertools.chain.from_iterable(split), 1000)
            batches = [tuple(array[i] for array in rows) for i in indices]
        sides = network(
            tabular_dnn.model(8),
            lambda: torch_tabular_dnn.model(8),
            tabular_dnn.loss,
            torch_tabular_dnn.loss,
            tabular_dnn.optimizer(tabular_dnn.Config()),
            lambda model: torch_tabular_dnn.optimizer(model, torch_tabular_dnn.Config()),
        )
        return Case(interop.to_torch(params), batches, *sides, float32_every=10)

    return case


def digits(data: MNIST, name: str, few: int) -> Case:
    ours, theirs = {
        "lenet": (lenet, torch_lenet),
        "mnist-dnn": (mnist_dnn, torch_mnist_dnn),
    }[name]
    config = ours.Config()
    steps = min(1000, config.epochs * 938)
    orders = (np.random.default_rng(epoch).permutation(60_000) for epoch in itertools.count())
    split = (np.split(order, range(64, 60_000, 64)) for order in orders)
    indices = list(itertools.islice(itertools.chain.from_iterable(split), steps))
    assert len(indices[937]) == 32
    sides = network(
        ours.MODEL,
        theirs.init,
        ours.loss,
        theirs.loss,
        ours.optimizer(config),
        lambda model: theirs.optimizer(model, theirs.Config()),
    )
    start = interop.to_torch(ours.init(jax.random.key(0), config).params)
    batches = [(data.train_images[i], data.train_labels[i]) for i in indices]
    first = lambda batch: tuple(array[:few] for array in batch)  # noqa: E731
    return Case(start, batches, *sides, float32_every=20, float32_batches=first)


CASES: dict[str, Callable[[], Case]] = {
    "W07 by hand": by_hand,
    "W08 by autograd": descent("parabola", 1.0, (), 10),
    "W09 quadratic": descent("quadratic_loss", [1, 1, 1], (ROWS, ROWS @ COEFFICIENTS), 400),
    "W10 one weight": descent("one_weight_loss", 0.0, (POINTS, 2 * POINTS), 20),
    "W11 layer": layer,
    "W13 as printed": two_layer(as_printed=True),
    "W13 as meant": two_layer(as_printed=False),
    "W14 autograd": two_layer(as_printed=None),
    "W15 sequential": sequential,
    "W16 W19 W20 full batch": full_batch_momentum,
    "W20 mini-batches": mini_batch_momentum,
    "W23 from scratch": from_scratch,
    "W24 layer": regression_layer,
    "W26 sums": sums,
    "W27 table": table(None),
    "W28 table in batches": table(128),
}
CHAOTIC = ["W16 W19 W20 full batch", "W20 mini-batches"]
DIGITS = {"W25 LeNet": ("lenet", 4), "W29 MNIST": ("mnist-dnn", 64)}


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    if request.param in DIGITS:
        name, few = DIGITS[request.param]
        return digits(request.getfixturevalue("mnist_data"), name, few)
    return CASES[request.param]()


# The long ones first, so that none is left for the end.
every_row = pytest.mark.parametrize("case", [*DIGITS, *CASES], indirect=True)


@every_row
def test_float64_trajectory_matches_torch(case: Case, x64: None) -> None:
    """Loss, gradients, optimiser state and parameters after every step."""
    start = State(float64(case.start), {})
    batches = [as_float64(batch) for batch in case.batches]
    first: Observation = {}
    losses: list[float] = []
    seen: deque[Observation] = deque(maxlen=2)

    def watched() -> Iterator[Observation]:
        for step in case.torch_run(start, batches):
            first.update({} if first else step)
            seen.append(step)
            losses.append(step[loss_key(step)].item())
            yield step

    def resynchronised() -> Iterator[Observation]:
        for steps in range(0, len(batches), case.free_steps):
            state = state_after(seen[0], start.params, steps) if steps else start
            yield from case.jax_run(state, batches[steps : steps + case.free_steps])

    comparison = parity.compare(watched(), resynchronised(), tolerance=1e-12)

    assert comparison.first_divergence is None
    assert comparison.steps == len(batches)
    last = seen[-1]
    assert {array.dtype for array in last.values() if array.dtype.kind == "f"} == {np.dtype("f8")}
    # So that these are not two dead runs that agree.
    assert min(losses) < losses[0]
    for name, array in start.params.items():
        assert np.any(first[f"grad/{name}"] != 0), name
        assert np.any(last[f"param/{name}"] != array), name


@pytest.mark.parametrize("case", CHAOTIC, indirect=True)
def test_torch_parts_from_itself_where_jax_is_resynchronised(case: Case, x64: None) -> None:
    """The same batches with their rows in another order: the same mathematics, other rounding."""
    start = State(float64(case.start), {})
    batches = [as_float64(batch) for batch in case.batches]
    reversed_rows = [tuple(array[::-1].copy() for array in batch) for batch in batches]
    comparison = parity.compare(
        map(without_batch, case.torch_run(start, batches)),
        map(without_batch, case.torch_run(start, reversed_rows)),
        tolerance=1e-12,
    )
    assert comparison.first_divergence is not None
    assert comparison.steps > case.free_steps


@every_row
def test_float32_step_rounds_no_worse_than_torch(case: Case) -> None:
    steps = list(float32_steps(case, case.jax_run))
    assert len(steps) >= 0.4 * len(case.batches) / case.float32_every
    excess = parity.rounding_excess(*zip(*steps, strict=True))
    assert max(excess.values()) <= 3, excess


def test_lower_precision_rounds_worse_than_torch(mnist_data: MNIST) -> None:
    """The comparison above sees a port whose images have the seven bits less of bfloat16."""

    def loss(params: models.Params, images: jax.Array, labels: jax.Array) -> jax.Array:
        coarse = mnist_dnn.normalise(images, jnp.dtype("bfloat16")).astype(jnp.float32)
        return losses.cross_entropy(mnist_dnn.MODEL.apply(params, coarse), labels)

    case = digits(mnist_data, "mnist-dnn", 64)
    case = case._replace(batches=case.batches[:120], float32_every=30)
    coarse, _ = network(
        mnist_dnn.MODEL,
        torch_mnist_dnn.init,
        loss,
        torch_mnist_dnn.loss,
        mnist_dnn.optimizer(mnist_dnn.Config()),
        lambda model: torch_mnist_dnn.optimizer(model, torch_mnist_dnn.Config()),
    )
    excess = parity.rounding_excess(*zip(*float32_steps(case, coarse), strict=True))
    assert min(excess[f"grad/{name}"] for name in case.start) > 3


def loss_key(step: Observation) -> str:
    return next(key for key in step if key.partition("/")[0] == "loss")


def float64(arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {name: np.asarray(array, np.float64) for name, array in arrays.items()}


def as_float64(batch: Batch) -> Batch:
    return tuple(a.astype(np.float64) if a.dtype == np.float32 else a for a in batch)


def float32_steps(case: Case, jax_run: Run) -> Iterator[tuple[Observation, ...]]:
    """One step from each of some states of torch's run: in float64, by torch, and by JAX.

    Where a relu's input, or the lead of a pooling's largest, is within rounding of 0, float32
    cannot tell on which side of the kink it is, and the gradient of either framework may be off by
    a whole term; such states are left out.
    """
    every, state = case.float32_every, State(case.start, {})
    run = case.torch_run(state, case.batches)
    for steps, batch in enumerate(case.batches):
        if steps % every == 0:
            few = case.float32_batches(batch)
            exact = State(float64(state.params), float64(state.moments), steps)
            with Kinks() as kinks:
                [oracle] = case.torch_run(exact, [as_float64(few)])
            if kinks.distance > 1e-6:
                [same_precision] = case.torch_run(state, [few])
                [port] = jax_run(state, [few])
                # Each state counts alike, however large its numbers are.
                scales = {key: np.abs(array).max() or 1 for key, array in oracle.items()}
                yield tuple(
                    {
                        key: np.asarray(array / scales[key])
                        for key, array in without_batch(step).items()
                    }
                    for step in (oracle, same_precision, port)
                )
        state = state_after(next(run), case.start, steps + 1)


def state_after(seen: Observation, names: Iterable[str], steps: int) -> State:
    moments = {
        key.removeprefix("optimizer/"): array
        for key, array in seen.items()
        if key.startswith("optimizer/")
    }
    return State({name: seen[f"param/{name}"] for name in names}, moments, steps)


def without_batch(step: Observation) -> Observation:
    return {key: array for key, array in step.items() if not key.startswith("batch/")}


class Kinks(TorchDispatchMode):
    """Watches for the smallest distance from a kink, relative to the largest magnitude there."""

    def __init__(self) -> None:
        super().__init__()
        self.distance = np.inf

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = func.name()
        if (
            name in ("aten::relu", "aten::clamp_min", "aten::clamp", "aten::clamp_")
            and args[0].numel()
        ):
            self._see(args[0].abs(), args[0].abs().max())
        if name == "aten::max_pool2d_with_indices":
            windows = torch.nn.functional.unfold(
                args[0].reshape(-1, 1, *args[0].shape[-2:]), 2, stride=2
            )
            first, second = windows.topk(2, dim=1).values.unbind(1)
            lead = (first - second)[first > second]
            self._see(lead, args[0].abs().max())
        return func(*args, **(kwargs or {}))

    def _see(self, distances: torch.Tensor, scale: torch.Tensor) -> None:
        if distances.numel() and scale > 0:
            self.distance = min(self.distance, (distances.min() / scale).item())
