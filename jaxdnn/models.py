"""The networks, each a pair of pure functions ``init`` and ``apply``."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

__all__ = ["Model", "Params", "conv2d", "lenet", "linear", "mlp", "three_layer"]

Params = PyTree[Float[Array, "..."]]


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: ``init(key) -> params``, a fresh start in JAX's default float type.
      apply: ``apply(params, inputs) -> outputs``, with a leading batch axis on both sides.
    """

    init: Callable[[Key[Array, ""]], Params]
    apply: Callable[[Params, Float[Array, "batch ..."]], Float[Array, "batch ..."]]


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Model:
    """One affine map, or a linear one, called ``linear``.

    Args:
      in_features: width of the input.
      out_features: width of the output.
      bias: whether something is added.

    Returns:
      A `Model` that starts as torch's ``nn.Linear`` does.

    Example:
      >>> jax.tree.map(jnp.shape, linear(2, 1, bias=False).init(jax.random.key(0)))
      {'linear': {'kernel': (2, 1)}}
    """
    return _model(_Linear(out_features, bias), (in_features,))


def mlp(
    sizes: Sequence[int],
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    final_activation: Callable[[Array], Array] | None = None,
    flatten: bool = False,
) -> Model:
    r"""A multilayer perceptron: affine maps with an activation between them.

    .. math:: h_0 = x, \quad h_{i+1} = \phi(h_i W_i + b_i), \quad y = h_{n-1} W_{n-1} + b_{n-1}

    Weights and biases start as torch's ``nn.Linear`` does, uniform in
    :math:`\pm 1/\sqrt{\text{fan in}}`. The layers have the names that torch gives them in an
    ``nn.Sequential`` called ``net``, where every activation, and a flattening, has a number too.

    Args:
      sizes: widths from the input to the output, at least two.
      activation: :math:`\phi`, element by element.
      final_activation: of the output; none by default.
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
    return _model(_MLP(tuple(sizes[1:]), activation, final_activation, flatten), (sizes[0],))


def three_layer(sizes: tuple[int, int, int, int] = (20, 13, 8, 3)) -> Model:
    r"""The classifier of the momentum tutorial: only its output layer has a bias.

    .. math:: y = \sigma(\operatorname{relu}(x W_1)\, W_2)\, W_3 + b_3

    Args:
      sizes: widths of the input, of both hidden layers and of the output.

    Returns:
      A `Model` with the layers ``linear1``, ``linear2`` and ``output``.

    Example:
      >>> model = three_layer()
      >>> sorted(model.init(jax.random.key(0)))
      ['linear1', 'linear2', 'output']
    """
    return _model(_ThreeLayer(sizes[1:]), sizes[:1])


def conv2d(in_channels: int, out_channels: int, kernel_size: int) -> Model:
    """One convolution without padding, called ``conv1``.

    Args:
      in_channels: of the images.
      out_channels: number of filters.
      kernel_size: height and width of each, in pixels.

    Returns:
      A `Model` of images ``(batch, channels, height, width)``, as torch lays them out; it starts
      as torch's ``nn.Conv2d`` does. Its kernels have flax's layout, ``HWIO``.

    Example:
      >>> model = conv2d(1, 6, 5)
      >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((2, 1, 32, 32))).shape
      (2, 6, 28, 28)

    Reference:
      `torch.nn.Conv2d <https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html>`_
    """
    return _model(_Conv2d(out_channels, kernel_size), (in_channels, kernel_size, kernel_size))


def lenet() -> Model:
    """LeNet for images of 32 by 32 pixels and ten classes.

    Convolution 5 by 5 to 6 channels, relu, max-pooling 2 by 2; the same to 16 channels; then affine
    maps 400-120-84-10 with relu between them.

    Returns:
      A `Model` of images ``(batch, 1, 32, 32)`` with the layers ``conv1``, ``conv2``, ``fc1``,
      ``fc2`` and ``fc3``. As in torch, the 400 features that ``fc1`` sees are ordered by channel,
      row and column, so that torch's weights fit.

    Example:
      >>> model = lenet()
      >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((2, 1, 32, 32))).shape
      (2, 10)

    Reference:
      LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition,
      Proceedings of the IEEE, 1998.
    """
    return _model(_LeNet(), (1, 32, 32))


def _model(module: linen.Module, input_shape: tuple[int, ...]) -> Model:
    def init(key: Key[Array, ""]) -> Params:
        bounds, tree_of = ravel_pytree(module.init(key, jnp.zeros((1, *input_shape)))["params"])
        # One draw for all: XLA compiles every shape anew, a second for the ten of an MLP.
        return tree_of(bounds * jax.random.uniform(key, bounds.shape, bounds.dtype, -1, 1))

    def apply(params: Params, inputs: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        return module.apply({"params": params}, inputs)  # type: ignore[return-value]

    return Model(init, apply)


class _Linear(linen.Module):
    features: int
    bias: bool

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        return _dense(inputs, self.features, name="linear", bias=self.bias)


class _MLP(linen.Module):
    widths: tuple[int, ...]
    activation: Callable[[Array], Array]
    final_activation: Callable[[Array], Array] | None
    flatten: bool

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        hidden = inputs.reshape(len(inputs), -1) if self.flatten else inputs
        for i, width in enumerate(self.widths):
            hidden = _dense(hidden, width, name=f"net.{2 * i + self.flatten}")
            if i < len(self.widths) - 1:
                hidden = self.activation(hidden)
        return hidden if self.final_activation is None else self.final_activation(hidden)


class _ThreeLayer(linen.Module):
    widths: tuple[int, ...]

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        hidden = jax.nn.relu(_dense(inputs, self.widths[0], name="linear1", bias=False))
        hidden = jax.nn.sigmoid(_dense(hidden, self.widths[1], name="linear2", bias=False))
        return _dense(hidden, self.widths[2], name="output")


class _Conv2d(linen.Module):
    features: int
    kernel_size: int

    @linen.compact
    def __call__(self, images: Array) -> Array:
        maps = _convolution(_channels_last(images), self.features, self.kernel_size, name="conv1")
        return _channels_first(maps)


class _LeNet(linen.Module):
    @linen.compact
    def __call__(self, images: Array) -> Array:
        maps = _channels_last(images)
        for name, features in (("conv1", 6), ("conv2", 16)):
            maps = jax.nn.relu(_convolution(maps, features, 5, name=name))
            maps = linen.max_pool(maps, (2, 2), strides=(2, 2))
        hidden = _channels_first(maps).reshape(len(images), -1)
        hidden = jax.nn.relu(_dense(hidden, 120, name="fc1"))
        hidden = jax.nn.relu(_dense(hidden, 84, name="fc2"))
        return _dense(hidden, 10, name="fc3")


def _channels_last(images: Array) -> Array:
    return images.transpose(0, 2, 3, 1)


def _channels_first(images: Array) -> Array:
    return images.transpose(0, 3, 1, 2)


def _dense(inputs: Array, features: int, *, name: str, bias: bool = True) -> Array:
    """An affine map that starts as torch's ``nn.Linear`` does."""
    dense = linen.Dense(
        features,
        use_bias=bias,
        param_dtype=jnp.result_type(float),
        kernel_init=_bound(inputs.shape[-1]),
        bias_init=_bound(inputs.shape[-1]),
        name=name,
    )
    return dense(inputs)


def _convolution(images: Array, features: int, size: int, *, name: str) -> Array:
    """A convolution without padding that starts as torch's ``nn.Conv2d`` does."""
    fan_in = images.shape[-1] * size**2
    convolution = linen.Conv(
        features,
        (size, size),
        padding="VALID",
        param_dtype=jnp.result_type(float),
        kernel_init=_bound(fan_in),
        bias_init=_bound(fan_in),
        name=name,
    )
    return convolution(images)


def _bound(fan_in: int) -> linen.initializers.Initializer:
    """How far from 0 torch lets a parameter start; `_model` draws within it."""
    return linen.initializers.constant(fan_in**-0.5)
