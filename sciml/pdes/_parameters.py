"""Parameters of laws and boundaries: arrays that can be learned, checked when their values are known."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def as_parameter(value) -> Array:
    """Make a number or array a pytree leaf; Python numbers stay weakly typed and never raise a precision."""
    return jnp.asarray(value) if is_numeric(value) else value


def is_numeric(value) -> bool:
    """Whether `value` is something `jnp.asarray` should touch (transformations pass sentinels through `__init__`)."""
    return isinstance(value, (bool, int, float, np.ndarray, np.generic, jax.Array, list, tuple))


def check_parameter(
    owner: str, name: str, value, *, minimum: float | None = None, strict: bool = False
) -> None:
    """Refuse a parameter that is not finite or too small, when its value is known (it is not while tracing).

    **Raises:** `ValueError` naming the parameter, its value and what was expected.
    """
    if isinstance(value, jax.core.Tracer) or not is_numeric(value):
        return
    numbers = np.asarray(value)
    if not np.all(np.isfinite(numbers)):
        raise ValueError(f"{owner}.{name} must be finite; got {_show(numbers)}. Check where it was computed.")
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
