"""the wrong way round: a square weight fits either way, and gives another network.

Shapes protect only where they differ. Convert by name with `torch_compat.from_torch`.
"""

import jax.numpy as jnp
import numpy as np

weight = np.array([[1.0, 2.0], [3.0, 4.0]])
x = jnp.array([[1.0, 0.0]])
print("torch, x @ weight.T:  ", x @ weight.T)
print("forgotten transpose:  ", x @ weight)
