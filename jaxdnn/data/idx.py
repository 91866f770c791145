"""The IDX file format of MNIST: a magic number, the shape, and unsigned bytes.

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

_UNSIGNED_BYTES = 0x08  # the type code in the third byte of the magic number
_GZIP_MAGIC = b"\x1f\x8b"


def decompress(content: bytes, *, name: str) -> bytes:
    """Decompress a gzipped file; return any other file unchanged.

    Args:
      content: the bytes of the file.
      name: the name of the file, for an error message.

    Returns:
      The decompressed bytes.

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
    """Decode an IDX file of unsigned bytes.

    Args:
      content: the decompressed bytes of the file.
      name: the name of the file, for an error message.

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
    # Four bytes of magic number, then each axis as a big-endian 32-bit integer.
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
    """Encode an array as an IDX file, the inverse of `decode`.

    Args:
      array: unsigned bytes, with 1 to 255 axes.

    Returns:
      The bytes of the file.

    Example:
      >>> encode(np.array([7], np.uint8)).hex(" ")
      '00 00 08 01 00 00 00 01 07'
    """
    header = bytes([0, 0, _UNSIGNED_BYTES, array.ndim])
    return header + np.asarray(array.shape, ">u4").tobytes() + array.tobytes()
