"""A torch optimiser's settings as a transformation, without importing torch."""

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
    build: Callable[..., optax.GradientTransformation]
    settings: str


_ADAM = "lr betas eps weight_decay amsgrad maximize decoupled_weight_decay"

# What each class is here, and the settings that its groups may hold: both sides' names.
_RULES = {
    "SGD": _Rule(sgd, "lr momentum dampening weight_decay nesterov maximize"),
    "Adam": _Rule(adam, _ADAM),
    "AdamW": _Rule(adamw, _ADAM),
    "RMSprop": _Rule(rmsprop, "lr alpha eps weight_decay momentum centered maximize"),
    "Adagrad": _Rule(adagrad, "lr lr_decay weight_decay initial_accumulator_value eps maximize"),
}

# How torch computes, not what; and what belongs to one group.
_WITHOUT_EFFECT = {"capturable", "differentiable", "foreach", "fused", "param_names", "params"}

# What a scheduler leaves in a group to compute the learning rate from.
_SCHEDULED_LR = {"initial_lr", "max_lr", "min_lr"}

_ABSENT = "nothing"


def from_torch(
    torch_optimizer: Any, *, lr: Number | Schedule | None = None
) -> optax.GradientTransformation:
    """The transformation that makes the steps of a `torch.optim` optimiser.

    Only settings are read. The state starts afresh, whatever steps torch has made; hooks on the
    optimiser are not seen.

    Args:
      torch_optimizer: an SGD, Adam, AdamW, RMSprop or Adagrad of `torch.optim` itself; a subclass
        may do anything. All its groups must have the same settings.
      lr: takes the place of its learning rate; needed where a scheduler is attached.

    Returns:
      The transformation.

    Raises:
      ConfigError: another class, groups that differ, a setting that is unknown here, or a scheduler
        without ``lr``.
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
    """The transformation for a class of `torch.optim` and the settings of its group.

    So that settings recorded elsewhere rebuild the optimiser where torch is not installed.

    Args:
      name: ``"SGD"``, ``"Adam"``, ``"AdamW"``, ``"RMSprop"`` or ``"Adagrad"``.
      settings: what a group holds, ``params`` apart; what is left out has torch's default.
      lr: takes the place of ``settings["lr"]``; needed where ``settings`` are a scheduler's.

    Returns:
      The transformation; its state starts afresh.

    Raises:
      ConfigError: an unknown name or setting, or a scheduler's group without ``lr``.
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
        build = partial(adamw, weight_decay=0.0)
    if lr is not None:
        kept["lr"] = lr
    return build(**kept)


def _plain(key: str, value: Any) -> Any:
    """A setting as Python numbers: torch lets some of them be tensors."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return tuple(_plain(key, part) for part in value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key} must be a number; got {value!r}.") from error
