"""The command ``jaxdnn``: parsing, terminal output and output files.

`command.main` parses the command line and calls one module for each command: `run`, `sweep`,
`predict`, `verify` and `study`. Beside them are their common parts: flags, checks of output files,
the terminal, and handling of signals. No other package imports this one.
"""

from jaxdnn.cli.command import main

__all__ = ["main"]
