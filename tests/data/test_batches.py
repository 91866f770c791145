"""Data sets, loaders and splits against torch's, draw for draw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_torch.data.batches as reference
from jaxdnn.data.batches import DataLoader, Subset, TensorDataset, random_split
from jaxdnn.errors import ConfigError, DataError
from jaxdnn.torch_compat.rng import Generator

pytestmark = pytest.mark.filterwarnings("ignore:Length of split at index")


def fields(samples: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(samples)
    return generator.normal(size=(samples, 2, 3)), np.arange(samples)


def equal(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@given(
    samples=st.integers(1, 30),
    batch_size=st.integers(1, 35),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15)
def test_loader_gives_torchs_batches(
    samples: int, batch_size: int, shuffle: bool, drop_last: bool, seed: int
) -> None:
    """Over two passes and what is drawn after them."""
    arrays = fields(samples)
    options = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
    generator = Generator(seed)
    ours = DataLoader(TensorDataset(*arrays), generator=generator, **options)
    torch.manual_seed(seed)
    dataset = reference.TensorDataset(*map(torch.tensor, arrays))
    theirs = reference.DataLoader(dataset, **options)
    assert len(ours) == len(theirs)
    for _ in range(2):
        our_batches, their_batches = list(ours), list(theirs)
        assert len(our_batches) == len(their_batches)
        for a, b in zip(our_batches, their_batches, strict=True):
            equal(a, b)
    np.testing.assert_array_equal(generator.rand(2), torch.rand(2))


def test_loader_by_default_takes_one_sample_in_order_without_a_generator() -> None:
    arrays = fields(3)
    loader = DataLoader(TensorDataset(*arrays))
    dataset = reference.TensorDataset(*map(torch.tensor, arrays))
    for a, b in zip(loader, reference.DataLoader(dataset), strict=True):
        equal(a, b)


@given(samples=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), data=st.data())
@settings(max_examples=15)
def test_split_is_torchs(samples: int, seed: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, samples), max_size=3)))
    lengths: list[Any] = np.diff([0, *cuts, samples]).tolist()
    if data.draw(st.booleans()):
        weights = np.array(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
        lengths = (weights / weights.sum()).tolist()
    arrays = fields(samples)
    generator = Generator(seed)
    ours = random_split(TensorDataset(*arrays), lengths, generator)
    torch.manual_seed(seed)
    dataset = reference.TensorDataset(*map(torch.tensor, arrays))
    theirs = reference.random_split(dataset, lengths)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert len(a) == len(b)
        np.testing.assert_array_equal(a.indices, b.indices)
        for i in range(len(a)):
            equal(a[i], b[i])


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [120] * 4 + [20]), (True, [120] * 4)])
def test_the_documents_loader(drop_last: bool, sizes: list[int]) -> None:
    samples = TensorDataset(*fields(500))
    loader = DataLoader(samples, batch_size=120, drop_last=drop_last)
    assert [len(labels) for _, labels in loader] == sizes
    assert len(loader) == len(sizes)
    assert loader.dataset is samples
    assert loader.batch_size == 120


def test_subset_of_a_subset_and_its_batches() -> None:
    arrays = fields(10)
    part = Subset(Subset(TensorDataset(*arrays), [9, 4, 7, 1]), np.array([2, 0]))
    assert [int(label) for _, label in (part[i] for i in range(len(part)))] == [7, 9]
    [batch] = DataLoader(part, batch_size=5)
    np.testing.assert_array_equal(batch[0], arrays[0][[7, 9]])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: TensorDataset(), DataError, "needs arrays with a common first axis"),
        (lambda: TensorDataset(np.zeros(())), DataError, r"got shapes \[\(\)\]"),
        (
            lambda: TensorDataset(np.zeros((3, 2)), np.zeros(2)),
            DataError,
            r"got shapes \[\(3, 2\), \(2,\)\]",
        ),
        (lambda: DataLoader(TensorDataset(np.zeros(3)), 0), ConfigError, "at least 1; got 0"),
        (
            lambda: DataLoader(TensorDataset(np.zeros(3)), shuffle=True),
            ConfigError,
            "shuffle=True needs a generator",
        ),
        (
            lambda: random_split(TensorDataset(np.zeros(3)), [1, 1], Generator(0)),
            ConfigError,
            "must be whole with sum 3",
        ),
        (
            lambda: random_split(TensorDataset(np.zeros(3)), [0.5, 0.4], Generator(0)),
            ConfigError,
            "must be whole with sum 3",
        ),
    ],
)
def test_wrong_use_is_said(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()
