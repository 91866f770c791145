"""Configurations: what a field is follows from its type."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdnn.errors import ConfigError
from jaxdnn.workflows import lenet, mnist_dnn, tabular_dnn, two_layer_net
from jaxdnn.workflows.config import Real, hyperparameters


@hyperparameters
class Config:
    steps: int = 3
    limit: int | None = None
    rate: Real = 0.5
    flag: bool = False
    name: str = ""


def test_numbers_are_leaves_and_the_rest_is_static() -> None:
    leaves, structure = jax.tree.flatten(Config(rate=0.25))
    assert leaves == [0.25]
    assert structure.unflatten([2.0]) == Config(rate=2.0)
    assert structure != jax.tree.structure(Config(steps=4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"steps": True}, "steps must be a whole number of at least 1"),
        ({"steps": 2**31}, "steps must be a whole number of at least 1, and less than"),
        ({"limit": 0}, "limit must be a whole number of at least 1"),
        ({"rate": -0.1}, "rate must be finite and at least 0"),
        ({"rate": True}, "rate must be finite and at least 0"),
        ({"rate": 1e39}, "rate must be finite and at least 0"),
        ({"rate": float("nan")}, "rate must be finite and at least 0"),
    ],
)
def test_invalid_values_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**settings)


def test_arrays_and_placeholders_are_not_checked() -> None:
    assert Config(rate=jnp.array([-1.0])).rate.tolist() == [-1.0]  # type: ignore[union-attr]
    assert Config(rate=np.array([-1.0])).rate.tolist() == [-1.0]  # type: ignore[union-attr]
    assert jax.tree.map(lambda _: "placeholder", Config()).rate == "placeholder"


@pytest.mark.parametrize("lesson", [mnist_dnn, lenet])
def test_class_and_its_subclass_check_more(lesson: Any) -> None:
    with pytest.raises(ConfigError, match="initial_scale must be above 0"):
        lesson.Config(initial_scale=0.0)
    with pytest.raises(ConfigError, match="epochs must be a whole number"):
        lesson.Config(epochs=0)


def test_no_mini_batches_or_batches_of_at_least_one_row() -> None:
    assert tabular_dnn.Config().batch_size is None
    with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 1"):
        tabular_dnn.Config(batch_size=0)


def test_word_for_a_boolean_is_refused() -> None:
    """Set behind the tests' own type check, which users do not have."""
    config = two_layer_net.Config()
    object.__setattr__(config, "as_printed", "no")
    with pytest.raises(ConfigError, match="as_printed must be True or False; got 'no'"):
        config.__post_init__()  # type: ignore[attr-defined]
