"""the parameters, and what else is state: they have been data all along.

`to_torch` gives them torch's names and layout, in which a linear weight is (out, in).
"""

import jax
import jax.numpy as jnp

from jaxdnn import torch_compat
from jaxdnn.models import linear

net = linear(3, 2)
params = net.init(jax.random.key(0))
saved = torch_compat.to_torch(params)
print({name: tensor.shape for name, tensor in saved.items()})
loaded = torch_compat.from_torch(saved, like=params)
x = jnp.ones((1, 3))
print("same outputs:", bool((net.apply(params, x) == net.apply(loaded, x)).all()))
