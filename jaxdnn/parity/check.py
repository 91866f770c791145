"""The judgement on a port: torch's run and the port's, step by step, in both precisions."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optax
from jaxtyping import Array, Float, PyTree

from jaxdnn import torch_compat
from jaxdnn.parity import naming
from jaxdnn.parity.compare import Divergence
from jaxdnn.parity.port import Arrays, Port, steps_of
from jaxdnn.parity.report import Report
from jaxdnn.parity.source import Batches, Recording, Source, live
from jaxdnn.parity.trajectory import Trajectory

if TYPE_CHECKING:
    import torch

__all__ = ["assert_port", "check_port", "judge", "replay"]

Precisions = Sequence[str]
Apply = Callable[..., Any]
PortLoss = Callable[[Array, Array], Float[Array, ""]]


def check_port(
    torch_module: "torch.nn.Module",
    torch_loss: "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]",
    torch_optimizer: "torch.optim.Optimizer",
    apply: Apply,
    loss: PortLoss,
    optimizer: optax.GradientTransformation,
    batches: Batches,
    *,
    from_torch: Callable[[Arrays], PyTree] | None = None,
    to_torch: Callable[[PyTree], Arrays] | None = None,
    steps: int | None = None,
    precisions: Precisions = ("float64", "float32"),
    activations: Callable[[PyTree, Array], Mapping[str, Array]] | None = None,
    stateful: bool = False,
    port_batches: Batches | None = None,
    torch_scheduler: Any = None,
    steps_per_epoch: int = 1,
    torch_before_step: Callable[[list], object] | None = None,
    accumulate: int = 1,
    samples: int = 64,
) -> Report:
    r"""Train a torch network and its JAX port side by side, and say whether they are the same.

    Torch trains in float64 from its parameters on the given batches, and so does the port; after
    every step the two may differ by :math:`10^{-12}`, relative to the largest magnitude that each
    tensor has had. Then, from states of torch's run in float32, both take one step, and the port
    may be no further from float64 than three times torch's own distance, plus a unit in the last
    place. A difference is followed to the first step, phase and tensor, and named if it is in the
    catalogue `TRAPS`. Agreement counts only where something could have differed: a run in which
    nothing moves is inconclusive.

    Args:
      torch_module: the network, with the parameters to start from; it returns one tensor.
      torch_loss: ``(output, target) -> scalar``, a function or a module.
      torch_optimizer: over the module's parameters; it has not yet taken a step.
      apply: ``(params, x) -> output``; it is jitted.
      loss: ``(output, target) -> scalar``.
      optimizer: the port's, from optax or `jaxdnn.optim`.
      batches: pairs ``(x, y)`` of NumPy arrays, on which both train.
      from_torch: ``{torch name: array} -> params``, keeping the arrays' type. By default
        `torch_compat.from_torch`: a dictionary for each module under its dotted name, with
        ``kernel`` (in, out) or HWIO, ``scale`` and ``bias``.
      to_torch: its inverse for any tree like the parameters; by default found by following every
        element through ``from_torch``.
      steps: at most so many batches; by default all. A few hundred find what a few do not.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      activations: ``(params, x) -> {name of a torch submodule: its output in torch's layout}``; a
        difference is then found inside the network.
      stateful: ``apply`` is ``(params, buffers, x) -> (output, buffers)``, with the module's
        buffers by torch name, as for a batch normalisation's running statistics.
      port_batches: the port's own batches, to compare the data too.
      torch_scheduler: a learning-rate scheduler of ``torch_optimizer``.
      steps_per_epoch: steps of the optimiser to one of the scheduler.
      torch_before_step: called with the list of parameters between ``backward`` and ``step``,
        to clip gradients.
      accumulate: batches whose gradients torch sums before a step.
      samples: float32 states.

    Returns:
      A `Report`. The module, the optimiser, the scheduler, both configurations and all random
      generators are left as they were; memory holds a few steps, however many there are.

    Raises:
      ValueError: an argument is not as it should be; the sentence says which.
      ImportError: torch is not installed; see `replay`.

    Example:
      >>> import numpy as np, optax, torch
      >>> from flax import linen
      >>> from jaxdnn import losses, parity
      >>> module = torch.nn.Linear(3, 1)
      >>> sgd = torch.optim.SGD(module.parameters(), lr=0.1)
      >>> x = np.random.default_rng(0).normal(size=(20, 8, 3)).astype(np.float32)
      >>> y = x.sum(2, keepdims=True)
      >>> def apply(params, x):
      ...     return linen.Dense(1).apply({"params": params[""]}, x)
      >>> report = parity.check_port(
      ...     module, torch.nn.MSELoss(), sgd, apply, losses.mse, optax.sgd(0.1), list(zip(x, y)))
      >>> report.verdict
      'pass'
      >>> wrong = parity.check_port(
      ...     module, torch.nn.MSELoss(), sgd, apply, lambda x, y: optax.l2_loss(x, y).mean(),
      ...     optax.sgd(0.1), list(zip(x, y)))
      >>> wrong.verdict, wrong.first_divergence.phase, wrong.trap
      ('fail', 'loss', 'mse-half')

    Reference:
      Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, chapters 1 and 3, for
      errors relative to the data and for statistical rounding bounds.
    """
    port = _port(apply, loss, optimizer, from_torch, to_torch, activations, stateful)
    batches = _limited(batches, steps)
    if port_batches is not None:
        port_batches = _limited(port_batches, steps)
    source = live(
        torch_module,
        torch_loss,
        torch_optimizer,
        batches,
        port=port,
        scheduler=torch_scheduler,
        steps_per_epoch=steps_per_epoch,
        before_step=torch_before_step,
        accumulate=accumulate,
        samples=samples,
    )
    return judge(source, port, precisions=precisions, port_batches=port_batches)


def assert_port(*args: Any, **kwargs: Any) -> None:
    """`check_port` for a test.

    Args:
      *args: as for `check_port`.
      **kwargs: likewise.

    Raises:
      AssertionError: the verdict is not ``"pass"``; it shows the report.
    """
    report = check_port(*args, **kwargs)
    if not report.ok:
        raise AssertionError(f"the port is not proved right\n{report}")


def replay(
    file: str | Path,
    apply: Apply,
    loss: PortLoss,
    optimizer: optax.GradientTransformation,
    *,
    from_torch: Callable[[Arrays], PyTree] | None = None,
    to_torch: Callable[[PyTree], Arrays] | None = None,
    steps: int | None = None,
    precisions: Precisions = ("float64", "float32"),
    activations: Callable[[PyTree, Array], Mapping[str, Array]] | None = None,
    stateful: bool = False,
    port_batches: Batches | None = None,
) -> Report:
    """Compare a port with a recording of torch, where torch need not be installed.

    Mistakes in layers are found as by `check_port`, but not named: for that, torch has to run.

    Args:
      file: what `reference_torch.record` wrote.
      apply: as for `check_port`, like all that follows.
      loss: ``(output, target) -> scalar``.
      optimizer: the port's.
      from_torch: ``{torch name: array} -> params``.
      to_torch: its inverse.
      steps: at most so many of the recorded steps.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      activations: of the submodules that were recorded.
      stateful: whether ``apply`` takes and returns buffers.
      port_batches: the port's own batches; by default the recorded ones.

    Returns:
      A `Report`.

    Raises:
      CheckpointError: the file is no recording, or is damaged.
      ValueError: an argument is not as it should be.
    """
    port = _port(apply, loss, optimizer, from_torch, to_torch, activations, stateful)
    if port_batches is not None:
        port_batches = _limited(port_batches, steps)
    return judge(
        Recording(file, steps=steps), port, precisions=precisions, port_batches=port_batches
    )


def _port(
    apply: Apply,
    loss: PortLoss,
    optimizer: optax.GradientTransformation,
    from_torch: Callable[[Arrays], PyTree] | None,
    to_torch: Callable[[PyTree], Arrays] | None,
    activations: Callable[..., Any] | None,
    stateful: bool,
) -> Port:
    if from_torch is None:
        from_torch = torch_compat.from_torch
    return Port(apply, loss, optimizer, from_torch, to_torch, activations, stateful)


def _limited(batches: Batches, steps: int | None) -> Batches:
    if not hasattr(batches, "__getitem__") or not hasattr(batches, "__len__"):
        raise ValueError(
            "batches must be a sequence, a list for instance: it is gone through twice."
        )
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}.")
    return batches if steps is None else batches[:steps]


def judge(
    source: Source,
    port: Port,
    *,
    precisions: Precisions = ("float64", "float32"),
    port_batches: Batches | None = None,
) -> Report:
    """Compare a port with any source of a torch run; see `check_port`.

    Args:
      source: torch's run.
      port: the port.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      port_batches: the port's own batches; by default torch's.

    Returns:
      A `Report`.
    """
    if not precisions or set(precisions) - {"float64", "float32"}:
        raise ValueError(f"precisions must be of 'float64' and 'float32'; got {precisions!r}.")
    trajectory = Trajectory(source, steps_of(port), port_batches, precisions=precisions)
    trajectory.run()
    report = trajectory.report()
    if report.verdict != "fail" or trajectory.first_divergence is None:
        return report
    found = _name(source, port, trajectory.first_divergence, port_batches)
    return dataclasses.replace(report, trap=found.trap, mended=found.mended)


def _name(
    source: Source, port: Port, divergence: Divergence, port_batches: Batches | None
) -> naming.Name:
    def again(port: Port, mistake: str | None, steps: int) -> naming.Rerun:
        trajectory = Trajectory(source, steps_of(port), port_batches, precisions=("float64",))
        try:
            trajectory.run(recorded=itertools.islice(source.steps(mistake=mistake), steps))
        except (TypeError, ValueError, RuntimeError):
            # Of shapes that this network or its loss does not take.
            return naming.Rerun(None, 0)
        return naming.Rerun(trajectory.first_divergence, trajectory.steps)

    return naming.name(source, port, divergence, port_batches, again)
