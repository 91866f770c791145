"""The lessons: the workflows of the five tutorials as pure functions, one module a family.

Each module has a mirror of the same name in ``reference_torch.workflows``, with the same functions
in the same order: read the two side by side. A lesson has a ``Config``, a frozen dataclass whose
floats are leaves of a pytree, so that they can be traced and vmapped. One that trains a network has
``init``, ``loss``, ``optimizer`` and ``fit(key, config, data)``, which calls `jaxdnn.training.fit`.

Lessons know nothing of commands, files, figures or devices: that is `jaxdnn.runs`. Start with
`mnist_dnn`, or with `gradient_descent` for the smallest loop.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdnn.workflows import (
        autograd,
        data_loading,
        gradient_descent,
        lenet,
        linear_regression,
        mnist_dnn,
        momentum_sgd,
        sum_classifier,
        tabular_dnn,
        two_layer_net,
    )

__all__ = [
    "autograd",
    "data_loading",
    "gradient_descent",
    "lenet",
    "linear_regression",
    "mnist_dnn",
    "momentum_sgd",
    "sum_classifier",
    "tabular_dnn",
    "two_layer_net",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
