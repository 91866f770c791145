"""The command ``jaxdnn study``: the lessons beside torch's, as a static site."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from jaxdnn.cli import terminal
from jaxdnn.cli.interruption import Interruption
from jaxdnn.errors import ConfigError
from jaxdnn.runtime import startup

__all__ = ["Study", "run"]


@dataclass(frozen=True)
class Study:
    """Build pages that put every lesson beside its torch mirror, to be read in a browser."""

    out: Path | None = None
    """The folder to write: a new one, or that of an earlier study."""

    record: Path | None = None
    """Measure anew what the pages do not compute themselves, and write it to this file. It needs
    torch and MNIST, and takes some minutes."""

    data_dir: Path | None = None
    """Folder with the four MNIST files, for --record."""

    compile_cache: bool = True
    """Cache compiled programs in the user's cache folder for the next start."""


def run(options: Study, interruption: Interruption) -> None:
    """Build the site, or record what it shows.

    Args:
      options: the command line.
      interruption: handles signals while programs run.

    Raises:
      JaxdnnError: a flag, a folder or the data is invalid.
      OSError: the site could not be written.
    """
    if (options.out is None) == (options.record is None):
        raise ConfigError("Give the folder of the pages with --out, or a file with --record.")
    if options.data_dir is not None and options.record is None:
        raise ConfigError("--data-dir is for --record; the pages read no data.")
    # The pages show the CPU's numbers, on any machine; a recording has the sharded step's, too.
    if options.record is not None:
        startup.two_cpu_devices()
    machine = startup.Machine(device="cpu", compile_cache=options.compile_cache)
    startup.prepare_environment(machine)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads would slow the others down
    console = terminal.console()
    if options.record is not None:
        _record(options.record, options, interruption)
        console.print(f"recording in {options.record}", markup=False)
        return

    from jaxdnn.study import site

    assert options.out is not None
    out = options.out
    site.check_folder(out)
    with terminal.Tally(console) as tally:
        tally.start(len(site.MEASURED), doing="building")
        built = interruption.wait_for(lambda: site.build(out, on_part=tally.advance))
    if not built.torch:
        console.print("torch is not installed here; its numbers are recorded ones", markup=False)
    console.print(
        f"{len(built.pages)} pages in {built.seconds:.0f} s; open {out / 'index.html'}",
        markup=False,
    )


def _record(path: Path, options: Study, interruption: Interruption) -> None:
    from jaxdnn.data.files import check_writable, refuse_to_replace
    from jaxdnn.data.mnist import files_read

    check_writable(path, option="--record")
    refuse_to_replace(path, files_read(options.data_dir), option="--record")
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("--record needs torch: install jaxdnn[torch].")
    from jaxdnn.study import recording

    console = terminal.console()

    def tell(part: str) -> None:
        console.print(part, markup=False)

    interruption.wait_for(lambda: recording.record(path, data_dir=options.data_dir, on_part=tell))
