"""Generated data sets: torch's numbers after the same seed, and what is drawn next."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.data import synthetic
from jaxdnn.torch_rng import Generator
from reference_torch.data import synthetic as reference

DRAWS: dict[str, tuple[Callable, Callable]] = {
    "line": (lambda g: synthetic.line(g, 200), lambda: reference.line(200)),
    "sums": (lambda g: synthetic.sums(g, 50), lambda: reference.sums(50)),
    "split": (
        lambda g: synthetic.split(g, *synthetic.sums(g, 50)),
        lambda: reference.split(*reference.sums(50)),
    ),
}


@pytest.mark.parametrize("name", DRAWS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31 - 1))
def test_draws_are_torchs(name: str, seed: int) -> None:
    ours, theirs = DRAWS[name]
    generator = Generator(seed)
    drawn = ours(generator)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for field, array, tensor in zip(drawn._fields, drawn, theirs(), strict=True):
            assert array.dtype == np.float32
            # A product with a vector may be summed in another order.
            tolerance = 2e-6 if (name, field) == ("line", "labels") else 0
            np.testing.assert_allclose(array, tensor, rtol=0, atol=tolerance, err_msg=field)
        np.testing.assert_array_equal(generator.rand(3), torch.rand(3))


def test_classes_by_sum() -> None:
    features, one_hot = synthetic.sums(Generator(0), 2000)
    total = features.sum(1)
    assert (one_hot.sum(1) == 1).all()
    assert (one_hot.argmax(1) == np.digitize(total, [1, 2])).all()
    assert len(np.unique(one_hot.argmax(1))) == 3
