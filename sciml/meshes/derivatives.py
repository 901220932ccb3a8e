"""The derivatives that monitors are made of: of every channel, normalized, their powers, and their means."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import AbstractCalculus, Field
from .structured import StructuredMesh

FLAT = 1e-4  # below this part of the root mean square, powers of a derivative are made smooth
ROUNDING = 16.0  # derivatives of fewer units of rounding are taken for zero


def gradient(u: Field, calculus: AbstractCalculus) -> Float[Array, "channel dim *space"]:
    """All first derivatives.

    **Arguments:**

    - `u`: the field, values `(channel, *space)`.
    - `calculus`: of a grid or a structured mesh.

    **Returns:** `(channel, dim, *space)`.
    """
    if isinstance(calculus, StructuredMesh):
        return calculus.gradient(u)
    return jnp.stack([calculus.partial(u, axis) for axis in range(calculus.dimensions)], axis=1)


def hessian(u: Field, calculus: AbstractCalculus) -> Float[Array, "channel entry *space"]:
    """All second derivatives; each mixed one once, times the root of two, so that squares add up to the norm's.

    **Arguments:**

    - `u`: the field, values `(channel, *space)`.
    - `calculus`: of a grid or a structured mesh.

    **Returns:** `(channel, entry, *space)`.
    """
    n = calculus.dimensions
    pairs = list(itertools.combinations_with_replacement(range(n), 2))
    if isinstance(calculus, StructuredMesh):
        whole = calculus.hessian(u)
        entries = [whole[:, i, j] for i, j in pairs]
    else:
        entries = [
            calculus.derivative(u, tuple((axis == i) + (axis == j) for axis in range(n))) for i, j in pairs
        ]
    # Python floats: a NumPy float64 would raise the precision of float32 values.
    factors = [1.0 if i == j else 2.0**0.5 for i, j in pairs]
    return jnp.stack([f * entry for f, entry in zip(factors, entries, strict=True)], axis=1)


def combine_channels(
    derivatives: Float[Array, "channel entry *space"], u: Field, order: int, calculus: AbstractCalculus
) -> Float[Array, "*space"]:
    """Squared derivatives over their mean, summed over the channels.

    **Arguments:**

    - `derivatives`: all of one order `(channel, entry, *space)`.
    - `u`: what was differentiated, values `(channel, *space)`.
    - `order`: their order.
    - `calculus`: of a grid or a structured mesh.

    **Returns:** numbers `(*space,)` that are not negative; zero for channels that are constant to rounding.
    """
    value = u.value
    spacing = _smallest_spacing(calculus)
    size = jnp.max(abs(value), axis=tuple(range(1, value.ndim)))
    # In units of the largest difference there could be: rounding is then the same number for every channel, and no
    # square overflows. The unit cancels below, so it needs no derivative.
    unit = jax.lax.stop_gradient(jnp.where(size > 0, size, 1) / spacing**order)
    scaled = derivatives / unit.reshape((-1,) + (1,) * (derivatives.ndim - 1))
    squares = jnp.sum(scaled**2, axis=1)
    means = jnp.stack([average(channel, calculus) for channel in squares])
    counts = means > (ROUNDING * float(np.finfo(squares.dtype).eps)) ** 2
    shape = (-1,) + (1,) * (squares.ndim - 1)
    normalized = squares / jnp.where(counts, means, 1).reshape(shape)
    return jnp.sum(jnp.where(counts.reshape(shape), normalized, 0), axis=0)


def power(squares: Float[Array, "*space"], exponent: Float[Array, ""] | float) -> Float[Array, "*space"]:
    """A power of a norm, smooth at zero: `(s + e^2)^(p/2) - e^p`.

    **Arguments:**

    - `squares`: the norm's square `s`, `(*space,)`.
    - `exponent`: `p`, of the norm itself, a positive number.

    **Returns:** numbers `(*space,)` that are not negative.
    """
    return (squares + FLAT**2) ** (exponent / 2) - FLAT**exponent


def relative(values: Float[Array, "*space"], calculus: AbstractCalculus) -> Float[Array, "*space"]:
    """Values over their mean; zero where all are.

    **Arguments:**

    - `values`: not negative, `(*space,)`.
    - `calculus`: of a grid or a structured mesh.

    **Returns:** `(*space,)`.
    """
    mean = average(values, calculus)
    return values / jnp.where(mean > 0, mean, 1)


def average(values: Float[Array, "*space"], calculus: AbstractCalculus) -> Float[Array, ""]:
    """The mean over the domain.

    **Arguments:**

    - `values`: at the points of the unknowns `(*space,)`.
    - `calculus`: of a grid or a structured mesh.

    **Returns:** a scalar.
    """
    if not isinstance(calculus, StructuredMesh):
        return jnp.mean(values)
    volumes = calculus.volumes.astype(values.dtype)
    for axis, periodic in enumerate(calculus.grid.box.periodic):
        if periodic:  # a point stands where its cell begins
            volumes = 0.5 * (volumes + jnp.roll(volumes, 1, axis))
    return jnp.sum(values * volumes) / jnp.sum(volumes)


def _smallest_spacing(calculus: AbstractCalculus) -> Array | float:
    smallest = min(calculus.grid.spacing)
    if isinstance(calculus, StructuredMesh):
        volumes = calculus.volumes
        # A cell may be thin in one direction only.
        return smallest * jax.lax.stop_gradient(jnp.min(volumes) / jnp.mean(volumes))
    return smallest
