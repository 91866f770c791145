"""The command ``jaxdnn``: what a user types, sees and gets as files.

`command.main` reads the command line and calls one module for each command: `run`, `sweep`,
`predict` and `verify`. What they share is beside them: the flags, the checks of output files, the
terminal, the plots, and interruption by a signal. Nothing else in the package imports this room.
"""

from jaxdnn.cli.command import main

__all__ = ["main"]
