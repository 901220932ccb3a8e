"""Which terms a law is nonlinear in, read off its jaxpr.

A PDE is linear in most of its terms: of `u_t + u u_x - nu u_xx` only `u` times `u_x` has a second derivative. Who knows
that, multiplies fewer matrices. Each element of each value in the jaxpr is followed by the terms it depends on, and by
the pairs of terms in which it may have a second derivative. What is not known of an operation is taken for the worst,
so that a pair is never missed: where values decide, as in `where`, all branches count.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

LINEAR = {
    "add",
    "sub",
    "neg",
    "add_any",
    "copy",
    "copy_p",
    "convert_element_type",
    "mul",
    "div",
    "stop_gradient",
}
POINTWISE = {
    "integer_pow",
    "pow",
    "square",
    "sqrt",
    "rsqrt",
    "cbrt",
    "exp",
    "exp2",
    "log",
    "log1p",
    "expm1",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "atan2",
    "sinh",
    "cosh",
    "tanh",
    "logistic",
    "abs",
    "sign",
    "max",
    "min",
    "select_n",
    "erf",
    "erfc",
    "clamp",
    "gt",
    "lt",
    "ge",
    "le",
    "eq",
    "ne",
    "and",
    "or",
    "not",
    "is_finite",
}
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}


class Dependence(NamedTuple):
    """What the elements of a value depend on: `terms` `(term, *shape)`, and `pairs` `(term, term, *shape)`."""

    terms: np.ndarray
    pairs: np.ndarray


def find_curved(
    function: Callable[[Float[Array, " term"]], Array], terms: Any
) -> tuple[tuple[int, ...], ...]:
    """Pairs of terms in which a function may have a second derivative, each row headed by one that all share.

    **Arguments:**

    - `function`: the terms `(term,)` to rows of any shape.
    - `terms`: their shape and precision.

    **Returns:** rows `(head, other, ...)`. Each pair is the head and an other of one row, or twice the head.
    """
    count = terms.shape[0]
    closed = jax.make_jaxpr(function)(terms)
    start = Dependence(np.eye(count, dtype=bool), np.zeros((count, count, count), bool))
    found = [out for out in _follow(closed.jaxpr, [start]) if out is not None]
    pairs = np.zeros((count, count), bool)
    for out in found:
        pairs |= out.pairs.reshape(count, count, -1).any(axis=-1)
    rows = []
    while pairs.any():
        head = int(np.argmax(pairs.sum(axis=1)))
        rows.append((head, *(int(other) for other in np.flatnonzero(pairs[head]) if other != head)))
        pairs[head] = pairs[:, head] = False
    return tuple(rows)


def _follow(jaxpr, given: list) -> list:
    known = dict(zip(jaxpr.invars, given, strict=True))

    def read(atom):
        return None if hasattr(atom, "val") else known.get(atom)

    for equation in jaxpr.eqns:
        values = [read(atom) for atom in equation.invars]
        if any(value is not None for value in values):
            known |= zip(equation.outvars, _apply(equation, values), strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation, values) -> list:
    name, shapes = equation.primitive.name, [out.aval.shape for out in equation.outvars]
    inner = equation.params.get(CALLS.get(name))
    if inner is not None:
        jaxpr = getattr(inner, "jaxpr", inner)
        if len(jaxpr.invars) == len(values):
            return _follow(jaxpr, values)
    given = [value for value in values if value is not None]
    alike = all(value.terms.shape[1:] == shapes[0] for value in given)
    if name in LINEAR | POINTWISE and alike:
        return [_combine(name, values, given)]
    move = _find_move(name, equation)
    if move is not None:
        sizes = [atom.aval.shape for atom in equation.invars]
        count = len(given[0].terms)
        values = [_nothing(count, size) if v is None else v for v, size in zip(values, sizes, strict=True)]
        return [Dependence(move([v.terms for v in values], 1), move([v.pairs for v in values], 2))]
    # The worst: each element of each output depends on all, and in no linear way.
    terms = np.any([value.terms.reshape(len(value.terms), -1).any(axis=1) for value in given], axis=0)
    return [_fill(terms, shape) for shape in shapes]


def _combine(name, values, given) -> Dependence:
    terms = np.any([value.terms for value in given], axis=0)
    pairs = np.any([value.pairs for value in given], axis=0)
    if name in POINTWISE:
        return Dependence(terms, pairs | terms[:, None] & terms[None])
    if name in ("mul", "div") and len(given) == 2:
        one, two = (value.terms for value in given)
        pairs = pairs | one[:, None] & two[None] | two[:, None] & one[None]
    if name == "div" and values[1] is not None:
        pairs = pairs | values[1].terms[:, None] & values[1].terms[None]
    return Dependence(terms, pairs)


def _find_move(name, equation):
    """What an operation that only moves elements does to arrays with `lead` axes in front, or None."""
    given, (out,) = equation.params, equation.outvars[:1]
    shape = out.aval.shape
    if name == "slice":
        steps = given["strides"] or (1,) * len(given["start_indices"])
        cut = tuple(map(slice, given["start_indices"], given["limit_indices"], steps))
        return lambda arrays, lead: arrays[0][(slice(None),) * lead + cut]
    if name in ("squeeze", "reshape", "expand_dims"):
        return lambda arrays, lead: arrays[0].reshape(arrays[0].shape[:lead] + shape)
    if name == "stack":
        return lambda arrays, lead: np.stack(arrays, axis=given["axis"] + lead)
    if name == "concatenate":
        return lambda arrays, lead: np.concatenate(arrays, axis=given["dimension"] + lead)
    if name == "broadcast_in_dim" and len(equation.invars) == 1:
        kept = given["broadcast_dimensions"]

        def spread(arrays, lead):
            (array,) = arrays
            sizes = [1] * len(shape)
            for axis, size in zip(kept, array.shape[lead:], strict=True):
                sizes[axis] = size
            return np.broadcast_to(array.reshape(*array.shape[:lead], *sizes), array.shape[:lead] + shape)

        return spread
    return None


def _nothing(count, shape) -> Dependence:
    return Dependence(np.zeros((count, *shape), bool), np.zeros((count, count, *shape), bool))


def _fill(terms, shape) -> Dependence:
    pairs = terms[:, None] & terms[None]
    ones = (1,) * len(shape)
    return Dependence(
        np.broadcast_to(terms.reshape(-1, *ones), (len(terms), *shape)),
        np.broadcast_to(pairs.reshape(*pairs.shape, *ones), (*pairs.shape, *shape)),
    )
