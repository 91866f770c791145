"""Tables for binary classification, read from a CSV file or generated.

A file has a header. By default its first column is an index of row names, as
`pandas.DataFrame.to_csv` writes it, its last column is the label, 0 or 1, and the columns in
between are the features.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxdnn.data.csv_file import CSVFile, listed, open_csv, read_columns, shown
from jaxdnn.errors import DataError

__all__ = [
    "Samples",
    "Standardisation",
    "Table",
    "generate",
    "read_csv",
    "read_samples",
    "standardisation",
    "standardise",
]


class Table(NamedTuple):
    """Features and labels, with the names of the columns."""

    features: Float32[np.ndarray, "rows features"]
    labels: Float32[np.ndarray, " rows"]
    """The labels, 0 or 1."""

    feature_names: tuple[str, ...]
    label_name: str

    index_name: str | None
    """The name of the column of row names; None without such a column."""


class Samples(NamedTuple):
    """Features without labels, for prediction, with the names of the rows."""

    features: Float32[np.ndarray, "rows features"]
    row_names: tuple[str, ...]


class Standardisation(NamedTuple):
    """The mean and the standard deviation of each feature."""

    mean: Float32[np.ndarray, " features"]
    std: Float32[np.ndarray, " features"]


def standardisation(features: Float32[np.ndarray, "rows features"]) -> Standardisation:
    """Mean ``μ = Σ x / n`` and standard deviation ``σ = √(Σ (x - μ)² / n)`` of each feature.

    Compute it from the training part only; otherwise the test part influences the training.

    Args:
      features: finite features, with at least one row.

    Returns:
      ``μ`` and ``σ``. A ``σ`` of 0 is replaced by 1, so that `standardise` maps a constant feature
      to 0.

    Example:
      >>> standardisation(np.array([[1, 7], [3, 7]], np.float32))
      Standardisation(mean=array([2., 7.], dtype=float32), std=array([1., 1.], dtype=float32))
    """
    # In float64: the squares of large features overflow float32.
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.std(axis=0, dtype=np.float64).astype(np.float32)
    return Standardisation(mean, np.where(std == 0, np.float32(1), std))


def standardise(
    features: Float32[np.ndarray, "rows features"], s: Standardisation
) -> Float32[np.ndarray, "rows features"]:
    """Standardise each feature: ``(x - μ) / σ``.

    Args:
      features: finite features.
      s: ``μ`` and ``σ`` from `standardisation`, of the training rows.

    Returns:
      The standardised features, clipped to the range of float32.

    Example:
      >>> training = np.array([[1, 7], [3, 7]], np.float32)
      >>> standardise(training, standardisation(training))
      array([[-1.,  0.],
             [ 1.,  0.]], dtype=float32)
    """
    largest = np.finfo(np.float32).max
    standardised = (features.astype(np.float64) - s.mean) / s.std
    return np.clip(standardised, -largest, largest).astype(np.float32)


def generate(seed: int, rows: int = 759, features: int = 8) -> Table:
    """A generated table whose classes are not linearly separable and have 4% of wrong labels.

    With ``z`` and ``w`` standard normal and ``s = z · w / |w| + z₁ z₂ / 2``, the label is 1 if
    ``s`` exceeds its median over the rows. The labels of one row in 25 are then flipped. The
    features are ``z``, each multiplied by a factor between 1/2 and 2.

    Args:
      seed: the seed of NumPy's default generator; the table may depend on NumPy's version.
      rows: the number of rows, at least 2.
      features: the number of features, at least 2.

    Returns:
      The table, with features named ``feature_1``, ``feature_2``, … and the label ``label``.

    Example:
      >>> table = generate(seed=0)
      >>> table.features.shape, int(table.labels.sum()), table.feature_names[0], table.label_name
      ((759, 8), 377, 'feature_1', 'label')
    """
    random = np.random.default_rng(seed)
    z = random.standard_normal((rows, features))
    w = random.standard_normal(features)
    scales = random.uniform(0.5, 2, features)
    score = (z * w).sum(axis=1) / np.sqrt((w * w).sum()) + z[:, 0] * z[:, 1] / 2
    labels = score > np.median(score)
    flipped = random.choice(rows, rows // 25, replace=False)
    labels[flipped] = ~labels[flipped]
    return Table(
        (z * scales).astype(np.float32),
        labels.astype(np.float32),
        tuple(f"feature_{number}" for number in range(1, features + 1)),
        "label",
        None,
    )


def read_csv(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    index_column: str | None = None,
) -> Table:
    r"""Read a table for binary classification from a CSV file.

    Args:
      path: a file in UTF-8, plain or gzipped, with a header and fields separated by commas.
      label: the name of the label column; by default the last column that is not the index.
      index_column: the name of the index column, whose content is not read; by default the first
        column. ``""`` for a file without an index.

    Returns:
      The table; every column that is neither index nor label is a feature.

    Raises:
      DataError: the file is not such a table; the error names the place and a remedy.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "people.csv")
      ...     _ = path.write_text("name,height,weight,label\nAnn,1.7,70,1\nBob,1.8,80,0\n")
      ...     table = read_csv(path)
      >>> table.feature_names, table.label_name, table.labels.tolist()
      (('height', 'weight'), 'label', [1.0, 0.0])
    """
    file = open_csv(path)
    index = _index(file, index_column)
    _check_header(file)
    _check_names(file, index)
    others = [position for position in range(len(file.columns)) if position != index]
    if len(others) < 2:
        raise DataError(
            f"{path} has no features beside index and label (columns: {listed(file.columns)}); "
            "add some, or if there is no index, give --index-column ''."
        )
    target = others[-1] if label is None else _position(file, label, "--label")
    if target == index:
        raise DataError(
            f"{path}: column {shown(file.columns[target])} cannot be both index and label; name "
            "another with --label or --index-column ('' if there is no index)."
        )
    positions = [position for position in others if position != target]
    values, _ = read_columns(file, [*positions, target], binary=target)
    labels = values[:, -1]
    column = shown(file.columns[target])
    if len(labels) < 2:
        raise DataError(
            f"{path} has {len(labels)} rows below its header; one part to train and one to test "
            "need at least two."
        )
    if (labels == labels[0]).all():
        raise DataError(
            f"{path}, column {column}: every label is {labels[0]:.0f}; add rows of the other class "
            "or name another column with --label."
        )
    return Table(
        np.ascontiguousarray(values[:, :-1]),
        np.abs(labels),  # -0 is 0
        tuple(file.columns[position] for position in positions),
        file.columns[target],
        None if index is None else file.columns[index],
    )


def read_samples(
    path: str | os.PathLike[str],
    *,
    feature_names: Sequence[str],
    label_name: str | None = None,
    index_column: str | None = None,
) -> Samples:
    r"""Read the features of a trained network, by name, from a CSV file.

    Args:
      path: a file in UTF-8, plain or gzipped, with a header and fields separated by commas.
      feature_names: the columns to read, in the order of the result.
      label_name: the name of an optional column, which is ignored.
      index_column: the name of the column of row names; by default the first column, if it is
        neither feature nor label. ``""`` for a file without an index.

    Returns:
      The features and the names of the rows; without an index, the rows are numbered from 0.

    Raises:
      DataError: a feature is missing, the file has unknown columns, or a cell is not a finite
        number; the error names the place and a remedy.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "people.csv")
      ...     _ = path.write_text("name,weight,height\nAnn,70,1.5\n")
      ...     read_samples(path, feature_names=["height", "weight"], label_name="label")
      Samples(features=array([[ 1.5, 70. ]], dtype=float32), row_names=('Ann',))
    """
    file = open_csv(path)
    place = {name: position for position, name in enumerate(file.columns)}
    known = {*feature_names} if label_name is None else {*feature_names, label_name}
    missing = [name for name in feature_names if name not in place]
    if missing:
        _check_header(file)
        raise DataError(
            f"{path} lacks columns that the network was trained on: {listed(missing)} (columns: "
            f"{listed(file.columns)}); add them."
        )
    index = _index(file, index_column)
    if index_column is None and file.columns[0] in known:
        index = None
    _check_names(file, index)
    if index is not None and file.columns[index] in feature_names:
        raise DataError(
            f"{path}: column {shown(file.columns[index])} cannot be both index and feature; name "
            "another with --index-column ('' if there is no index)."
        )
    extra = [name for name in file.columns if name not in known and place[name] != index]
    if extra:
        raise DataError(
            f"{path} has columns that the network was not trained on: {listed(extra)}; remove "
            "them, or name the one with the names of the rows with --index-column."
        )
    features, words = read_columns(file, [place[name] for name in feature_names], text=index)
    return Samples(features, words if index is not None else tuple(map(str, range(len(features)))))


def _index(file: CSVFile, index_column: str | None) -> int | None:
    """Position of the index column; None without one."""
    if index_column is None:
        return 0
    return None if index_column == "" else _position(file, index_column, "--index-column")


def _position(file: CSVFile, name: str, option: str) -> int:
    name = name.strip()
    if not name:
        raise DataError(f"{option} is empty; name a column of {file.path} or leave {option} out.")
    if name not in file.columns:
        raise DataError(
            f"{file.path} has no column {shown(name)}; choose for {option} one of "
            f"{listed(file.columns)}."
        )
    return file.columns.index(name)


def _check_header(file: CSVFile) -> None:
    """Raise if the header looks like data.

    Numbers are valid names after an empty first name: pandas writes its default column names so.
    """
    first, *others = file.columns
    if first and others and all(map(_is_number, others)):
        raise DataError(
            f"{file.path} starts with numbers ({listed(file.columns)}) where the names of the "
            "columns should be; put a line with the names before the data."
        )


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _check_names(file: CSVFile, index: int | None) -> None:
    """Raise if two columns have the same name, or if a column other than the index has none."""
    seen = set()
    for position, name in enumerate(file.columns):
        if not name and position != index:
            raise DataError(
                f"{file.path}: column {position + 1} has no name in the header; name it, or remove "
                "it with the comma before it."
            )
        if name in seen:
            raise DataError(
                f"{file.path} has two columns named {shown(name)}; rename or remove one."
            )
        seen.add(name)
