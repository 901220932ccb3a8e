"""Parameters of laws and boundaries: arrays that can be learned, checked when their values are known."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def as_parameter(value) -> Array:
    """Make a number or array a floating-point pytree leaf.

    Python numbers, also in a flat list, become weakly typed, so that they never raise the precision of a field.
    Integers become floats: an integer leaf would silently be left out by `eqx.filter_grad`.
    """
    if isinstance(value, (bool, int, float, np.integer)):
        return jnp.asarray(float(value))
    if isinstance(value, (list, tuple)) and value and all(isinstance(x, (int, float)) for x in value):
        return jnp.stack([as_parameter(x) for x in value])
    if not is_numeric(value):
        return value
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


def is_numeric(value) -> bool:
    """Whether `value` is something `jnp.asarray` should touch (transformations pass sentinels through `__init__`)."""
    return isinstance(value, (bool, int, float, np.ndarray, np.generic, jax.Array, list, tuple))


def is_zero(value) -> bool:
    """Whether a parameter is known, not traced, and zero everywhere."""
    return is_numeric(value) and not isinstance(value, jax.core.Tracer) and not np.any(np.asarray(value))


def check_parameter(
    owner: str,
    name: str,
    value,
    *,
    minimum: float | None = None,
    strict: bool = False,
    below: float | None = None,
) -> None:
    """Refuse a parameter that is not finite, too small or too large, when its value is known (not while tracing).

    **Raises:** `ValueError` naming the parameter, its value and what was expected; a string is refused too.
    """
    if isinstance(value, str):
        raise ValueError(f"{owner}.{name} must be a number or an array; got the string {value!r}.")
    if isinstance(value, jax.core.Tracer) or not is_numeric(value):
        return
    numbers = np.asarray(value)
    if not np.all(np.isfinite(numbers)):
        raise ValueError(f"{owner}.{name} must be finite; got {_show(numbers)}. Check where it was computed.")
    if below is not None and not np.all(numbers < below):
        raise ValueError(f"{owner}.{name} must be < {below:g}; got {_show(numbers)}.")
    if minimum is None:
        return
    good = np.all(numbers > minimum) if strict else np.all(numbers >= minimum)
    if not good:
        sign = ">" if strict else ">="
        raise ValueError(
            f"{owner}.{name} must be {sign} {minimum:g}; got {_show(numbers)}. "
            f"A negative coefficient makes the equation ill-posed."
        )


def _show(numbers: np.ndarray) -> str:
    if numbers.ndim == 0:
        return f"{numbers.item()!r}"
    return f"an array {numbers.shape} with minimum {numbers.min()} and maximum {numbers.max()}"
