"""A data set of a CSV file and a text file, paired line by line."""

import os
from pathlib import Path
from typing import Any

import pandas
from torch.utils.data import Dataset

__all__ = ["PairedFiles"]


class PairedFiles(Dataset):
    """A data set whose sample is a row of a CSV file and the same line of a text file.

    Args:
      csv_file: a table with a header.
      text_file: a text file with one line for each row of the table.

    Raises:
      ValueError: the numbers of rows and lines differ.
    """

    def __init__(self, csv_file: str | os.PathLike[str], text_file: str | os.PathLike[str]) -> None:
        self.table = pandas.read_csv(csv_file)
        with Path(text_file).open(encoding="utf-8") as file:
            self.lines = [line.removesuffix("\n") for line in file.readlines()]
        if len(self.table) != len(self.lines):
            raise ValueError(f"{len(self.table)} rows need as many lines; got {len(self.lines)}.")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[dict[Any, Any], str]:
        return self.table.iloc[index].to_dict(), self.lines[index]
