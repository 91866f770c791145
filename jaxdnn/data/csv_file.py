"""Columns of a CSV file as arrays, or one sentence that names the line, the column and the remedy.

pandas parses. It is told to accept nothing but numbers, and only where it refuses is the file read
again, record by record, to say which cell is at fault.
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
_MISSING = {"", "-", "?", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none", "nat"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class CSVFile(NamedTuple):
    """A CSV file that has a header and at least one record."""

    path: Path
    content: bytes
    """UTF-8 without a byte order mark, lines ended by a line feed."""

    columns: tuple[str, ...]
    """The names in the header without surrounding spaces; one that is left empty is ``""``."""


def open_csv(path: str | os.PathLike[str]) -> CSVFile:
    r"""Read a file and its header.

    Fields are separated by commas and may be quoted. Spaces around a field, blank lines, a byte
    order mark and the kind of line end mean nothing; a gzipped file is decompressed.

    Args:
      path: the file.

    Returns:
      The file, of which `read_columns` reads the rest.

    Raises:
      DataError: it cannot be read, is not UTF-8, has no records, or separates its fields by
        something else.

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
    r"""Read some columns.

    Args:
      file: what `open_csv` returned.
      numbers: positions of the columns that hold finite numbers, counted from 0.
      binary: the one of them that holds only 0 and 1.
      text: position of a column of words.

    Returns:
      The numbers, a column for each of ``numbers`` and a row for each record, and the words, none
      without ``text``.

    Raises:
      DataError: a record has too few or too many fields, or a cell is missing, not a number, not
        finite, too large for float32 or in ``binary`` neither 0 nor 1. It names the line of the
        file on which the record starts.

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

    # pandas takes fields beyond the header in the first record for an index, and a column of True
    # and False, or with low_memory a long part of one, for numbers: that record is looked at first.
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
    """A quoted name or cell, cut to a readable length.

    Args:
      text: as it is in the file.

    Returns:
      At most 32 characters, more only where some of them must be escaped.

    Example:
      >>> print(shown("label"), shown("x" * 100))
      'label' 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'
    """
    return repr(text if len(text) <= 30 else text[:29] + "…")


def listed(names: Sequence[str]) -> str:
    """Quoted names, the first eight of them.

    Args:
      names: as many as there are.

    Returns:
      The names, separated by commas.

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
        raise DataError(
            f"{path} is not a text file in UTF-8 (byte 0x{content[bad]:02x} in line {line}); "
            "save it as CSV in UTF-8, not in UTF-16 or Latin-1 and not as a spreadsheet."
        )
    return content


def _records(content: bytes, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record that is not blank, after the line on which it starts, from 1."""
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
        if start == len(content) and _is_open(record):
            raise DataError(f"{path}, line {line}: a quotation mark is never closed; close it.")
        if record.strip(b" \t\n"):
            yield line, [field.strip(" \t") for field in fields]


def _is_open(record: bytes) -> bool:
    """Whether a line that followed would still belong to the record."""
    return len(list(csv.reader([record.decode(), "more"], skipinitialspace=True))) == 1


def _find_fault(file: CSVFile, numbers: Sequence[int], binary: int | None) -> None:
    """Raise for the first record that is not as `read_columns` wants it."""
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
    """What is wrong with a cell and what to do, or nothing."""
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
