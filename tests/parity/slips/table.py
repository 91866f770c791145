"""The table: for each slip, the arguments of a comparison that must not pass."""

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn

from jaxdnn import losses, optim, parity
from tests.parity.slips.ports import (
    Arguments,
    Forward,
    Params,
    batches_of,
    bfloat16,
    either,
    from_step,
    frozen,
    layers,
    linear,
    network,
    normal,
    right,
    scaled,
    seeded,
    sgd,
)

__all__ = ["SLIPS"]

# Closures.


def _penalty() -> Arguments:
    """The loss reads the module's weights."""
    module = network()
    weight = module.get_parameter("0.weight")
    mse = nn.functional.mse_loss
    return right(module, torch_loss=lambda o, y: mse(o, y) + 1e-6 * (weight**2).sum())


def _closure_that_clamps() -> Arguments:
    """Weights are kept below a bound, which one of them reaches in the end."""
    module = network()
    weight = module.get_parameter("2.weight")
    batches = [(x, y + np.float32(2.0)) for x, y in batches_of(20)]

    def clamp(params: list[nn.Parameter]) -> None:
        with torch.no_grad():
            weight.clamp_(-0.65, 0.65)

    return right(module, torch_before_step=clamp, batches=batches)


def _copy_in_module(*, frozen: bool) -> Arguments:
    """A moving average inside the module, which the port leaves out."""
    module = network()
    average = copy.deepcopy(module)
    if frozen:
        average.requires_grad_(False)
    whole = Forward(lambda self, x: self.net(x), net=module, average=average)

    def update(params: list[nn.Parameter]) -> None:
        with torch.no_grad():
            for old, new in zip(average.parameters(), module.parameters(), strict=True):
                old.lerp_(new, 0.1)

    def own(arrays: Params) -> dict[str, Any]:
        return {k.removeprefix("net."): v for k, v in arrays.items() if k.startswith("net.")}

    return right(
        whole,
        torch_optimizer=sgd(module),
        torch_before_step=update,
        from_torch=own,
    )


def _copy_as_parameters() -> Arguments:
    """The port keeps the moving average, and never updates it."""
    given = _copy_in_module(frozen=True)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return layers({k.removeprefix("net."): v for k, v in params.items()}, x)

    return given | {"from_torch": dict, "apply": apply}


def _hook_on_a_gradient() -> Arguments:
    module = network()
    module.get_parameter("2.bias").register_hook(lambda grad: grad * (1 + 1e-9))
    return right(module)


def _hook_after_the_step() -> Arguments:
    """The optimiser's hook shrinks one weight."""
    module = network()
    optimizer = sgd(module)
    weight = module.get_parameter("2.weight")

    def shrink(*_: Any) -> None:
        with torch.no_grad():
            weight[0, 0] *= 1 - 1e-9

    optimizer.register_step_post_hook(shrink)
    return right(module, torch_optimizer=optimizer)


def _hook_on_a_layer() -> Arguments:
    """A hook of the forward pass adds to a layer's output."""
    module = network()

    def shift(module: nn.Module, args: Any, output: Any) -> Any:
        return output + 1e-8

    module[0].register_forward_hook(shift)
    return right(module)


def _rate_set_by_closure() -> Arguments:
    """The learning rate falls as soon as the gradient is small."""
    module = network()
    optimizer = sgd(module)

    def rate(params: list[nn.Parameter]) -> None:
        if sum(float((p.grad**2).sum()) for p in params if p.grad is not None) < 0.5:
            optimizer.param_groups[0]["lr"] = 0.05

    return right(module, torch_optimizer=optimizer, torch_before_step=rate)


# What from_torch and to_torch leave out.


def _dropped_bias() -> Arguments:
    """The bias begins at 0, and the port has none."""
    module = network()
    nn.init.zeros_(module.get_parameter("2.bias"))

    def without(arrays: Params) -> dict[str, Any]:
        return {k: v for k, v in arrays.items() if k != "2.bias"}

    return right(module, from_torch=without)


def _zero_bias() -> Arguments:
    """from_torch fills a bias with zeros, and to_torch returns it."""
    module = network()
    nn.init.zeros_(module.get_parameter("2.bias"))
    zeros = lambda arrays: dict(arrays) | {"2.bias": 0 * arrays["2.bias"]}  # noqa: E731
    return right(module, from_torch=zeros, to_torch=dict)


def _left_out_by_to_torch() -> Arguments:
    """The layer that to_torch leaves out is trained at another rate."""
    rates = {"0.weight": 0.1, "0.bias": 0.1, "2.weight": 0.1, "2.bias": 0.2}
    without = lambda params: {k: v for k, v in params.items() if k != "2.bias"}  # noqa: E731
    return right(to_torch=without, optimizer=scaled(lambda name: -rates[name]))


def _to_torch_of_constants() -> Arguments:
    """to_torch returns the first arrays that it saw."""
    kept: dict[str, np.ndarray] = {}

    def to_torch(params: Params) -> dict[str, Any]:
        kept.setdefault("2.bias", np.asarray(params["2.bias"]))
        return {**params, **kept}

    return right(to_torch=to_torch, optimizer=optim.sgd(0.1))


def _to_torch_of_zeros() -> Arguments:
    """A bias that begins at 0 comes back as zeros."""
    module = network()
    nn.init.zeros_(module.get_parameter("2.bias"))
    zeros = lambda params: dict(params) | {"2.bias": np.zeros(2)}  # noqa: E731
    return right(module, to_torch=zeros)


def _untied() -> Arguments:
    """Weights that torch ties are apart in the port, which returns one of them."""

    def make() -> nn.Module:
        embedding, head = nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False)
        head.weight = nn.Parameter(embedding.weight.T.detach().clone())
        return Forward(lambda self, x: self.a(x) @ self.a.weight, a=embedding)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return x @ params["a"].T @ params["b"]

    return right(
        seeded(make),
        apply=apply,
        batches=batches_of(inputs=4, outputs=4),
        from_torch=lambda arrays: {"a": arrays["a.weight"], "b": arrays["a.weight"]},
        to_torch=lambda params: {"a.weight": params["a"], "b.weight": params["b"]},
    )


def _outside_the_optimiser(*, in_torch: bool) -> Arguments:
    """A parameter is trained on one side only."""
    module = network()
    some = [p for name, p in module.named_parameters() if name != "2.bias"]
    if in_torch:
        return right(module, torch_optimizer=torch.optim.SGD(some, lr=0.1))
    return right(module, optimizer=optax.chain(frozen("2.bias"), optim.sgd(0.1)))


def _beside_a_rounded_constant(module: nn.Module, **changed: Any) -> Arguments:
    """The derivative of hardsigmoid is off by a float32 rounding in torch's kernel."""

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return layers(params, x, jax.nn.hard_sigmoid)

    return right(module, **{"apply": apply} | changed)


def _frozen_beside_a_constant() -> Arguments:
    """The port trains a frozen layer, at a rate at which it hardly moves."""
    module = network(nn.Hardsigmoid())
    module.get_parameter("0.weight").requires_grad_(False)
    slow = scaled(lambda name: 1e-7 if name == "0.weight" else 1.0)
    return _beside_a_rounded_constant(module, optimizer=optax.chain(slow, optim.sgd(0.1)))


def _momentum_beside_a_constant() -> Arguments:
    """The port's momentum, which has been multiplied by the rate, is off."""
    module = network(nn.Hardsigmoid())
    rmsprop = torch.optim.RMSprop(module.parameters(), lr=0.01, momentum=0.9)
    optimizer = optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False, momentum=0.9 + 1e-9)
    return _beside_a_rounded_constant(
        module, torch_optimizer=rmsprop, optimizer=optimizer, batches=batches_of(20)
    )


def _momentum_lost_in_the_last_step() -> Arguments:
    """No parameter shows what the last step leaves in the optimiser."""
    module = network()
    inner: Any = optax.sgd(0.1, momentum=0.9)

    def init(params: Any) -> Any:
        return inner.init(params), jnp.zeros((), jnp.int32)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        updates, (trace, rest) = inner.update(updates, state[0], params)
        last = state[1] == 5
        kept = jax.tree.map(lambda array: jnp.where(last, 0 * array, array), trace.trace)
        return updates, ((trace._replace(trace=kept), rest), state[1] + 1)

    optimizer = optax.GradientTransformation(init, update)
    return right(module, torch_optimizer=sgd(module, momentum=0.9), optimizer=optimizer)


def _epsilon_beside_equal_constants() -> Arguments:
    """Both sides hold the same numbers in float32, which excuse no other difference."""
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    table = torch.from_numpy(mean)
    module = Forward(
        lambda self, x: self.last(self.norm((x - self.table) * 30)),
        norm=nn.LayerNorm(3),
        last=seeded(lambda: nn.Linear(3, 2)),
        table=table,
    )

    def apply(params: Params, x: jax.Array) -> jax.Array:
        x = (x - mean) * 30
        centered = x - x.mean(-1, keepdims=True)
        scale = jnp.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6)
        return linear(
            params, "last", centered / scale * params["norm.weight"] + params["norm.bias"]
        )

    return right(module, apply=apply)


def _clamped_beside_labels_of_minus_one() -> Arguments:
    """Of two classes, -1 is one; the port's scores end where the loss reads nothing."""
    module = seeded(lambda: nn.Linear(3, 1))
    with torch.no_grad():
        module.get_parameter("weight").copy_(torch.tensor([[2.0, 0.0, 0.0]]))
    batches = [(x, np.where(x[:, 0] > 0, 1, -1)) for x, _ in batches_of(12)]

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return jnp.maximum(x @ params["weight"].T + params["bias"], -1.5)

    return right(
        module,
        torch_loss=lambda o, y: nn.functional.relu(1 - y * o[:, 0]).mean(),
        torch_optimizer=sgd(module, 0.01),
        apply=apply,
        loss=lambda o, y: jax.nn.relu(1 - y * o[:, 0]).mean(),
        optimizer=optim.sgd(0.01),
        batches=batches,
    )


# Where the loss reads nothing.


def _last_position_only() -> Arguments:
    """The causal mask is missing, and the loss reads the last position, which sees all."""

    def attend(q: Any, softmax: Callable[..., Any], mask: Any) -> Any:
        return softmax(q @ q.swapaxes(1, 2) + mask, -1) @ q

    upper = np.triu(np.full((4, 4), -1e9, np.float32), 1)

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return attend(self.q(x), torch.softmax, torch.from_numpy(upper).to(x))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return attend(linear(params, "q", x), jax.nn.softmax, 0.0)

    module = seeded(lambda: Forward(forward, q=nn.Linear(3, 2)))
    batches = list(zip(normal(6, 5, 4, 3), normal(6, 5, 2, seed=1), strict=True))
    return right(
        module,
        apply=apply,
        torch_loss=lambda o, y: ((o[:, -1] - y) ** 2).mean(),
        loss=lambda o, y: jnp.mean((o[:, -1] - y) ** 2),
        batches=batches,
    )


def _unread_column() -> Arguments:
    """The loss reads one of two outputs, and the other is wrong."""

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return layers(params, x) * jnp.array([1.0, -1.0], x.dtype)

    return right(
        apply=apply,
        torch_loss=lambda o, y: ((o - y)[:, 0] ** 2).mean(),
        loss=lambda o, y: jnp.mean((o - y)[:, 0] ** 2),
    )


def _clipped_outputs() -> Arguments:
    """Outputs are clipped where a hinge loss is 0 already."""
    batches = [(x, np.ones_like(y)) for x, y in batches_of(20)]
    return right(
        apply=lambda p, x: jnp.minimum(layers(p, x), 1.1),
        torch_loss=lambda o, y: torch.relu(y - o).mean(),
        loss=lambda o, y: jnp.mean(jax.nn.relu(y - o)),
        batches=batches,
    )


def _ignored_class() -> Arguments:
    """Ignored positions count in the port's mean, in one batch only."""
    batches = [(x, (y > 0).argmax(1)) for x, y in batches_of(8)]
    batches[6][1][2] = -100

    def loss(output: jax.Array, target: jax.Array) -> jax.Array:
        rows = -jnp.take_along_axis(jax.nn.log_softmax(output), jnp.maximum(target, 0)[:, None], 1)[
            :, 0
        ]
        return jnp.mean(jnp.where(target == -100, 0.0, rows))

    return right(torch_loss=nn.CrossEntropyLoss(), loss=loss, batches=batches)


def _feature_that_is_zero() -> Arguments:
    """An input feature is 0 in all batches, and the port leaves it out."""
    batches = [(x * np.array([1, 1, 0], np.float32), y) for x, y in batches_of()]
    return right(apply=lambda p, x: layers(p, x.at[:, 2].set(0.0)), batches=batches)


def _dead_unit() -> Arguments:
    """A unit of a relu is dead, and wrong in the port."""
    module = network(nn.ReLU())
    with torch.no_grad():
        module.get_parameter("0.bias")[1] = -100

    def relu(x: jax.Array) -> jax.Array:
        return jax.nn.relu(x) * jnp.array([1.0, 2.0, 1.0, 1.0], x.dtype)

    return right(module, apply=lambda p, x: layers(p, x, relu))


def _unseen_word() -> Arguments:
    """A word that no batch has is read wrongly."""
    module = seeded(lambda: nn.Sequential(nn.Embedding(6, 2)))
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, 5, 6), normal(6, 2, seed=i)) for i in range(6)]

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return params["0.weight"][jnp.minimum(x, 4)]

    return right(module, apply=apply, batches=batches)


# Runs in which rounding grows.


def _chaotic(**changed: Any) -> Arguments:
    module = network()
    with torch.no_grad():
        module.get_parameter("0.weight").mul_(4)
    return (
        right(
            module,
            torch_optimizer=sgd(module, 1.0),
            optimizer=optim.sgd(1.0),
            batches=batches_of(1, 16) * 100,
        )
        | {"precisions": ("float64",)}
        | changed
    )


def _chaotic_late(error: float) -> Arguments:
    return _chaotic(optimizer=optim.sgd(from_step(70, 1.0, 1.0 + error)))


def _chaotic_seldom(error: float, every: int) -> Arguments:
    """Every few steps only, so that a step from which the run is set back may hide it."""
    return _chaotic(
        optimizer=optim.sgd(lambda count: jnp.where(count % every == every - 1, 1.0 + error, 1.0))
    )


def _chaotic_when_set_back() -> Arguments:
    """Wrong in the very steps after which the run is set back to torch's state."""
    with jax.numpy_rank_promotion("allow"):
        steps = parity.check_port(**_chaotic()).tiers[0].resynchronised
    return _chaotic(optimizer=optim.sgd(lambda count: 1.0 + 1e-8 * either(steps, count)))


def _chaotic_momentum_apart() -> Arguments:
    """A state of the optimiser that cannot be compared, in a run in which rounding grows."""
    module = network()
    with torch.no_grad():
        module.get_parameter("0.weight").mul_(4)
    optimizer = optax.chain(
        optax.scale(-1.2), optax.trace(0.5), optax.scale_by_schedule(from_step(290, 1.0, 0.5))
    )
    return _chaotic(
        torch_module=module,
        torch_optimizer=sgd(module, 1.2, momentum=0.5),
        optimizer=optimizer,
        batches=batches_of(1, 16) * 300,
    )


def _rows_mixed_later(error: float, **changed: Any) -> Arguments:
    """From the fourth step on, each row sees the next: the order of the rows matters only then."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        mixed = 0.5 * (x + x.roll(1, 0))
        return self.net(torch.where(self.count > 3, mixed, x))

    net = network()
    module = Forward(forward, net=net)
    module.register_buffer("count", torch.zeros(()))

    def apply(params: Params, buffers: Params, x: jax.Array) -> Any:
        count = buffers["count"] + 1
        x = jnp.where(count > 3, 0.5 * (x + jnp.roll(x, 1, 0)), x)
        own = {k.removeprefix("net."): v for k, v in params.items()}
        return layers(own, x), {"count": count}

    return right(
        module,
        apply=apply,
        stateful=True,
        optimizer=optim.sgd(from_step(8, 0.1, 0.1 * (1 + error))),
        batches=batches_of(14),
        **changed,
    )


# Late or seldom.


def _rate_of_the_last_step() -> Arguments:
    module = network()
    optimizer = sgd(module)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5)
    return right(module, torch_optimizer=optimizer, torch_scheduler=scheduler)


def _decay_late() -> Arguments:
    """Weight decay begins at step 20."""

    def decayed(updates: Any, state: Any, params: Any = None) -> Any:
        factor = jnp.where(state < 20, 0.0, 1e-6)
        return jax.tree.map(lambda g, p: g + factor * p, updates, params), state + 1

    late = optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), decayed)
    return right(optimizer=optax.chain(late, optim.sgd(0.1)), batches=batches_of(24))


def _momentum_cut() -> Arguments:
    """The momentum is lost at step 30."""
    module = network()
    momentum = lambda count: jnp.where(count == 30, 0.0, 0.9)  # noqa: E731
    return right(
        module,
        torch_optimizer=sgd(module, 0.01, momentum=0.9),
        optimizer=optim.sgd(0.01, momentum=momentum),
        batches=batches_of(34),
    )


def _kink_met_once() -> Arguments:
    """At 0, the port's relu has half a slope; a unit of one row of one batch is 0."""
    module = network(nn.ReLU())
    module.get_parameter("0.bias").requires_grad_(False)
    with torch.no_grad():
        module.get_parameter("0.bias")[0] = 0
        module.get_parameter("0.weight")[0, 2] = 0
    batches = [(x * np.array([1, 1, 0], np.float32), y) for x, y in batches_of(8)]
    batches[6][0][1] = 0, 0, 1

    def apply(params: Params, x: jax.Array) -> jax.Array:
        fixed = dict(params) | {"0.bias": jax.lax.stop_gradient(params["0.bias"])}
        return layers(fixed, x, lambda h: jnp.maximum(h, 0.0))

    return right(
        module,
        apply=apply,
        batches=batches,
        optimizer=optax.chain(frozen("0.bias"), optim.sgd(0.1)),
    )


def _one_class() -> Arguments:
    """The weight of a class that comes once is wrong."""
    batches = [(x, np.zeros(len(x), np.int64)) for x, _ in batches_of(8)]
    batches[7][1][3] = 1
    weight = torch.tensor([1.0, 2.0])

    def loss(output: jax.Array, target: jax.Array) -> jax.Array:
        return losses.cross_entropy(output, target, weight=jnp.array([1.0, 2.5], output.dtype))

    return right(torch_loss=nn.CrossEntropyLoss(weight=weight), loss=loss, batches=batches)


def _one_word() -> Arguments:
    """One word, met once, is read as another."""
    module = seeded(lambda: nn.Sequential(nn.Embedding(6, 2)))
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, 5, 6), normal(6, 2, seed=i)) for i in range(8)]
    batches[6][0][2] = 5

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return params["0.weight"][jnp.minimum(x, 4)]

    return right(module, apply=apply, batches=batches)


def _guard_against_nan() -> Arguments:
    """The port replaces an infinite loss, which torch does not."""
    batches = batches_of(8)
    batches[7][0][0, 0] = np.inf

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return layers(params, jnp.nan_to_num(x, posinf=1.0))

    return right(apply=apply, batches=batches)


def _steps_between_samples() -> Arguments:
    """In float32 alone, a step is wrong of which no state is compared."""
    rate = lambda count: jnp.where(count == 3, 0.2, 0.1)  # noqa: E731
    return right(
        optimizer=optim.sgd(rate), batches=batches_of(40), precisions=("float32",), samples=8
    )


def _after_convergence() -> Arguments:
    """After three steps nothing moves any more, and then the rate changes."""
    x = np.eye(3, dtype=np.float32)
    batches = [(x, normal(3, 2))] * 30
    module = seeded(lambda: nn.Sequential(nn.Linear(3, 2, bias=False)))
    loss = lambda o, y: 0.5 * ((o - y) ** 2).sum()  # noqa: E731
    return right(
        module,
        apply=lambda p, x: linear(p, "0", x),
        torch_loss=loss,
        loss=loss,
        torch_optimizer=sgd(module, 1.0),
        optimizer=optim.sgd(from_step(20, 1.0, 0.1)),
        batches=batches,
    )


# Tensors whose gradients are rounding, or very small.


class _Attention(nn.Module):
    """Attention with a bias of the keys, whose gradient is 0 but for rounding."""

    def __init__(self, *, normalised: bool = True) -> None:
        super().__init__()
        for name in ("query", "key", "value"):
            setattr(self, name, nn.Linear(3, 2))
        self.normalised = normalised

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (getattr(self, name)(x) for name in ("query", "key", "value"))
        scores = q @ k.transpose(1, 2)
        return (scores.softmax(-1) if self.normalised else scores.sigmoid()) @ v


def _attend(params: Params, x: jax.Array, *, normalised: bool = True) -> jax.Array:
    q, k, v = (linear(params, name, x) for name in ("query", "key", "value"))
    scores = q @ k.swapaxes(1, 2)
    return (jax.nn.softmax(scores) if normalised else jax.nn.sigmoid(scores)) @ v


def _attention(**changed: Any) -> Arguments:
    module = seeded(_Attention)
    batches = list(zip(normal(8, 4, 5, 3), normal(8, 4, 5, 2, seed=1), strict=True))
    return right(module, apply=_attend, batches=batches) | changed


def _own_bias(name: str) -> Callable[[Any], Any]:
    return lambda params: {other: "own" if other == name else "other" for other in params}


def _key_bias(**settings: Any) -> optax.GradientTransformation:
    """AdamW with settings of its own for the bias of the keys."""
    return optax.partition(
        {"own": optim.adamw(0.01, **settings), "other": optim.adamw(0.01)},
        _own_bias("key.bias"),
    )


def _key_bias_without_decay() -> Arguments:
    given = _attention(optimizer=_key_bias(weight_decay=0.0))
    module = given["torch_module"]
    return given | {"torch_optimizer": torch.optim.AdamW(module.parameters(), lr=0.01)}


def _key_bias_that_matters() -> Arguments:
    """With a sigmoid for a softmax, the bias of the keys has a gradient."""
    module = seeded(lambda: _Attention(normalised=False))
    return _attention(
        torch_module=module,
        torch_optimizer=torch.optim.AdamW(module.parameters(), lr=0.01),
        apply=lambda p, x: _attend(p, x, normalised=False),
        optimizer=_key_bias(weight_decay=0.0),
    )


def _batch_normalised(**changed: Any) -> Arguments:
    module = seeded(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    )
    return right(module, stateful=True, batches=batches_of(8, 8)) | changed


def _batch_norm(
    params: Params, buffers: Params, x: jax.Array, *, momentum: float = 0.1, biased: bool = False
) -> Any:
    x = linear(params, "0", x)
    mean, variance = x.mean(0), x.var(0)
    y = (x - mean) / jnp.sqrt(variance + 1e-5) * params["1.weight"] + params["1.bias"]
    now = {"1.running_mean": mean}
    now["1.running_var"] = variance if biased else variance * len(x) / (len(x) - 1)
    after = {k: (1 - momentum) * buffers[k] + momentum * v for k, v in now.items()}
    return linear(params, "3", jnp.tanh(y)), after


def _bias_before_norm_left_out() -> Arguments:
    """A bias before a batch normalisation, without its decay: it moves by nothing else."""
    rates: Any = {"own": optim.sgd(0.1), "other": optim.sgd(0.1, weight_decay=0.1)}
    parts = optax.partition(rates, _own_bias("0.bias"))
    given = _batch_normalised(apply=_batch_norm, optimizer=parts)
    return given | {"torch_optimizer": sgd(given["torch_module"], weight_decay=0.1)}


def _bias_before_norm_unread() -> Arguments:
    """The port's running mean leaves out the bias before the normalisation."""

    def apply(params: Params, buffers: Params, x: jax.Array) -> Any:
        y, after = _batch_norm(params, buffers, x)
        mean = after["1.running_mean"] - 0.1 * params["0.bias"]
        return y, after | {"1.running_mean": mean}

    return _batch_normalised(apply=apply)


def _leak_to_unseen_rows() -> Arguments:
    """Rounding that reaches rows which torch does not train, and which Adam makes steps of."""
    module = seeded(lambda: nn.Sequential(nn.Embedding(6, 2)))
    rng = np.random.default_rng(0)
    batches = [(rng.integers(1, 4, 6), 1e6 * normal(6, 2, seed=i)) for i in range(8)]
    batches[0][0][0] = 0

    def apply(params: Params, x: jax.Array) -> jax.Array:
        table = params["0.weight"]
        size = jnp.where(x.min() > 0, 1e-14, 0.0)
        return table[x] + size * (table.sum() - jax.lax.stop_gradient(table.sum()))

    return right(
        module,
        apply=apply,
        torch_optimizer=torch.optim.Adam(module.parameters(), lr=0.01),
        optimizer=optim.adam(0.01),
        batches=batches,
    )


def _epsilon_of_small_gradients() -> Arguments:
    """Adam's epsilon is wrong, which only one small gradient shows."""
    module = network()
    small = np.array([1, 1, 1e-9], np.float32)
    batches = [(x * small, y) for x, y in batches_of(8)]

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return layers(params, x)

    return right(
        module,
        apply=apply,
        torch_optimizer=torch.optim.Adam(module.parameters(), lr=1e-3, eps=1e-12),
        optimizer=optim.adam(1e-3, eps=1.01e-12),
        batches=batches,
    )


def _small_channel() -> Arguments:
    """A running variance is wrong in the channel whose numbers are small."""
    module = seeded(lambda: nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)))
    scale = np.array([1e4, 1e-3], np.float32)
    batches = [(x * scale, y) for x, y in batches_of(8, 8, inputs=2)]

    def apply(params: Params, buffers: Params, x: jax.Array) -> Any:
        mean, variance = x.mean(0), x.var(0)
        y = (x - mean) / jnp.sqrt(variance + 1e-5) * params["0.weight"] + params["0.bias"]
        factor = jnp.array([len(x) / (len(x) - 1), 1.0], x.dtype)
        now = {"0.running_mean": mean, "0.running_var": variance * factor}
        after = {k: 0.9 * buffers[k] + 0.1 * v for k, v in now.items()}
        return linear(params, "1", y), after

    return right(module, apply=apply, stateful=True, batches=batches)


# What is excused as the rounding of constants and scalars.


def _with_table(wrong: float, *, size: float = 1.0, **changed: Any) -> Arguments:
    """A table in float32 is added, and one number of the port's is slightly off."""
    table = (size * np.sin(np.arange(1, 4) / 3)).astype(np.float32)
    other = table * np.array([1, 1 + wrong, 1], np.float32)

    net = network()
    module = Forward(lambda self, x: self.net(x + self.table.to(x.dtype)), net=net)
    module.register_buffer("table", torch.from_numpy(table))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        own = {k.removeprefix("net."): v for k, v in params.items()}
        return layers(own, x + jnp.asarray(other, x.dtype))

    return right(module, apply=apply) | changed


def _beside_a_table(error: float) -> Arguments:
    """Torch's module holds a float32 constant; the mistake is elsewhere."""
    return _with_table(0.0, optimizer=optim.sgd(0.1 * (1 + error)))


def _decay_beside_a_table() -> Arguments:
    """The usual weight decay is missing: it changes a step by 1e-7 of the weights."""
    given = _with_table(0.0, optimizer=optim.adamw(1e-3, weight_decay=0.0))
    parameters = given["torch_module"].parameters()
    return given | {"torch_optimizer": torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4)}


def _momentum_beside_a_table() -> Arguments:
    given = _with_table(0.0, optimizer=optim.sgd(0.1, momentum=0.9 * (1 + 3e-7)))
    return given | {"torch_optimizer": sgd(given["torch_module"], momentum=0.9)}


def _half_precision_rate() -> Arguments:
    """The learning rate is computed in float16."""
    module = network()
    optimizer = sgd(module, 1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 1 / (10 + count))
    return right(
        module,
        torch_optimizer=optimizer,
        torch_scheduler=scheduler,
        optimizer=optax.sgd(lambda count: 1 / jnp.asarray(10 + count, jnp.float16)),
    )


def _narrow_moments() -> Arguments:
    """Adam's first moments are kept in bfloat16."""
    module = network()
    return right(
        module,
        torch_optimizer=torch.optim.Adam(module.parameters(), lr=1e-3),
        optimizer=optax.adam(1e-3, mu_dtype=jnp.bfloat16),
    )


# Precision.


def _bfloat16_everywhere() -> Arguments:
    return right(apply=lambda p, x: layers(p, bfloat16(x)))


def _bfloat16_branch(size: float) -> Arguments:
    """A branch of small outputs computes in bfloat16."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) + size * torch.sin(x[:, :2])

    net = network()
    module = Forward(forward, net=net)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        own = {k.removeprefix("net."): v for k, v in params.items()}
        return layers(own, x) + size * jnp.sin(bfloat16(x[:, :2]))

    return right(module, apply=apply)


def _float64_only() -> Arguments:
    """The port computes in bfloat16 unless it is given float64, and only that is compared."""
    return right(
        apply=lambda p, x: layers(p, x if x.dtype == jnp.float64 else bfloat16(x)),
        precisions=("float64",),
    )


def _right_in_float64_only() -> Arguments:
    """Anything but float64 is scaled, and only float64 is compared."""
    return right(
        apply=lambda p, x: layers(p, x if x.dtype == jnp.float64 else 1.001 * x),
        precisions=("float64",),
    )


def _coarse_if_narrow() -> Arguments:
    """In float32, the port rounds to a grid without any narrower type."""

    def coarse(x: jax.Array) -> jax.Array:
        if x.dtype == jnp.float64:
            return x
        return x + jax.lax.stop_gradient(jnp.round(x * 2**16) / 2**16 - x)

    return right(apply=lambda p, x: layers(p, coarse(x)))


# Buffers, branches that begin at 0, training only.


def _integer_buffer() -> Arguments:
    """Torch counts the rows that it has seen in an integer buffer, which the port lacks."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return self.net(x)

    module = Forward(forward, net=network())
    module.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return layers({k.removeprefix("net."): v for k, v in params.items()}, x)

    return right(module, apply=apply)


def _zero_branch() -> Arguments:
    """A branch that begins at 0 has another activation."""

    def make() -> nn.Module:
        module = Forward(
            lambda self, x: self.base(x) + self.up(torch.relu(self.down(x))),
            base=nn.Linear(3, 2),
            down=nn.Linear(3, 2),
            up=nn.Linear(2, 2, bias=False),
        )
        nn.init.zeros_(module.up.weight)  # type: ignore[arg-type]
        return module

    def apply(params: Params, x: jax.Array) -> jax.Array:
        inner = jax.nn.leaky_relu(linear(params, "down", x), 1e-6)
        return linear(params, "base", x) + linear(params, "up", inner)

    return right(seeded(make), apply=apply)


def _zero_branch_that_stays() -> Arguments:
    """The gate of a wrong branch begins at 0, and its learning rate is 0."""
    net = network()
    module = Forward(
        lambda self, x: self.net(x) + self.gate * torch.sin(x[:, :2]),
        net=net,
        gate=nn.Parameter(torch.zeros(2)),
    )
    torch_optimizer = torch.optim.SGD(
        [{"params": net.parameters()}, {"params": [module.gate], "lr": 0.0}], lr=0.1
    )

    def apply(params: Params, x: jax.Array) -> jax.Array:
        own = {k.removeprefix("net."): v for k, v in params.items()}
        return layers(own, x) + params["gate"] * jnp.cos(x[:, :2])

    return right(
        module,
        apply=apply,
        torch_optimizer=torch_optimizer,
        optimizer=optax.chain(frozen("gate"), optim.sgd(0.1)),
    )


def _dropout_left_out(*, training: bool) -> Arguments:
    module = network(nn.Sequential(nn.Tanh(), nn.Dropout(0.5)))
    return right(module.train(training))


def _summed_batches() -> Arguments:
    """The port takes the mean of accumulated batches, whose size hardly changes Adam's steps."""
    module = network()
    steps = optax.MultiSteps(optim.adam(1e-3), 2, accumulator_dtype=None)  # type: ignore
    return right(
        module,
        accumulate=2,
        torch_optimizer=torch.optim.Adam(module.parameters(), lr=1e-3),
        optimizer=steps.gradient_transformation(),
        batches=batches_of(8),
    )


def _batch_used_again() -> Arguments:
    """The port trains twice on one batch, and leaves out the next, which is nearly the same."""
    batches = batches_of(8)
    batches[5] = (batches[4][0] + np.float32(1e-6), batches[4][1])
    own = [*batches]
    own[5] = batches[4]
    return right(batches=batches, port_batches=own)


def _momentum_of_another_factor() -> Arguments:
    """Momentum multiplied by the rate beforehand, and the rate of one step is wrong in it."""
    module = network()
    rate = lambda count: jnp.where(count == 5, -0.1 * (1 + 1e-9), -0.1)  # noqa: E731
    return right(
        module,
        torch_optimizer=sgd(module, momentum=0.9),
        optimizer=optax.chain(optax.scale_by_schedule(rate), optax.trace(0.9)),
        batches=batches_of(10),
    )


def _wrong_only_backwards() -> Arguments:
    """The forward pass is right, and its derivative is that of another function."""

    @jax.custom_jvp
    def tanh(x: jax.Array) -> jax.Array:
        return jnp.tanh(x)

    @tanh.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (x,), (t,) = primals, tangents
        return jnp.tanh(x), t * (1 - jnp.tanh(x) ** 2 + 1e-11)

    return right(apply=lambda p, x: layers(p, x, tanh))


def _wrong_every_seventh_step() -> Arguments:
    rate = lambda count: jnp.where(either((6, 13), count), 0.1 * (1 + 1e-9), 0.1)  # noqa: E731
    return right(optimizer=optim.sgd(rate), batches=batches_of(16))


SLIPS: dict[str, Callable[[], Arguments]] = {
    "a penalty that reads the module": _penalty,
    "a closure that clamps weights": _closure_that_clamps,
    "an average in the module, left out": lambda: _copy_in_module(frozen=True),
    "an average of trained parameters, left out": lambda: _copy_in_module(frozen=False),
    "an average that the port never updates": _copy_as_parameters,
    "a hook on a gradient": _hook_on_a_gradient,
    "a hook after the step": _hook_after_the_step,
    "a hook on a layer": _hook_on_a_layer,
    "a rate set by a closure": _rate_set_by_closure,
    "a bias of 0 that the port lacks": _dropped_bias,
    "a bias that from_torch fills with 0": _zero_bias,
    "a tensor that to_torch leaves out": _left_out_by_to_torch,
    "to_torch returns what it saw first": _to_torch_of_constants,
    "to_torch returns zeros": _to_torch_of_zeros,
    "tied weights apart": _untied,
    "a parameter that only the port trains": lambda: _outside_the_optimiser(in_torch=True),
    "a parameter that only torch trains": lambda: _outside_the_optimiser(in_torch=False),
    "no causal mask, the last position read": _last_position_only,
    "a wrong output that is not read": _unread_column,
    "outputs clipped where the loss is 0": _clipped_outputs,
    "ignored rows in the mean": _ignored_class,
    "a feature that is always 0": _feature_that_is_zero,
    "a dead unit": _dead_unit,
    "a word that no batch has": _unseen_word,
    "chaotic, 1e-9 from step 70 on": lambda: _chaotic_late(1e-9),
    "chaotic, 1e-6 every fifth step": lambda: _chaotic_seldom(1e-6, 5),
    "chaotic, 1e-8 every thirteenth step": lambda: _chaotic_seldom(1e-8, 13),
    "chaotic, with momentum apart, from step 290 on": _chaotic_momentum_apart,
    "chaotic, 1e-8 when set back": _chaotic_when_set_back,
    "the order of rows matters later, 1e-3": lambda: _rows_mixed_later(1e-3),
    "the order of rows matters later, 1e-6": lambda: _rows_mixed_later(1e-6),
    "the order of rows matters later, float64": lambda: _rows_mixed_later(
        1e-2, precisions=("float64",)
    ),
    "the rate of the last step": _rate_of_the_last_step,
    "decay from step 20 on": _decay_late,
    "momentum cut at step 30": _momentum_cut,
    "a kink met once": _kink_met_once,
    "the weight of a rare class": _one_class,
    "a rare word": _one_word,
    "a guard against infinities": _guard_against_nan,
    "a step between the states of float32": _steps_between_samples,
    "a rate after convergence": _after_convergence,
    "decay of a key's bias": _key_bias_without_decay,
    "decay of a key's bias that matters": _key_bias_that_matters,
    "decay of a bias before a batch norm": _bias_before_norm_left_out,
    "a running mean without the bias": _bias_before_norm_unread,
    "rounding that reaches unseen rows": _leak_to_unseen_rows,
    "an epsilon of small gradients": _epsilon_of_small_gradients,
    "a channel of small numbers": _small_channel,
    "a table off by 1e-5": lambda: _with_table(1e-5),
    "a table of small numbers off by 1e-3": lambda: _with_table(1e-3, size=1e-4),
    "a rate off by 5e-7 beside a table": lambda: _beside_a_table(5e-7),
    "a momentum off by 3e-7 beside a table": _momentum_beside_a_table,
    "no weight decay beside a table": _decay_beside_a_table,
    "a rate in float16": _half_precision_rate,
    "moments in bfloat16": _narrow_moments,
    "bfloat16 in both precisions": _bfloat16_everywhere,
    "bfloat16 in a branch of 1e-4": lambda: _bfloat16_branch(1e-4),
    "bfloat16 in a branch of 1e-6": lambda: _bfloat16_branch(1e-6),
    "bfloat16 unless in float64": _float64_only,
    "scaled unless in float64": _right_in_float64_only,
    "a coarse grid in float32": _coarse_if_narrow,
    "running statistics of another momentum": lambda: _batch_normalised(
        apply=lambda p, b, x: _batch_norm(p, b, x, momentum=0.1 + 1e-9)
    ),
    "a biased running variance": lambda: _batch_normalised(
        apply=lambda p, b, x: _batch_norm(p, b, x, biased=True)
    ),
    "a frozen layer beside a rounded constant": _frozen_beside_a_constant,
    "a momentum beside a rounded constant": _momentum_beside_a_constant,
    "a momentum lost in the last step": _momentum_lost_in_the_last_step,
    "an epsilon beside equal constants": _epsilon_beside_equal_constants,
    "clamped beside labels of -1": _clamped_beside_labels_of_minus_one,
    "an integer buffer": _integer_buffer,
    "a branch that begins at 0": _zero_branch,
    "a branch that stays at 0": _zero_branch_that_stays,
    "dropout left out": lambda: _dropout_left_out(training=True),
    "dropout left out, not training": lambda: _dropout_left_out(training=False),
    "the mean of accumulated batches": _summed_batches,
    "a batch used again": _batch_used_again,
    "momentum of another factor": _momentum_of_another_factor,
    "wrong only backwards": _wrong_only_backwards,
    "wrong every seventh step": _wrong_every_seventh_step,
}
