"""Networks as pairs of pure functions, with torch's default initialisation.

A `Model` is ``init(key) -> params`` and ``apply(params, inputs) -> outputs``. Parameters are nested
dictionaries, ``{layer: {"kernel": ..., "bias": ...}}``, as flax has them, with torch's names for
the layers. A multilayer perceptron is written out here. Networks that the documents build as an
``nn.Module`` are flax modules in their workflows, turned into a pair by `from_flax`.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

__all__ = ["Model", "Params", "from_flax", "linear", "mlp", "torch_default_init"]

Params = PyTree[Float[Array, "..."]]


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: ``init(key) -> params``, initial parameters in JAX's default float type.
      apply: ``apply(params, inputs) -> outputs``, with a leading batch axis on both sides.
    """

    init: Callable[[Key[Array, ""]], Params]
    apply: Callable[[Params, Float[Array, "batch ..."]], Float[Array, "batch ..."]]


def torch_default_init(key: Key[Array, ""], shapes: PyTree) -> Params:
    r"""Draw the parameters of layers as torch does by default.

    .. math:: W_{ij}, b_j \sim \mathcal{U}(-1/\sqrt{n}, 1/\sqrt{n}), \quad n = \text{fan in}

    Args:
      key: decides the parameters.
      shapes: ``{layer: {"kernel": shape, "bias": shape}}``, the bias optional; a kernel's last axis
        counts outputs, and the others make up the fan in.

    Returns:
      A tree like ``shapes``, of arrays in JAX's default float type.

    Example:
      >>> params = torch_default_init(jax.random.key(0), {"fc": {"kernel": (4, 2), "bias": (2,)}})
      >>> jax.tree.map(jnp.shape, params)
      {'fc': {'bias': (2,), 'kernel': (4, 2)}}

    Reference:
      `torch.nn.Linear <https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html>`_
    """

    def bounds(layer: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        bound = math.prod(layer["kernel"][:-1]) ** -0.5
        return {name: jnp.full(shape, bound, float) for name, shape in layer.items()}

    flat, unravel = ravel_pytree({name: bounds(layer) for name, layer in shapes.items()})
    # One draw for all parameters: XLA compiles random bits anew for every shape.
    return unravel(flat * jax.random.uniform(key, flat.shape, flat.dtype, -1, 1))


def mlp(
    sizes: Sequence[int],
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    final_activation: Callable[[Array], Array] | None = None,
    flatten: bool = False,
) -> Model:
    r"""A multilayer perceptron: affine maps with an activation between them.

    .. math:: h_0 = x, \quad h_{i+1} = \phi(h_i W_i + b_i), \quad y = h_{n-1} W_{n-1} + b_{n-1}

    The layers have the names that torch gives them in an ``nn.Sequential`` called ``net``, where
    every activation, and a flattening, has a number too.

    Args:
      sizes: widths from the input to the output, at least two.
      activation: :math:`\phi`, elementwise.
      final_activation: of the output; none by default.
      flatten: reshape every input to one axis first.

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
    """
    if len(sizes) < 2:
        raise ValueError(f"A network needs the sizes of its input and its output; got {sizes}.")
    layers = [f"net.{2 * i + flatten}" for i in range(len(sizes) - 1)]

    def init(key: Key[Array, ""]) -> Params:
        shapes = zip(layers, itertools.pairwise(sizes), strict=True)
        return torch_default_init(
            key, {layer: {"kernel": shape, "bias": shape[1:]} for layer, shape in shapes}
        )

    def apply(params: Params, inputs: Float[Array, "batch ..."]) -> Float[Array, "batch out"]:
        hidden = inputs.reshape(len(inputs), -1) if flatten else inputs
        for layer in layers[:-1]:
            hidden = activation(_affine(params[layer], hidden))
        outputs = _affine(params[layers[-1]], hidden)
        return outputs if final_activation is None else final_activation(outputs)

    return Model(init, apply)


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Model:
    """One affine map called ``linear``, or a linear one without a bias.

    Args:
      in_features: width of the input.
      out_features: width of the output.
      bias: whether there is a bias.

    Returns:
      A `Model` with torch's default initialisation.

    Example:
      >>> jax.tree.map(jnp.shape, linear(2, 1, bias=False).init(jax.random.key(0)))
      {'linear': {'kernel': (2, 1)}}
    """
    shapes: dict[str, tuple[int, ...]] = {"kernel": (in_features, out_features)}
    if bias:
        shapes["bias"] = (out_features,)
    return Model(
        lambda key: torch_default_init(key, {"linear": shapes}),
        lambda params, inputs: _affine(params["linear"], inputs),
    )


def from_flax(module: Any, input_shape: tuple[int, ...]) -> Model:
    """A flax module as a pair of pure functions, with torch's default initialisation.

    Args:
      module: a ``flax.linen.Module`` whose parameters are one level of named layers.
      input_shape: of one example, without the batch axis.

    Returns:
      A `Model` of the module's parameters.

    Example:
      >>> from flax import linen
      >>> model = from_flax(linen.Sequential([linen.Dense(3)]), (2,))
      >>> jax.tree.map(jnp.shape, model.init(jax.random.key(0)))
      {'layers_0': {'bias': (3,), 'kernel': (2, 3)}}
    """

    def init(key: Key[Array, ""]) -> Params:
        example = jax.ShapeDtypeStruct((1, *input_shape), jnp.result_type(float))
        params = jax.eval_shape(module.init, key, example)["params"]
        return torch_default_init(key, jax.tree.map(lambda leaf: leaf.shape, params))

    def apply(params: Params, inputs: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        return module.apply({"params": params}, inputs)

    return Model(init, apply)


def _affine(layer: Mapping[str, Array], inputs: Float[Array, "batch in"]) -> Array:
    outputs = inputs @ layer["kernel"]
    return outputs + layer["bias"][None] if "bias" in layer else outputs
