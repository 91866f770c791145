"""The tutorials' workflows, one module a family, and the list of them.

The list is plain text, so that showing it loads no workflow; `load` imports one.
"""

import importlib
from types import ModuleType
from typing import NamedTuple

__all__ = ["WORKFLOWS", "Workflow", "load"]


class Workflow(NamedTuple):
    """What the list says of a workflow.

    Attributes:
      id: what the command line calls it.
      title: what a picture of it is called.
      document: the tutorial it comes from.
      summary: one line of what it shows.
    """

    id: str
    title: str
    document: str
    summary: str


WORKFLOWS = {
    workflow.id: workflow
    for workflow in (
        Workflow(
            "mnist-dnn",
            "MNIST DNN",
            "Deep networks on a GPU",
            "784-512-256-128-64-10 on MNIST: cross-entropy, SGD with momentum, batches of 64",
        ),
    )
}


def load(workflow_id: str) -> ModuleType:
    """Import a workflow's module.

    Args:
      workflow_id: a key of `WORKFLOWS`.

    Returns:
      The module, with ``Config``, ``fit`` and ``run``.

    Example:
      >>> load("mnist-dnn").Config().batch_size
      64
    """
    return importlib.import_module(f"{__name__}.{workflow_id.replace('-', '_')}")
