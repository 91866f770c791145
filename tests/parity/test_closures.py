"""A comparison leaves the user's own objects exactly as they were, however it ends."""

import collections
import copy
import random
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils._python_dispatch import _get_current_dispatch_mode

from jaxdnn import losses, optim, parity

Params = dict[str, jax.Array]


class Busy(nn.Module):
    """A network that changes everything it has in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.0)
        self.last = nn.Linear(4, 2)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(2), persistent=False)
        self.count, self.history, self.kept = 0, [], {"inner": [1, {2}]}
        self.output: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.seen += len(x)
        self.history.append(self.count)
        self.kept["inner"].append(self.count)
        self.kept[str(self.count)] = []
        y = self.last(torch.tanh(self.norm(self.first(x))))
        self.output = output = y * self.frozen
        self.average = 0.9 * self.average + 0.1 * y.detach().mean(0)
        self.new = torch.rand(2) + float(np.random.random()) + random.random()  # noqa: NPY002
        return output


def apply(params: Params, buffers: Params, x: jax.Array) -> Any:
    g, v = (params[f"first.parametrizations.weight.original{i}"] for i in (0, 1))
    x = x @ (g * v / jnp.sqrt(jnp.sum(v * v, 1, keepdims=True))).T + params["first.bias"]
    mean, variance = x.mean(0), x.var(0)
    y = (x - mean) / jnp.sqrt(variance + 1e-5) * params["norm.weight"] + params["norm.bias"]
    y = jnp.tanh(y) @ params["last.weight"].T + params["last.bias"]
    now = {"norm.running_mean": mean, "norm.running_var": variance * len(x) / (len(x) - 1)}
    after = {k: 0.9 * buffers[k] + 0.1 * v for k, v in (now | {"average": y.mean(0)}).items()}
    return y * jax.lax.stop_gradient(params["frozen"]), after


def _without_frozen(grads: Any, params: Any) -> Any:
    return grads | {"frozen": 0 * grads["frozen"]}


class Given:
    """The arguments of a right port, and what has to stay as it is."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = Busy().to(dtype)
        self.module.first.eval()  # one of the submodules is in another mode than the others
        for i, param in enumerate(self.module.parameters()):
            if i % 2 and param.requires_grad:
                param.grad = torch.full_like(param, 3.0)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        groups: Any = [{"params": trained[:2], "lr": 0.01}, {"params": trained[2:]}]
        self.optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on the order of steps
            self.scheduler = lr_scheduler.SequentialLR(
                self.optimizer,
                [
                    lr_scheduler.ConstantLR(self.optimizer, 1.0),
                    lr_scheduler.StepLR(self.optimizer, 2),
                ],
                [2],
            )
        self.module.last.register_forward_hook(lambda module, args, output: output.clone())
        self.module.last.bias.register_hook(lambda grad: grad.clone())
        self.optimizer.register_step_post_hook(lambda *_: None)
        self.loss = nn.MSELoss()
        self.loss.register_buffer("weight", torch.tensor([0.5]))
        numbers = np.random.default_rng(0)
        self.batches = [
            (numbers.normal(size=(6, 3)), numbers.normal(size=(6, 2))) for _ in range(5)
        ]

    def arguments(self) -> dict[str, Any]:
        rate = lambda count: jnp.where(count < 4, 0.01, 0.001)  # noqa: E731
        return {
            "torch_module": self.module,
            "torch_loss": self.loss,
            "torch_optimizer": self.optimizer,
            "torch_scheduler": self.scheduler,
            "torch_before_step": restless(self),
            "apply": apply,
            "stateful": True,
            "loss": losses.mse,
            "optimizer": optax.chain(
                optax.stateless(_without_frozen), optim.sgd(rate, momentum=0.9)
            ),
            "batches": self.batches,
            "from_torch": dict,
            "samples": 4,
            "name": False,
        }

    def everything(self) -> Any:
        """Every property, down to the identity and the bytes of each tensor."""
        schedulers = [self.scheduler, *self.scheduler._schedulers]
        parts = [*self.module.modules(), self.loss, self.optimizer, *schedulers]
        return {
            "parts": [sorted(_seen(part)) for part in map(vars, parts)],
            "params": [
                (
                    _described(p),
                    p.requires_grad,
                    p.is_leaf,
                    None if p.grad is None else _described(p.grad),
                    len(p._backward_hooks or ()),
                )
                for p in self.module.parameters()
            ],
            "groups": [[id(p) for p in group["params"]] for group in self.optimizer.param_groups],
            "state": copy.deepcopy((self.optimizer.state_dict(), self.scheduler.state_dict())),
            "batches": [[(id(a), a.tobytes()) for a in batch] for batch in self.batches],
            "torch": torch.get_rng_state().numpy().tobytes(),
            "numpy": np.asarray(list(np.random.get_state())[1]).tobytes(),  # noqa: NPY002
            "settings": _settings(),
        }


def _settings() -> list[Any]:
    return [
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_num_threads(),
        _get_current_dispatch_mode(),
        len(nn.modules.module._global_forward_hooks),
        jnp.result_type(float),
        jax.config.values["jax_default_matmul_precision"],
        np.geterr(),
        len(warnings.filters),
    ]


def _described(value: Any) -> Any:
    """A value that is equal only if nothing has changed."""
    if isinstance(value, torch.Tensor):
        data = value.detach()
        return (id(value), data.data_ptr(), str(data.dtype), tuple(data.shape), data.tolist())
    if isinstance(value, dict):
        return (id(value), [(str(k), _described(v)) for k, v in value.items()])
    if isinstance(value, list | tuple | set | collections.deque):
        return (id(value), [_described(item) for item in value])
    if isinstance(value, np.ndarray):
        return (id(value), value.tolist())
    return value if isinstance(value, int | float | str | bool | None) else id(value)


def _seen(attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    # An instance's bound methods are made anew; the optimiser's, which a scheduler wraps, are not.
    return [(name, repr(_described(value))) for name, value in attributes.items()]


def restless(given: Given) -> Callable[[list[nn.Parameter]], None]:
    """Clips, draws, and changes whatever a closure can reach."""

    def before_step(params: list[nn.Parameter]) -> None:
        nn.utils.clip_grad_norm_(params, 1e3)
        torch.rand(3)
        np.random.random()  # noqa: NPY002
        given.optimizer.param_groups[0]["note"] = given.module.count
        given.module.drop.eval()
        given.module.kept["closure"] = [given.module.count]

    return before_step


# How a comparison ends.


def _raising(after: int, error: type[BaseException] = ZeroDivisionError) -> Callable[..., Any]:
    """A function that raises when it is called for the n-th time."""
    calls = iter(range(after))

    def function(*args: Any, **kwargs: Any) -> None:
        if next(calls, None) is None:
            raise error("on purpose")

    return function


def _in_module(given: Given, error: type[BaseException] = ZeroDivisionError) -> dict[str, Any]:
    raising = _raising(6, error)

    class Raising(nn.Tanh):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore
            raising()
            return x

    given.module.drop = Raising()  # type: ignore[assignment]
    forward = given.module.norm.forward
    given.module.norm.forward = lambda x: given.module.drop(forward(x))  # type: ignore
    return {}


def _in_loss(given: Given) -> dict[str, Any]:
    raising = _raising(5)

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raising()
        return given.loss(output, target)

    return {"torch_loss": loss}


def _in_before_step(given: Given) -> dict[str, Any]:
    raising, usual = _raising(4), restless(given)

    def before_step(params: list[nn.Parameter]) -> None:
        usual(params)
        raising()

    return {"torch_before_step": before_step}


def _in_step(given: Given) -> dict[str, Any]:
    given.optimizer.register_step_pre_hook(_raising(3))
    return {}


def _in_apply(given: Given) -> dict[str, Any]:
    return {"apply": _raising(0)}


def _in_from_torch(given: Given) -> dict[str, Any]:
    raising = _raising(3)

    def from_torch(arrays: Any) -> Any:
        raising()
        return dict(arrays)

    return {"from_torch": from_torch}


def _in_update(given: Given) -> dict[str, Any]:
    return {"optimizer": optax.GradientTransformation(optim.sgd(0.1).init, _raising(0))}


def _in_batches(given: Given) -> dict[str, Any]:
    batches = [*given.batches[:3], (np.full((6, 3), "a"), given.batches[0][1])]
    return {"batches": batches}


ENDS: dict[str, tuple[str, Callable[[Given], dict[str, Any]]]] = {
    "pass": ("pass", lambda given: {}),
    "fail": ("fail", lambda given: {"port_batches": given.batches[::-1]}),
    "fail, named": ("fail", lambda given: {"optimizer": optim.sgd(0.02), "name": 2.0}),
    "inconclusive": ("inconclusive", lambda given: {"steps": 1}),
    "the module raises": ("ZeroDivisionError", _in_module),
    "the module is interrupted": (
        "KeyboardInterrupt",
        lambda given: _in_module(given, KeyboardInterrupt),
    ),
    "the loss raises": ("ZeroDivisionError", _in_loss),
    "the closure raises": ("ZeroDivisionError", _in_before_step),
    "the optimiser raises": ("ZeroDivisionError", _in_step),
    "the port raises": ("ZeroDivisionError", _in_apply),
    "from_torch raises": ("ZeroDivisionError", _in_from_torch),
    "the port's optimiser raises": ("ZeroDivisionError", _in_update),
    "a batch is refused": ("ValueError", _in_batches),
}


def outcome(given: Given, changes: dict[str, Any]) -> str:
    try:
        with jax.numpy_rank_promotion("allow"):
            report = parity.check_port(**given.arguments() | changes)
    except (ZeroDivisionError, KeyboardInterrupt, ValueError) as error:
        return type(error).__name__
    return report.verdict


@pytest.mark.parametrize("end", ENDS)
def test_everything_is_left_as_it_was(end: str) -> None:
    given = Given()
    expected, change = ENDS[end]
    changes = change(given)
    before = given.everything()

    found = outcome(given, changes)

    after = given.everything()
    assert {k: v for k, v in after.items() if v != before[k]} == {}
    assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_module_of_another_type_is_left_as_it_was(dtype: torch.dtype) -> None:
    given = Given(dtype)
    before = given.everything()

    found = outcome(given, {})

    after = given.everything()
    assert {k: v for k, v in after.items() if v != before[k]} == {}
    assert found == "pass"


class Keeping(nn.Module):
    """A network that changes an object which it keeps."""

    def __init__(self, kept: Any, change: Callable[[Any], object]) -> None:
        super().__init__()
        self.net, self.kept, self.change = nn.Linear(3, 2), kept, change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.change(self.kept)
        return self.net(x)


KEPT: dict[str, tuple[Callable[[], Any], Callable[[Any], object], Callable[[Any], Any]]] = {
    "a list": (list, lambda kept: kept.append(1), len),
    "a nested dictionary": (lambda: {"a": {}}, lambda kept: kept["a"].update(b=1), str),
    "a deque": (collections.deque, lambda kept: kept.append(1), len),
    "a counter": (collections.Counter, lambda kept: kept.update("a"), str),
    "an array": (lambda: np.zeros(2), lambda kept: np.add(kept, 1, out=kept), np.ndarray.tolist),
    "torch's generator": (
        torch.Generator,
        lambda kept: torch.rand(1, generator=kept),
        lambda kept: kept.get_state().tolist(),
    ),
    "NumPy's generator": (
        lambda: np.random.default_rng(0),
        lambda kept: kept.random(),
        lambda kept: str(kept.bit_generator.state),
    ),
    "Python's generator": (
        lambda: random.Random(0),
        lambda kept: kept.random(),
        lambda kept: hash(kept.getstate()),
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_a_module_keeps_is_left_as_it_was(name: str) -> None:
    make, change, state = KEPT[name]
    module = Keeping(make(), change)
    before = state(module.kept)
    numbers = np.random.default_rng(0)
    batches = [(numbers.normal(size=(4, 3)), numbers.normal(size=(4, 2))) for _ in range(3)]

    parity.check_port(
        module,
        nn.MSELoss(),
        torch.optim.SGD(module.parameters(), lr=0.1),
        lambda params, x: x @ params["net"]["kernel"] + params["net"]["bias"][None],
        losses.mse,
        optim.sgd(0.1),
        batches,
        precisions=("float64",),
    )

    assert state(module.kept) == before


@pytest.mark.slow
def test_pythons_generator_is_left_as_it_was() -> None:
    """In a process of its own: beartype, which checks types in tests, draws from it."""
    script = """
        import random
        import numpy as np, torch
        from jaxdnn import losses, optim, parity

        class Drawing(torch.nn.Linear):
            def forward(self, x):
                random.random()
                return super().forward(x)

        module = torch.nn.Sequential(Drawing(3, 2))
        x = np.random.default_rng(0).normal(size=(3, 4, 3))
        before = random.getstate()
        report = parity.check_port(
            module, torch.nn.MSELoss(), torch.optim.SGD(module.parameters(), lr=0.1),
            lambda p, x: x @ p["0"]["kernel"] + p["0"]["bias"], losses.mse, optim.sgd(0.1),
            list(zip(x, x[..., :2])), precisions=("float64",))
        assert random.getstate() == before and report.verdict == "pass", report
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=300)
