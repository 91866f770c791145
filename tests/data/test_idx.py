"""The IDX format: what is written is read back, and nothing else is read."""

import gzip

import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdnn.data import idx
from jaxdnn.errors import DataError

arrays = hypothesis.extra.numpy.arrays(
    np.uint8, hypothesis.extra.numpy.array_shapes(min_dims=1, max_dims=4, max_side=5)
)


@given(arrays)
def test_round_trip(array: np.ndarray) -> None:
    decoded = idx.decode(idx.encode(array), name="it")
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


@given(arrays, st.data())
def test_every_truncation_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    content = idx.encode(array)
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DataError, match="the file"):
        idx.decode(content[:cut], name="the file")
    packed = gzip.compress(content)
    cut = data.draw(st.integers(2, len(packed) - 1))
    with pytest.raises(DataError, match="the file"):
        idx.decompress(packed[:cut], name="the file")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\0\0\x0d\x01\0\0\0\0", b"\0\0\x08\0"])
def test_wrong_magic_number_is_named(content: bytes) -> None:
    with pytest.raises(DataError, match="labels is not an IDX file"):
        idx.decode(content, name="labels")


def test_trailing_bytes_are_refused() -> None:
    content = idx.encode(np.zeros(3, np.uint8))
    with pytest.raises(DataError, match="12 bytes where its header asks for 11"):
        idx.decode(content + b"!", name="it")
