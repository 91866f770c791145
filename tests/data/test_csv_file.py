"""CSV files: what is fine is read exactly, and of all else one sentence says where it is."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.data import csv_file
from jaxdnn.errors import DataError

HEADER = b"name,x,y\n"


def read(path: Path, content: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """The last columns as numbers, the very last one as labels, and the first as words."""
    path.write_bytes(content)
    file = csv_file.open_csv(path)
    last = len(file.columns) - 1
    return csv_file.read_columns(file, range(1, last + 1), binary=last or None, text=0)


def python_reads(content: bytes) -> np.ndarray:
    """The numbers of a file without blank lines, read by the standard library alone."""
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return np.array([[float(x) for x in row[1:]] for row in list(csv.reader(text))[1:]], np.float32)


@pytest.mark.parametrize(
    "content",
    [
        b"name,x,y\nAnn,1.5,0\nBob,-2,1\n",
        b"name,x,y\nAnn,1.5,0\nBob,-2,1",
        b"\xef\xbb\xbfname,x,y\nAnn,1.5,0\nBob,-2,1\n",
        b"name,x,y\r\nAnn,1.5,0\r\nBob,-2,1\r\n",
        b"name,x,y\rAnn,1.5,0\rBob,-2,1\r",
        b"\n \nname,x,y\n\nAnn,1.5,0\n \t\nBob,-2,1\n\n\n",
        b" name , x ,\ty\n Ann , 1.5\t, 0\n  Bob,\t-2 ,1 \n",
        b'"name","x", "y"\n"Ann","1.5", " 0" \n"Bob", "-2" ,"1"\n',
        b"name,x,y\nAnn,+15E-1,0.0\nBob,-2.,1e0\n",
        gzip.compress(b"name,x,y\nAnn,1.5,0\nBob,-2,1\n", mtime=0),
    ],
)
def test_kinds_of_the_same_file(content: bytes, tmp_path: Path) -> None:
    values, words = read(tmp_path / "it.csv", content)
    np.testing.assert_array_equal(values, np.array([[1.5, 0], [-2, 1]], np.float32))
    assert words == ("Ann", "Bob")
    assert csv_file.open_csv(tmp_path / "it.csv").columns == ("name", "x", "y")


def test_words_are_left_as_they_are(tmp_path: Path) -> None:
    content = HEADER + b'"Ann, ""A""\nB",1,0\nNA,1,0\n,1,0\n#1,1,0\nTrue,1,0\n' + "ü,1,0".encode()
    _, words = read(tmp_path / "it.csv", content)
    assert words == ('Ann, "A"\nB', "NA", "", "#1", "True", "ü")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; its first line must hold the names"),
        (b"\xef\xbb\xbf\r\n \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (HEADER, "one line only"),
        (HEADER + b"\n\n", "one line only"),
        ("name,x,y\n".encode("utf-16"), r"not a text file in UTF-8 \(byte 0xff in line 1\)"),
        ("name,x,y\n".encode("utf-16-le"), r"byte 0x00 in line 1\); save it as CSV in UTF-8"),
        (HEADER + "Jörg,1,0\n".encode("latin-1"), "byte 0xf6 in line 2"),
        (HEADER + b"Ann,1\x00,0\n\xff", "byte 0x00 in line 2"),
        (b"PK\x03\x04\x14\x00", "not as a spreadsheet"),
        (gzip.compress(HEADER, mtime=0)[:-3], "damaged gzip file"),
        (b"\x1f\x8b junk", "damaged gzip file"),
        (b"name;x;y\nAnn;1,5;0\n", "separates its fields by semicolons; save it with commas"),
        (b"name\tx\ty\nAnn\t1\t0\n", "by tabs"),
        (b"name|x|y\n", "by vertical bars"),
        (HEADER + b"Ann,1\n", "line 2: the number of fields is 2, in the header it is 3"),
        (HEADER + b"Ann,1,0,\n", "line 2: the number of fields is 4, .* no comma at the end"),
        (HEADER + b"Ann,1,0\n\nBob,1\n", "line 4: the number of fields is 2"),
        (
            HEADER + b"Ann,1,0\nBob,1,5,0\n",
            "line 3: the number of fields is 4, .* a point in decimal numbers",
        ),
        (HEADER + b'Ann,1,0\n""\n', "line 3: the number of fields is 1"),
        (HEADER + b'"A\nB",1,0\r\n"C\nD",1\n', "line 4: the number of fields is 2"),
        (HEADER + b'"Ann,1,0\nBob,1,1\n', "line 2: a quotation mark is never closed; close it"),
        (HEADER + b'Ann,1,0\nBob,1,"1\n', "line 3: a quotation mark is never closed"),
        (b'name,x,"y\nAnn,1,0\n', "line 1: a quotation mark is never closed"),
        (HEADER + b'Ann,1,0\n"B' + b"o" * 200_000, r"line 3 cannot .*limit.* quotation marks"),
        (HEADER + b"Ann,,0\n", "line 2, column 'x': the field is a missing value; fill it in"),
        (HEADER + b"Ann,1,0\nBob, ,0\n", "line 3, column 'x': the field is a missing value"),
        (HEADER + b"Ann,1,0\nBob,1,\n", "line 3, column 'y': the field is a missing value"),
        (HEADER + b"Ann,1,0\nBob,NA,0\n", "line 3, column 'x': 'NA' is a missing value"),
        (HEADER + b"Ann,1,0\nBob,nan,0\n", "line 3, column 'x': 'nan' is a missing value"),
        (HEADER + b"Ann,1,0\nBob,1,NaN\n", "line 3, column 'y': 'NaN' is a missing value"),
        (HEADER + b"Ann,1,0\nBob,inf,0\n", "line 3, column 'x': 'inf' is infinite; replace"),
        (HEADER + b"Ann,-Infinity,0\n", "line 2, column 'x': '-Infinity' is infinite"),
        (HEADER + b"Ann,1,0\nBob,-4e38,0\n", "'-4e38' is too large for float32; rescale"),
        (HEADER + b"Ann,1,0\nBob,1e999,0\n", "'1e999' is too large"),
        (HEADER + b"Ann,1,0\nBob,tall,0\n", "line 3, column 'x': 'tall' is not a number; write"),
        (HEADER + b'Ann,1,0\nBob,"1,234.5",0\n', "'1,234.5' is not a number.* thousands"),
        (HEADER + b'Ann,"1,5",0\n', "line 2, column 'x': '1,5' is not a number"),
        (HEADER + b"Ann,1_000,0\n", "'1_000' is not a number"),
        (HEADER + "Ann,1,0\nBob,\u0661,0\n".encode(), "'\u0661' is not a number"),
        (HEADER + b"Ann,1,0\nBob,0x10,0\n", "'0x10' is not a number"),
        (HEADER + b"Ann,True,0\nBob,False,0\n", "line 2, column 'x': 'True' is not a number"),
        (HEADER + b"Ann,1,TRUE\nBob,1,FALSE\n", "line 2, column 'y': 'TRUE' is not a label"),
        (HEADER + b"Ann,1,0\nBob,1,true\n", "line 3, column 'y': 'true' is not a label"),
        (HEADER + b"Ann,1,0\nBob,1,2\n", "'2' is not a label; write 0 or 1, or name another"),
        (HEADER + b"Ann,1,0\nBob,1,0.5\n", "'0.5' is not a label"),
        (HEADER + b"Ann,1,0\nBob,1,inf\n", "'inf' is not a label"),
        (HEADER + b"Ann,1,0\nBob,1," + b"z" * 99, "'z{29}…' is not a label"),
        (HEADER + b"Ann,1,0\n" * 9 + b"A,?,0\n\nB,1,0,\n", "line 11, column 'x': '\\?' is a miss"),
    ],
)
def test_one_sentence_names_place_and_remedy(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "it.csv", content)
    assert str(caught.value).startswith(str(tmp_path / "it.csv"))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_true_and_false_in_a_later_part_are_not_numbers(tmp_path: Path) -> None:
    rest = ",0" * 2000  # of so many columns pandas would read 512 lines at a time
    lines = ["x" + rest, *["1.5" + rest] * 512, *["True" + rest] * 512]
    (tmp_path / "it.csv").write_text("\n".join(lines))
    file = csv_file.open_csv(tmp_path / "it.csv")
    with pytest.raises(DataError, match="line 514, column 'x': 'True' is not a number"):
        csv_file.read_columns(file, [0])


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv cannot be read \(No such file or directory\)"):
        csv_file.open_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"cannot be read \(.*directory\); name a CSV file"):
        csv_file.open_csv(tmp_path)


def test_what_only_pandas_refuses_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("out of cheese")

    monkeypatch.setattr(pandas, "read_csv", refuse)
    with pytest.raises(DataError, match=r"cannot be read as a table \(out of cheese\)"):
        read(tmp_path / "it.csv", HEADER + b"Ann,1,0\n")


def test_wide_file(tmp_path: Path) -> None:
    names = ",".join(f"x{number}" for number in range(5_000))
    row = ",".join(["0.5"] * 5_000)
    values, _ = read(tmp_path / "it.csv", f"{names},y\n{row},1\n{row},0\n".encode())
    assert values.shape == (2, 5_000)


@given(number=st.from_regex(csv_file._NUMBER, fullmatch=True))
def test_numbers_are_those_of_python(number: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "number.csv"
    content = f"name,x,y\nAnn,{number},0\nBob,{number},1\n".encode()
    if abs(float(number)) > float(np.finfo(np.float32).max):
        with pytest.raises(DataError, match="too large"):
            read(path, content)
    else:
        np.testing.assert_array_equal(read(path, content)[0], python_reads(content))


cells = st.sampled_from(
    ["0", "1", " 1 ", "-2.5", "1e9", "nan", "", '"', '"1"', '""', "True", "x", "\t", "é", "1\x1c"]
) | st.text(max_size=3)
ends = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "", "\n ", '"\n'])
likely = st.lists(
    st.tuples(st.lists(cells, min_size=2, max_size=4).map(",".join), ends).map("".join), max_size=5
).map(lambda lines: ("n,x,y\n" + "".join(lines)).encode("utf-8", "surrogatepass"))
good = st.lists(
    st.tuples(st.floats(-1e30, 1e30), st.sampled_from([0, 1])), min_size=1, max_size=5
).map(lambda rows: HEADER + "".join(f"{i},{x},{y}\n" for i, (x, y) in enumerate(rows)).encode())
mutated = st.tuples(good, st.integers(0), st.binary(max_size=3), st.integers(0, 3)).map(
    lambda m: m[0][: (at := m[1] % len(m[0]))] + m[2] + m[0][at + m[3] :]
)


@settings(max_examples=25)
@given(content=st.binary(max_size=80) | likely | mutated)
def test_any_bytes_are_numbers_or_a_data_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    message = ""
    try:
        values, words = read(tmp_path_factory.getbasetemp() / "any.csv", content)
    except DataError as error:
        message = str(error)
    else:
        assert values.dtype == np.float32
        assert len(values) == len(words) > 0
        assert np.isfinite(values).all()
        assert np.isin(values[:, -1:], [0, 1]).all()
    assert "cannot be read as a table" not in message, "it does not say where"


@given(content=good)
def test_good_files_are_read_exactly(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values, _ = read(tmp_path_factory.getbasetemp() / "good.csv", content)
    np.testing.assert_array_equal(values, python_reads(content))
