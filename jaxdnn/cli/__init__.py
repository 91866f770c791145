"""The command ``jaxdnn``: parsing, terminal output, plots and output files.

`command.main` parses the command line and calls one module for each command: `run`, `sweep`,
`predict` and `verify`. Beside them are their common parts: flags, checks of output files, the
terminal, plots, and handling of signals. No other package imports this one.
"""

from jaxdnn.cli.command import main

__all__ = ["main"]
