"""Gradient clipping."""

import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdnn.optim.hyperparameters import Number, require_non_negative
from jaxdnn.optim.trees import like

__all__ = ["clip_grad_norm"]


def clip_grad_norm(
    max_norm: Number, *, norm_type: int | float = 2.0
) -> optax.GradientTransformation:
    r"""Clip the gradients by their global norm.

    .. math:: g \leftarrow g \cdot \min\left(1, \frac{c}{\lVert g \rVert_p + 10^{-6}}\right)

    Chain it before an optimiser: ``optax.chain(clip_grad_norm(1.0), adam(1e-3))``. As in torch, an
    infinite norm makes finite gradients 0 and infinite ones NaN, and a norm of NaN makes all
    gradients NaN.

    Args:
      max_norm: :math:`c`, the largest norm of all gradients as one vector.
      norm_type: :math:`p`, above 0; ``math.inf`` for the maximum norm.

    Returns:
      A transformation without state.

    Raises:
      ValueError: ``max_norm`` is negative or ``norm_type`` is not above 0.

    Example:
      >>> clip = clip_grad_norm(1.0)
      >>> grads = {"w": jnp.array([3.0]), "b": jnp.array(4.0)}
      >>> clipped, _ = clip.update(grads, clip.init(grads))
      >>> print(f"{clipped['w'][0]:.3f} {clipped['b']:.3f}")
      0.600 0.800

    Reference:
      Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, ICML
      2013; `torch.nn.utils.clip_grad_norm_
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html>`_
    """
    require_non_negative(max_norm=max_norm)
    if not norm_type > 0:
        raise ValueError(f"norm_type must be above 0; got {norm_type}.")

    def clip(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        del params
        leaves = jax.tree.leaves(updates)
        if not leaves:
            return updates
        # 1e-6 is torch's constant against division by zero.
        scale = jnp.minimum(1.0, max_norm / (_norm(leaves, norm_type) + 1e-6))
        return jax.tree.map(lambda g: like(scale, g) * g, updates)

    return optax.stateless(clip)


def _norm(leaves: list[Array], p: float) -> Float[Array, ""]:
    """The p-norm of the vector of all elements of all leaves."""
    if p == math.inf:
        return jnp.stack([jnp.max(jnp.abs(leaf), initial=0) for leaf in leaves]).max()
    if p == 2:
        return jnp.sqrt(sum((jnp.sum(leaf * leaf) for leaf in leaves), start=jnp.zeros(())))
    return sum((jnp.sum(jnp.abs(leaf) ** p) for leaf in leaves), start=jnp.zeros(())) ** (1 / p)
