"""Losses against torch's: values and gradients over all arguments, at kinks and limits too."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_torch.losses
from jaxdnn import losses

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Case(NamedTuple):
    """What a loss is called with. Floating arrays by position are differentiated."""

    arrays: tuple[np.ndarray, np.ndarray]
    options: Mapping[str, Any]
    differentiable_options: tuple[str, ...] = ()


# Dyadic numbers, so that differences meet the bends of 0.5, 1 and 2 exactly.
KINKS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.5]
NUMBERS = st.sampled_from([*KINKS, 1e4, -1e4, np.inf, -np.inf, np.nan]) | st.floats(-8, 8, width=16)
LOG_PROBABILITIES = st.sampled_from([*KINKS, -1e4, -np.inf]) | st.floats(-8, 0, width=16)
PROBABILITIES = st.sampled_from(
    [0.0, 1.0, 0.5, 1e-300, 1e-45, 1e-13, 1e-12, 1 - 1e-12, 1 - 1e-16]
) | st.floats(0, 1, width=16)
TARGETS = st.sampled_from([0.0, 1.0, 0.25]) | st.floats(0, 1, width=16)
WEIGHTS = st.sampled_from([0.0, 0.25, 1.0, 3.0])
SHAPES = st.sampled_from([(), (2, 3), (0,)])


def array(draw: Draw, elements: st.SearchStrategy[float], shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    values = np.reshape(draw(st.lists(elements, min_size=size, max_size=size)), shape).astype(float)
    # Half of the time no element hides the others in a sum.
    return np.where(np.isfinite(values), values, 0.75) if draw(st.booleans()) else values


def regression(draw: Draw, **options: st.SearchStrategy[float]) -> Case:
    shape = draw(SHAPES)
    return Case(
        (array(draw, NUMBERS, shape), array(draw, NUMBERS, shape)),
        {name: draw(numbers) for name, numbers in options.items()},
    )


def broadcastable(draw: Draw, shape: tuple[int, ...]) -> np.ndarray | None:
    lengths = draw(st.sampled_from([None, (), shape[-1:], (1,) * len(shape), shape]))
    return None if lengths is None else array(draw, WEIGHTS, lengths)


def binary(draw: Draw, inputs: st.SearchStrategy[float], *weights: str) -> Case:
    shape = draw(SHAPES)
    options = {name: broadcastable(draw, shape) for name in weights}
    outputs = array(draw, inputs, shape)
    if options.get("pos_weight") is not None:
        # torch's loss of -inf is NaN, and its derivative by the target then a matter of chance.
        outputs = np.maximum(outputs, -1e4)
    return Case((outputs, array(draw, TARGETS, shape)), options)


def divergence(draw: Draw) -> Case:
    log_target = draw(st.booleans())
    shape = draw(SHAPES)
    outside = st.sampled_from([-0.5, 2.0, np.inf, np.nan])
    targets = array(draw, NUMBERS if log_target else TARGETS | outside, shape)
    return Case((array(draw, NUMBERS, shape), targets), {"log_target": log_target})


def axis_of_classes(shape: tuple[int, ...]) -> int:
    return min(1, len(shape) - 1)


def class_weights(draw: Draw, classes: int) -> np.ndarray | None:
    return array(draw, WEIGHTS, (classes,)) if draw(st.booleans()) else None


def dtype_of_labels(draw: Draw, labels: np.ndarray) -> str:
    """Any that holds the labels: torch gets them as int64."""
    names = ["uint8", "uint32", "int64"]  # more would mostly compile
    limits = {name: np.iinfo(name) for name in names}
    return draw(
        st.sampled_from(
            [n for n in names if np.all((limits[n].min <= labels) & (labels <= limits[n].max))]
        )
    )


def class_indices(draw: Draw, inputs: st.SearchStrategy[float], **options: Any) -> Case:
    shape = draw(st.sampled_from([(3,), (0, 3), (2, 3), (2, 3, 1, 2)]))
    axis = axis_of_classes(shape)
    ignore_index = draw(st.sampled_from([-100, -1, 0, 1, 300]))
    labels = array(
        draw,
        st.sampled_from([ignore_index, *range(shape[axis])]),
        shape[:axis] + shape[axis + 1 :],
    )
    return Case(
        (array(draw, inputs, shape), labels.astype(dtype_of_labels(draw, labels))),
        {
            "weight": class_weights(draw, shape[axis]),
            "ignore_index": ignore_index,
            **{name: draw(values) for name, values in options.items()},
        },
    )


def class_probabilities(draw: Draw) -> Case:
    shape = draw(st.sampled_from([(3,), (0, 3), (2, 3), (2, 3, 1, 2)]))
    targets = array(draw, TARGETS | st.sampled_from([2.0, -0.5]), shape)
    return Case(
        (array(draw, NUMBERS, shape), targets),
        {
            "weight": class_weights(draw, shape[axis_of_classes(shape)]),
            "label_smoothing": draw(SMOOTHINGS),
        },
        ("weight",),
    )


SMOOTHINGS = st.sampled_from([0.0, 0.1, 0.5, 1.0])
BENDS = st.sampled_from([0.5, 1.0, 2.0, 0.3, np.inf])

CASES: dict[str, Callable[[Draw], Case]] = {
    "mse": regression,
    "l1": regression,
    "smooth_l1": lambda draw: regression(draw, beta=st.just(0.0) | BENDS),
    "huber": lambda draw: regression(draw, delta=BENDS),
    "bce": lambda draw: binary(draw, PROBABILITIES, "weight"),
    "bce_with_logits": lambda draw: binary(draw, NUMBERS, "weight", "pos_weight"),
    "kl_div": divergence,
    "nll": lambda draw: class_indices(draw, LOG_PROBABILITIES),
    "cross_entropy": lambda draw: class_indices(draw, NUMBERS, label_smoothing=SMOOTHINGS),
    "cross_entropy of probabilities": class_probabilities,
}


def named(name: str) -> tuple[Callable[..., jax.Array], Callable[..., torch.Tensor]]:
    """The loss and torch's."""
    function = name.partition(" ")[0]
    return getattr(losses, function), getattr(reference_torch.losses, function)


def with_gradients(
    name: str, case: Case, reduction: str, cotangent: np.ndarray, dtype: str = "float64"
) -> list[jax.Array]:
    """The loss, and what ``cotangent`` pulls back to each differentiable argument."""
    options = {
        key: jnp.asarray(value) if isinstance(value, np.ndarray) else value
        for key, value in case.options.items()
    }
    by_position = tuple(
        jnp.asarray(each, dtype if each.dtype.kind == "f" else each.dtype) for each in case.arrays
    )
    arguments = list(by_position[: 1 + (by_position[1].dtype.kind == "f")])
    by_keyword = [key for key in case.differentiable_options if options[key] is not None]

    def loss(arguments: list[jax.Array], extra: list[jax.Array]) -> jax.Array:
        return named(name)[0](
            *(*arguments, *by_position[len(arguments) :]),
            **options | dict(zip(by_keyword, extra, strict=True)),
            reduction=reduction,
        )

    values, pull_back = jax.vjp(loss, arguments, [options[key] for key in by_keyword])
    return [values, *jax.tree.leaves(pull_back(jnp.asarray(cotangent, values.dtype)))]


def torch_with_gradients(
    name: str, case: Case, reduction: str, dtype: torch.dtype = torch.float64
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A cotangent for the loss; the loss, and the gradients."""
    arguments = [
        torch.tensor(each, dtype=dtype, requires_grad=True)
        if each.dtype.kind == "f"
        else torch.tensor(each.astype("int64"))
        for each in case.arrays
    ]
    options = {
        key: torch.tensor(value, dtype=dtype, requires_grad=key in case.differentiable_options)
        if isinstance(value, np.ndarray)
        else value
        for key, value in case.options.items()
    }
    values = named(name)[1](*arguments, **options, reduction=reduction)
    cotangent = np.random.default_rng(0).uniform(0.5, 2, tuple(values.shape))
    values.backward(torch.tensor(cotangent, dtype=dtype))
    leaves = [leaf for leaf in (*arguments, *options.values()) if isinstance(leaf, torch.Tensor)]
    grads = [leaf.grad for leaf in leaves if leaf.requires_grad]
    return cotangent, [each.detach().numpy() for each in (values, *grads) if each is not None]


def reductions(name: str) -> list[str]:
    return ["mean", "sum", "none"] + ["batchmean"] * (name == "kl_div")


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_torchs(x64: None, name: str) -> None:
    @settings(max_examples=3)
    @given(data=st.data(), reduction=st.sampled_from(reductions(name)))
    def check(data: st.DataObject, reduction: str) -> None:
        case = CASES[name](data.draw)
        cotangent, expected = torch_with_gradients(name, case, reduction)
        actual = with_gradients(name, case, reduction, cotangent)
        for one, other in zip(actual, expected, strict=True):
            assert_close(one, other, 1e-13)

    check()


def plain(name: str) -> Case:
    """Numbers without surprises, every option in use."""
    generator = np.random.default_rng(1)
    outputs, targets = generator.uniform(0.1, 0.9, (2, 4, 3))
    options: dict[str, Any] = {}
    match name:
        case "smooth_l1":
            options = {"beta": 0.3}
        case "huber":
            options = {"delta": 0.3}
        case "bce" | "bce_with_logits":
            options = {"weight": np.array([1.0, 2.0, 3.0])}
        case "nll":
            targets = np.array([0, 2, -100, 1])
            options = {"weight": np.array([1.0, 2.0, 3.0])}
        case "cross_entropy":
            targets = np.array([0, 2, -100, 1])
            options = {"weight": np.array([1.0, 2.0, 3.0]), "label_smoothing": 0.1}
        case "cross_entropy of probabilities":
            options = {"weight": np.array([1.0, 2.0, 3.0]), "label_smoothing": 0.1}
    return Case((outputs, targets), options)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_single_precision_stays_single(x64: None, name: str) -> None:
    """Though double is there, and is what the options are given in."""
    case = plain(name)
    double = case._replace(options={key: np.asarray(case.options[key]) for key in case.options})
    for reduction in reductions(name):
        cotangent, expected = torch_with_gradients(name, case, reduction, torch.float32)
        actual = with_gradients(name, double, reduction, cotangent, "float32")
        for one, other in zip(actual, expected, strict=True):
            assert one.dtype == jnp.float32
            assert_close(one, other, 2e-6)


@pytest.mark.parametrize("name", CASES)
def test_under_jit_and_vmap(x64: None, name: str) -> None:
    """Numerical options as traced arrays too, so that a sweep may vary them."""
    (outputs, targets), options, _ = plain(name)
    loss = inspect.unwrap(named(name)[0])
    batch = jax.tree.map(lambda each: np.stack([each, each[::-1]]), (outputs, targets))
    sweep = {key: jnp.asarray(np.stack([value, 0.5 * value])) for key, value in options.items()}
    expected = [
        loss(*map(jnp.asarray, (x, y)), **{key: value[i] for key, value in sweep.items()})
        for i, (x, y) in enumerate(zip(*batch, strict=True))
    ]
    together = jax.jit(jax.vmap(lambda args, kwargs: loss(*args, **kwargs)))
    assert_close(together(batch, sweep), np.stack(expected), 1e-14)


@pytest.mark.parametrize("name", ["nll", "cross_entropy"])
@pytest.mark.parametrize(
    ("labels", "dtype", "options"),
    [
        ([-1, 3, -101, 2**32], "int64", {}),
        ([-1, 3, -100, 2**31 - 1], "int32", {"ignore_index": 1, "weight": [1.0, 2.0, 0.0]}),
        ([3, 2**31, 2**32 - 100, 2**32 - 1], "uint32", {}),
    ],
)
def test_label_out_of_range_is_nan_not_another_class(
    x64: None, name: str, labels: list[int], dtype: str, options: dict[str, Any]
) -> None:
    """Also where it would wrap in 32 bits. An example with a class is not touched."""
    options = {k: jnp.asarray(v) if k == "weight" else v for k, v in options.items()}

    def loss(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        indices = jnp.array([0, *labels], dtype)
        each = named(name)[0](logits, indices, reduction="none", **options)
        return each.sum(), each

    grads, each = jax.jit(jax.grad(loss, has_aux=True))(jnp.zeros((5, 3)))
    assert np.isnan(each).tolist() == [False, True, True, True, True]
    # A gradient of numbers would be that of some class.
    assert np.isnan(grads).any(axis=1).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_labels_of_few_bits_among_many_classes(dtype: str) -> None:
    value = losses.nll(jnp.arange(300, dtype=jnp.float32), jnp.array(100, dtype))
    assert value == -100


@pytest.mark.parametrize(("probability", "target"), [(-0.1, 0), (1.1, 1), (0.5, -0.1), (0.5, 1.1)])
def test_probability_outside_is_nan(probability: float, target: float) -> None:
    value, grads = jax.value_and_grad(losses.bce, argnums=(0, 1))(
        jnp.array([probability]), jnp.array([target], jnp.float32)
    )
    assert np.isnan([value, *grads[0], *grads[1]]).all()


THREE, TABLE = jnp.zeros(3), jnp.zeros((2, 3))
LABELS = jnp.zeros(2, jnp.int32)


@pytest.mark.parametrize(
    ("name", "arrays", "options", "says"),
    [
        *(
            (name, (jnp.ones((3, 1)), THREE), {}, r"\(3, 1\) and targets \(3,\) differ in shape")
            for name in ["mse", "l1", "smooth_l1", "huber", "bce", "bce_with_logits", "kl_div"]
        ),
        *(
            (name, (TABLE, LABELS if name in {"nll", "cross_entropy"} else TABLE), options, says)
            for name in losses.__all__
            if name != "Reduction"
            for options, says in [({"reduction": "average"}, "reduction must be 'mean'.*'average'")]
        ),
        ("smooth_l1", (THREE, THREE), {"beta": -1.0}, "beta must be at least 0; got -1"),
        ("huber", (THREE, THREE), {"delta": 0}, "delta must be above 0; got 0"),
        ("bce", (THREE, THREE), {"weight": jnp.ones((2, 3))}, r"weight of shape \(2, 3\)"),
        ("bce_with_logits", (TABLE, TABLE), {"pos_weight": jnp.ones(2)}, r"pos_weight of .*\(2,\)"),
        (
            "nll",
            (TABLE, jnp.zeros(1, jnp.int32)),
            {},
            r"of shape \(2,\).*got int32 of shape \(1,\)",
        ),
        ("nll", (TABLE, jnp.zeros(2)), {}, "must be integers .* got float32"),
        ("nll", (jnp.zeros(()), jnp.zeros((), jnp.int32)), {}, "an axis of classes"),
        ("cross_entropy", (TABLE, LABELS.astype(bool)), {}, "must be integers .* got bool"),
        ("cross_entropy", (TABLE, jnp.zeros((2, 3), jnp.int32)), {}, r"int32 of shape \(2, 3\)"),
        ("cross_entropy", (TABLE, jnp.zeros(2)), {}, r"which are integers.*got float32 .*\(2,\)"),
        ("cross_entropy", (TABLE, LABELS), {"weight": jnp.ones(2)}, r"of the 3 classes.*\(2,\)"),
        ("cross_entropy", (TABLE, LABELS), {"label_smoothing": 1.5}, "between 0 and 1; got 1.5"),
        ("cross_entropy", (TABLE, LABELS), {"label_smoothing": -0.1}, "between 0 and 1; got -0.1"),
        (
            "cross_entropy",
            (TABLE, TABLE),
            {"ignore_index": 0},
            "ignore_index=0 requires class indices",
        ),
    ],
)
def test_wrong_use_is_an_error_not_a_number(
    name: str, arrays: tuple[jax.Array, jax.Array], options: dict[str, Any], says: str
) -> None:
    unchecked = inspect.unwrap(named(name)[0])  # without the tests' own check of types
    with pytest.raises(ValueError, match=says):
        unchecked(*arrays, **options)


def test_both_packages_share_their_names() -> None:
    assert {*losses.__all__} - {"Reduction"} == {*reference_torch.losses.__all__}
