"""The command ``jaxdnn predict``: a saved network on new samples, as CSV."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxdnn.errors import ConfigError
from jaxdnn.runtime import startup

__all__ = ["Predict", "run"]


@dataclass(frozen=True)
class Predict:
    """Apply a saved network to new samples, and write its predictions as CSV."""

    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    """A file written by 'jaxdnn run --checkpoint'."""

    csv: Path | None = None
    """Samples: a table, plain or .gz."""

    images: tuple[Path, ...] | None = None
    """Images of digits, light on dark: PNG, JPEG and others, or IDX files, plain or .gz."""

    index_column: str | None = None
    """The table's column of row names, '' for none; by default the first, if it is no feature."""

    invert: bool = False
    """The images are dark on light."""

    output: Path | None = None
    """Where to write; by default standard output."""

    compile_cache: bool = True
    """Cache compiled programs in the user's cache folder for the next start."""


def run(options: Predict) -> None:
    """Write predictions.

    Args:
      options: the command line.

    Raises:
      JaxdnnError: a flag or a file is not as it should be.
      OSError: the table could not be written.
    """
    startup.prepare_environment(startup.Machine(compile_cache=options.compile_cache))

    from jaxdnn.data.files import check_writable, refuse_to_replace, write_atomically
    from jaxdnn.runs import prediction

    if (options.csv is None) == (options.images is None):
        raise ConfigError("Give the new samples with one of --csv and --images.")
    if options.csv is not None and options.invert:
        raise ConfigError("--invert is for --images; leave it out with --csv.")
    if options.csv is None and options.index_column is not None:
        raise ConfigError("--index-column is for --csv; leave it out with --images.")
    inputs = [options.csv] if options.csv is not None else options.images or ()
    if options.output is not None:
        check_writable(options.output, option="--output")
        refuse_to_replace(options.output, [options.checkpoint, *inputs], option="--output")
    network = prediction.load(options.checkpoint)
    if options.csv is not None:
        table = prediction.predict_csv(network, options.csv, index_column=options.index_column)
    else:
        table = prediction.predict_images(network, list(inputs), invert=options.invert)
    if options.output is None:
        sys.stdout.write(table)
        return
    with write_atomically(options.output) as file:
        file.write(table.encode(errors="backslashreplace"))  # as for standard output
