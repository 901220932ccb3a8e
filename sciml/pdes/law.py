"""Laws: equations written once, against the operators of a calculus."""

import abc
import dataclasses
import json
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .calculus import AbstractCalculus, Field
from .domain import Box


class AbstractPDE(eqx.Module):
    """An evolution equation `du/dt = rate(t, u)` for a field `u` of one or more channels.

    To write your own, subclass this, name its channels, and give `rate`; `dimensions` and `one_channel_per_axis` are
    only wanted by laws that are not scalar or not for every number of space axes:

    ```python
    class Burgers(AbstractPDE):
        viscosity: Array
        channels: ClassVar = ("u",)

        def rate(self, t, u, calculus):
            return self.viscosity * calculus.laplacian(u) - u.value * calculus.partial(u, 0)
    ```

    Parameters are fields of the class: scalars `()` or fields `(*space,)`, leaves of the pytree, so that they can be
    learned.

    **Arguments:** those of the subclass.
    """

    channels: ClassVar[tuple[str, ...]]
    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    one_channel_per_axis: ClassVar[bool] = False

    @abc.abstractmethod
    def rate(
        self, t: Float[Array, ""] | float, u: Field, calculus: AbstractCalculus
    ) -> Float[Array, "channel *space"]:
        """The time derivative of the unknown.

        **Arguments:**

        - `t`: time, shape `()`.
        - `u`: the unknown, values `(channel, *space)`.
        - `calculus`: the operators.

        **Returns:** `du/dt`, values `(channel, *space)`.
        """

    def domain(self) -> Box | None:
        """The domain the law is posed on when the equation itself fixes it, else `None`."""
        return None


class AbstractSemilinearPDE(AbstractPDE):
    """A law that splits as `du/dt = linear(u) + nonlinear(t, u)`.

    When the linear part has constant coefficients and does not mix channels, spectral solvers treat it exactly or
    implicitly at no cost, which removes its stiffness; everything else just uses the sum.

    **Arguments:** those of the subclass.
    """

    @abc.abstractmethod
    def linear(self, u: Field, calculus: AbstractCalculus) -> Float[Array, "channel *space"]:
        """The linear part, best with constant coefficients and each channel by itself.

        **Arguments:**

        - `u`: the unknown, values `(channel, *space)`.
        - `calculus`: the operators.

        **Returns:** values `(channel, *space)`.
        """

    @abc.abstractmethod
    def nonlinear(
        self, t: Float[Array, ""] | float, u: Field, calculus: AbstractCalculus
    ) -> Float[Array, "channel *space"]:
        """Everything else.

        **Arguments:**

        - `t`: time, shape `()`.
        - `u`: the unknown, values `(channel, *space)`.
        - `calculus`: the operators.

        **Returns:** values `(channel, *space)`.
        """

    def rate(self, t, u, calculus):
        """The sum of both parts; see `AbstractPDE.rate` for shapes."""
        return self.linear(u, calculus) + self.nonlinear(t, u, calculus)


def evaluate_rate(
    law: AbstractPDE,
    calculus: AbstractCalculus,
    u: Float[Array, "channel *space"] | Callable,
    t: Float[Array, ""] | float = 0.0,
) -> Float[Array, "channel *space"]:
    """The right-hand side of a law at given values, with every check on the way.

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate.
    - `u`: values `(channel, *space)`; a function `(dim,) -> (channel,)` for `Autodiff`.
    - `t`: time, shape `()`.

    **Returns:** `du/dt`, values `(channel, *space)`, in the precision of `u`.

    **Raises:** `ValueError` when the number of channels or of space axes is not the law's, or its rate has another
    shape than its unknown.
    """
    check_compatible(law, calculus)
    field = calculus.field(u)
    check_channels(law, calculus, field.value.shape[0])
    rate = law.rate(t, field, calculus)
    if jnp.shape(rate) != field.value.shape:
        raise ValueError(
            f"{type(law).__name__}.rate must return values of the shape of its unknown, {field.value.shape}; got "
            f"{jnp.shape(rate)}. Index channels as u.value[:1] or jnp.stack them again, and give the law parameters of "
            f"shape () or {field.value.shape[1:]}."
        )
    return calculus.project(jnp.asarray(rate, field.value.dtype))


def channel_names(law: AbstractPDE, dimensions: int) -> tuple[str, ...]:
    """The names of the channels of a law's unknown; a law of vectors has one channel per space axis.

    **Arguments:**

    - `law`: the equation.
    - `dimensions`: the number of space axes.

    **Returns:** one name per channel.

    **Raises:** `ValueError` when the class of the law does not name its channels.
    """
    if not hasattr(law, "channels"):
        raise ValueError(
            f'{type(law).__name__} does not name its channels; write `channels: ClassVar = ("u",)` in the class.'
        )
    return law.channels[:dimensions] if law.one_channel_per_axis else law.channels


def check_compatible(law: AbstractPDE, calculus: AbstractCalculus) -> None:
    """Refuse a law on a calculus with a number of axes it is not defined for.

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate.

    **Raises:** `ValueError` naming both.
    """
    if calculus.dimensions not in law.dimensions:
        raise ValueError(
            f"{type(law).__name__} is defined in {' or '.join(map(str, law.dimensions))} space dimensions; the "
            f"calculus has {calculus.dimensions}. Make the Grid with that many axes."
        )


def check_channels(law: AbstractPDE, calculus: AbstractCalculus, channels: int) -> None:
    """Refuse values with another number of channels than the law's unknown has.

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate.
    - `channels`: the number of channels of the values given.

    **Raises:** `ValueError` naming both numbers.
    """
    names = channel_names(law, calculus.dimensions)
    if channels != len(names):
        raise ValueError(
            f"{type(law).__name__} on {calculus.dimensions} axes has {len(names)} channel(s), "
            f"{', '.join(names)}; got values with {channels}. Values are (channel, *space); map over a batch with "
            f"jax.vmap."
        )


def describe(law: AbstractPDE) -> dict:
    """A law as plain data: its name and parameters, for file headers and configurations.

    **Arguments:**

    - `law`: the equation.

    **Returns:** `{"name": ..., "parameters": {...}}`; scalars become floats, fields lists, functions their `repr`.
    """
    parameters = {}
    for name in (field.name for field in dataclasses.fields(law)):
        value = getattr(law, name)
        if isinstance(value, (jax.Array, np.ndarray, np.generic)):
            parameters[name] = np.asarray(value).tolist()
        else:
            parameters[name] = value if _is_plain(value) else repr(value)
    return {"name": type(law).__name__, "parameters": parameters}


def _is_plain(value) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
