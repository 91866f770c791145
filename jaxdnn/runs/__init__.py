"""What surrounds a workflow when it is run.

The workflows themselves are pure functions. Here are the runner that drives them from the host; a
report of each, which makes a result; the figures that the documents print, and the tables,
pictures and notebook pages that show both; sweeps of many networks, checkpoints, resuming, and
prediction with a saved network. Start with `execute.run`, or with `runner` for the loop.
"""
