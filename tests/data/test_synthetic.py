"""Generated data sets: the numbers that torch draws after the same seed, and what they mean."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_torch.data.synthetic as reference
from jaxdnn.data import synthetic
from jaxdnn.torch_compat.rng import Generator

FUSES = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
SEEDS = st.integers(0, 2**32 - 1)


def equal(actual: np.ndarray, expected: torch.Tensor, *, ulps: int = 0) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.numpy().dtype
    if not FUSES:
        np.testing.assert_allclose(actual, expected, atol=2e-6)
    elif ulps:
        np.testing.assert_array_max_ulp(actual, expected.numpy(), ulps)
    else:
        np.testing.assert_array_equal(actual, expected)


def next_number(generator: Generator) -> None:
    """Both streams go on alike."""
    equal(generator.rand(3), torch.rand(3))


@given(seed=SEEDS, samples=st.integers(1, 50), sizes=st.integers(1, 4))
@settings(max_examples=8)
def test_line_is_torchs(seed: int, samples: int, sizes: int) -> None:
    w = (2.0, -3.4, 0.5, 7.0)[:sizes]
    generator = Generator(seed)
    ours = synthetic.line(generator, samples, w=w, b=1.25, noise=0.1)
    torch.manual_seed(seed)
    theirs = reference.line(samples, w=w, b=1.25, noise=0.1)
    equal(ours.features, theirs.features)
    # Sums of a few products, some of which cancel.
    np.testing.assert_allclose(ours.labels, theirs.labels, rtol=0, atol=4e-6)
    next_number(generator)


def test_lines_default_is_the_documents() -> None:
    ours = synthetic.line(Generator(0), 1000)
    torch.manual_seed(0)
    theirs = reference.line(1000)
    equal(ours.features, theirs.features)
    np.testing.assert_allclose(ours.labels, theirs.labels, atol=4e-6)
    noise = ours.labels[:, 0] - (ours.features @ np.array([2, -3.4]) + 4.2)
    assert noise.std() == pytest.approx(0.01, rel=0.1)


@given(seed=SEEDS, samples=st.integers(1, 60), features=st.integers(1, 4))
@settings(max_examples=8)
def test_noise_is_torchs(seed: int, samples: int, features: int) -> None:
    generator = Generator(seed)
    ours = synthetic.noise(generator, samples, features, 3)
    torch.manual_seed(seed)
    theirs = reference.noise(samples, features, 3)
    equal(ours.inputs, theirs.inputs)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    next_number(generator)


@given(seed=SEEDS, samples=st.integers(1, 60), share=st.floats(0, 1))
@settings(max_examples=8)
def test_sums_and_their_split_are_torchs(seed: int, samples: int, share: float) -> None:
    generator = Generator(seed)
    ours = synthetic.sums(generator, samples)
    torch.manual_seed(seed)
    theirs = reference.sums(samples)
    for a, b in zip(ours, theirs, strict=True):
        equal(a, b)
    count = int(samples * share)
    if count not in (0, samples):  # of empty parts torch warns
        split = synthetic.split(generator, *ours, train_share=share)
        for a, b in zip(split, reference.split(*theirs, train_share=share), strict=True):
            equal(a, b)
    next_number(generator)


def test_class_is_that_of_the_sum() -> None:
    features, one_hot = synthetic.sums(Generator(0), 500)
    classes = np.digitize(features.sum(1), [1, 2])
    np.testing.assert_array_equal(one_hot.argmax(1), classes)
    np.testing.assert_array_equal(one_hot.sum(1), 1)
    assert set(classes) == {0, 1, 2}


def test_sum_of_exactly_one_is_in_no_class() -> None:
    class Fixed(Generator):
        def rand(self, *shape: int) -> np.ndarray:
            return np.array([[0.5], [1 / 3]], np.float32)[: shape[0]]

    assert synthetic.sums(Fixed(0), 1).one_hot.tolist() == [[0, 1, 0]]
    halves = iter([[[0.5], [1.0]], [[0.5], [0.5]], [[0.0], [0.5]]])

    class Halves(Generator):
        def rand(self, *shape: int) -> np.ndarray:
            return np.array(next(halves), np.float32)

    assert synthetic.sums(Halves(0), 2).one_hot.tolist() == [[0, 0, 0], [0, 0, 0]]
