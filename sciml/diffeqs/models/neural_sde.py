"""Neural stochastic differential equations with diagonal noise, in the sense of Ito."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PRNGKeyArray

from ..solve import solve
from ..sri import SOSRI
from ._checks import check_callable, check_interval, check_solving
from .fields import identity


class NeuralSDE(eqx.Module):
    """A network whose depth is time, with noise in every component.

        y(t0) = embed(x),    dy = drift(t, y) dt + diffusion(t, y) * dW,    output = readout(y(t1))

    in the sense of Ito, each component of `W` of its own. The MNIST experiment of 2021 has 32 components, the drift
    `Perceptron(32)`, the diffusion `Perceptron(32, depth=0)` and linear maps before and after; where the diffusion of a
    component depends on the others, as it does there, no solver for diagonal noise has more than strong order 0.5.

    **Arguments:**

    - `drift`, `diffusion`: `drift(t, y, args)`, modules that give one value for each component.
    - `embed`, `readout`: modules or functions of one state, applied before and after.
    - `t0`, `t1`: when the solve begins and ends, numbers.
    - `dt0`: the first step, a number.
    - `resolution`: the time below which the Brownian path is interpolated rather than drawn, a number. It must be
        smaller than the solver's steps.
    - `solver`, `controller`, `adjoint`, `max_steps`: how the equation is solved and differentiated, as for
        `diffrax.diffeqsolve`. The tolerance of 0.14 is that of the published experiments.
    - `throw`: whether to stop when `max_steps` is reached; if not, `solution.result` says so.

    **Raises:** `ValueError` for a solver that converges to the Stratonovich solution, which is that of another model,
    for times that do not increase, or for what is not a solver, a controller, an adjoint.

    Reference: X. Li, T.-K. Wong, R. Chen, D. Duvenaud, "Scalable Gradients for Stochastic Differential Equations",
    2020, arXiv:2001.01328; the architecture: as for `TimeMLP`.
    """

    drift: Callable[..., Any]
    diffusion: Callable[..., Any]
    embed: Callable[..., Any] = identity
    readout: Callable[..., Any] = identity
    t0: float = eqx.field(default=0.0, static=True)
    t1: float = eqx.field(default=1.0, static=True)
    dt0: float = eqx.field(default=0.01, static=True)
    resolution: float = eqx.field(default=2**-12, static=True)
    solver: diffrax.AbstractSolver = SOSRI()
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(rtol=0.14, atol=0.14)
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    max_steps: int | None = eqx.field(default=4096, static=True)
    throw: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        check_callable(
            "NeuralSDE", drift=self.drift, diffusion=self.diffusion, embed=self.embed, readout=self.readout
        )
        check_interval("NeuralSDE", self.t0, self.t1)
        check_solving("NeuralSDE", self.solver, self.controller, self.adjoint, self.max_steps)
        if isinstance(self.solver, diffrax.AbstractStratonovichSolver):
            raise ValueError(
                f"NeuralSDE is an equation in the sense of Ito, and {type(self.solver).__name__} converges to the "
                "Stratonovich solution; expected an Ito solver, such as sciml.diffeqs.SOSRI(). For a model in the "
                "Stratonovich sense, give its terms to sciml.diffeqs.solve."
            )
        if not 0 < self.resolution < self.t1 - self.t0:
            raise ValueError(
                f"NeuralSDE got resolution={self.resolution!r}; expected a time between 0 and t1 - t0, smaller than "
                "the solver's steps, such as 2**-12."
            )

    def draw_path(
        self,
        y0: Float[Array, "*state"],
        *,
        t1: float | Float[Array, ""] | None = None,
        key: PRNGKeyArray,
    ) -> diffrax.VirtualBrownianTree:
        """The Brownian path that a call with the same key is driven by.

        **Arguments:**

        - `y0`: a state after embedding, for its shape and dtype `(*state)`.
        - `t1`: the end of the call, a scalar, if it has another than the model.
        - `key`: the key of the call.

        **Returns:** the path.
        """
        shape = jax.ShapeDtypeStruct(y0.shape, y0.dtype)
        area = diffrax.SpaceTimeLevyArea
        key, end = jax.random.fold_in(key, 0), self.t1 if t1 is None else t1
        return diffrax.VirtualBrownianTree(self.t0, end, self.resolution, shape, key, levy_area=area)

    def __call__(
        self,
        x: Float[Array, "*state"],
        *,
        times: Float[Array, " time"] | None = None,
        t1: float | Float[Array, ""] | None = None,
        regularizer: Any = None,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, "..."], Any]:
        """Apply the model along one path of the noise.

        **Arguments:**

        - `x`: one input, without a batch axis `(*state)`.
        - `times`: when outputs are wanted, increasing, between `t0` and `t1` `(time,)`; only at `t1` if not given.
        - `t1`: another end for this call, a scalar, as STEER draws it in training.
        - `regularizer`: as for `solve`.
        - `key`: the random key of the path, and of regularizers that need one.

        **Returns:** the output `(...)`, of whatever shape the readout gives, with an axis `time` before it if times
        were given; and what `solve` returned, whose `penalty` belongs into the loss.

        **Raises:** as `solve`.
        """
        y0 = jnp.asarray(self.embed(x))
        noise = diffrax.ControlTerm(_Diagonal(self.diffusion), self.draw_path(y0, t1=t1, key=key))
        saveat = diffrax.SaveAt(t1=True) if times is None else diffrax.SaveAt(ts=times)
        solution = solve(
            diffrax.MultiTerm(diffrax.ODETerm(self.drift), noise),
            self.solver,
            self.t0,
            self.t1 if t1 is None else t1,
            self.dt0,
            y0,
            regularizer=regularizer,
            key=jax.random.fold_in(key, 1),
            saveat=saveat,
            stepsize_controller=self.controller,
            adjoint=self.adjoint,
            max_steps=self.max_steps,
            throw=self.throw,
        )
        outputs = eqx.filter_vmap(self.readout)(solution.ys)
        return (outputs[0] if times is None else outputs), solution


class _Diagonal(eqx.Module):
    """A diffusion that gives a vector, as the diagonal of a matrix."""

    field: Callable[..., Any]

    def __call__(self, t, y, args):
        return lx.DiagonalLinearOperator(self.field(t, y, args))
