"""Right ports, all of which have to pass: layers, losses and optimisers, composed by a seed.

`bodies` has the families of layers, each in torch and in JAX, `objectives` the losses and
`optimizers` the optimisers; `table` composes them. ``scripts/clean_runs.py`` runs the whole table,
the tests run a sample of it.
"""
