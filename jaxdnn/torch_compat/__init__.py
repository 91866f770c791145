"""Torch's conventions without torch: its random numbers, and its names and layouts of parameters.

`Generator` draws what torch's CPU generator draws after the same seed, bit for bit, in NumPy.
`to_torch` and `from_torch` turn a flax parameter tree into a torch ``state_dict`` and back.
"""

from jaxdnn.torch_compat.rng import Generator
from jaxdnn.torch_compat.state_dict import from_torch, mlp_start, to_torch

__all__ = ["Generator", "from_torch", "mlp_start", "to_torch"]
