"""a softmax at the end: torch's cross-entropy takes scores, and so do optax's.

The network trains, only more slowly: the loss cannot fall below log(1 + 2/e) for three classes.
"""

import jax
import jax.numpy as jnp
import optax

scores, label = jnp.array([[20.0, 0.0, 0.0]]), jnp.array([0])
loss = optax.softmax_cross_entropy_with_integer_labels
print(f"of scores:        {loss(scores, label).item():.4f}")
print(f"of probabilities: {loss(jax.nn.softmax(scores), label).item():.4f}")
