"""How the weight of a penalty moves during training.

loss = task + coefficient.value(state) * penalty
state = coefficient.update(state, evaluations=..., loss=task)
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class AbstractCoefficient(eqx.Module):
    """A weight with a state, for `sciml.training.fit(..., loss_state=coefficient.init())`; all can be compiled."""

    @abc.abstractmethod
    def init(self) -> PyTree[Any]:
        """The state before the first step.

        **Returns:** a pytree of arrays.
        """

    @abc.abstractmethod
    def value(self, state: PyTree[Any]) -> Float[Array, ""]:
        """The weight.

        **Arguments:**

        - `state`: what `init` or `update` gave.

        **Returns:** a scalar >= 0.
        """

    @abc.abstractmethod
    def update(
        self, state: PyTree[Any], *, evaluations: Float[Array, ""], loss: Float[Array, ""]
    ) -> PyTree[Any]:
        """The state after a training step.

        **Arguments:**

        - `state`: what `init` or `update` gave.
        - `evaluations`: of the field in this step's solves, the mean, a scalar.
        - `loss`: of this step, without the penalty, a scalar.

        **Returns:** the state, of the same structure.
        """


class Constant(AbstractCoefficient):
    """A weight that stays.

    **Arguments:**

    - `coefficient`: the weight, a number >= 0.

    **Raises:** `ValueError` for one that is negative or not finite.
    """

    coefficient: float

    def __check_init__(self):
        check_coefficient("Constant", "coefficient", self.coefficient)

    def init(self):
        """Nothing moves."""
        return ()

    def value(self, state):
        """The weight."""
        return jnp.asarray(self.coefficient, float)

    def update(self, state, *, evaluations, loss):
        """Nothing moves."""
        return state


class ExponentialAnnealing(AbstractCoefficient):
    """A weight that falls, or grows, exponentially: `initial (final / initial)^(t / steps)`, and then stays.

    **Arguments:**

    - `initial`, `final`: the weights at first and after `steps` steps, numbers > 0.
    - `steps`: of training.

    **Raises:** `ValueError` for weights that are not positive and finite, or steps that are not a positive integer.

    Reference: A. Pal, Y. Ma, V. Shah, C. Rackauckas, 2021, arXiv:2105.03918.
    """

    initial: float
    final: float
    steps: int

    def __check_init__(self):
        for name in ("initial", "final"):
            check_coefficient("ExponentialAnnealing", name, getattr(self, name), positive=True)
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(
                f"ExponentialAnnealing got steps={self.steps!r}; expected a positive integer (a Python int)."
            )

    def init(self):
        """No step was made."""
        return jnp.zeros((), jnp.int32)

    def value(self, state):
        """The weight at this step."""
        part = jnp.minimum(state.astype(float) / self.steps, 1)
        return jnp.asarray(self.initial, float) ** (1 - part) * self.final**part

    def update(self, state, *, evaluations, loss):
        """One step more."""
        return state + 1


def check_coefficient(owner: str, name: str, value: float, *, positive: bool = False) -> None:
    """Refuse a weight that cannot be one.

    **Arguments:**

    - `owner`: the class that was built.
    - `name`: the argument.
    - `value`: its value.
    - `positive`: whether 0 is refused, too.

    **Raises:** `ValueError` that names the value, what was expected, and the cure.
    """
    bound = "> 0" if positive else ">= 0"
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (positive and value == 0):
        cure = (
            "For no penalty use Constant(0.0)."
            if positive
            else "A negative weight would reward what is hard to solve."
        )
        raise ValueError(f"{owner} got {name}={value!r}; expected a finite number {bound}. {cure}")
