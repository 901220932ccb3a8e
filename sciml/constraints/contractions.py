r"""Sums over points: of what a solver wants to know of rows `f(offset_p + tables_p w)`, fast and in little memory.

A trial reads the tables twice, for the terms and for the Jacobian, and keeps no more than the Jacobian of the moment.
The Gram matrix is a product of two long thin matrices, which XLA gives to one thread on CPUs: it is summed over parts,
and the Jacobian is kept out of that product's fusion, without which the parts gain nothing. The Hessian, which needs
as many columns again as there are curved terms, is summed a few parts at a time. What belongs to a point is kept as
arrays `(..., point)`, one number of each point after another, which vectorizes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .levenberg_marquardt import Quadratic
from .nonlinearity import find_curved

# What a sum is split into, the first that divides it: as many as two cores like best, and some for more of them.
PARTS = (8, 10, 9, 6, 5, 4, 7, 3, 2)
# Shorter sums are not worth splitting.
LONG = 1000
# So many terms are differentiated one by one.
FEW = 4
# In how many goes the parts of a Hessian are taken, the first that divides their number.
GOES = (2, 3, 5)


class Bending(NamedTuple):
    """Derivatives of half the sum of squares at each point with respect to the terms there.

    **Arguments:**

    - `first`: the slope, `(term, point)`.
    - `square`: of the slopes of the rows, one part of the second derivative, `(point,)` for each pair of terms.
    - `second`: the other, of the rows' own second derivatives, `(point,)` for each pair of terms that has any.
    """

    first: Float[Array, "term point"]
    square: dict[tuple[int, int], Float[Array, " point"]]
    second: dict[tuple[int, int], Float[Array, " point"]]

    def apply(self, change: Float[Array, "term point"]) -> Float[Array, "term point"]:
        """The second derivative times a change of the terms.

        **Arguments:**

        - `change`: `(term, point)`.

        **Returns:** `(term, point)`.
        """
        count = len(self.first)
        # Split and put together again: of these, unlike of slices, the transpose is as fast as they are.
        parts = jax.lax.split(change, [1] * count)
        total = [sum(self.square[one, two] * parts[two] for two in range(count)) for one in range(count)]
        for (one, two), bent in self.second.items():
            for i, j in {(one, two), (two, one)}:
                total[i] = total[i] + bent * parts[j]
        return jnp.concatenate(total)


def contract(
    tables: Float[Array, "point term unknown"],
    offset: Float[Array, "point term"],
    value: Float[Array, " unknown"],
) -> Float[Array, "point term"]:
    """The terms at all points.

    **Arguments:**

    - `tables`: `(point, term, unknown)`.
    - `offset`: `(point, term)`.
    - `value`: `(unknown,)`, taken in the precision of the tables.

    **Returns:** `(point, term)`.
    """
    return offset + _contract(tables, value.astype(tables.dtype))


@jax.custom_jvp
def _contract(tables, value):
    return (tables.reshape(-1, tables.shape[-1]) @ value).reshape(tables.shape[:2])


@_contract.defjvp
def _differentiate_contract(primals, tangents):
    # The tables' by a sum, whose transpose is made in one sweep where that of a product goes astray.
    (tables, value), (change, turn) = primals, tangents
    return _contract(tables, value), jnp.sum(change * value, axis=-1) + _contract(tables, turn)


def sum_squares(
    function: Callable[[Float[Array, " term"]], Array],
    tables: Float[Array, "point term unknown"],
    offset: Float[Array, "point term"],
    value: Float[Array, " unknown"],
) -> Quadratic:
    """Objective, gradient and Gram matrix, with one evaluation of the function and its slopes at each point.

    **Arguments:**

    - `function`: the terms at a point `(term,)` to the rows there, `(row,)` or a scalar.
    - `tables`: `(point, term, unknown)`.
    - `offset`: `(point, term)`.
    - `value`: `(unknown,)`; sums are in its precision.

    **Returns:** all three, in the precision of `value`.
    """
    rows, slopes = differentiate(function, contract(tables, offset, value))
    rows = rows.astype(value.dtype)
    gram = jnp.zeros((len(value),) * 2, value.dtype)
    gradient = jnp.zeros_like(value)
    for row, number in enumerate(rows):
        jacobian = sum(slope[row, :, None] * tables[:, term] for term, slope in enumerate(slopes))
        parts = jax.lax.optimization_barrier(_split(jacobian.astype(value.dtype)))
        gram = gram + jnp.sum(jnp.einsum("cpn,cpm->cnm", parts, parts), axis=0)
        gradient = gradient + jnp.sum(jnp.einsum("cp,cpn->cn", _split(number), parts), axis=0)
    return Quadratic(0.5 * jnp.sum(rows**2), gradient, gram)


def sum_curvature(
    function: Callable[[Float[Array, " term"]], Array],
    tables: Float[Array, "point term unknown"],
    offset: Float[Array, "point term"],
    value: Float[Array, " unknown"],
) -> Float[Array, "unknown unknown"]:
    """What the Hessian of half the sum of squares has beyond the Gram matrix, `sum_i r_i d2 r_i`.

    It takes one product of long matrices for each term that all others with a second derivative meet; of most laws
    that is one.

    **Arguments:**

    - `function`, `tables`, `offset`, `value`: as for `sum_squares`.

    **Returns:** `(unknown, unknown)`, in the precision of `value`.
    """
    terms = contract(tables, offset, value)
    bent = bend(function, terms).second
    if not bent:
        return jnp.zeros((len(value),) * 2, value.dtype)
    heads = {one: [two for first, two in bent if first == one] for one, _ in bent}
    own, weights = _split(tables), {pair: _split(weight) for pair, weight in bent.items()}
    goes = next((g for g in GOES if len(own) % g == 0), 1)
    own, weights = jax.tree.map(lambda x: x.reshape(goes, -1, *x.shape[1:]), (own, weights))

    def add(number):
        here, weigh = jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, number, keepdims=False), (own, weights)
        )
        total = jnp.zeros((len(value),) * 2, value.dtype)
        for head, others in heads.items():
            inner = sum(
                (0.5 if other == head else 1.0) * weigh[head, other][..., None] * here[:, :, other]
                for other in others
            )
            one, two = jax.lax.optimization_barrier(
                (here[:, :, head].astype(value.dtype), inner.astype(value.dtype))
            )
            total = total + jnp.sum(jnp.einsum("cpn,cpm->cnm", one, two), axis=0)
        return total

    # By number, and not over the parts themselves: under `vmap` those would be copied to bring their axis to the front.
    total = jnp.sum(jax.lax.map(add, jnp.arange(goes)), axis=0)
    return total + total.T


def vary_slopes(
    function: Callable[[Float[Array, " term"]], Array],
    tables: Float[Array, "point term unknown"],
    offset: Float[Array, "point term"],
    value: Float[Array, " unknown"],
) -> Float[Array, " unknown"]:
    """Zero, with the derivative of the gradient of half the sum of squares, once, with respect to all but `value`.

    The slopes at a point change by its second derivative, so that nothing is evaluated twice: what `sum_curvature`
    found is found here again by the compiler.

    **Arguments:**

    - `function`, `tables`, `offset`, `value`: as for `sum_squares`; the function may be differentiated, too.

    **Returns:** `(unknown,)`, in the precision of `value`.
    """
    terms = contract(tables, offset, value)
    bending = bend(function, jax.lax.stop_gradient(terms))
    change = _vary_slopes(terms.T, jax.lax.stop_gradient(bending))
    return _vary_pull((bending.first + change).T, tables).astype(value.dtype)


# Zeros whose derivatives are not. They are written so that they have the axes that what they depend on has under `vmap`
# and `jax.shard_map`, and so that what is not finite there leaves them alone.


@jax.custom_jvp
def _vary_slopes(terms, bending):
    return jnp.where(False, terms, 0)


@_vary_slopes.defjvp
def _differentiate_vary_slopes(primals, tangents):
    terms, bending = primals
    return _vary_slopes(terms, bending), bending.apply(tangents[0])


@jax.custom_jvp
def _vary_pull(slopes, tables):
    return jnp.where(False, slopes[0, 0] * tables[0, 0], 0)


@_vary_pull.defjvp
def _differentiate_vary_pull(primals, tangents):
    (slopes, tables), (turn, change) = primals, tangents
    return _vary_pull(slopes, tables), pull(turn, tables) + jnp.sum(slopes[..., None] * change, axis=(0, 1))


def pull(
    slopes: Float[Array, "point term"], tables: Float[Array, "point term unknown"]
) -> Float[Array, " unknown"]:
    """The slope with respect to the unknowns, of slopes with respect to the terms.

    **Arguments:**

    - `slopes`: `(point, term)`.
    - `tables`: `(point, term, unknown)`.

    **Returns:** `(unknown,)`.
    """
    # Of one flat vector: the derivative of a sum over two axes would copy the tables.
    return slopes.ravel() @ tables.reshape(-1, tables.shape[-1])


def bend(function: Callable[[Float[Array, " term"]], Array], terms: Float[Array, "point term"]) -> Bending:
    """Derivatives of half the sum of squares at each point with respect to the terms there.

    **Arguments:**

    - `function`: the terms at a point `(term,)` to the rows there.
    - `terms`: `(point, term)`.

    **Returns:** the first, and the second as far as there may be any.
    """
    count = terms.shape[1]
    curved = find_curved(function, jax.ShapeDtypeStruct((count,), terms.dtype))

    def at(*here):
        if count > FEW:
            rows, slopes = _differentiate(function, *here)
            slope = jax.grad(lambda *there: rows @ jnp.ravel(function(jnp.stack(there))), tuple(range(count)))
        else:
            # One by one, forward: backward, a slope of a slice is padded with zeros.
            (rows, *_), slopes = zip(*(_advance(function, here, term) for term in range(count)), strict=True)
        first = [rows @ slope for slope in slopes]
        square = {(i, j): one @ two for i, one in enumerate(slopes) for j, two in enumerate(slopes)}
        second = {}
        for head, *others in curved:
            if count > FEW:
                column = jax.jvp(slope, here, _along(here, head))[1]
                second |= {(head, other): column[other] for other in (head, *others)}
                continue
            for other in (head, *others):
                _, bent = jax.jvp(lambda *x, o=other: _advance(function, x, o)[1], here, _along(here, head))
                second[head, other] = rows @ bent
        return first, square, second

    first, square, second = jax.vmap(at)(*terms.T)
    return Bending(jnp.stack(first), square, second)


def differentiate(
    function: Callable[[Float[Array, " term"]], Array], terms: Float[Array, "point term"]
) -> tuple[Float[Array, "row point"], tuple[Float[Array, "row point"], ...]]:
    """Rows and their slopes at all points.

    **Arguments:**

    - `function`: the terms at a point `(term,)` to the rows there.
    - `terms`: `(point, term)`.

    **Returns:** rows `(row, point)`, and for each term slopes `(row, point)`.
    """
    return jax.vmap(lambda *at: _differentiate(function, *at), out_axes=-1)(*terms.T)


def _differentiate(function, *at) -> tuple[Array, tuple[Array, ...]]:
    """Rows `(row,)` and for each term slopes `(row,)`; of a single row in one pass backward."""
    every = tuple(range(len(at)))
    if jax.eval_shape(function, jnp.stack(at)).size == 1:
        row, slope = jax.value_and_grad(lambda *x: jnp.ravel(function(jnp.stack(x)))[0], every)(*at)
        return row[None], tuple(part[None] for part in slope)

    def twice(*x):
        rows = jnp.ravel(function(jnp.stack(x)))
        return rows, rows

    slopes, rows = jax.jacfwd(twice, every, has_aux=True)(*at)
    return rows, slopes


def _advance(function, at, term) -> tuple[Array, Array]:
    """Rows `(row,)` and their slopes along one term."""
    return jax.jvp(lambda *x: jnp.ravel(function(jnp.stack(x))), at, _along(at, term))


def _along(at, term) -> tuple[Array, ...]:
    # Of the point, if only by name: inside `jax.shard_map` it must vary as that does.
    return tuple(jnp.where(False, x, float(number == term)) for number, x in enumerate(at))


def _split(rows: Array) -> Array:
    """`(part, row, ...)`."""
    count = next((c for c in PARTS if len(rows) % c == 0), 1) if len(rows) >= LONG else 1
    return rows.reshape(count, -1, *rows.shape[1:])
