"""A data set of a CSV file and a text file, paired line by line."""

import os
from typing import Any

from jaxdnn.errors import DataError

__all__ = ["PairedFiles"]


class PairedFiles:
    r"""A data set whose sample is a row of a CSV file and the same line of a text file.

    Args:
      csv_file: a table with a header, in UTF-8.
      text_file: a text file in UTF-8 with one line for each row of the table.

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
            # utf-8-sig: Windows programs put a byte order mark in front of UTF-8.
            with open(text_file, encoding="utf-8-sig") as file:  # noqa: PTH123
                self.lines = [line.removesuffix("\n") for line in file]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{text_file} is not a readable text file: {error}") from error
        if len(self.table) != len(self.lines):
            raise DataError(
                f"{csv_file} has {len(self.table)} rows and {text_file} has {len(self.lines)} "
                "lines; their numbers must be equal."
            )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[dict[Any, Any], str]:
        return self.table.iloc[index].to_dict(), self.lines[index]
