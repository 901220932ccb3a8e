"""SOSRI, SOSRI2 and SRIW1: adaptive solvers of strong order 1.5 for Ito equations with diagonal noise.

diffrax has no solver that takes an Ito equation with multiplicative noise beyond order 1 and estimates its error. These
are stochastic Runge-Kutta methods of Rößler's SRI form, whose equations are in `sri_tableaus.py`, as diffrax solvers:

    tree = VirtualBrownianTree(t0, t1, tol, shape, key, levy_area=SpaceTimeLevyArea)
    noise = ControlTerm(lambda t, y, args: lineax.DiagonalLinearOperator(g(t, y, args)), tree)
    diffeqsolve(MultiTerm(ODETerm(f), noise), SOSRI(), t0, t1, dt0, y0, stepsize_controller=PIDController(...))

The integral of `W` over a step is `I10 = h (W / 2 + H)`, with the space-time Levy area `H` that the tree gives.

The published error estimate is embedded: it costs no evaluation. Element by element,

    error = delta h sum_i f(H0_i) + sum_i (beta3_i I10 / h + beta4_i I111 / h) g(H1_i)

where the first sum is over the stages whose drift is taken. It is a sum, not a difference: it is of order `h`, and
bounds how far the drift moves the state in one step rather than the error of doing so. The second is the difference to
the method of strong order 1 that the first weights make, of order `h^1.5`.

So as published (`delta` of 1) steps shrink as fast as the tolerance does where there is a drift: along one path of
geometric Brownian motion, `PIDController(rtol=1e-3, atol=1e-3)` took 769 steps for an error of 4e-6; with `delta=0` it
took 20, and 11 rejected ones, for an error of 3e-3.
"""

import math
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, PyTree

from .sri_tableaus import SOSRI2_TABLEAU, SOSRI_TABLEAU, SRIW1_TABLEAU, SRITableau


class StagePairInterpolation(diffrax.AbstractLocalInterpolation):
    """Linear in between two steps; it also holds the two stages that stiffness is estimated from.

    **Arguments:**

    - `t0`, `t1`: the ends of the step, scalars.
    - `y0`, `y1`: the state there, a pytree of arrays `(...)`.
    - `stage_difference`: by how much two stages at the same time differ, shaped as the state `(...)`.
    - `rate_difference`: by how much the drift differs there, times the step `(...)`.
    """

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    y0: PyTree[Float[Array, "..."]]
    y1: PyTree[Float[Array, "..."]]
    stage_difference: PyTree[Float[Array, "..."]]
    rate_difference: PyTree[Float[Array, "..."]]

    def evaluate(self, t0, t1=None, left=True):
        """The state at `t0`, or its increment from `t0` to `t1`.

        **Arguments:**

        - `t0`, `t1`: times, scalars.
        - `left`: of no effect: the solution is continuous.

        **Returns:** a pytree of arrays `(...)`.
        """
        line = diffrax.LocalLinearInterpolation(t0=self.t0, t1=self.t1, y0=self.y0, y1=self.y1)
        return line.evaluate(t0, t1, left)


class _AbstractSRI(diffrax.AbstractAdaptiveSolver, diffrax.AbstractItoSolver):
    """A method of the SRI form: the step is the same for all, the coefficients are the method's."""

    tableau: eqx.AbstractClassVar[SRITableau]
    stiffness_stages: eqx.AbstractClassVar[tuple[int, int] | None]
    delta: eqx.AbstractVar[float]

    # The control is not spelled here, so that a tree without Levy area meets our error, which has a cure in it.
    term_structure: ClassVar[Any] = diffrax.MultiTerm[
        tuple[diffrax.AbstractTerm[Any, float | Float[Array, ""]], diffrax.AbstractTerm]
    ]

    def __check_init__(self):
        if not (isinstance(self.delta, (int, float)) and math.isfinite(self.delta) and self.delta >= 0):
            raise ValueError(
                f"{type(self).__name__} got delta={self.delta!r}; expected a finite number >= 0, the weight of the "
                "drift in the error estimate. Leave it out for the published one."
            )

    def order(self, terms):
        """Order 2 when there is no noise."""
        return 2

    def strong_order(self, terms):
        """Strong order 1.5 for noise that is diagonal (or one Brownian motion for the whole state)."""
        return 1.5

    def error_order(self, terms):
        """The order 1.5 of the noise's part of the estimate, by which the published controller divides its gains."""
        return 1.5

    def init(self, terms, t0, t1, y0, args):
        """Nothing is carried between steps: the methods are not FSAL. Noise that the method cannot take is refused."""
        _check_noise(type(self).__name__, terms.terms[1], t0, t1, y0, args)

    def func(self, terms, t0, y0, args):
        """The drift and the diffusion at a point."""
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """Make one step.

        All diffusions are evaluated, and the drifts of the method's `drift_stages`.
        """
        del solver_state, made_jump
        tableau, (drift, diffusion) = self.tableau, terms.terms
        h = drift.contr(t0, t1)
        integrals = _Integrals(diffusion.contr(t0, t1, use_levy=True), h)
        states, rates, with_i10, with_root, final, error = {}, {}, {}, {}, {}, {}
        for i in range(tableau.stages):
            if i in tableau.drift_stages:
                states[i] = _combine(y0, (tableau.a0[i], rates), (tableau.b0[i], with_i10))
                rates[i] = drift.vf_prod(t0 + tableau.c0[i] * h, states[i], args, h)
            stage = _combine(y0, (tableau.a1[i], rates), (tableau.b1[i], with_root))
            g = diffusion.vf(t0 + tableau.c1[i] * h, stage, args)
            with_i10[i] = diffusion.prod(g, integrals.i10)
            with_root[i] = diffusion.prod(g, integrals.root)
            beta1, beta2, beta3, beta4 = (float(beta[i]) for beta in tableau.betas)
            final[i] = diffusion.prod(g, integrals.weigh(beta1, beta2, beta3, beta4))
            error[i] = diffusion.prod(g, integrals.weigh(0.0, 0.0, beta3, beta4))
        ones = np.ones(tableau.stages)
        y1 = _combine(y0, (tableau.alpha, rates), (ones, final))
        zeros = jax.tree.map(jnp.zeros_like, y0)
        y_error = _combine(zeros, (self.delta * ones, rates), (ones, error))
        dense = {"y0": y0, "y1": y1}
        if self.stiffness_stages is not None:
            first, second = self.stiffness_stages
            dense["stage_difference"] = _subtract(states[second], states[first])
            dense["rate_difference"] = _subtract(rates[second], rates[first])
        return y1, y_error, dense, None, diffrax.RESULTS.successful


class SOSRI(_AbstractSRI):
    """The stability-optimized SRI method, with a large region of stability for drift and noise of like strength.

    Four drifts and four diffusions for each step, none kept for the next one: it is not FSAL. Strong order 1.5 if the
    noise is diagonal, `g_i = g_i(t, y_i)`, or one Brownian motion for the whole state; if `g_i` depends on other
    components of the state too, the method converges with order 0.5.

    **Arguments:**

    - `delta`: the weight of the drift in the error estimate, 1 as published, a number. With 0 steps are chosen by the
      noise's error alone; where the drift matters more than the noise, that is not safe.

    **Raises:** `ValueError` for a weight that is negative or not finite; when a solve begins, for noise that is not
    diagonal, or a Brownian motion without space-time Levy area.

    Reference: C. Rackauckas, Q. Nie, "Stability-Optimized High Order Methods and Stiffness Detection for Pathwise Stiff
    Stochastic Differential Equations", 2018, arXiv:1804.04344.
    """

    delta: float = 1.0
    tableau: ClassVar[SRITableau] = SOSRI_TABLEAU
    stiffness_stages: ClassVar[tuple[int, int] | None] = None
    interpolation_cls: ClassVar[Any] = diffrax.LocalLinearInterpolation


class SOSRI2(_AbstractSRI):
    """The stability-optimized SRI method that takes two stages at the end of the step, and so sees stiffness.

    Cost, order and noise are those of `SOSRI`. Its third and fourth drifts are both taken at the end of the step, in
    two states that differ, so that

        S = RMS(f(H0_4) - f(H0_3)) / RMS(H0_4 - H0_3)

    estimates the largest rate at which the drift pulls the state. A step's dense information, the third
    of what `step` returns, holds `stage_difference`, `H0_4 - H0_3`, and `rate_difference`, `h` times the numerator's.

    **Arguments:**

    - `delta`: the weight of the drift in the error estimate, 1 as published, a number.

    **Raises:** `ValueError`, as `SOSRI`.

    Reference: as for `SOSRI`.
    """

    delta: float = 1.0
    tableau: ClassVar[SRITableau] = SOSRI2_TABLEAU
    stiffness_stages: ClassVar[tuple[int, int] | None] = (2, 3)
    interpolation_cls: ClassVar[Any] = StagePairInterpolation


class SRIW1(_AbstractSRI):
    """Rößler's SRIW1: two drifts and four diffusions for each step; the method whose coefficients are fractions.

    Order and noise are those of `SOSRI`; its region of stability is smaller.

    **Arguments:**

    - `delta`: the weight of the drift in the error estimate, 1/6 as published, a number.

    **Raises:** `ValueError`, as `SOSRI`.

    Reference: A. Rößler, "Runge-Kutta Methods for the Strong Approximation of Solutions of Stochastic Differential
    Equations", SIAM J. Numer. Anal. 48 (2010), doi:10.1137/09076636X; the error estimate: C. Rackauckas, Q. Nie,
    "Adaptive Methods for Stochastic Differential Equations via Natural Embeddings and Rejection Sampling with Memory",
    2017, doi:10.3934/dcdsb.2017133.
    """

    delta: float = 1 / 6
    tableau: ClassVar[SRITableau] = SRIW1_TABLEAU
    stiffness_stages: ClassVar[tuple[int, int] | None] = None
    interpolation_cls: ClassVar[Any] = diffrax.LocalLinearInterpolation


class _Integrals:
    """The iterated integrals of a step, scaled as the method takes them, in the structure of the control."""

    def __init__(self, increment: diffrax.AbstractSpaceTimeLevyArea, h: Float[Array, ""]):
        # Under vmap, a solve that has ended makes steps of no length until the last one ends. They are discarded, but
        # 0 / 0 in them would still reach the gradient.
        def safe(w):
            return jnp.where(h > 0, h, 1).astype(w.dtype)

        self.i1 = increment.W
        self.i10 = jax.tree.map(lambda w, area: w / 2 + area, increment.W, increment.H)
        self.root = jax.tree.map(lambda w: jnp.full_like(w, jnp.sqrt(safe(w))), increment.W)
        self.i11 = jax.tree.map(lambda w: (w**2 - safe(w)) / (2 * jnp.sqrt(safe(w))), increment.W)
        self.i111 = jax.tree.map(lambda w: (w**3 - 3 * safe(w) * w) / (6 * safe(w)), increment.W)

    def weigh(self, beta1: float, beta2: float, beta3: float, beta4: float) -> PyTree[Float[Array, "..."]]:
        """`beta1 I1 + beta2 I11 / sqrt(h) + beta3 I10 / h + beta4 I111 / h`, shaped as the control `(...)`."""
        return jax.tree.map(
            lambda i1, i11, i10, i111: beta1 * i1 + beta2 * i11 + beta3 * i10 + beta4 * i111,
            self.i1,
            self.i11,
            self.i10,
            self.i111,
        )


def _combine(
    start: PyTree, *sums: tuple[Float[np.ndarray, " stage"], dict[int, PyTree]]
) -> PyTree[Float[Array, "..."]]:
    """`start` plus weighted stages. What has no weight is left out: a stage that overflowed must not leave 0 * inf."""
    parts = [(float(weights[j]), stage) for weights, stages in sums for j, stage in stages.items()]
    for weight, stage in parts:
        if weight != 0:
            start = jax.tree.map(lambda a, b, weight=weight: a + weight * b, start, stage)
    return start


def _subtract(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.subtract, a, b)


def _check_noise(name: str, diffusion: diffrax.AbstractTerm, t0, t1, y0, args) -> None:
    """Refuse a control without Levy area, and noise that is not diagonal."""
    levy = (
        "Give diffrax.VirtualBrownianTree(t0, t1, tol, shape, key, levy_area=diffrax.SpaceTimeLevyArea) to the second "
        "term's control."
    )
    try:
        increment = eqx.filter_eval_shape(lambda: diffusion.contr(t0, t1, use_levy=True))
    except TypeError as error:
        raise ValueError(f"{name} needs a Brownian motion for the second term's control. {levy}") from error
    if not isinstance(increment, diffrax.AbstractSpaceTimeLevyArea):
        raise ValueError(
            f"{name} needs the integral of the Brownian motion over each step, and the control gives a "
            f"{type(increment).__name__}; expected a SpaceTimeLevyArea. {levy}"
        )
    g = eqx.filter_eval_shape(lambda: diffusion.vf(t0, y0, args))
    if isinstance(g, lx.AbstractLinearOperator):
        diagonal, found = lx.is_diagonal(g), f"a {type(g).__name__}"
    else:
        # An array times one Brownian motion: then all iterated integrals of the step are known as well.
        diagonal = all(w.ndim == 0 for w in jax.tree.leaves(increment.W))
        found = f"arrays of shape {[leaf.shape for leaf in jax.tree.leaves(g)]}"
    if not diagonal:
        raise ValueError(
            f"{name} takes diagonal noise, and the diffusion gives {found}. Return "
            "lineax.DiagonalLinearOperator(g), one entry for each component of the state. For noise that is not "
            "diagonal, write the equation in the Stratonovich sense and use diffrax.SPaRK()."
        )
