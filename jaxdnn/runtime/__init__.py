"""The machine underneath: devices, precision, start-up, sharding, memory, compilation cache.

Start with `startup`, which makes JAX's settings before a device is touched. This room imports
nothing of the package but `jaxdnn.errors`; `jaxdnn.runs` and what stands above it may import it.
"""
