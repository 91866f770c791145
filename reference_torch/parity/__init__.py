"""The torch half of `jaxdnn.parity`: runs training loops in torch and records what they compute.

`TorchRun` in `training_run` is a run of a user's module, `workflow_steps` has the runs of this
package's workflows, and `trajectory` observes either in two precisions; start reading there.
`snapshots` puts a state into the user's objects and takes it out again. `twins` measures how far
right runs are apart, with the random `rounding` of each operation; `widening` evaluates in float64
what asks for less. `recording` writes a run to a file, `description` says what it is, `mistakes`
makes layers wrong on purpose, and `kinks` finds the points at which float32 proves nothing.

Nothing here imports JAX; what is observed leaves as NumPy arrays by name.
"""
