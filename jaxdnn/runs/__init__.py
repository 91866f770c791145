"""What surrounds a workflow when it is run.

The workflows themselves are pure functions. Here are the runner that drives them from the host, the
sweeps of many networks, results, the figures that the documents print, checkpoints, resuming, and
prediction with a saved network. Start with `runner`.
"""
