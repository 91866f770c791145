"""The networks, each a pair of pure functions ``init`` and ``apply``."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float, Key, PyTree

__all__ = ["Model", "Params", "mlp"]

Params = PyTree[Float[Array, "..."]]


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: ``init(key) -> params``, a fresh start in JAX's default float type.
      apply: ``apply(params, inputs) -> outputs``, with a leading batch axis on both sides.
    """

    init: Callable[[Key[Array, ""]], Params]
    apply: Callable[[Params, Float[Array, "batch ..."]], Float[Array, "batch ..."]]


def mlp(
    sizes: Sequence[int],
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    flatten: bool = False,
) -> Model:
    r"""A multilayer perceptron: affine maps with an activation between them, none after the last.

    .. math:: h_0 = x, \quad h_{i+1} = \phi(h_i W_i + b_i), \quad y = h_{n-1} W_{n-1} + b_{n-1}

    Weights and biases start as torch's ``nn.Linear`` does, uniform in
    :math:`\pm 1/\sqrt{\text{fan in}}`. The layers have the names that torch gives them in an
    ``nn.Sequential`` called ``net``, where every activation, and a flattening, has a number too.

    Args:
      sizes: widths from the input to the output, at least two.
      activation: :math:`\phi`, element by element.
      flatten: make one axis of all axes of an input first.

    Returns:
      A `Model` whose parameters are ``{layer: {"kernel": (in, out), "bias": (out,)}}``.

    Raises:
      ValueError: there are fewer than two sizes.

    Example:
      >>> model = mlp((784, 32, 10), flatten=True)
      >>> params = model.init(jax.random.key(0))
      >>> jax.tree.map(jnp.shape, params)
      {'net.1': {'bias': (32,), 'kernel': (784, 32)}, 'net.3': {'bias': (10,), 'kernel': (32, 10)}}
      >>> model.apply(params, jnp.zeros((5, 28, 28))).shape
      (5, 10)

    Reference:
      `torch.nn.Linear <https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html>`_
    """
    if len(sizes) < 2:
        raise ValueError(f"A network needs the sizes of its input and its output; got {sizes}.")
    module = _MLP(tuple(sizes[1:]), activation, flatten)

    def init(key: Key[Array, ""]) -> Params:
        return module.init(key, jnp.zeros((1, sizes[0])))["params"]

    def apply(params: Params, inputs: Float[Array, "batch ..."]) -> Float[Array, "batch ... out"]:
        return module.apply({"params": params}, inputs)  # type: ignore[return-value]

    return Model(init, apply)


class _MLP(linen.Module):
    widths: tuple[int, ...]
    activation: Callable[[Array], Array]
    flatten: bool

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        hidden = inputs.reshape(len(inputs), -1) if self.flatten else inputs
        for i, width in enumerate(self.widths):
            hidden = _linear(hidden, width, name=f"net.{2 * i + self.flatten}")
            if i < len(self.widths) - 1:
                hidden = self.activation(hidden)
        return hidden


def _linear(inputs: Array, features: int, *, name: str) -> Array:
    """An affine map that starts as torch's ``nn.Linear`` does."""
    bound = inputs.shape[-1] ** -0.5

    def uniform(key: Array, shape: Sequence[int], dtype: jnp.dtype) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, minval=-bound, maxval=bound)

    dense = linen.Dense(
        features,
        param_dtype=jnp.result_type(float),
        kernel_init=uniform,
        bias_init=uniform,
        name=name,
    )
    return dense(inputs)
