"""The list of workflows, and the report of each.

The list is plain text, so that showing it imports neither JAX nor a workflow.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from jaxdnn.errors import ConfigError

if TYPE_CHECKING:
    from jaxdnn.runs.workflow import Report

__all__ = ["DOCUMENTS", "LONG", "WORKFLOWS", "Workflow", "lesson", "report", "require"]

DOCUMENTS = {
    "000": "Backpropagation, momentum and data loaders",
    "001": "PyTorch from autograd to LeNet",
    "002": "Deep networks on a GPU",
    "003": "Linear regression twice",
    "004": "Gradient descent by hand and by autograd",
}
"""The five tutorials, by the short names that the list uses."""


class Workflow(NamedTuple):
    """An entry of the list.

    Attributes:
      id: its name on the command line.
      title: of its picture.
      rows: the rows of the parity table that are its own.
      documents: the tutorials it comes from, keys of `DOCUMENTS`.
      summary: one line of what it shows.
      kind: what a run leaves: figures; curves too; a trained network besides; or a network of
        MNIST, whose run is long enough to be resumed, sharded and swept.
      family: the printed figures that are its own begin with this.
      draws_from_keys: whether its shuffles come from JAX's keys unless a torch seed is given; the
        other workflows draw everything as torch does.
    """

    id: str
    title: str
    rows: str
    documents: tuple[str, ...]
    summary: str
    kind: Literal["figures", "curves", "network", "long"]
    family: str
    draws_from_keys: bool = False

    @property
    def module(self) -> str:
        """Name of its module in `jaxdnn.workflows`, ``reference_torch.workflows`` and `reports`."""
        return self.id.replace("-", "_")


WORKFLOWS = {
    workflow.id: workflow
    for workflow in (
        Workflow(
            "autograd",
            "Automatic differentiation",
            "W01-W06",
            ("000", "001"),
            "derivatives, Jacobians, and what is left out of them",
            "figures",
            "autograd",
        ),
        Workflow(
            "gradient-descent",
            "Gradient descent",
            "W07-W12",
            ("004", "001"),
            "by hand and by grad; three fits; Newton's step",
            "curves",
            "gradient_descent",
        ),
        Workflow(
            "two-layer-net",
            "Two-layer network",
            "W13-W15",
            ("001",),
            "1000-100-10: backward by hand, by grad, in a module",
            "curves",
            "two_layer_net",
        ),
        Workflow(
            "momentum-sgd",
            "Momentum SGD",
            "W16-W20",
            ("000",),
            "20-13-8-3: momentum by hand and under an optimiser",
            "curves",
            "momentum_sgd",
        ),
        Workflow(
            "data-loading",
            "Data loading",
            "W21-W22",
            ("000", "001"),
            "data sets, shuffled batches, random splits",
            "figures",
            "data",
        ),
        Workflow(
            "linear-regression",
            "Linear regression",
            "W23-W24",
            ("003",),
            "a plane, from scratch and by a layer under SGD",
            "network",
            "linear_regression",
        ),
        Workflow(
            "lenet",
            "LeNet",
            "W25",
            ("001",),
            "convolutions on padded MNIST, SGD with momentum",
            "long",
            "lenet",
            draws_from_keys=True,
        ),
        Workflow(
            "sum-classifier",
            "Three classes by a sum",
            "W26, W30",
            ("002",),
            "3-5-5-5-3, squared error; saved and loaded again",
            "network",
            "sum_classifier",
        ),
        Workflow(
            "tabular-dnn",
            "DNN on a table",
            "W27-W28",
            ("002",),
            "8-32-8-4-1 on a CSV file: Adam, full or mini-batches",
            "network",
            "tabular_dnn",
            draws_from_keys=True,
        ),
        Workflow(
            "mnist-dnn",
            "MNIST DNN",
            "W29",
            ("002",),
            "784-512-256-128-64-10 on MNIST, SGD with momentum",
            "long",
            "mnist_dnn",
            draws_from_keys=True,
        ),
    )
}


LONG = tuple(workflow.id for workflow in WORKFLOWS.values() if workflow.kind == "long")
"""The workflows on MNIST, whose runs can be resumed, sharded and swept."""


def require(workflow_id: str) -> None:
    """Raise ConfigError unless there is such a workflow."""
    if workflow_id not in WORKFLOWS:
        known = ", ".join(WORKFLOWS)
        raise ConfigError(f"There is no workflow {workflow_id!r}; there are {known}.")


def report(workflow_id: str) -> "Report":
    """Import the module that runs a workflow.

    Args:
      workflow_id: a key of `WORKFLOWS`.

    Returns:
      A module of `jaxdnn.runs.reports`, with ``SEED``, ``Config``, ``Inputs`` and ``run``.

    Example:
      >>> report("mnist-dnn").Config().batch_size
      64
    """
    name = f"jaxdnn.runs.reports.{WORKFLOWS[workflow_id].module}"
    return cast("Report", importlib.import_module(name))


def lesson(workflow_id: str) -> ModuleType:
    """Import a workflow's own module, the pure functions.

    Args:
      workflow_id: a key of `WORKFLOWS`.

    Returns:
      A module of `jaxdnn.workflows`.
    """
    return importlib.import_module(f"jaxdnn.workflows.{WORKFLOWS[workflow_id].module}")
