"""torch's CPU random numbers in NumPy, as after ``torch.manual_seed(seed)``.

With them a PyTorch tutorial can be replayed without torch, from its initial parameters to its
permutations. A generator is stateful: each call continues the stream of the previous one, so calls
must be made in torch's order. Results are bitwise equal to torch's under these conditions:

==================================================  ============================================
integers, permutations, ``rand``                    on every machine
``uniform``, ``linear``, ``conv2d``                 if torch runs its AVX2 or AVX-512 kernels
``randn`` and ``normal``                            if torch runs its AVX2 or AVX-512 kernels; for
                                                    fewer than 16 values, also with the same C
                                                    library
==================================================  ============================================

They were compared with torch 2.13 under Linux on x86-64: 2**25 values of each kind, and 2**20 from
calls for fewer than 16 normal values, without a difference. On other machines the last bits differ,
in normal values by up to 2e-6.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt64

from jaxdnn.errors import ConfigError
from jaxdnn.torch_compat.cephes import fused_multiply_add, log, sine_and_cosine

__all__ = ["Generator"]

_BLOCK = 16  # torch transforms normal values in blocks of 16, and fewer than 16 one by one
_LARGEST = float(np.finfo(np.float32).max)

_Floats = Float32[np.ndarray, "..."]
_Layer = dict[str, _Floats]
_Size = int | tuple[int, int]
_Values = Float32[np.ndarray, " n"]


class Generator:
    """torch's default CPU generator in its state after ``torch.manual_seed(seed)``.

    The arguments of the methods have their meaning in torch; ``shape`` is the shape of the result.

    Args:
      seed: an integer from 0 to ``2**64 - 1``. As in torch, only its low 32 bits are used.

    Raises:
      ConfigError: the seed is outside that range.

    Example:
      >>> generator = Generator(0)
      >>> generator.randperm(5), generator.rand(2)
      (array([4, 0, 1, 3, 2]), array([0.30742282, 0.6340787 ], dtype=float32))

    Reference:
      Matsumoto & Nishimura, Mersenne Twister, ACM TOMACS 8, 1998.
    """

    def __init__(self, seed: int) -> None:
        if not 0 <= seed < 2**64:
            raise ConfigError(f"seed must be 0 to 2**64 - 1, not {seed}.")
        twister = np.random.MT19937()
        # MT19937(seed) hashes the seed; the legacy RandomState seeds as torch does.
        np.random.RandomState(twister).seed(seed % 2**32)
        self._words = twister.random_raw  # draws 32-bit integers
        self._second_normal: float | None = None

    def rand(self, *shape: int) -> _Floats:
        """``torch.rand(shape)``: uniform multiples of ``2**-24`` in [0, 1).

        Example:
          >>> Generator(0).rand(1, 2)
          array([[0.4962566, 0.7682218]], dtype=float32)
        """
        low_bits = self._words(math.prod(shape)) % 2**24
        return (low_bits.astype(np.float32) * np.float32(2**-24)).reshape(shape)

    def uniform(self, *shape: int, low: float | int, high: float | int) -> _Floats:
        """``torch.empty(shape).uniform_(low, high)``.

        Returns:
          ``rand(shape) · (high - low) + low``, rounded once, in [low, high); ``low`` if both are
          equal.

        Raises:
          ConfigError: ``low`` exceeds ``high``, or a bound or their difference overflows float32.

        Example:
          >>> Generator(0).uniform(2, low=-1, high=1)
          array([-0.00748682,  0.5364436 ], dtype=float32)
        """
        if not (low <= high and max(abs(low), abs(high), high - low) <= _LARGEST):
            raise ConfigError(f"uniform values from {low} to {high}: not a range of float32.")
        first, bound = np.float32(low), np.float32(high)
        values = fused_multiply_add(self.rand(math.prod(shape)), bound - first, first)
        # Rounding can reach the excluded upper bound, which torch then replaces by the lower one.
        return np.where(values == bound, first, values).reshape(shape)

    def randint(self, low: int, high: int, shape: Sequence[int]) -> Int64[np.ndarray, "..."]:
        """``torch.randint(low, high, shape)``: integers in [low, high).

        Returns:
          Remainders of 32-bit integers, or of 64-bit ones if ``high - low`` is ``2**28`` or more.

        Raises:
          ConfigError: the range is empty, or a bound overflows int64.

        Example:
          >>> Generator(0).randint(0, 10, (5,))
          array([4, 9, 3, 0, 3])
        """
        if not -(2**63) <= low < high < 2**63:
            raise ConfigError(f"integers from {low} to below {high}: not a range of int64.")
        draw = self._words if high - low < 2**28 else self._long_words
        remainders = draw(math.prod(shape)) % np.uint64(high - low)
        return (remainders.astype(np.int64) + np.array([low])).reshape(shape)

    def randn(self, *shape: int) -> _Floats:
        """``torch.randn(shape)``: standard normal values; see `normal`.

        Example:
          >>> Generator(0).randn(3)
          array([ 1.5409961, -0.2934289, -2.1787894], dtype=float32)
        """
        return self.normal(*shape)

    def normal(self, *shape: int, mean: float | int = 0.0, std: float | int = 1.0) -> _Floats:
        """``torch.normal(mean, std, shape)``, by the Box-Muller transform.

        Returns:
          Normal values. As in torch, 16 or more are computed in float32. Fewer are computed in
          pairs in float64; an unused second value is kept for the next call for fewer than 16.

        Raises:
          ConfigError: ``std`` is negative, or ``mean`` or ``std`` overflows float32.

        Example:
          >>> Generator(0).normal(3, mean=10, std=0.1)
          array([10.154099,  9.970657,  9.782121], dtype=float32)

        Reference:
          Box & Muller, Annals of Mathematical Statistics 29, 1958.
        """
        if not (abs(mean) <= _LARGEST and 0 <= std <= _LARGEST):
            raise ConfigError(f"normal values of mean {mean} and standard deviation {std}.")
        size = math.prod(shape)
        if size < _BLOCK:
            samples = [self._normal_sample() for _ in range(size)]
            # torch uses a fused multiply-add in float64; a Fraction rounds only once, too.
            values = [float(Fraction(x) * Fraction(std) + Fraction(mean)) for x in samples]
            return np.array(values, np.float32).reshape(shape)
        # If 16 does not divide the size, torch draws the last 16 values anew, over the remainder.
        values, whole = self.rand(size), size - size % _BLOCK
        values[:whole] = _box_muller(values[:whole])
        if whole < size:
            values[-_BLOCK:] = _box_muller(self.rand(_BLOCK))
        return fused_multiply_add(values, np.float32(std), np.float32(mean)).reshape(shape)

    def randperm(self, n: int) -> Int64[np.ndarray, " n"]:
        """``torch.randperm(n)``: a random permutation of ``0 … n - 1``.

        Raises:
          ConfigError: ``n`` is negative, or ``2**32 // 20`` or more, for which torch uses another
            algorithm.

        Example:
          >>> Generator(0).randperm(5)
          array([4, 0, 1, 3, 2])
        """
        if not 0 <= n < 2**32 // 20:
            raise ConfigError(f"a permutation must be of 0 to {2**32 // 20 - 1} indices, not {n}.")
        # The Fisher-Yates shuffle, with all its random numbers drawn first.
        remaining = np.arange(n, 1, -1)
        partners = n - remaining + self._words(remaining.size).astype(np.int64) % remaining
        order = list(range(n))
        for i, partner in enumerate(partners.tolist()):
            order[i], order[partner] = order[partner], order[i]
        return np.array(order, np.int64)

    def linear(self, in_features: int, out_features: int, *, bias: bool = True) -> _Layer:
        """The initial parameters of ``torch.nn.Linear``.

        Returns:
          The ``weight`` of shape (out, in) and, with ``bias``, the ``bias`` of shape (out,),
          uniform in ``±1/√in``.

        Example:
          >>> {name: array.shape for name, array in Generator(0).linear(784, 10).items()}
          {'weight': (10, 784), 'bias': (10,)}
        """
        return self._layer((out_features, in_features), bias)

    def conv2d(
        self, in_channels: int, out_channels: int, kernel_size: _Size, *, bias: bool = True
    ) -> _Layer:
        """The initial parameters of ``torch.nn.Conv2d``.

        Returns:
          The ``weight`` of shape (out, in, h, w) and, with ``bias``, the ``bias`` of shape (out,),
          uniform in ``±1/√(in · h · w)``.

        Example:
          >>> {name: array.shape for name, array in Generator(0).conv2d(1, 32, 3).items()}
          {'weight': (32, 1, 3, 3), 'bias': (32,)}
        """
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        return self._layer((out_channels, in_channels, *kernel), bias)

    def random_split(self, n: int, lengths: Sequence[int | float]) -> list[Int64[np.ndarray, " _"]]:
        """The indices of each part in ``torch.utils.data.random_split``.

        Args:
          n: the number of samples.
          lengths: the number of samples in each part; or fractions with sum 1, which are rounded
            down, and the first parts get one of the remaining samples each. Parts may be empty; no
            warning is given.

        Raises:
          ConfigError: a length is negative or not whole, or the sum of the lengths is not ``n``.

        Example:
          >>> Generator(0).random_split(5, [0.5, 0.5])
          [array([4, 0, 1]), array([3, 2])]
        """
        counts = list(lengths)
        if sum(counts) <= 1 and math.isclose(sum(counts), 1):
            counts = [math.floor(n * fraction) for fraction in lengths]
            left = n - sum(counts)
            counts = [count + (i < left) for i, count in enumerate(counts)]
        if sum(counts) != n or isinstance(sum(counts), float) or min(lengths, default=0) < 0:
            raise ConfigError(f"lengths {list(lengths)} must be whole with sum {n}, or fractions.")
        return np.split(self.randperm(n), np.cumsum(counts, dtype=np.int64))[:-1]

    def loader_order(
        self, n: int, *, shuffle: bool, explicit_generator: bool = False
    ) -> Int64[np.ndarray, " n"]:
        """The sample indices of one pass over a ``torch.utils.data.DataLoader``, in its order.

        Every pass draws a seed for the loader's workers, even without workers, and with ``shuffle``
        a seed for the permutation. This happens at its beginning, so a pass may end after any
        batch.

        Args:
          n: the number of samples.
          shuffle: whether the loader shuffles.
          explicit_generator: whether the loader was given the generator, as in
            ``DataLoader(..., generator=torch.default_generator)``. It then draws the permutation
            from this generator itself, as old versions of torch always did. A pass that reaches
            its end, and does not stop after a batch, then draws one more permutation.

        Raises:
          ConfigError: ``shuffle`` is set and ``n`` is 0.

        Example:
          >>> Generator(0).loader_order(5, shuffle=True)
          array([1, 4, 2, 3, 0])
        """
        if shuffle and n < 1:
            raise ConfigError("a loader without samples cannot shuffle.")
        self._long_words(1)
        if not shuffle:
            return np.arange(n)
        if explicit_generator:
            return self.randperm(n)
        return Generator(int(self._long_words(1)[0]) % 2**63).randperm(n)

    def loader_orders(
        self, epochs: int, n: int, *, then: int | None = None
    ) -> Int32[np.ndarray, "epochs n"]:
        """The permutations of several shuffled passes over a loader.

        Args:
          epochs: the number of passes.
          n: the number of samples.
          then: the number of samples of another loader that is passed over in order after each,
            such as the test set's, which advances the generator, too.

        Raises:
          ConfigError: the permutations are too many to be held in memory, or ``n`` is 0.

        Example:
          >>> Generator(0).loader_orders(2, 5).shape
          (2, 5)
        """
        if (total := epochs * n) > 10**8:
            raise ConfigError(
                f"with a torch seed, epochs times samples must be at most 10**8; got {total:,}."
            )
        orders = np.empty((epochs, n), np.int32)
        for order in orders:
            order[:] = self.loader_order(n, shuffle=True)
            if then is not None:
                self.loader_order(then, shuffle=False)
        return orders

    def _long_words(self, count: int) -> UInt64[np.ndarray, " count"]:
        """The next 64-bit integers, each from two 32-bit integers, high half first."""
        high, low = self._words(2 * count).reshape(-1, 2).T
        return high * 2**32 + low

    def _normal_sample(self) -> float:
        sample, self._second_normal = self._second_normal, None
        if sample is None:
            # 53 bits, the precision of float64.
            turn, tail = (self._long_words(2) % 2**53 * 2.0**-53).tolist()
            radius, angle = math.sqrt(-2 * math.log1p(-tail)), 2 * math.pi * turn
            sample, self._second_normal = radius * math.cos(angle), radius * math.sin(angle)
        return sample

    def _layer(self, shape: tuple[int, ...], bias: bool) -> _Layer:
        fan_in = math.prod(shape[1:])
        # torch computes the bound of the weight as gain / sqrt(fan_in) * sqrt(3). In float32 the
        # result is the same, at least up to a fan_in of 2**27.
        bound = 1 / math.sqrt(fan_in) if fan_in else 0
        layer = {"weight": self.uniform(*shape, low=-bound, high=bound)}
        if bias:
            layer["bias"] = self.uniform(shape[0], low=-bound, high=bound)
        return layer


def _box_muller(uniform: _Values) -> _Values:
    """Standard normal values; the halves of each block of 16 give the radii and the angles."""
    first, second = uniform.reshape(-1, 2, _BLOCK // 2).swapaxes(0, 1)
    radius = np.sqrt(-2 * log(1 - first.reshape(-1)))
    sine, cosine = sine_and_cosine(np.float32(2 * math.pi) * second.reshape(-1))
    halves = np.stack([radius * cosine, radius * sine]).reshape(2, -1, _BLOCK // 2)
    return halves.swapaxes(0, 1).reshape(-1)
