"""The IDX format of MNIST: a magic number, the sizes, and unsigned bytes.

Reference:
  `Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten digits
  <http://yann.lecun.com/exdb/mnist/>`_
"""

import gzip
import math
import zlib

import numpy as np
from jaxtyping import UInt8

from jaxdnn.errors import DataError

__all__ = ["decode", "decompress", "encode"]

_UNSIGNED_BYTES = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def decompress(content: bytes, *, name: str) -> bytes:
    """The bytes themselves, or what they hold if they are gzipped.

    Args:
      content: a file.
      name: what to call it in an error.

    Returns:
      The file, decompressed.

    Raises:
      DataError: a gzip file is damaged or cut short.

    Example:
      >>> decompress(gzip.compress(b"pixels"), name="a file")
      b'pixels'
    """
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{name} is a damaged gzip file ({error}); delete it and fetch it again."
        ) from error


def decode(content: bytes, *, name: str) -> UInt8[np.ndarray, "..."]:
    """An array from the bytes of an IDX file of unsigned bytes.

    Args:
      content: the file, decompressed.
      name: what to call it in an error.

    Returns:
      A read-only view of ``content``.

    Raises:
      DataError: the magic number or the length is wrong.

    Example:
      >>> decode(encode(np.arange(6, dtype=np.uint8).reshape(2, 3)), name="six numbers")
      array([[0, 1, 2],
             [3, 4, 5]], dtype=uint8)
      >>> decode(b"<html>", name="train-labels-idx1-ubyte")
      Traceback (most recent call last):
      jaxdnn.errors.DataError: train-labels-idx1-ubyte is not an IDX file of bytes: it starts with \
3c68746d, not 000008; delete it and fetch it again.
    """
    rank = content[3] if len(content) > 3 else 0
    if content[:3] != bytes([0, 0, _UNSIGNED_BYTES]) or rank == 0:
        raise DataError(
            f"{name} is not an IDX file of bytes: it starts with {content[:4].hex() or 'nothing'}, "
            "not 000008; delete it and fetch it again."
        )
    start = expected = 4 + 4 * rank
    shape = ()
    if len(content) >= start:
        shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, offset=4))
        expected += math.prod(shape)
    if len(content) != expected:
        raise DataError(
            f"{name} has {len(content):,} bytes where its header asks for {expected:,}; "
            "delete it and fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def encode(array: UInt8[np.ndarray, "..."]) -> bytes:
    """The bytes of an IDX file; `decode` undoes it.

    Args:
      array: unsigned bytes, of any shape with 1 to 255 axes.

    Returns:
      The file's content.

    Example:
      >>> encode(np.array([7], np.uint8)).hex(" ")
      '00 00 08 01 00 00 00 01 07'
    """
    header = bytes([0, 0, _UNSIGNED_BYTES, array.ndim])
    return header + np.asarray(array.shape, ">u4").tobytes() + array.tobytes()
