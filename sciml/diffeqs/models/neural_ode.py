"""Neural ordinary differential equations."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from ..solve import solve
from ._checks import check_callable, check_interval, check_solving
from .fields import identity


class NeuralODE(eqx.Module):
    """A network whose depth is time: embed, solve a differential equation, read out.

        y(t0) = embed(x),    dy/dt = field(t, y),    output = readout(y(t1))

    The MNIST experiment of 2021 is `NeuralODE(TimeMLP(784, key=k), readout=eqx.nn.Linear(784, 10, key=l))`.

    **Arguments:**

    - `field`: `field(t, y, args)`, a module, such as `TimeMLP`.
    - `embed`, `readout`: modules or functions of one state, applied before and after.
    - `t0`, `t1`: when the solve begins and ends, numbers.
    - `dt0`: the first step, a number; `None` leaves it to diffrax.
    - `solver`, `controller`, `adjoint`, `max_steps`: how the equation is solved and differentiated, as for
        `diffrax.diffeqsolve`. The tolerance of 1.4e-8 is that of the published experiments.
    - `throw`: whether to stop when `max_steps` is reached. If not, `solution.result` says so, and the output is NaN or
        infinite.

    **Raises:** `ValueError` for times that do not increase, or for what is not a solver, a controller, an adjoint.

    Reference: R. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud, "Neural Ordinary Differential Equations", 2018,
    arXiv:1806.07366.
    """

    field: Callable[..., Any]
    embed: Callable[..., Any] = identity
    readout: Callable[..., Any] = identity
    t0: float = eqx.field(default=0.0, static=True)
    t1: float = eqx.field(default=1.0, static=True)
    dt0: float | None = eqx.field(default=None, static=True)
    solver: diffrax.AbstractSolver = diffrax.Tsit5()
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(rtol=1.4e-8, atol=1.4e-8)
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    max_steps: int | None = eqx.field(default=4096, static=True)
    throw: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        check_callable("NeuralODE", field=self.field, embed=self.embed, readout=self.readout)
        check_interval("NeuralODE", self.t0, self.t1)
        check_solving("NeuralODE", self.solver, self.controller, self.adjoint, self.max_steps)

    def __call__(
        self,
        x: Float[Array, "*state"],
        *,
        times: Float[Array, " time"] | None = None,
        t1: float | Float[Array, ""] | None = None,
        regularizer: Any = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "..."], Any]:
        """Apply the model.

        **Arguments:**

        - `x`: one input, without a batch axis `(*state)`.
        - `times`: when outputs are wanted, increasing, between `t0` and `t1` `(time,)`; only at `t1` if not given.
        - `t1`: another end for this call, a scalar, as STEER draws it in training.
        - `regularizer`: as for `solve`.
        - `key`: a random key, for regularizers that need one.

        **Returns:** the output `(...)`, of whatever shape the readout gives, with an axis `time` before it if times
        were given; and what `solve` returned, whose `penalty` belongs into the loss.

        **Raises:** as `solve`.
        """
        saveat = diffrax.SaveAt(t1=True) if times is None else diffrax.SaveAt(ts=times)
        solution = solve(
            diffrax.ODETerm(self.field),
            self.solver,
            self.t0,
            self.t1 if t1 is None else t1,
            self.dt0,
            self.embed(x),
            regularizer=regularizer,
            key=key,
            saveat=saveat,
            stepsize_controller=self.controller,
            adjoint=self.adjoint,
            max_steps=self.max_steps,
            throw=self.throw,
        )
        outputs = eqx.filter_vmap(self.readout)(solution.ys)
        return (outputs[0] if times is None else outputs), solution
