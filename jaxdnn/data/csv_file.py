"""Columns of a CSV file as arrays, with errors that name the line, the column and the remedy.

pandas parses the file and accepts numbers only. If it rejects the file, the slower `csv` module
reads it again, record by record, to find the faulty cell.
"""

import codecs
import csv
import io
import math
import os
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxdnn.data import idx
from jaxdnn.errors import DataError

__all__ = ["CSVFile", "listed", "open_csv", "read_columns", "shown"]

_LARGEST = float(np.finfo(np.float32).max)
# What other programs write for a missing value, in lower case; all are refused, but by this name.
_MISSING = {"", "-", "?", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none", "nat"}
# Narrower than float(), which also takes 1_000, digits of other scripts, and nan.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class CSVFile(NamedTuple):
    """A CSV file that has a header and at least one record."""

    path: Path
    content: bytes
    """The text as UTF-8, without a byte order mark, with line feeds as line ends."""

    columns: tuple[str, ...]
    """The names in the header, stripped of spaces; ``""`` for an empty one."""


def open_csv(path: str | os.PathLike[str]) -> CSVFile:
    r"""Read a file and its header.

    Fields are separated by commas and may be quoted. Spaces around a field, blank lines and a byte
    order mark are ignored. Line ends may be LF, CRLF or CR. A gzipped file is decompressed.

    Args:
      path: the CSV file.

    Returns:
      The content and the names of the columns, for `read_columns`.

    Raises:
      DataError: the file cannot be read, is not UTF-8, has no records, or uses another separator.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "table.csv")
      ...     _ = path.write_text(",height,label\nAnn, 1.7,1\n")
      ...     open_csv(path).columns
      ('', 'height', 'label')
    """
    path = Path(path)
    content = _read_text(path)
    records = _records(content, path)
    _, columns = next(records, (0, []))
    if not columns:
        raise DataError(f"{path} is empty; its first line must hold the names of the columns.")
    if len(columns) == 1:
        for separator, name in _SEPARATORS.items():
            if separator in columns[0]:
                raise DataError(f"{path} separates its fields by {name}; save it with commas.")
    if next(records, None) is None:
        raise DataError(
            f"{path} has one line only; it needs the names of the columns and rows below them."
        )
    return CSVFile(path, content, tuple(columns))


def read_columns(
    file: CSVFile, numbers: Sequence[int], *, binary: int | None = None, text: int | None = None
) -> tuple[Float32[np.ndarray, "rows numbers"], tuple[str, ...]]:
    r"""Read columns of numbers, and optionally one column of text.

    Args:
      file: the result of `open_csv`.
      numbers: positions of the columns of finite numbers, counted from 0.
      binary: the position, among ``numbers``, of a column that may hold only 0 and 1.
      text: the position of a column of text.

    Returns:
      The numbers, one row for each record and one column for each of ``numbers``; and the strings
      of the column ``text``, an empty tuple without it.

    Raises:
      DataError: a record has too few or too many fields; or a cell is missing, not a number, not
        finite, too large for float32, or neither 0 nor 1 in ``binary``. The error names the line of
        the file on which the record starts.

    Example:
      >>> content = b"name,height\nAnn,1.5\nBob,1.75\n"
      >>> file = CSVFile(Path("table.csv"), content, ("name", "height"))
      >>> read_columns(file, [1], text=0)
      (array([[1.5 ],
             [1.75]], dtype=float32), ('Ann', 'Bob'))
      >>> read_columns(file, [0])
      Traceback (most recent call last):
      jaxdnn.errors.DataError: table.csv, line 2, column 'name': 'Ann' is not a number; write...
    """
    import pandas

    # pandas would take surplus fields of the first record for an index, and would convert a column
    # of True and False to numbers. Both show in the first record, so it is checked here; with
    # low_memory, pandas could make the second mistake in any later chunk.
    records = _records(file.content, file.path)
    next(records)
    _check_record(file, *next(records), numbers=numbers, binary=binary)
    types: dict[Hashable, str] = dict.fromkeys(range(len(file.columns)), "str")
    types.update(dict.fromkeys(numbers, "float64"))
    try:
        frame = pandas.read_csv(
            io.BytesIO(file.content),
            header=0,
            names=range(len(file.columns)),
            dtype=types,
            skipinitialspace=True,
            na_filter=False,
            low_memory=False,
        )
        values = frame[list(numbers)].to_numpy(np.float64)
        labels = values[:, [position == binary for position in numbers]]
        if not ((np.abs(values) <= _LARGEST).all() and np.isin(labels, [0, 1]).all()):
            raise ValueError("a number is outside its range")
    except (ValueError, OverflowError) as error:
        _find_fault(file, numbers, binary)
        raise DataError(
            f"{file.path} cannot be read as a table ({error}); save it as CSV again."
        ) from error
    words = () if text is None else tuple(word.strip() for word in frame[text])
    return np.ascontiguousarray(values, np.float32), words


def shown(text: str) -> str:
    """A name or cell in quotation marks, truncated for an error message.

    Args:
      text: the text in the file.

    Returns:
      At most 32 characters, or more if some of them must be escaped.

    Example:
      >>> print(shown("label"), shown("x" * 100))
      'label' 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'
    """
    return repr(text if len(text) <= 30 else text[:29] + "…")


def listed(names: Sequence[str]) -> str:
    """The first eight names in quotation marks, and the number of the others.

    Args:
      names: any number of names.

    Returns:
      Names separated by commas, for an error message.

    Example:
      >>> print(listed(["a", "b"]), "-", listed([str(n) for n in range(100)]))
      'a', 'b' - '0', '1', '2', '3', '4', '5', '6', '7' and 92 more
    """
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(shown(name) for name in names[:8]) + more


def _read_text(path: Path) -> bytes:
    """The content as UTF-8 without NUL, byte order mark or carriage returns."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name a CSV file.") from error
    content = idx.decompress(content, name=str(path)).removeprefix(codecs.BOM_UTF8)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    bad = content.find(b"\0")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        bad = error.start if bad < 0 else min(bad, error.start)
    if bad >= 0:
        line = content.count(b"\n", 0, bad) + 1
        # Typical for UTF-16 (0xff or NUL), Latin-1 (invalid UTF-8) and spreadsheets (both).
        raise DataError(
            f"{path} is not a text file in UTF-8 (byte 0x{content[bad]:02x} in line {line}); "
            "save it as CSV in UTF-8, not in UTF-16 or Latin-1 and not as a spreadsheet."
        )
    return content


def _records(content: bytes, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The first line, counted from 1, and the fields of each record that is not blank."""
    lines = io.BytesIO(content)
    reader = csv.reader((line.decode() for line in lines), skipinitialspace=True)
    start = 0
    while start < len(content):
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except csv.Error as error:
            raise DataError(
                f"{path}, line {line} cannot be split into fields ({error}); "
                "close its quotation marks."
            ) from error
        record = content[start : lines.tell()]
        start = lines.tell()
        # The csv module silently closes a quotation mark at the end of the file.
        if start == len(content) and _is_open(record):
            raise DataError(f"{path}, line {line}: a quotation mark is never closed; close it.")
        if record.strip(b" \t\n"):
            yield line, [field.strip(" \t") for field in fields]


def _is_open(record: bytes) -> bool:
    """Whether a quotation mark is still open, so that one more line would continue the record."""
    return len(list(csv.reader([record.decode(), "more"], skipinitialspace=True))) == 1


def _find_fault(file: CSVFile, numbers: Sequence[int], binary: int | None) -> None:
    """Raise DataError for the first record that `read_columns` does not accept."""
    records = _records(file.content, file.path)
    next(records)
    for line, fields in records:
        _check_record(file, line, fields, numbers=numbers, binary=binary)


def _check_record(
    file: CSVFile, line: int, fields: list[str], *, numbers: Sequence[int], binary: int | None
) -> None:
    _check_length(file, line, fields)
    for position in numbers:
        problem = _problem(fields[position], binary=position == binary)
        if problem:
            column = shown(file.columns[position])
            raise DataError(f"{file.path}, line {line}, column {column}: {problem}.")


def _check_length(file: CSVFile, line: int, fields: list[str]) -> None:
    if len(fields) != len(file.columns):
        raise DataError(
            f"{file.path}, line {line}: the number of fields is {len(fields)}, in the header it is "
            f"{len(file.columns)}; make them equal, with a point in decimal numbers and no comma "
            "at the end."
        )


def _problem(cell: str, *, binary: bool) -> str:
    """The fault of a cell and its remedy; empty for a valid cell."""
    number = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if number in (0, 1) or (abs(number) <= _LARGEST and not binary):
        return ""
    text = shown(cell)
    if cell.lower() in _MISSING:
        return f"{text if cell else 'the field'} is a missing value; fill it in or remove the line"
    if binary:
        return f"{text} is not a label; write 0 or 1, or name another column with --label"
    if cell.lower().lstrip("+-") in {"inf", "infinity"}:
        return f"{text} is infinite; replace it by a number or remove the line"
    if math.isnan(number):
        return (
            f"{text} is not a number; write plain numbers such as 1234.5, without units or "
            "thousands separators"
        )
    return f"{text} is too large for float32; rescale the column to below 3.4e38"
