"""The public checks of a port: beside torch itself, or beside a recording of it."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optax
from jaxtyping import Array, Float, PyTree

from jaxdnn import torch_compat
from jaxdnn.parity import naming, trajectory, verdict
from jaxdnn.parity.port import Arrays, Port
from jaxdnn.parity.progress import reporting
from jaxdnn.parity.report import Report
from jaxdnn.parity.source import Batches, Source, live, recording

if TYPE_CHECKING:
    import torch

__all__ = ["assert_port", "check_port", "evaluate", "replay"]

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
    samples: int = 32,
    name: bool | float = True,
    progress: bool | None = None,
) -> Report:
    r"""Train a torch network and its JAX port side by side, and report whether they agree.

    In float64, both train from torch's parameters on the same batches, with everything evaluated in
    float64, whatever narrower type the code asks for. After every step each tensor may differ by
    :math:`10^{-12}`, relative to the largest magnitude that it has had, or else by 64 times what
    twins of torch's run differ from it, which begin one unit in the last place away. In float32,
    both take one step from each of many states of torch's run, and the port's error against float64
    may be three times torch's own, plus one unit in the last place. The first step, phase and
    tensor that differ are reported, and the mistakes are named that are in the catalogue `TRAPS`.
    Agreement counts only where something could have differed: a run in which nothing moves, or a
    tensor that was not compared, is inconclusive.

    Args:
      torch_module: the network, with its initial parameters; it returns one tensor.
      torch_loss: ``(output, target) -> scalar``, a function or a module.
      torch_optimizer: over the module's parameters; it has not yet taken a step.
      apply: ``(params, x) -> output``, a pure function; it is jitted.
      loss: ``(output, target) -> scalar``.
      optimizer: the port's, from optax or `jaxdnn.optim`.
      batches: a sequence of pairs ``(x, y)`` of NumPy arrays, on which both train.
      from_torch: ``{torch name: array} -> params``, keeping the arrays' type. By default
        `torch_compat.from_torch`: a dictionary for each module under its dotted name, with
        ``kernel`` of shape (in, out) or HWIO, ``scale`` and ``bias``.
      to_torch: its inverse for any tree like the parameters; by default derived by following every
        element through ``from_torch``.
      steps: at most this many batches; by default all. A few hundred find what a few do not.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      activations: ``(params, x) -> {name of a torch submodule: its output in torch's layout}``; a
        difference is then located inside the network.
      stateful: ``apply`` is ``(params, buffers, x) -> (output, buffers)``, with the module's
        buffers by torch name, as for a batch normalisation's running statistics.
      port_batches: the port's own batches, to compare the data too.
      torch_scheduler: a learning-rate scheduler of ``torch_optimizer``.
      steps_per_epoch: steps of the optimiser for each step of the scheduler.
      torch_before_step: called with the list of parameters between ``backward`` and ``step``, to
        clip gradients for example.
      accumulate: batches whose gradients torch sums before a step.
      samples: how many float32 states to compare.
      name: whether to look for the mistake in the catalogue, or for how many seconds.
      progress: whether to show a progress bar; by default on a terminal and in a notebook.

    Returns:
      A `Report`. The module, the optimiser and the scheduler are trained themselves, and afterwards
      they are as they were, as are both frameworks' configurations and all random generators. Only
      a few steps are in memory at a time.

    Raises:
      ValueError: an argument is invalid; the message says which and why.
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
    from_torch = from_torch or torch_compat.from_torch
    _require_transformation(optimizer)
    port = Port(apply, loss, optimizer, from_torch, to_torch, activations, stateful)
    try:
        from reference_torch import TorchRun
    except ImportError as error:
        raise ImportError(
            "torch is not installed here; install jaxdnn[torch], or record the run where it is "
            "(reference_torch.record) and compare with parity.replay."
        ) from error
    least = 1 if "float32" in precisions else 0
    if not isinstance(samples, int) or samples < least:
        raise ValueError(
            f"samples must be a whole number, of at least 1 if float32 decides; got {samples}."
        )
    run = TorchRun(
        torch_module,
        torch_loss,
        torch_optimizer,
        _limited(batches, steps),
        scheduler=torch_scheduler,
        steps_per_epoch=steps_per_epoch,
        before_step=torch_before_step,
        accumulate=accumulate,
        samples=samples,
    )
    if port_batches is not None:
        port_batches = _pairs(port_batches, steps)
    with reporting(progress):
        return evaluate(
            live(run, port), port, precisions=precisions, port_batches=port_batches, name=name
        )


def assert_port(*args: Any, **kwargs: Any) -> None:
    """Run `check_port` in a test.

    Args:
      *args: as for `check_port`.
      **kwargs: likewise.

    Raises:
      AssertionError: the verdict is not ``"pass"``; the message is the report.
    """
    report = check_port(*args, **kwargs)
    if not report.ok:
        raise AssertionError(f"the port does not pass\n{report}")


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
    progress: bool | None = None,
) -> Report:
    """Compare a port with a recorded torch run; torch need not be installed.

    Mistakes in layers are found as by `check_port`, but not named: for that, torch has to run.

    Args:
      file: a file that `reference_torch.record` wrote.
      apply: as for `check_port`, like all further arguments.
      loss: ``(output, target) -> scalar``.
      optimizer: the port's.
      from_torch: ``{torch name: array} -> params``.
      to_torch: its inverse.
      steps: at most this many of the recorded steps.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      activations: of the submodules that were recorded.
      stateful: whether ``apply`` takes and returns buffers.
      port_batches: the port's own batches; by default the recorded ones.
      progress: whether to show a progress bar; by default on a terminal and in a notebook.

    Returns:
      A `Report`.

    Raises:
      CheckpointError: the file is no recording, or is damaged.
      ValueError: an argument is invalid.
    """
    from_torch = from_torch or torch_compat.from_torch
    _require_transformation(optimizer)
    port = Port(apply, loss, optimizer, from_torch, to_torch, activations, stateful)
    if port_batches is not None:
        port_batches = _pairs(port_batches, steps)
    source = recording(file, steps=steps)
    with reporting(progress):
        return evaluate(source, port, precisions=precisions, port_batches=port_batches)


def _require_transformation(optimizer: Any) -> None:
    if not callable(getattr(optimizer, "init", None)) or not hasattr(optimizer, "update"):
        raise ValueError(
            "optimizer must be the port's, an optax transformation; got a "
            f"{type(optimizer).__name__}. jaxdnn.optim.from_torch makes one from torch's."
        )


def _limited(batches: Batches, steps: int | None) -> Batches:
    if not hasattr(batches, "__getitem__") or not hasattr(batches, "__len__"):
        raise ValueError(
            "batches must be a sequence, such as a list: it is iterated over repeatedly."
        )
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps must be a whole number of at least 1; got {steps}.")
    return batches if steps is None else batches[:steps]


def _pairs(batches: Batches, steps: int | None) -> Batches:
    """The port's own batches; torch's are checked by `reference_torch.TorchRun`."""
    limited = _limited(batches, steps)
    if len(limited) and (not isinstance(limited[0], tuple | list) or len(limited[0]) != 2):
        raise ValueError("A batch must be a pair of arrays, inputs and targets.")
    return limited


def evaluate(
    source: Source,
    port: Port,
    *,
    precisions: Precisions = ("float64", "float32"),
    port_batches: Batches | None = None,
    name: bool | float = True,
) -> Report:
    """Compare a port with any source of a torch run, and name the mistake; see `check_port`.

    Args:
      source: torch's run.
      port: the port, made of a network, a loss and an optimiser.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      port_batches: the port's own batches; by default torch's.
      name: whether to look for the mistake, or for how many seconds.

    Returns:
      A `Report`.

    Raises:
      ValueError: the precisions are not known, or ``from_torch`` does not fit.
    """
    if not precisions or set(precisions) - {"float64", "float32"}:
        raise ValueError(f"precisions must be of 'float64' and 'float32'; got {precisions!r}.")
    result = trajectory.follow(source, port, port_batches, precisions=precisions)
    report = verdict.report(result)
    seconds = math.inf if name is True else float(name)
    if not any(tier.differing for tier in report.tiers) or not seconds:
        return report
    found = naming.name(result, seconds=seconds)
    notes = report.notes
    if found.unfinished:
        notes = (*notes, f"the search for the mistake was ended after {seconds:g} s")
    return dataclasses.replace(report, traps=found.traps, mended=found.mended, notes=notes)
