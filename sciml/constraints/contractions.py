r"""Sums over points: of what a solver wants to know of rows `f(offset_p + tables_p w)`, fast and in little memory.

A trial reads the tables twice, for the terms and for the Jacobian, and keeps no more than the Jacobian of the moment.
The Gram matrix is a product of two long thin matrices, which XLA gives to one thread on CPUs: it is summed over parts,
and the Jacobian is kept out of that product's fusion, without which the parts gain nothing. The Hessian, which needs
as many columns again as there are terms, is summed part by part.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .levenberg_marquardt import Quadratic
from .nonlinearity import find_curved

# What a sum is split into, the first that divides it: enough parts to keep a part in the cache.
PARTS = (20, 16, 10, 8, 5, 4, 3, 2)
# Shorter sums are not worth splitting.
LONG = 1000


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
    flat = tables.reshape(-1, tables.shape[-1]) @ value.astype(tables.dtype)
    return offset + flat.reshape(tables.shape[:2])


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
    terms = contract(tables, offset, value)
    rows, slopes = jax.vmap(lambda at: _differentiate(function, at))(terms)
    rows = rows.astype(value.dtype)
    gram = jnp.zeros((len(value),) * 2, value.dtype)
    gradient = jnp.zeros_like(value)
    for row in range(rows.shape[1]):
        jacobian = sum(slopes[:, row, term, None] * tables[:, term] for term in range(tables.shape[1]))
        jacobian = jax.lax.optimization_barrier(jacobian.astype(value.dtype))
        parts = _split(jacobian)
        gram = gram + jnp.sum(jnp.einsum("cpn,cpm->cnm", parts, parts), axis=0)
        gradient = gradient + rows[:, row] @ jacobian
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
    curved = find_curved(function, jax.ShapeDtypeStruct(terms.shape[1:], terms.dtype))
    if not curved:
        return jnp.zeros((len(value),) * 2, value.dtype)
    parts = _split(tables), _split(bend(function, terms)[2])

    def add(number):
        own, bent = (jax.lax.dynamic_index_in_dim(part, number, keepdims=False) for part in parts)
        total = jnp.zeros((len(value),) * 2, value.dtype)
        for head, *others in curved:
            inner = 0.5 * bent[:, head, head, None] * own[:, head]
            inner = inner + sum(bent[:, head, other, None] * own[:, other] for other in others)
            total = total + own[:, head].astype(value.dtype).T @ inner.astype(value.dtype)
        return total

    # By number, and not over the parts themselves: under `vmap` those would be copied to bring their axis to the front.
    total = jnp.sum(jax.lax.map(add, jnp.arange(len(parts[0]))), axis=0)
    return total + total.T


def sum_slopes(
    function: Callable[[Float[Array, " term"]], Array],
    tables: Float[Array, "point term unknown"],
    offset: Float[Array, "point term"],
    value: Float[Array, " unknown"],
) -> Float[Array, " unknown"]:
    """The gradient of half the sum of squares, to be differentiated once with respect to all but `value`.

    The slope at a point is written with its derivative, `q(t) + S (t - t_held)`, so that differentiation evaluates
    nothing twice: what `sum_curvature` found is found here again by the compiler.

    **Arguments:**

    - `function`, `tables`, `offset`, `value`: as for `sum_squares`; the function may be differentiated, too.

    **Returns:** `(unknown,)`, in the precision of `value`.
    """
    terms = contract(tables, offset, value)
    held = jax.lax.stop_gradient(terms)
    slopes, square, bent = bend(function, held)
    change = jnp.einsum("ptu,pu->pt", jax.lax.stop_gradient(square + bent), terms - held)
    return jnp.einsum("pt,ptn->n", slopes + change, tables).astype(value.dtype)


def bend(
    function: Callable[[Float[Array, " term"]], Array], terms: Float[Array, "point term"]
) -> tuple[Float[Array, "point term"], Float[Array, "point term term"], Float[Array, "point term term"]]:
    """Derivatives of half the sum of squares at each point with respect to the terms there.

    **Arguments:**

    - `function`: the terms at a point `(term,)` to the rows there.
    - `terms`: `(point, term)`.

    **Returns:** the first `(point, term)`, and the second in two parts `(point, term, term)`: the square of the slopes,
    and what the rows' own second derivatives add.
    """

    def at(here):
        rows, slopes = _differentiate(function, here)
        bent = jax.hessian(lambda there: rows @ jnp.ravel(function(there)))(here)
        return rows @ slopes, slopes.T @ slopes, bent

    return jax.vmap(at)(terms)


def _differentiate(function, at) -> tuple[Array, Array]:
    """Rows `(row,)` and slopes `(row, term)`; of a single row in one pass backward."""
    if jax.eval_shape(function, at).size == 1:
        row, slope = jax.value_and_grad(lambda x: jnp.ravel(function(x))[0])(at)
        return row[None], slope[None]

    def twice(x):
        rows = jnp.ravel(function(x))
        return rows, rows

    slopes, rows = jax.jacfwd(twice, has_aux=True)(at)
    return rows, slopes


def _split(rows: Array) -> Array:
    """`(part, row, ...)`."""
    count = next((c for c in PARTS if len(rows) % c == 0), 1) if len(rows) >= LONG else 1
    return rows.reshape(count, -1, *rows.shape[1:])
