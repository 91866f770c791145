"""torch's random numbers and parameter layouts, without torch.

`Generator` reproduces torch's CPU generator in NumPy, bit for bit. `to_torch` and `from_torch`
convert between a flax parameter tree and a torch ``state_dict``. `linear_params` and `mlp_params`
draw the initial parameters of linear layers. Start with `Generator`.
"""

from jaxdnn.torch_compat.rng import Generator
from jaxdnn.torch_compat.state_dict import from_torch, linear_params, mlp_params, to_torch

__all__ = ["Generator", "from_torch", "linear_params", "mlp_params", "to_torch"]
