"""Parameters of densities and monitors: leaves that can be learned and mapped over, checked when they are known."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def as_parameter(
    name: str, value, *, above: float | None = None, least: float | None = None, axes: int = 0
) -> Array:
    """Make a number, or numbers, a leaf of floating type.

    A Python number stays weakly typed, so that it raises the precision of nothing.

    **Raises:** `ValueError` for another number of axes, or a value that is known and not finite or out of range.
    """
    try:
        array = jnp.asarray(float(value)) if isinstance(value, (int, float)) else jnp.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number or an array; got {value!r}.") from error
    if array.ndim != axes:
        expected = "one number per axis, (dim,)" if axes else "one number"
        raise ValueError(
            f"{name} must be {expected}; got shape {array.shape}. Map over parameters with jax.vmap."
        )
    if not isinstance(array, jax.core.Tracer):
        numbers = np.asarray(array)
        good = np.isfinite(numbers)
        if above is not None:
            good &= numbers > above
        if least is not None:
            good &= numbers >= least
        if not good.all():
            limit = "" if above is None else f" and above {above:g}"
            limit += "" if least is None else f" and at least {least:g}"
            raise ValueError(f"{name} must be finite{limit}; got {numbers.tolist()}.")
    return array
