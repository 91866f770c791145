"""Tables: which column is what, generated data that can be learnt, and features on one scale."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy
import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.data import tabular
from jaxdnn.errors import DataError

PEOPLE = "name,height,weight,label\nAnn,1.5,70,1\nBob,1.75,80,0\n"
LARGEST = float(np.finfo(np.float32).max)

matrices = hypothesis.extra.numpy.arrays(
    np.float32,
    hypothesis.extra.numpy.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-LARGEST, LARGEST, width=32) | st.sampled_from([0.0, 1e-45, 3e38, -3e38]),
)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes text to a file and returns its path."""

    def save(text: str) -> Path:
        path = tmp_path / "it.csv"
        path.write_text(text)
        return path

    return save


Save = Callable[[str], Path]


@pytest.mark.parametrize(
    ("text", "options", "feature_names", "label_name", "features", "labels"),
    [
        (PEOPLE, {}, ("height", "weight"), "label", [[1.5, 70], [1.75, 80]], [1, 0]),
        ("a,b,y\n1,2,0\n3,4,1\n", {}, ("b",), "y", [[2], [4]], [0, 1]),
        (
            "a,b,y\n1,2,0\n3,4,1\n",
            {"index_column": ""},
            ("a", "b"),
            "y",
            [[1, 2], [3, 4]],
            [0, 1],
        ),
        ("i,y,b\np,0,2\nq,1,4\n", {"label": "y"}, ("b",), "y", [[2], [4]], [0, 1]),
        ("a,y,i\n1,0,p\n2,1,q\n", {"index_column": "i"}, ("a",), "y", [[1], [2]], [0, 1]),
        (
            "y,a,i\n-0,1,p\n1.0,2,q\n",
            {"label": " y", "index_column": "i "},
            ("a",),
            "y",
            [[1], [2]],
            [0, 1],
        ),
        (",0,1\nr,5,0\ns,6,1\n", {}, ("0",), "1", [[5], [6]], [0, 1]),
    ],
)
def test_columns(
    text: str,
    options: dict[str, Any],
    feature_names: tuple[str, ...],
    label_name: str,
    features: list[list[float]],
    labels: list[float],
    save: Save,
) -> None:
    table = tabular.read_csv(save(text), **options)
    assert table.feature_names == feature_names
    assert table.label_name == label_name
    np.testing.assert_array_equal(table.features, np.array(features, np.float32), strict=True)
    np.testing.assert_array_equal(table.labels, np.array(labels, np.float32), strict=True)
    assert not np.signbit(table.labels).any()
    assert table.features.flags.c_contiguous


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("1,2,0\n3,4,1\n", {}, "starts with numbers.*put a line with the names before the data"),
        ("1,1,0\n3,4,1\n", {"index_column": ""}, "starts with numbers"),
        ("p,2.5,0\nq,4,1\n", {}, "starts with numbers"),
        ("i,a,a,y\np,1,2,0\n", {}, "two columns named 'a'; rename or remove one"),
        ("a,b,a\np,1,0\n", {}, "two columns named 'a'"),
        ("i,a,,y\np,1,2,0\n", {}, "column 3 has no name in the header; name it"),
        (",,y\np,1,0\n", {}, "column 2 has no name"),
        ("i,a,y,\np,1,0,\n", {}, "column 4 has no name .* comma before it"),
        (",a,y\np,1,0\n", {"index_column": ""}, "column 1 has no name"),
        (",a,y\np,1,0\n", {"index_column": "a"}, "column 1 has no name"),
        ("y\n0\n1\n", {}, r"no features beside index and label \(columns: 'y'\)"),
        ("a,y\n1,0\n2,1\n", {}, "no features .* if there is no index, give --index-column ''"),
        ("y\n0\n1\n", {"index_column": ""}, "no features"),
        ("a y\n1 0\n2 1\n", {}, r"no features .*\(columns: 'a y'\)"),
        (PEOPLE, {"label": "age"}, "no column 'age'; choose for --label one of 'name', 'height'"),
        (PEOPLE, {"index_column": "id"}, "no column 'id'; choose for --index-column one of"),
        (PEOPLE, {"label": ""}, "--label is empty; name a column of .*it.csv or leave --label out"),
        (PEOPLE, {"index_column": " "}, "--index-column is empty"),
        (PEOPLE, {"label": "name"}, "column 'name' cannot be both index and label; name another"),
        (PEOPLE, {"label": "weight", "index_column": "weight"}, "cannot be both index and label"),
        (PEOPLE, {"label": "height"}, "line 2, column 'height': '1.5' is not a label; .*--label"),
        (PEOPLE, {"index_column": ""}, "line 2, column 'name': 'Ann' is not a number"),
        ("i,a,y\np,1,0\n", {}, "has 1 rows below its header; .* need at least two"),
        (PEOPLE + "Cyd,1,2,none\n", {}, "line 4, column 'label': 'none' is a missing value"),
        ("i,a,y\np,1,1\nq,2,1.0\n", {}, "column 'y': every label is 1; add rows of the other"),
        ("i,a,y\np,1,0\nq,2,-0\n", {}, "column 'y': every label is 0"),
    ],
)
def test_one_sentence_names_column_and_remedy(
    text: str, options: dict[str, Any], message: str, save: Save
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        tabular.read_csv(save(text), **options)
    assert "it.csv" in str(caught.value)
    assert str(caught.value).endswith(".")


def test_importing_the_module_does_not_load_pandas() -> None:
    program = "import sys, jaxdnn.data.tabular; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_many_columns_are_not_all_listed(save: Save) -> None:
    names = ",".join(f"x{number}" for number in range(1000))
    with pytest.raises(DataError, match="'x7' and 992 more") as caught:
        tabular.read_csv(save(f"{names}\n{'0,' * 999}0\n"), label="y")
    assert len(str(caught.value)) < 300


def test_what_pandas_writes_is_read_exactly(tmp_path: Path) -> None:
    table = tabular.generate(seed=1, rows=50)
    frame = pandas.DataFrame(table.features, columns=list(table.feature_names))
    frame[table.label_name] = table.labels.astype(int)
    frame.to_csv(tmp_path / "it.csv.gz")
    assert (tmp_path / "it.csv.gz").read_bytes()[:2] == b"\x1f\x8b"
    read = tabular.read_csv(tmp_path / "it.csv.gz")
    np.testing.assert_array_equal(read.features, table.features)
    np.testing.assert_array_equal(read.labels, table.labels)
    assert read.feature_names == table.feature_names
    assert read.label_name == table.label_name
    assert (read.index_name, table.index_name) == ("", None)


def test_many_rows(tmp_path: Path) -> None:
    path = tmp_path / "it.csv.gz"
    block = "".join(f"row,{x},1.25,2.5,-3,4,5,6,7,{x % 2}\n" for x in range(100))
    content = "index,a,b,c,d,e,f,g,h,label\n" + block * 2000
    path.write_bytes(gzip.compress(content.encode(), compresslevel=1))
    table = tabular.read_csv(path)
    assert table.features.shape == (200_000, 8)
    np.testing.assert_array_equal(table.features[:, 0], np.tile(np.arange(100.0), 2000))
    np.testing.assert_array_equal(table.labels, table.features[:, 0] % 2)


@pytest.mark.parametrize(
    ("text", "index_column", "row_names"),
    [
        ("name,height,weight,label\nAnn,1.5,70,1\nBob,1.75,80,0\n", None, ("Ann", "Bob")),
        (",weight,height\n Ann ,70,1.5\n7,80,1.75\n", None, ("Ann", "7")),
        ("weight,height\n70,1.5\n80,1.75\n", None, ("0", "1")),
        ("label,weight,height\n?,70,1.5\n,80,1.75\n", None, ("0", "1")),
        ("weight,id,height\n70,Ann,1.5\n80,Bob,1.75\n", "id", ("Ann", "Bob")),
        ("label,weight,height\nAnn,70,1.5\nBob,80,1.75\n", "label", ("Ann", "Bob")),
        ("height,label,weight\n1.5,what,70\n1.75,ever,80\n", "", ("0", "1")),
    ],
)
def test_samples_are_read_by_name(
    text: str, index_column: str | None, row_names: tuple[str, ...], save: Save
) -> None:
    samples = tabular.read_samples(
        save(text),
        feature_names=["height", "weight"],
        label_name="label",
        index_column=index_column,
    )
    np.testing.assert_array_equal(samples.features, np.array([[1.5, 70], [1.75, 80]], np.float32))
    assert samples.row_names == row_names


def test_one_sample_is_enough(save: Save) -> None:
    samples = tabular.read_samples(save("0\n7\n"), feature_names=["0"], label_name="y")
    assert samples.features.tolist() == [[7]]


@pytest.mark.parametrize(
    ("text", "index_column", "message"),
    [
        ("name,height\nAnn,1.5\n", None, r"trained on: 'weight' .*\(columns: 'name', 'height'\)"),
        ("name\nAnn\n", None, "lacks columns that the network was trained on: 'height', 'weight'"),
        ("Ann,1.5,70\nBob,1.75,80\n", None, "starts with numbers"),
        ("i,height,age,weight\np,1,2,3\n", None, "not trained on: 'age'; remove them, or"),
        ("i,height,weight\np,1,2\n", "", "not trained on: 'i'; .* --index-column"),
        ("height,weight,weight\n1,2,3\n", None, "two columns named 'weight'"),
        ("height,weight,\n1,2,\n", None, "column 3 has no name"),
        (",height,weight\np,1,2\n", "", "column 1 has no name"),
        ("height,weight\n1,2\n", "weight", "'weight' cannot be both index and feature"),
        ("height,weight\n1,2\n", "id", "no column 'id'; choose for --index-column one of"),
        ("height,weight\n1,2\n3,\n", None, "line 3, column 'weight': the field is a missing value"),
    ],
)
def test_samples_that_do_not_fit(
    text: str, index_column: str | None, message: str, save: Save
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        tabular.read_samples(
            save(text),
            feature_names=["height", "weight"],
            label_name="label",
            index_column=index_column,
        )
    assert "it.csv" in str(caught.value)


fields = st.sampled_from(["", "a", "y", "i", "1", "0", "2.5", '"', " ", ";"]) | st.text(max_size=2)
texts = st.lists(st.lists(fields, max_size=4).map(",".join), max_size=5).map("\n".join)


@settings(max_examples=25)
@given(
    content=texts.map(lambda text: ("i,a,y\np,1,0\nq,2,1\n" + text).encode("utf-8", "replace"))
    | texts.map(lambda text: text.encode("utf-8", "replace"))
    | st.binary(max_size=50),
    label=st.sampled_from([None, "", "a", "y"]),
    index_column=st.sampled_from([None, "", "a", "i"]),
)
def test_any_file_is_a_table_or_a_data_error(
    content: bytes,
    label: str | None,
    index_column: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        table = tabular.read_csv(path, label=label, index_column=index_column)
    except DataError:
        return
    assert table.features.shape == (len(table.labels), len(table.feature_names))
    assert table.label_name not in table.feature_names
    assert len(set(table.feature_names)) == len(table.feature_names) > 0
    assert np.isfinite(table.features).all()
    assert set(table.labels.tolist()) == {0, 1}
    samples = tabular.read_samples(
        path,
        feature_names=table.feature_names,
        label_name=table.label_name,
        index_column=index_column,
    )
    np.testing.assert_array_equal(samples.features, table.features)


@given(features=matrices)
def test_standardised_features_have_mean_0_and_std_1(features: np.ndarray) -> None:
    s = tabular.standardisation(features)
    standardised = tabular.standardise(features, s)
    assert standardised.shape == features.shape
    assert np.isfinite(standardised).all()
    for before, after, std in zip(features.T, standardised.T, s.std, strict=True):
        if np.ptp(before.astype(np.float64)) == 0:
            assert std == 1
            assert (after == 0).all()
        elif before.std(dtype=np.float64) > max(1e-3 * np.abs(before).max(), 1e-30):
            np.testing.assert_allclose(after.mean(dtype=np.float64), 0, atol=2e-3)
            np.testing.assert_allclose(after.std(dtype=np.float64), 1, atol=2e-3)


@given(training=matrices, seed=st.integers(0, 9))
def test_other_rows_are_standardised_to_finite_numbers(training: np.ndarray, seed: int) -> None:
    largest = np.random.default_rng(seed).choice([LARGEST, -LARGEST], (3, training.shape[1]))
    s = tabular.standardisation(training)
    assert np.isfinite(tabular.standardise(largest.astype(np.float32), s)).all()


def test_standardisation_divides_by_the_number_of_rows() -> None:
    s = tabular.standardisation(np.array([[0], [1], [2]], np.float32))
    np.testing.assert_array_equal(s.mean, np.array([1], np.float32), strict=True)
    np.testing.assert_allclose(
        s.std, np.array([np.sqrt(2 / 3)], np.float32), rtol=1e-7, strict=True
    )


def test_generated_table_depends_on_the_seed_alone() -> None:
    first, again, other = tabular.generate(3), tabular.generate(3), tabular.generate(4)
    assert first.features.tobytes() == again.features.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    assert not np.array_equal(first.features, other.features)
    scales = first.features.std(axis=0)
    assert 0.4 < scales.min() < scales.max() / 1.5 < 1.5
    assert first.feature_names == tuple(f"feature_{number}" for number in range(1, 9))


@given(seed=st.integers(0, 2**64), rows=st.integers(2, 200), features=st.integers(2, 9))
def test_generated_labels_are_balanced(seed: int, rows: int, features: int) -> None:
    table = tabular.generate(seed, rows, features)
    assert table.features.shape == (rows, features)
    assert np.isin(table.labels, [0, 1]).all()
    assert abs(table.labels.sum() - rows / 2) <= rows // 25 + 0.5
    assert 0 < table.labels.sum() < rows


@pytest.mark.parametrize("seed", range(5))
def test_generated_label_needs_more_than_a_line(seed: int) -> None:
    table = tabular.generate(seed, rows=4000)
    x, y = table.features, table.labels

    def accuracy(columns: np.ndarray) -> float:
        """Share of the second half that least squares on the first half gets right."""
        columns = np.column_stack([columns, np.ones(len(columns))])
        weights = np.linalg.lstsq(columns[:2000], y[:2000] - 0.5)[0]
        return float(((columns[2000:] @ weights > 0) == y[2000:]).mean())

    line, product = accuracy(x), accuracy(np.column_stack([x, x[:, 0] * x[:, 1]]))
    assert 0.8 < line < product - 0.03
    assert 0.9 < product < 0.98
