"""torch's random numbers and parameter layouts, without torch.

`Generator` reproduces torch's CPU generator in NumPy, bit for bit. `to_torch` and `from_torch`
convert between a flax parameter tree and a torch ``state_dict``. `initial_params` draws the
initial parameters of linear and convolutional layers. Start with `Generator`.
"""

from jaxdnn.torch_compat.rng import Generator
from jaxdnn.torch_compat.state_dict import from_torch, initial_params, to_torch

__all__ = ["Generator", "from_torch", "initial_params", "to_torch"]
