"""A program evaluated in wider types.

Much code is float32 inside whatever it is given: a softmax that casts, an embedding, a rotary
table. What it computes then depends on the order of its sums, and a comparison in float64 would
find a difference where there is no mistake. `widened` evaluates the jaxpr of a function (after
differentiation, so that custom derivatives stay) with all floating-point types replaced by one.

The evaluator takes a *rule*, which computes one equation, and handles control flow itself:
`widened` uses a rule that widens, `scalars_kept` one that leaves what is computed from scalars
alone in float32.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

__all__ = [
    "Constant",
    "Narrowing",
    "computes_scalars",
    "narrowings",
    "narrows",
    "rounded_constants",
    "scalars_kept",
    "widened",
]

Rule = Callable[[Any, Sequence[Any]], list[Any]]
"""``(equation, inputs) -> outputs``."""


def widened(function: Callable[..., Any], dtype: Any = "float64") -> Callable[..., Any]:
    """The function with every floating-point type in it replaced.

    Args:
      function: of arrays; it is traced with what the result is called with.
      dtype: of all floating-point numbers.

    Returns:
      A function of the same arguments.

    Example:
      >>> def narrow(x):
      ...     return (x.astype(jnp.float16) + 1e-6).astype(x.dtype)
      >>> with jax.enable_x64(True):
      ...     one = jnp.ones(())
      ...     float(narrow(one) - 1), round(float(widened(narrow)(one) - 1), 12)
      (0.0, 1e-06)
    """
    wide = jnp.dtype(dtype)

    def evaluate(*args: Any) -> Any:
        program, result = jax.make_jaxpr(function, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        outputs = _run(program.jaxpr, program.consts, leaves, _widening(wide), wide)
        return jax.tree.unflatten(jax.tree.structure(result), outputs)

    return evaluate


def scalars_kept(function: Callable[..., Any], *shapes: Any) -> Callable[..., Any]:
    """The function in float64, but for what is computed from float32 scalars alone.

    optax computes a bias correction, a schedule and the numbers of ``inject_hyperparams`` as
    float32 scalars. The difference from the function in float64 throughout is what that rounding
    changes, without any rounding of the arrays.

    Args:
      function: of arrays.
      *shapes: what to trace it with, in float32.

    Returns:
      A function whose float arguments are float64, or float32 where they are to be kept.
    """
    with jax.enable_x64(False):
        program, result = jax.make_jaxpr(function, return_shape=True)(*shapes)
    wide, kept = jnp.dtype("float64"), jnp.dtype("float32")

    def rule(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
        if any(_is_float(x) and x.dtype == wide for x in inputs):
            return _bind(eqn, [_of_type(x, wide) for x in inputs], wide)
        # What is narrower still is not kept: no library computes its scalars in float16.
        return _bind(eqn, [_of_type(x, kept) for x in inputs], kept)

    def evaluate(*args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        outputs = _run(program.jaxpr, program.consts, leaves, rule, None)
        return jax.tree.unflatten(jax.tree.structure(result), outputs)

    return evaluate


class Narrowing(NamedTuple):
    """A conversion to fewer bits.

    Attributes:
      dtype: the narrower type.
      line: the line of source that asks for it, if JAX knows.
    """

    dtype: str
    line: str


def narrowings(program: Any, *, below: int = 64) -> list[Narrowing]:
    """Where a program makes floating-point numbers of fewer bits than it is given.

    Args:
      program: a jaxpr.
      below: how many bits are wide enough.

    Example:
      >>> with jax.enable_x64(True):
      ...     half = jax.make_jaxpr(lambda x: x.astype(jnp.float16) + 1)(jnp.ones(2))
      >>> [narrowing.dtype for narrowing in narrowings(half)]
      ['float16']
    """
    found: dict[Narrowing, None] = {}
    for eqn in _equations(program.jaxpr):
        before, after = _bits(eqn.invars), _bits(eqn.outvars)
        if eqn.primitive.name == "reduce_precision":
            after = min(after, 1 + eqn.params["exponent_bits"] + eqn.params["mantissa_bits"])
        if 0 < after < below and (after < before or not before):
            dtypes = [str(_aval(v).dtype) for v in eqn.outvars if _bits([v]) == after]
            found[Narrowing(dtypes[0] if dtypes else f"{after} bits", _line(eqn))] = None
    return list(found)


def narrows(program: Any, *, below: int = 64) -> bool:
    """Whether a program holds floating-point numbers of fewer bits at all, constants included."""
    return bool(narrowings(program, below=below)) or any(
        np.ndim(number) and jnp.finfo(number.dtype).bits < below
        for number in _float_constants(program)
    )


class Constant(NamedTuple):
    """A number or an array in a program that has been rounded to fewer bits than float64.

    Attributes:
      name: its type, and its value or shape.
      digest: of its numbers in any order, which torch's side makes of its own, too.
    """

    name: str
    digest: str


def rounded_constants(program: Any) -> list[Constant]:
    """The constants of a program that have been rounded to fewer bits than float64."""
    found = [
        Constant(f"{number.dtype} constant of shape {np.shape(number)}", _digest(number))
        for number in _float_constants(program)
        if jnp.finfo(number.dtype).bits < 64 and _is_rounded(number)
    ]
    numbers = {
        Constant(f"{number.dtype} number {_shortest(number)}", _digest(number))
        for eqn in _equations(program.jaxpr)
        for number in _numbers(eqn)
        if jnp.finfo(number.dtype).bits < 64 and _is_computed(number)
    }
    return [*found, *sorted(numbers)]


def _digest(numbers: Any) -> str:
    return hashlib.sha256(np.sort(np.asarray(numbers, np.float32), axis=None).tobytes()).hexdigest()


def _numbers(eqn: Any) -> list[np.ndarray]:
    """The floating-point numbers that are written in an equation."""
    literals = [v for v in eqn.invars if isinstance(v, core.Literal)]
    values = [np.asarray(v.val, _aval(v).dtype) for v in literals]
    return [value for value in values if _is_float(value) and not value.ndim]


def _is_computed(number: np.ndarray) -> bool:
    """Whether a number has as many digits as its type holds: nobody writes 0.35355338."""
    digits = f"{_shortest(number):.16g}".strip("-0.").partition("e")[0].replace(".", "")
    return bool(np.isfinite(number)) and _is_rounded(number) and len(digits.strip("0")) > 6


def _is_rounded(number: Any) -> bool:
    """Whether numbers use their last bits, as 0.1 does and 0, 1 and 0.5 do not."""
    values = np.asarray(number, np.float64)
    values = values[np.isfinite(values)]
    mantissas = np.frexp(values)[0] * 2.0**11
    return bool(np.any(mantissas != np.rint(mantissas)))


def computes_scalars(program: Any) -> bool:
    """Whether a program computes floating-point numbers without axes."""
    return any(
        getattr(v.aval, "shape", None) == () and _bits([v]) > 0
        for eqn in _equations(program.jaxpr)
        for v in eqn.outvars
    )


def _float_constants(program: Any) -> Iterator[Any]:
    """The floating-point arrays that a program, or one inside it, closes over."""
    yield from filter(_is_float, program.consts)
    for eqn in _equations(program.jaxpr):
        for value in eqn.params.values():
            yield from filter(_is_float, getattr(value, "consts", ()))


def _line(eqn: Any) -> str:
    """The user's line behind an equation; empty where JAX does not tell."""
    try:
        from jax._src import source_info_util

        return source_info_util.summarize(eqn.source_info)
    except Exception:  # a detail of JAX that may change; it only adds to a report
        return ""


def _equations(jaxpr: Any) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _aval(variable: Any) -> Any:
    return variable.aval


def _bits(variables: Any) -> int:
    """Of the widest floating-point type among variables; 0 if there is none."""
    dtypes = (getattr(variable.aval, "dtype", None) for variable in variables)
    floats = [d for d in dtypes if d is not None and jnp.issubdtype(d, jnp.floating)]
    return max((jnp.finfo(d).bits for d in floats), default=0)


def _widening(wide: Any) -> Rule:
    return lambda eqn, inputs: _bind(eqn, inputs, wide)


_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Names of the parameter in which a call keeps its program."""

_CALLING = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "custom_lin",
)


def _run(
    jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], rule: Rule, wide: Any
) -> list[Any]:
    """Evaluate a jaxpr by a rule; ``wide`` is the type of all floats, or None for their own."""
    values: dict[Any, Any] = {}

    def read(variable: Any) -> Any:
        if isinstance(variable, core.Literal):
            return _meant(np.asarray(variable.val, _aval(variable).dtype), wide)
        return values[variable]

    values.update(zip(jaxpr.constvars, (_of_type(c, wide) for c in consts), strict=True))
    values.update(zip(jaxpr.invars, (_of_type(a, wide) for a in args), strict=True))
    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        name = eqn.primitive.name
        if name in ("scan", "while") and wide is None:
            # What is carried may become wider inside, so all of it is.
            inputs = [_of_type(x, jnp.dtype("float64")) for x in inputs]
        if name == "scan":
            outputs = _scan(eqn, inputs, rule, wide)
        elif name == "while":
            outputs = _while(eqn, inputs, rule, wide)
        elif name == "cond":
            outputs = _cond(eqn, inputs, rule, wide)
        elif name in _CALLING:
            inner = next(eqn.params[key] for key in _CALLS if key in eqn.params)
            outputs = _run(*_opened(inner), inputs, rule, wide)
        else:
            outputs = rule(eqn, inputs)
        values.update(zip(eqn.outvars, (_of_type(y, wide) for y in outputs), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _meant(number: np.ndarray, wide: Any) -> Any:
    """A number in a program, in the wider type: 0.1 where 0.1 was written and float32 rounded it.

    Beside a float32 array, JAX rounds a Python number when it traces. The shortest decimal that
    rounds to the same is what was written, unless that was computed, as 1 / sqrt(8) is.
    """
    if wide is None or number.ndim or not _is_float(number) or number.dtype == wide:
        return number
    return np.asarray(_shortest(number), wide)


def _shortest(number: np.ndarray) -> float:
    """The shortest decimal that rounds to a number of its type."""
    value = float(number)
    decimals = (float(f"{value:.{digits}g}") for digits in range(1, 17))
    return next((d for d in decimals if np.asarray(d, number.dtype) == number), value)


def _opened(program: Any) -> tuple[Any, Sequence[Any]]:
    """A program and its constants, closed or not."""
    return (program.jaxpr, program.consts) if hasattr(program, "consts") else (program, ())


def _scan(eqn: Any, inputs: list[Any], rule: Rule, wide: Any) -> list[Any]:
    params = eqn.params
    jaxpr, closed = _opened(params["jaxpr"])
    if "ft_in" in params:  # from JAX 0.12 on
        consts, start, xs = map(list, params["ft_in"].update(inputs).unpack())
    else:
        first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
        consts, start, xs = inputs[:first], inputs[first:last], inputs[last:]

    def body(carry: Any, xs: Any) -> Any:
        outputs = _run(jaxpr, closed, [*consts, *carry, *xs], rule, wide)
        return _like(outputs[: len(start)], carry), outputs[len(start) :]

    carry, ys = jax.lax.scan(
        body, list(map(jnp.asarray, start)), xs, params["length"], params["reverse"]
    )
    return [*carry, *ys]


def _while(eqn: Any, inputs: list[Any], rule: Rule, wide: Any) -> list[Any]:
    params = eqn.params
    for_cond, for_body = params["cond_nconsts"], params["body_nconsts"]
    cond, body = _opened(params["cond_jaxpr"]), _opened(params["body_jaxpr"])
    in_cond, in_body = inputs[:for_cond], inputs[for_cond : for_cond + for_body]
    start = list(map(jnp.asarray, inputs[for_cond + for_body :]))
    return jax.lax.while_loop(
        lambda carry: _run(*cond, [*in_cond, *carry], rule, wide)[0],
        lambda carry: _like(_run(*body, [*in_body, *carry], rule, wide), carry),
        start,
    )


def _cond(eqn: Any, inputs: list[Any], rule: Rule, wide: Any) -> list[Any]:
    index, *args = inputs
    branches = [
        partial(_branch, *_opened(branch), rule=rule, wide=wide)
        for branch in eqn.params["branches"]
    ]
    # Where scalars are kept, one branch may return a wider number than another.
    shapes = [jax.eval_shape(branch, *args) for branch in branches]
    types = [jnp.result_type(*leaves) for leaves in zip(*shapes, strict=True)]

    def alike(branch: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: [jnp.asarray(y, t) for y, t in zip(branch(*args), types, strict=True)]

    return list(jax.lax.switch(jnp.asarray(index, jnp.int32), list(map(alike, branches)), *args))


def _branch(jaxpr: Any, consts: Sequence[Any], *args: Any, rule: Rule, wide: Any) -> list[Any]:
    return _run(jaxpr, consts, args, rule, wide)


def _like(outputs: Sequence[Any], carry: Sequence[Any]) -> list[Any]:
    return [jnp.asarray(y, x.dtype) for y, x in zip(outputs, carry, strict=True)]


def _bind(eqn: Any, inputs: Sequence[Any], wide: Any) -> list[Any]:
    """One equation in a wider type."""
    primitive, name = eqn.primitive, eqn.primitive.name
    if name == "reduce_precision":
        return [inputs[0]]
    if name == "bitcast_convert_type" or "custom_call" in name or name in _OPAQUE:
        # Its meaning lies in the bits, or it is no program that we could change.
        typed = [jnp.asarray(x, v.aval.dtype) for x, v in zip(inputs, eqn.invars, strict=True)]
        return _listed(eqn, primitive.bind(*typed, **eqn.params))
    return _listed(eqn, primitive.bind(*map(_array, inputs), **_params(eqn, wide)))


_OPAQUE = ("pallas_call", "ffi_call", "pure_callback", "io_callback", "bass_call")

_TYPES = ("new_dtype", "preferred_element_type", "dtype", "out_dtype", "accumulation_dtype")

_SCATTERS = {
    "scatter-add": jax.lax.add,
    "scatter_add": jax.lax.add,
    "scatter-mul": jax.lax.mul,
    "scatter_mul": jax.lax.mul,
    "scatter-min": jax.lax.min,
    "scatter_min": jax.lax.min,
    "scatter-max": jax.lax.max,
    "scatter_max": jax.lax.max,
}


def _params(eqn: Any, wide: Any) -> dict[str, Any]:
    """The parameters of an equation, for a wider type."""
    params = dict(eqn.params)
    for key in _TYPES:
        dtype = params.get(key)
        if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
            params[key] = wide
    if eqn.primitive.name in ("reduce", "reduce_window"):
        return params | _widened_reducer(params, wide)
    operation = _SCATTERS.get(eqn.primitive.name)
    floats = bool(_bits(eqn.outvars))
    if operation is not None and floats and params.get("update_jaxpr") is not None:
        zero = jnp.zeros((), wide)
        params |= {"update_jaxpr": jax.make_jaxpr(operation)(zero, zero).jaxpr, "update_consts": ()}
    return params


def _widened_reducer(params: dict[str, Any], wide: Any) -> dict[str, Any]:
    """The program by which two numbers become one, for a wider type."""
    given = params["jaxpr"]
    jaxpr, consts = _opened(given)

    def reducer(*args: Any) -> list[Any]:
        return _run(jaxpr, consts or params.get("consts", ()), args, _widening(wide), wide)

    numbers = [
        jnp.zeros(_aval(v).shape, wide if _bits([v]) else _aval(v).dtype) for v in jaxpr.invars
    ]
    closed = jax.make_jaxpr(reducer)(*numbers)
    changed = {"jaxpr": closed if hasattr(given, "consts") else closed.jaxpr}
    return changed | ({"consts": tuple(closed.consts)} if "consts" in params else {})


def _listed(eqn: Any, outputs: Any) -> list[Any]:
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def _array(value: Any) -> Any:
    return value if isinstance(value, jax.Array) else jnp.asarray(value)


def _is_float(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)


def _of_type(value: Any, wide: Any) -> Any:
    if wide is None or not _is_float(value) or value.dtype == wide:
        return value
    return jnp.asarray(value).astype(wide)
