r"""Weights of one or many blocks by Levenberg-Marquardt on normal equations, differentiable through their optimality.

    minimize  1/2 sum_k sum_p |f(offset_kp + tables_kp w_k)|^2 + 1/2 |A w - b|^2 + 1/2 ridge^2 |w|^2

over `w = (w_1, ..., w_K)`: few unknowns, very many rows, blocks that meet only in the constant rows `A`. The Gram
matrix of a block is summed over its points, that of the constant rows is made once, and a trial costs one evaluation of
the residual and its slope.

The solve and its derivative are those of `least_squares`; here it is only said what the rows of blocks are.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .backends import AbstractBackend
from .contractions import contract, sum_curvature, sum_squares, vary_slopes
from .implicit import AbstractDerivative, StopGradient
from .least_squares import LeastSquaresSolution, least_squares
from .levenberg_marquardt import LevenbergMarquardt, Quadratic
from .matrices import AbstractSymmetric, Chain, Dense
from .residuals import AbstractResiduals


class BlockProblem(NamedTuple):
    """The data of a solve.

    **Arguments:**

    - `tables`: `(block, point, term, basis)`.
    - `offset`: `(block, point, term)`.
    - `matrix`: the constant rows `A`, `(row, block * basis)`.
    - `data`: their right side `b`, `(row,)`.
    """

    tables: Float[Array, "block point term basis"]
    offset: Float[Array, "block point term"]
    matrix: Float[Array, "row unknown"]
    data: Float[Array, " row"]


class BlockResiduals(AbstractResiduals):
    """The rows at the points of all blocks; `args` are the function, the tables and the offset of `BlockProblem`.

    **Arguments:**

    - `blocks`: how many blocks.
    - `rest`: what of the function is no array, such as the activation of a network in it.
    - `chain`: whether constant rows are of one block, of two that follow one another, or of the last and the first.
    """

    blocks: int = eqx.field(static=True)
    rest: PyTree = eqx.field(static=True, default=None)
    chain: bool = eqx.field(static=True, default=False)

    def rows(self, value, args):
        """See `AbstractResiduals.rows`; `value` is `(unknown,)`."""
        function = eqx.combine(args[0], self.rest)
        return jax.vmap(jax.vmap(function))(self._each(contract, value, args)).ravel()

    def expand(self, value, args):
        """See `AbstractResiduals.expand`; `value` is `(unknown,)`."""
        function = eqx.combine(args[0], self.rest)
        objective, gradient, gram = self._each(lambda *block: sum_squares(function, *block), value, args)
        return Quadratic(jnp.sum(objective), gradient.ravel(), self._join(gram))

    def vary(self, value, args):
        """See `AbstractResiduals.vary`; `value` is `(unknown,)`."""
        function = eqx.combine(args[0], self.rest)
        return self._each(lambda *block: vary_slopes(function, *block), value, args).ravel()

    def curvature(self, value, args):
        """See `AbstractResiduals.curvature`; `value` is `(unknown,)`."""
        function = eqx.combine(args[0], self.rest)
        return self._join(self._each(lambda *block: sum_curvature(function, *block), value, args))

    def fold(self, matrix):
        """See `AbstractResiduals.fold`; `matrix` is `(row, unknown)`."""
        if not self.chain:
            return Dense(matrix.T @ matrix)
        parts = matrix.reshape(len(matrix), self.blocks, -1)
        blocks, beside = (
            jnp.einsum("rki,rkj->kij", one, two)
            for one, two in ((parts, parts), (parts[:, 1:], parts[:, :-1]))
        )
        return Chain(blocks, beside, parts[:, -1].T @ parts[:, 0])

    def pull(self, value, args, held):
        """See `AbstractResiduals.pull`; `value` is `(unknown,)`."""
        _, back = jax.vjp(lambda v: self.rows(v, held), value)
        return back(self.rows(value, args))[0]

    def _join(self, blocks) -> AbstractSymmetric:
        if not self.chain:
            return Dense(jax.scipy.linalg.block_diag(*blocks))
        return Chain(blocks, jnp.zeros_like(blocks[1:]), jnp.zeros_like(blocks[0]))

    def _each(self, function, value, args):
        _, tables, offset = args
        return jax.vmap(function)(tables, offset, value.reshape(self.blocks, -1))


def solve_blocks(
    function: Callable[[Float[Array, " term"]], Float[Array, " row"]],
    problem: BlockProblem,
    initial: Float[Array, "block basis"],
    *,
    solver: LevenbergMarquardt | AbstractBackend,
    derivative: AbstractDerivative,
    ridge: float,
    chain: bool = False,
) -> LeastSquaresSolution:
    """Find the weights.

    **Arguments:**

    - `function`: the residual at a point as a function of the terms there, `(term,) -> (row,)`; a pytree, whose leaves
      may be differentiated.
    - `problem`: tables, offsets and constant rows; may be differentiated.
    - `initial`: the first weights `(block, basis)`; not differentiated.
    - `solver`, `derivative`: as for `least_squares`.
    - `ridge`: added to the rows as `ridge * w`.
    - `chain`: whether constant rows are of one block, of two that follow one another, or of the last and the first:
        then `K` blocks of `n` cost `K n^3`, and not `(K n)^3`.

    **Returns:** the solution, its value the weights `(block, basis)` in the precision of the tables. Nothing is raised:
        look at `result`.
    """
    arrays, rest = eqx.partition(function, eqx.is_array)
    found = least_squares(
        BlockResiduals(len(initial), rest, chain),
        jax.lax.stop_gradient(initial).ravel(),
        (arrays, problem.tables, problem.offset),
        constant=(problem.matrix, problem.data),
        solver=solver,
        derivative=derivative,
        regularization=ridge,
        throw=False,
    )
    weights = found.value.reshape(initial.shape).astype(problem.tables.dtype)
    return eqx.tree_at(lambda f: f.value, found, weights)


def guess_blocks(
    function: Callable[[Float[Array, " term"]], Float[Array, " row"]],
    problem: BlockProblem,
    initial: Float[Array, "block basis"],
    *,
    solver: LevenbergMarquardt | AbstractBackend,
    ridge: float,
    chain: bool = False,
) -> Float[Array, "block basis"]:
    """Weights to start from: as `solve_blocks` finds them, without a derivative or a verdict.

    **Arguments:**

    - `function`, `problem`, `solver`, `ridge`, `chain`: as for `solve_blocks`.
    - `initial`: the first weights `(block, basis)`.

    **Returns:** weights `(block, basis)`; the first ones where no finite ones were found.
    """
    found = solve_blocks(
        function, problem, initial, solver=solver, derivative=StopGradient(), ridge=ridge, chain=chain
    ).value
    return jnp.where(jnp.all(jnp.isfinite(found)), found, initial)
