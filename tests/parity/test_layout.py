"""The inverse of ``from_torch``: whatever is moved comes back, and everything else is refused."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.parity import layout

Arrays = dict[str, np.ndarray]

SHAPES = {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (2, 3), "scale": ()}


def values(shapes: dict[str, tuple[int, ...]]) -> Arrays:
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


@st.composite
def ways(draw: st.DrawFn) -> tuple[dict[str, tuple[int, ...]], Callable[[Arrays], Any]]:
    """Shapes, and a ``from_torch`` that turns, reshapes, flips, splits, stacks and nests."""
    shape = st.lists(st.integers(1, 3), max_size=4).map(tuple)
    shapes = {f"p{i}": found for i, found in enumerate(draw(st.lists(shape, min_size=1)))}
    steps = {}
    for name, found in shapes.items():
        axes = draw(st.permutations(range(len(found))))
        kind = draw(st.sampled_from(["turned", "flat", "flipped", "split", "column"]))
        steps[name] = axes, kind
    joined = draw(st.sampled_from(["apart", "stacked", "in one"]))
    order = draw(st.permutations(list(shapes)))

    def one(name: str, array: np.ndarray) -> Any:
        axes, kind = steps[name]
        array = array.transpose(axes)
        match kind:
            case "flat":
                return array.ravel()
            case "flipped":
                return np.flip(array)
            case "split":
                flat = array.ravel()
                return [flat[::2], (flat[1::2],)]
            case "column":
                return array.reshape(-1, 1)
        return array

    def from_torch(tensors: Arrays) -> Any:
        trees = {name: one(name, tensors[name]) for name in order}
        leaves = jax.tree.leaves(trees)
        if joined == "in one":
            return np.concatenate([np.ravel(leaf) for leaf in leaves])
        if joined == "stacked" and len({np.shape(leaf) for leaf in leaves}) == 1:
            return {"layers": np.stack(leaves)}
        return trees

    return shapes, from_torch


@settings(max_examples=15)
@given(way=ways())
def test_whatever_is_moved_comes_back(
    way: tuple[dict[str, tuple[int, ...]], Callable[[Arrays], Any]],
) -> None:
    shapes, from_torch = way
    found = layout.trace(from_torch, shapes)
    assert (found.only_torch, found.only_port) == ((), ())
    tensors = values(shapes)
    back = found.to_torch(from_torch(tensors))
    assert list(back) == list(shapes)
    for name, array in tensors.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


def test_what_comes_back_has_the_type_that_was_given() -> None:
    found = layout.trace(lambda t: {"k": t["a.weight"].T}, {"a.weight": (2, 3)})
    tree = {"k": np.ones((3, 2), np.float32)}
    back = found.to_torch(tree)["a.weight"]
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, np.ones((2, 3)))


def test_an_empty_tensor_has_a_place() -> None:
    shapes = {"none": (0, 3), "w": (2,)}
    found = layout.trace(lambda t: {"none": t["none"].T, "w": t["w"]}, shapes)
    back = found.to_torch({"none": np.zeros((3, 0)), "w": np.arange(2.0)})
    assert back["none"].shape == (0, 3)
    np.testing.assert_array_equal(back["w"], [0, 1])


@pytest.mark.parametrize(
    ("from_torch", "says"),
    [
        (lambda t: {"w": 2 * t["a.weight"], "rest": t["b.weight"]}, "more than once|changes"),
        (lambda t: {k: 2 * v for k, v in t.items()}, "changes the parameters' values"),
        (lambda t: {k: -v for k, v in t.items()}, "changes the parameters' values"),
        (lambda t: {k: v / 2 for k, v in t.items()}, "changes the parameters' values"),
        (lambda t: {k: v + 1 for k, v in t.items()}, "changes the parameters' values"),
        (lambda t: {k: v * 0.5 + v for k, v in t.items()}, "changes the parameters' values"),
        (lambda t: {"a": t["a.bias"], "b": t["a.bias"]}, r"uses a\.bias more than once"),
        (lambda t: {"tied": np.stack([t["scale"], t["scale"]])}, "uses scale more than once"),
        (lambda t: {**t, "extra": np.ones(2)}, "more than once|changes"),
    ],
)
def test_numbers_that_are_changed_or_doubled_are_refused(
    from_torch: Callable[[Arrays], Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        layout.trace(from_torch, SHAPES)
    assert str(raised.value).startswith("from_torch ")
    assert "give to_torch, its inverse, too" in str(raised.value)


@pytest.mark.parametrize(
    ("from_torch", "only_torch", "only_port"),
    [
        (lambda t: {"w": t["a.weight"]}, ("a.bias", "b.weight", "scale"), ()),
        (lambda t: {**t, "a.weight": t["a.weight"][:, :2]}, ("a.weight",), ()),
        (lambda t: {"x": {"y": np.zeros(2)}, **t}, (), ("x.y",)),
        (
            lambda t: {**t, "a.bias": np.concatenate([t["a.bias"], np.zeros(1)])},
            (),
            ("a.bias",),
        ),
        (lambda t: {}, tuple(SHAPES), ()),
    ],
)
def test_what_has_no_counterpart_is_reported(
    from_torch: Callable[[Arrays], Any], only_torch: tuple[str, ...], only_port: tuple[str, ...]
) -> None:
    found = layout.trace(from_torch, SHAPES)
    assert (found.only_torch, found.only_port) == (only_torch, only_port)
    assert not set(found.to_torch(from_torch(values(SHAPES)))) & set(only_torch)


def test_a_large_leaf_is_turned_on_its_device() -> None:
    found = layout.trace(lambda tensors: {"kernel": tensors["w"].T}, {"w": (200, 300)})
    kernel = np.arange(60_000, dtype=np.float32).reshape(300, 200)
    for leaf in (kernel, jax.device_put(kernel)):
        np.testing.assert_array_equal(found.to_torch({"kernel": leaf})["w"], kernel.T)
    # In torch's order of memory, in which it is compared.
    assert found.to_torch({"kernel": jax.device_put(kernel)})["w"].flags.c_contiguous
