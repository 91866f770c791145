"""A table and a text file that belong together, line by line."""

import os
from typing import Any

from jaxdnn.errors import DataError

__all__ = ["PairedFiles"]


class PairedFiles:
    r"""Samples of a CSV row and a line of text, indexed in step.

    Args:
      csv_file: a table with a header, in UTF-8.
      text_file: as many lines as the table has rows, in UTF-8.

    Raises:
      DataError: a file cannot be read, or the lengths differ.

    Example:
      >>> import pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> _ = (folder / "a.csv").write_text("width,height\n1,2\n3,4\n")
      >>> _ = (folder / "a.txt").write_text("first\nsecond\n")
      >>> PairedFiles(folder / "a.csv", folder / "a.txt")[1]
      ({'width': 3, 'height': 4}, 'second')
    """

    def __init__(self, csv_file: str | os.PathLike[str], text_file: str | os.PathLike[str]) -> None:
        import pandas

        try:
            self.table = pandas.read_csv(csv_file, encoding="utf-8-sig")
        except (OSError, ValueError, pandas.errors.ParserError) as error:
            raise DataError(f"{csv_file} is not a readable CSV file: {error}") from error
        try:
            with open(text_file, encoding="utf-8-sig") as file:  # noqa: PTH123
                self.lines = [line.removesuffix("\n") for line in file]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{text_file} is not a readable text file: {error}") from error
        if len(self.table) != len(self.lines):
            raise DataError(
                f"{csv_file} has {len(self.table)} rows and {text_file} has {len(self.lines)} "
                "lines; each row needs its line."
            )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[dict[Any, Any], str]:
        return self.table.iloc[index].to_dict(), self.lines[index]
