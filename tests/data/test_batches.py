"""Data sets, loaders and splits against torch's, drawn after the same seed."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.data.batches import DataLoader, Subset, TensorDataset, random_split
from jaxdnn.errors import ConfigError, DataError
from jaxdnn.torch_rng import Generator
from reference_torch.data import batches as reference


def fields(samples: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(2.0 * samples).reshape(samples, 2), np.arange(samples)


@settings(max_examples=60)
@given(
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 45),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    passes=st.integers(1, 3),
    seed=st.integers(0, 2**31 - 1),
)
def test_batches_are_torchs(
    samples: int, batch_size: int, shuffle: bool, drop_last: bool, passes: int, seed: int
) -> None:
    arrays = fields(samples)
    ours = DataLoader(
        TensorDataset(*arrays),
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        generator=Generator(seed),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = reference.DataLoader(
            reference.TensorDataset(*map(torch.tensor, arrays)),
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
        )
        assert len(ours) == len(theirs)
        for _ in range(passes):
            pairs = list(zip(ours, theirs, strict=True))
            assert len(pairs) == len(theirs)
            for our_batch, their_batch in pairs:
                for array, tensor in zip(our_batch, their_batch, strict=True):
                    np.testing.assert_array_equal(array, tensor)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [120] * 4 + [20]), (True, [120] * 4)])
def test_the_documents_loader(drop_last: bool, sizes: list[int]) -> None:
    samples = TensorDataset(*fields(500))
    loader = DataLoader(samples, batch_size=120, drop_last=drop_last)
    assert [len(labels) for _, labels in loader] == sizes
    assert len(loader) == len(sizes)
    assert loader.dataset is samples
    assert loader.batch_size == 120
    assert next(iter(DataLoader(samples)))[0].shape == (1, 2)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31 - 1),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_split_is_torchs(seed: int, lengths: list[int]) -> None:
    samples = sum(lengths)
    ours = random_split(TensorDataset(np.arange(samples)), lengths, Generator(seed))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = reference.random_split(reference.TensorDataset(torch.arange(samples)), lengths)
    for our_part, their_part in zip(ours, theirs, strict=True):
        assert our_part.indices.tolist() == list(their_part.indices)
        assert [our_part[i][0] for i in range(len(our_part))] == [x.item() for (x,) in their_part]


def test_loader_of_a_part() -> None:
    part = Subset(TensorDataset(*fields(10)), [7, 1, 3])
    [(_, labels)] = DataLoader(part, batch_size=5)
    assert labels.tolist() == [7, 1, 3]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: TensorDataset(np.zeros(3), np.zeros(4)), DataError, r"\(3,\), \(4,\)"),
        (lambda: TensorDataset(), DataError, "arrays with one first axis"),
        (lambda: TensorDataset(np.zeros(())), DataError, "arrays with one first axis"),
        (lambda: DataLoader(TensorDataset(np.zeros(3)), 0), ConfigError, "at least 1; got 0"),
        (
            lambda: DataLoader(TensorDataset(np.zeros(3)), shuffle=True),
            ConfigError,
            "needs a generator",
        ),
        (
            lambda: random_split(TensorDataset(np.zeros(3)), [1, 1], Generator(0)),
            ValueError,
            "3",
        ),
    ],
)
def test_wrong_use_is_named(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()
