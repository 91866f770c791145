"""Run short programs one after the other and print what they printed, as one JSON object.

A process of its own, ``python -m jaxdnn.study.execute FILE ...``: the programs must not see the
settings of whoever builds the pages, and torch's run where torch is. It uses the standard library
alone.
"""

import contextlib
import io
import json
import runpy
import sys
import sysconfig
import traceback
import warnings
from pathlib import Path

__all__ = ["output"]


def output(path: Path) -> str:
    r"""Execute a program, and return what it printed, warnings and a traceback included.

    Args:
      path: a Python file.

    Returns:
      Standard output and standard error in their order. A traceback has the program's own frames;
      those inside libraries are left out, and so are the machine's folders.

    Example:
      >>> import tempfile
      >>> file = Path(tempfile.mkdtemp(), "division.py")
      >>> _ = file.write_text("print('before')\n1 / 0\n")
      >>> print(output(file))  # doctest: +ELLIPSIS
      before
      Traceback (most recent call last):
        File "division.py", line 2, in <module>
          1 / 0
      ...
      ZeroDivisionError: division by zero
    """
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        try:
            runpy.run_path(str(path), run_name="__main__")
        except Exception as error:
            printed.write(_traceback(error, path))
    return _without_folders(printed.getvalue(), path).rstrip("\n")


def _traceback(error: BaseException, path: Path) -> str:
    """The traceback and those that it follows from, without the frames inside libraries."""
    found = traceback.TracebackException.from_exception(error)
    chain: list[traceback.TracebackException] = [found]
    for each in chain:
        each.stack = traceback.StackSummary.from_list(
            [frame for frame in each.stack if frame.filename == str(path)]
        )
        chain += [e for e in (each.__cause__, each.__context__) if e is not None]
    return "".join(found.format())


def _without_folders(text: str, path: Path) -> str:
    text = text.replace(f"{path.parent}/", "").replace(str(path.parent), "")
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        text = text.replace(f"{folder}/", "")
    return text.replace(f"{sysconfig.get_path('stdlib')}/", "")


if __name__ == "__main__":
    json.dump({argument: output(Path(argument)) for argument in sys.argv[1:]}, sys.stdout)
