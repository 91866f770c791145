"""Parameters to torch and back, strict both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn import torch_compat
from jaxdnn.errors import CheckpointError

LIKE = {
    "conv": {"kernel": jnp.zeros((5, 4, 3, 2)), "bias": jnp.zeros(2)},
    "dense": {"kernel": jnp.zeros((6, 7)), "bias": jnp.zeros(7)},
}


def tensors() -> dict[str, np.ndarray]:
    return {
        "conv.weight": np.ones((2, 3, 5, 4), np.float32),
        "conv.bias": np.ones(2, np.float32),
        "dense.weight": np.ones((7, 6), np.float32),
        "dense.bias": np.ones(7, np.float32),
    }


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_round_trip(seed: int) -> None:
    generator = np.random.default_rng(seed)
    expected = {
        name: generator.normal(size=array.shape).astype(np.float32)
        for name, array in tensors().items()
    }
    actual = torch_compat.to_torch(torch_compat.from_torch(expected, LIKE))
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, expected[name])


def test_neither_side_sees_the_others_later_changes() -> None:
    """torch changes its tensors in place; JAX counts on its arrays never to change."""
    theirs = {name: torch.tensor(array) for name, array in tensors().items()}
    params = torch_compat.from_torch(
        {name: tensor.numpy() for name, tensor in theirs.items()}, LIKE
    )
    for tensor in theirs.values():
        tensor.add_(1)
    assert all((np.asarray(leaf) == 1).all() for leaf in jax.tree.leaves(params))
    for array in torch_compat.to_torch(params).values():
        torch.from_numpy(array).add_(1)
    assert all((np.asarray(leaf) == 1).all() for leaf in jax.tree.leaves(params))


def test_convolution_has_torchs_layout() -> None:
    """A kernel in flax's layout, moved to torch's, convolves to the same numbers."""
    from flax import linen

    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(5, 4, 3, 2)).astype(np.float32)
    images = generator.normal(size=(1, 9, 8, 3)).astype(np.float32)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(2)}
    ours = linen.Conv(2, (5, 4), padding="VALID").apply({"params": params}, images)
    weight = torch.tensor(torch_compat.to_torch({"conv": params})["conv.weight"])
    theirs = torch.nn.functional.conv2d(torch.tensor(images).permute(0, 3, 1, 2), weight)
    np.testing.assert_allclose(np.asarray(ours), theirs.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_every_fault_is_named() -> None:
    wrong = tensors()
    del wrong["conv.bias"]
    wrong["dense.weight"] = wrong["dense.weight"].T
    wrong["output.weight"] = np.ones(3)
    with pytest.raises(CheckpointError) as caught:
        torch_compat.from_torch(wrong, LIKE)
    assert str(caught.value) == (
        "conv.bias is missing; dense.weight is (6, 7), not (7, 6); output.weight is not in the "
        "model."
    )


def test_integers_are_no_parameters() -> None:
    wrong = {**tensors(), "dense.bias": np.arange(7)}
    with pytest.raises(CheckpointError, match=r"dense\.bias is int64, not of floats"):
        torch_compat.from_torch(wrong, LIKE)


def test_misshapen_convolution_is_named_in_torchs_layout() -> None:
    wrong = {**tensors(), "conv.weight": np.ones((5, 4, 3, 2))}
    with pytest.raises(CheckpointError, match=r"\(5, 4, 3, 2\), not \(2, 3, 5, 4\)"):
        torch_compat.from_torch(wrong, LIKE)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"norm": {"mean": jnp.zeros(3)}}, "norm.mean: torch has no counterpart"),
        ({"conv": {"kernel": jnp.zeros((1, 2, 3))}}, "conv: a kernel of rank 3"),
        (jnp.zeros(3), "parameter without a name: parameters must be leaves of nested dict"),
        ([jnp.zeros(3)], r"parameter \[0\]: parameters must be leaves of nested dictionaries"),
    ],
)
def test_what_has_no_counterpart_is_refused(params: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torch_compat.to_torch(params)


def test_layers_are_drawn_as_torch_creates_them() -> None:
    """In the order of their names, in which numbers count by size; a bias where there is one."""
    torch.manual_seed(5)
    module = torch.nn.ModuleDict(
        {
            "conv1": torch.nn.Conv2d(2, 3, (5, 4)),
            "fc2": torch.nn.Linear(4, 3, bias=False),
            "fc10": torch.nn.Linear(3, 2),
        }
    )
    like = {
        "fc10": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)},
        "fc2": {"kernel": jnp.zeros((4, 3))},
        "conv1": {"kernel": jnp.zeros((5, 4, 2, 3)), "bias": jnp.zeros(3)},
    }
    generator = torch_compat.Generator(5)
    drawn = torch_compat.to_torch(torch_compat.initial_params(generator, like))
    expected = {name: p.detach().numpy() for name, p in module.named_parameters()}
    assert list(drawn) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(drawn[name], values)
    np.testing.assert_array_equal(generator.rand(3), torch.rand(3))
