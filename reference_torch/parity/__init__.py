"""The torch half of `jaxdnn.parity`: runs a training loop in torch and records what it computes.

Nothing here imports JAX; what is observed leaves this room as NumPy arrays by name.
"""
