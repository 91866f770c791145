"""The torch half of `jaxdnn.parity`: runs training loops in torch and records what they compute.

`TorchRun` in `training_run` is a run of a user's module, `workflow_steps` has the runs of this
package's workflows, and `trajectory` observes either in two precisions. `recording` writes a run to
a file, `description` says what it is, `mistakes` makes layers wrong on purpose, and `kinks` finds
the points at which float32 proves nothing.

Nothing here imports JAX; what is observed leaves as NumPy arrays by name.
"""
