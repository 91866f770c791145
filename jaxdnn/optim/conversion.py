"""Conversion of torch optimisers to optax transformations, without importing torch."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import optax

from jaxdnn.errors import ConfigError
from jaxdnn.optim.adagrad import adagrad
from jaxdnn.optim.adam import adam, adamw
from jaxdnn.optim.hyperparameters import Number, Schedule
from jaxdnn.optim.rmsprop import rmsprop
from jaxdnn.optim.sgd import sgd

__all__ = ["from_settings", "from_torch"]


class _Rule(NamedTuple):
    """A constructor of this package, and the torch settings that it takes."""

    build: Callable[..., optax.GradientTransformation]
    settings: str


_ADAM = "lr betas eps weight_decay amsgrad maximize decoupled_weight_decay"

# By the class in torch. The names of the settings are the same in torch and here.
_RULES = {
    "SGD": _Rule(sgd, "lr momentum dampening weight_decay nesterov maximize"),
    "Adam": _Rule(adam, _ADAM),
    "AdamW": _Rule(adamw, _ADAM),
    "RMSprop": _Rule(rmsprop, "lr alpha eps weight_decay momentum centered maximize"),
    "Adagrad": _Rule(adagrad, "lr lr_decay weight_decay initial_accumulator_value eps maximize"),
}

# Settings that choose torch's implementation, and the names and parameters of a group.
_WITHOUT_EFFECT = {"capturable", "differentiable", "foreach", "fused", "param_names", "params"}

# Keys that a scheduler adds to a group, for its own use.
_SCHEDULED_LR = {"initial_lr", "max_lr", "min_lr"}

_ABSENT = "nothing"


def from_torch(
    torch_optimizer: Any, *, lr: Number | Schedule | None = None
) -> optax.GradientTransformation:
    """The optax transformation with the settings of a `torch.optim` optimiser.

    Only the settings are read, not the state: moments and step counts begin at zero. Hooks that are
    registered on the optimiser are ignored.

    Args:
      torch_optimizer: an instance of `torch.optim.SGD`, `Adam`, `AdamW`, `RMSprop` or `Adagrad`,
        not of a subclass, whose steps might differ. All parameter groups must have the same
        settings.
      lr: a learning rate or schedule that replaces the optimiser's; required if a scheduler is
        attached.

    Returns:
      The transformation.

    Raises:
      ConfigError: the class is not supported, the groups differ, a setting is unknown, or a
        scheduler is attached and ``lr`` is missing.
      ValueError: a setting is outside its range.

    Example:
      >>> import torch, jax.numpy as jnp
      >>> network = torch.nn.Linear(2, 1)
      >>> optimizer = from_torch(torch.optim.SGD(network.parameters(), lr=0.5))
      >>> params = jnp.ones(2)
      >>> updates, state = optimizer.update(params, optimizer.init(params))
      >>> updates
      Array([-0.5, -0.5], dtype=float32)

    Reference:
      `torch.optim <https://docs.pytorch.org/docs/stable/optim.html>`_
    """
    cls = type(torch_optimizer)
    if (
        cls.__module__ != f"torch.optim.{cls.__qualname__.lower()}"
        or cls.__qualname__ not in _RULES
    ):
        raise ConfigError(
            f"from_torch reads torch.optim's {', '.join(_RULES)} and no subclasses; build the "
            f"transformation of {cls.__module__}.{cls.__qualname__} with optax."
        )
    first, *others = [
        {key: _plain(key, value) for key, value in group.items() if key not in _WITHOUT_EFFECT}
        for group in torch_optimizer.param_groups
    ]
    for number, group in enumerate(others, start=1):
        for key in first | group:
            one, other = first.get(key, _ABSENT), group.get(key, _ABSENT)
            if one != other:
                raise ConfigError(
                    f"Group {number} has {key}={other} where group 0 has {one}; build a "
                    "transformation for each and join them with optax.partition."
                )
    return from_settings(cls.__qualname__, first, lr=lr)


def from_settings(
    name: str, settings: Mapping[str, Any], *, lr: Number | Schedule | None = None
) -> optax.GradientTransformation:
    """The optax transformation for a class of `torch.optim` and the settings of a parameter group.

    Use it to rebuild an optimiser from recorded settings where torch is not installed.

    Args:
      name: ``"SGD"``, ``"Adam"``, ``"AdamW"``, ``"RMSprop"`` or ``"Adagrad"``.
      settings: the settings of a parameter group, without ``params``. Missing ones have torch's
        defaults.
      lr: a learning rate or schedule that replaces ``settings["lr"]``; required if a scheduler was
        attached to the group.

    Returns:
      The transformation.

    Raises:
      ConfigError: the name or a setting is unknown, or a scheduler was attached and ``lr`` is
        missing.
      ValueError: a setting is outside its range.

    Example:
      >>> import jax.numpy as jnp
      >>> optimizer = from_settings("SGD", {"lr": 0.5, "momentum": 0, "foreach": None})
      >>> optimizer.init(jnp.ones(2))
      SGDState(count=Array(0, dtype=int32), momentum_buffer=None)
    """
    if name not in _RULES:
        raise ConfigError(f"The optimiser must be one of {', '.join(_RULES)}; got {name!r}.")
    kept = {key: _plain(key, settings[key]) for key in settings if key not in _WITHOUT_EFFECT}
    if "initial_lr" in kept:
        if lr is None:
            raise ConfigError(
                f"A scheduler drives the learning rate of this {name}; give lr=, the schedule from "
                "jaxdnn.optim that does the same, or a number."
            )
        kept = {key: value for key, value in kept.items() if key not in _SCHEDULED_LR}
    rule = _RULES[name]
    unknown = sorted(kept.keys() - set(rule.settings.split()))
    if unknown:
        raise ConfigError(
            f"{name} has settings that jaxdnn.optim does not read: {', '.join(unknown)}; build it "
            f"with jaxdnn.optim.{rule.build.__name__}."
        )
    build: Callable[..., optax.GradientTransformation] = rule.build
    decoupled = kept.pop("decoupled_weight_decay", name == "AdamW")
    if name == "AdamW" and not decoupled:
        raise ConfigError(
            "AdamW always decouples its decay; use the name 'Adam' for these settings."
        )
    if name == "Adam" and decoupled:
        build = partial(adamw, weight_decay=0.0)  # Adam's default, not AdamW's
    if lr is not None:
        kept["lr"] = lr
    return build(**kept)


def _plain(key: str, value: Any) -> Any:
    """A setting as Python numbers; torch also accepts tensors for some."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return tuple(_plain(key, part) for part in value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key} must be a number; got {value!r}.") from error
