"""Checks of static arguments and shapes, whose messages name the value, what was expected and the cure."""

from collections.abc import Sequence

from jaxtyping import Array


def check_positive(owner: str, **values: int) -> None:
    """Refuse a size that is not a positive integer.

    **Arguments:**

    - `owner`: the name of the class or function that was called.
    - `values`: the sizes by name.

    **Raises:** `ValueError` that names the first bad value.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner} got {name}={value!r}; expected a positive integer (a Python int).")


def check_dimensions(owner: str, num_spatial_dims: int) -> None:
    """Refuse a number of space axes other than 1, 2 or 3.

    **Arguments:**

    - `owner`: the name of the class that was built.
    - `num_spatial_dims`: the number of space axes.

    **Raises:** `ValueError` that names the value.
    """
    if num_spatial_dims not in (1, 2, 3):
        raise ValueError(f"{owner} got num_spatial_dims={num_spatial_dims!r}; expected 1, 2 or 3.")


def check_field(owner: str, x: Array, channels: int, num_spatial_dims: int) -> None:
    """Refuse an array that is not a field `(channel, *space)` with the expected number of channels.

    **Arguments:**

    - `owner`: the name of the class that was called.
    - `x`: the array.
    - `channels`: the expected number of channels.
    - `num_spatial_dims`: the expected number of space axes.

    **Raises:** `ValueError` that names the shape, what was expected and the cure.
    """
    expected = f"({channels}, {', '.join(['n'] * num_spatial_dims)})"
    if x.ndim == num_spatial_dims + 2:
        raise ValueError(
            f"{owner} got an array of shape {x.shape}, which has one axis more than a field {expected}; "
            "if the first axis is a batch, write jax.vmap(model)(batch)."
        )
    if x.ndim != num_spatial_dims + 1:
        raise ValueError(
            f"{owner} got an array of shape {x.shape}; expected a field {expected} with {num_spatial_dims} space "
            "axes after the channel; add the channel axis with x[None] if it is missing."
        )
    if x.shape[0] != channels:
        raise ValueError(
            f"{owner} got an array of shape {x.shape} with {x.shape[0]} channels; it was built for {channels} "
            f"channels, arrays {expected}. Build it with that many channels, or pass those it was built for."
        )


def spread(owner: str, name: str, value, count: int) -> tuple:
    """Give every axis its own value.

    **Arguments:**

    - `owner`, `name`: the class and the argument, for the message.
    - `value`: one value for all axes, or one per axis.
    - `count`: the number of axes.

    **Returns:** a tuple of length `count`.

    **Raises:** `ValueError` when a sequence has another length.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (value,) * count
    if len(value) != count:
        raise ValueError(
            f"{owner} got {name}={value!r} with {len(value)} entries for {count} axes; "
            "expected one value for all axes or one per axis."
        )
    return tuple(value)
