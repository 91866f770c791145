"""The tutorials' workflows in idiomatic PyTorch: the mirror of `jaxdnn`, and its oracle.

Modules and public functions have the names they have in `jaxdnn`. Where JAX passes state in and
returns it, torch changes it in place: a module, an optimiser. Nothing here imports JAX.
"""
