"""seeds are not exchangeable: the same number gives other numbers in the two frameworks.

torch's CPU generator is a Mersenne twister, JAX's is Threefry. To compare, exchange the drawn
numbers, or draw torch's in NumPy with `torch_compat.Generator`.
"""

import jax

from jaxdnn.torch_compat import Generator

print("jax.random.key(0):    ", jax.random.uniform(jax.random.key(0), (2,)))
print("torch.manual_seed(0): ", Generator(0).rand(2))
