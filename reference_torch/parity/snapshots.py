"""The state of a user's training objects: taken out, put in, copied.

A comparison trains the user's own module, loss, optimiser and scheduler, because whatever closes
over them (a clipping function, a penalty) has to act on what is trained. Between two steps they are
as the user left them: a `Snapshot` is put in before a step, and the next one is taken out after it.
Putting in exchanges the storage of tensors and copies no numbers.
"""

import contextlib
import copy
import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

__all__ = ["Objects", "Snapshot", "clone", "installed", "is_moment", "take", "written"]


class Objects(NamedTuple):
    """What a training loop changes: the user's own objects.

    Attributes:
      module: the network.
      loss: a function, or a module with a state of its own.
      optimizer: over parameters of the module.
      scheduler: of the learning rate, or None.
    """

    module: nn.Module
    loss: Any
    optimizer: torch.optim.Optimizer
    scheduler: Any

    @property
    def modules(self) -> list[nn.Module]:
        """All modules and submodules."""
        roots = [part for part in (self.module, self.loss) if isinstance(part, nn.Module)]
        return list(dict.fromkeys(module for root in roots for module in root.modules()))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those of the modules and, where it has others, of the optimiser."""
        held = (p for group in self.optimizer.param_groups for p in group["params"])
        owned = (p for module in self.modules for p in module.parameters(recurse=False))
        return list(dict.fromkeys([*owned, *held]))

    @property
    def stateful(self) -> list[Any]:
        """The objects whose attributes are their state, nested schedulers included."""
        return [self.optimizer, *_schedulers(self.scheduler)]


class Snapshot(NamedTuple):
    """Everything that a step changes.

    Attributes:
      params: the tensor, its gradient and whether it requires one, of each parameter.
      attributes: of each module, its buffers among them.
      moments: the optimiser's state of each parameter.
      groups: the settings of the optimiser's groups.
      fields: the attributes of the optimiser and the schedulers.
      generators: the states of torch's, NumPy's and Python's random generators.
    """

    params: Mapping[torch.Tensor, tuple[torch.Tensor, torch.Tensor | None, bool]]
    attributes: Mapping[nn.Module, dict[str, Any]]
    moments: Mapping[torch.Tensor, dict[str, Any]]
    groups: list[dict[str, Any]]
    fields: list[dict[str, Any]]
    generators: tuple[Any, ...]


def take(objects: Objects) -> Snapshot:
    """The present state; it shares its tensors and containers with the objects."""
    return Snapshot(
        {p: (p.data, p.grad, p.requires_grad) for p in objects.parameters},
        {module: _attributes(module) for module in objects.modules},
        dict(objects.optimizer.state),
        [_settings(group) for group in objects.optimizer.param_groups],
        [_fields(part) for part in objects.stateful],
        _generators(),
    )


def put(objects: Objects, snapshot: Snapshot) -> None:
    """Set the objects to a state, with which they then share its tensors."""
    for param, (data, grad, requires_grad) in snapshot.params.items():
        param.grad = None  # of another type, it would not fit the new data
        param.data = data
        param.requires_grad_(requires_grad)
        param.grad = grad
    for module, attributes in snapshot.attributes.items():
        _replace(vars(module), _attributes(module), attributes)
    objects.optimizer.state.clear()
    objects.optimizer.state.update(snapshot.moments)
    for group, settings in zip(objects.optimizer.param_groups, snapshot.groups, strict=True):
        _replace(group, _settings(group), settings)
    for part, fields in zip(objects.stateful, snapshot.fields, strict=True):
        _replace(vars(part), _fields(part), fields)
    _set_generators(snapshot.generators)


@contextlib.contextmanager
def installed(objects: Objects, snapshot: Snapshot) -> Iterator[list[Snapshot]]:
    """Set the objects to a state, and afterwards back, whatever happens.

    Yields:
      An empty list, to which the state at the end is appended if nothing was raised.
    """
    original, after = take(objects), []
    try:
        put(objects, snapshot)
        yield after
        after.append(take(objects))
    finally:
        put(objects, original)


def clone(snapshot: Snapshot, dtype: torch.dtype | None = None) -> Snapshot:
    """A copy that shares no tensor with the original.

    Args:
      snapshot: what to copy.
      dtype: of the floating-point parameters, gradients, buffers and moments; None for their own.
    """

    def copied(tensor: torch.Tensor | None) -> Any:
        if tensor is None:
            return None
        floats = dtype is not None and tensor.is_floating_point()
        # A copy in any case: `to` returns the tensor itself where the type is right already.
        return tensor.detach().to(dtype if floats else tensor.dtype, copy=True)

    def fields_of(param: torch.Tensor, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {
            # Adafactor's moments are factored, and shaped like a row and a column.
            name: copied(value)
            if is_moment(name, value, param) or (isinstance(value, torch.Tensor) and value.dim())
            else _deep(value)
            for name, value in fields.items()
        }

    def attributes_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
        found = {key: _deep(value) for key, value in attributes.items() if key != "_buffers"}
        buffers = {name: copied(value) for name, value in attributes["_buffers"].items()}
        return found | {"_buffers": buffers}

    return Snapshot(
        {
            p: (copied(data), copied(grad), wanted)
            for p, (data, grad, wanted) in snapshot.params.items()
        },
        {module: attributes_of(own) for module, own in snapshot.attributes.items()},
        {param: fields_of(param, fields) for param, fields in snapshot.moments.items()},
        [{k: _deep(written(v, dtype)) for k, v in group.items()} for group in snapshot.groups],
        [_deep(fields) for fields in snapshot.fields],
        snapshot.generators,
    )


def is_moment(field: str, value: Any, param: torch.Tensor) -> bool:
    """Whether a tensor of an optimiser's state is shaped like its parameter."""
    return isinstance(value, torch.Tensor) and value.shape == param.shape and field != "step"


def written(value: Any, dtype: torch.dtype | None = torch.float64) -> Any:
    """A setting such as ``lr=torch.tensor(0.05)`` in another type: 0.05, as it was written.

    In float64 the tensor's own number would be 0.05000000075.
    """
    is_number = isinstance(value, torch.Tensor) and value.dtype == torch.float32 and not value.dim()
    if dtype is None or not is_number:
        return value
    return torch.tensor(float(str(np.float32(value.item()))), dtype=dtype, device=value.device)


def _deep(value: Any) -> Any:
    """A copy of containers and tensors; other objects are shared.

    An activation that a module keeps is cut from its graph, which cannot be copied.
    """
    if isinstance(value, torch.Tensor):
        trained = value.requires_grad and value.is_leaf
        return value if trained else value.detach().clone()
    if isinstance(value, torch.Generator):
        generator = torch.Generator(value.device)
        generator.set_state(value.get_state())
        return generator
    if isinstance(value, _CHANGING):
        return copy.deepcopy(value)
    if type(value) in (list, set, tuple, deque):
        return type(value)(_deep(item) for item in value)
    if isinstance(value, dict):
        found = copy.copy(value)
        for key, item in value.items():
            found[key] = _deep(item)  # one by one: the `update` of a Counter adds
        return found
    return value


def _replace(target: dict[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Set what is state in a dictionary, and leave its other entries alone."""
    for key in before.keys() - after.keys():
        del target[key]
    target.update(after)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """A module's attributes; its parameters and submodules stand for themselves."""
    own = vars(module)
    return {k: v for k, v in own.items() if k not in _STRUCTURE and not k.endswith("_hooks")}


_STRUCTURE = ("_parameters", "_modules")


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _schedulers(scheduler: Any) -> list[Any]:
    """A scheduler and those that it is made of."""
    if scheduler is None:
        return []
    nested = vars(scheduler).get("_schedulers", ())
    return [scheduler, *(inner for part in nested for inner in _schedulers(part))]


def _fields(part: Any) -> dict[str, Any]:
    """The attributes that are state, without hooks and the links between the objects."""
    return {k: v for k, v in vars(part).items() if k not in _LINKS and not k.endswith("_hooks")}


_CHANGING = (np.ndarray, np.random.Generator, np.random.RandomState, random.Random, bytearray)
"""Types that a module may keep, and change in place."""

_LINKS = ("state", "param_groups", "optimizer", "_schedulers")


def _generators() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.default_generator.get_state(), cuda, np.random.get_state(), random.getstate()  # noqa: NPY002


def _set_generators(states: tuple[Any, ...]) -> None:
    cpu, cuda, numpy, python = states
    torch.default_generator.set_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
    np.random.set_state(numpy)  # noqa: NPY002
    random.setstate(python)
