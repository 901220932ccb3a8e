"""Solving for the weights of one constraint, or of many experts with one of several ways to couple them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .answers import answer, split_tables, weigh_interface
from .blocks import BlockProblem, guess_blocks, solve_blocks
from .conditions import LiftedStart
from .couplings import AbstractCoupling, AbstractSpread, Coupled
from .levenberg_marquardt import RESULTS
from .partitions import Interface, Partition, find_interfaces, is_chain
from .scaling import RowScales
from .systems import System

if TYPE_CHECKING:
    from .hard import ConstrainedField, HardConstraint


def solve_system(
    constraint: "HardConstraint",
    system: System,
    scales: RowScales,
    partition: Partition,
    coupling: AbstractCoupling,
    start: Float[Array, "channel *space"],
    key: Array | None,
    throw: bool,
    spread: AbstractSpread,
) -> "ConstrainedField":
    """Solve for the weights of every box, and certify the answer.

    **Arguments:**

    - `constraint`: what it is part of.
    - `system`: tables and conditions.
    - `scales`: the scales of the rows.
    - `partition`: the boxes.
    - `coupling`: how the boxes are coupled.
    - `start`: the initial values `(channel, *space)`.
    - `key`: a random key `()`, or none.
    - `throw`: whether a solve that did not converge is an error.
    - `spread`: how the solves are laid out over devices.

    **Returns:** the field with its certificate.
    """
    residual = constraint.residual_of()
    tables, offset = split_tables(system, partition, residual.terms.linear)
    matrix, data = weigh_conditions(constraint, system, scales, partition, coupling)
    interfaces = find_interfaces(partition, constraint.domain, system.tables[:, : residual.terms.channels])
    chain = isinstance(coupling, Coupled) and is_chain(partition, interfaces)
    if isinstance(coupling, Coupled):
        # One solve of many blocks, where the others are many solves of one block.
        matrix, data = couple(constraint, partition, scales, interfaces, matrix, data)
        problems = BlockProblem(tables, offset, matrix, data)
        problems = jax.tree.map(lambda x: x[None], problems)
    else:
        problems = BlockProblem(tables[:, None], offset[:, None], matrix, data)
    keys = None if key is None else jax.random.split(key, len(problems.data))
    solution, chosen = spread.map(
        lambda problem, key: _solve_one(constraint, residual, problem, key, chain), (problems, keys)
    )
    weights = solution.value.reshape(partition.boxes, -1)
    chosen = chosen.reshape(partition.boxes, -1)
    converged = jnp.all(solution.result == RESULTS.successful)
    if throw:
        worst = jnp.argmax(solution.result != RESULTS.successful)
        result = jax.tree.map(lambda x: x[worst], solution.result)
        weights = result.error_if(weights, ~converged)
    return answer(
        constraint, system, scales, partition, interfaces, weights, solution, converged, chosen, start
    )


def weigh_conditions(
    constraint: "HardConstraint",
    system: System,
    scales: RowScales,
    partition: Partition,
    coupling: AbstractCoupling,
) -> tuple[Float[Array, "box row basis"], Float[Array, "box row"]]:
    """The conditions every box is held to, weighted.

    **Arguments:**

    - `constraint`, `system`, `scales`, `partition`, `coupling`: as for `solve_system`.

    **Returns:** `matrix` `(box, row, basis)` and `data` `(box, row)`, such that rows are `matrix @ w - data`.
    """
    parts = []
    if not isinstance(constraint.start, LiftedStart):
        parts.append((system.start, scales.start))
    if constraint.walls.weighted:
        count = system.walls.offset.shape[0]
        parts.append((system.walls, jnp.full(count, 1 / scales.share(count)) * scales.walls))
    basis = system.tables.shape[-1]
    if not parts:
        dtype = system.tables.dtype
        return jnp.zeros((partition.boxes, 0, basis), dtype), jnp.zeros((partition.boxes, 0), dtype)
    held = [coupling.owns(partition.find_owner(rows.places), partition.boxes) for rows, _ in parts]
    matrix = jnp.concatenate([scale[:, None] * rows.matrix for rows, scale in parts])
    data = jnp.concatenate([-scale * rows.offset for rows, scale in parts])
    mask = jnp.asarray(np.concatenate(held, axis=1), matrix.dtype)
    return mask[:, :, None] * matrix, mask * data


def couple(
    constraint: "HardConstraint",
    partition: Partition,
    scales: RowScales,
    interfaces: Sequence[Interface],
    matrix: Float[Array, "box row basis"],
    data: Float[Array, "box row"],
) -> tuple[Float[Array, "row unknown"], Float[Array, " row"]]:
    """The conditions of all boxes for the weights of all boxes, with the rows of the interfaces.

    **Arguments:**

    - `constraint`, `partition`, `scales`, `interfaces`: as for `solve_system`.
    - `matrix`: `(box, row, basis)`.
    - `data`: `(box, row)`.

    **Returns:** a matrix `(row, box * basis)` and a right side `(row,)`.
    """
    boxes, basis = matrix.shape[0], matrix.shape[-1]
    eye = jnp.eye(boxes, dtype=matrix.dtype)
    rows = [jnp.einsum("krn,kj->krjn", matrix, eye).reshape(-1, boxes * basis)]
    for interface in interfaces:
        signs = eye[interface.first] - eye[interface.second]
        scale = weigh_interface(constraint, partition, scales, interface)
        rows.append(scale * jnp.einsum("irn,ij->irjn", interface.matrix, signs).reshape(-1, boxes * basis))
    extra = sum(row.shape[0] for row in rows[1:])
    return jnp.concatenate(rows), jnp.concatenate([data.ravel(), jnp.zeros(extra, data.dtype)])


def _solve_one(constraint, residual, problem, key, chain):
    """One solve; the solution and which points were chosen, `(block, point)`."""
    blocks, points, _, basis = problem.tables.shape
    channels, linear = residual.terms.channels, residual.terms.linear
    conditions = problem.data.shape[0]
    _check_rows(blocks * points * channels + conditions, blocks * basis)

    choices = {"solver": constraint.solver, "ridge": constraint.regularization, "chain": chain}

    def weigh(tables, offset, factor):
        return problem._replace(tables=tables, offset=offset.at[..., linear].multiply(factor))

    def solve(tables, offset, initial, factor=1.0):
        derivative = constraint.derivative
        return solve_blocks(
            residual, weigh(tables, offset, factor), initial, derivative=derivative, **choices
        )

    initial = jnp.zeros((blocks, basis), problem.tables.dtype)
    needs_guess = constraint.sampling.needs_guess
    stride = max(constraint.coarse, 8 if needs_guess else 1)
    few = slice(stride // 2, None, stride)
    tables, offset = jax.lax.stop_gradient((problem.tables[:, few], problem.offset[:, few]))
    factor = (points / offset.shape[1]) ** 0.5

    def freeze(initial, _):
        values = offset[..., :channels] + jnp.einsum("kptn,kn->kpt", tables[..., :channels, :], initial)
        frozen = weigh(tables.at[..., :channels, :].set(0.0), offset.at[..., :channels].set(values), factor)
        return guess_blocks(residual, frozen, initial, **choices), None

    if constraint.frozen:
        initial, _ = jax.lax.scan(freeze, initial, length=constraint.frozen)
    if stride > 1:
        initial = guess_blocks(residual, weigh(tables, offset, factor), initial, **choices)
    initial = jax.lax.stop_gradient(initial)
    size = jnp.ones((blocks, points), problem.tables.dtype)
    if needs_guess:
        terms = problem.offset + jnp.einsum("kptn,kn->kpt", problem.tables, initial)
        size = jax.lax.stop_gradient(jnp.linalg.norm(jax.vmap(jax.vmap(residual))(terms), axis=-1))
    keys = None if key is None else jax.random.split(key, blocks)
    chosen = [
        constraint.sampling.choose(size[block], None if keys is None else keys[block])
        for block in range(blocks)
    ]
    if chosen[0] is None:
        return solve(problem.tables, problem.offset, initial), jnp.ones((blocks, points), bool)
    chosen = jnp.stack(chosen)
    count = chosen.shape[1]
    _check_rows(blocks * count * channels + conditions, blocks * basis)
    pick = jax.vmap(lambda values, where: values[where])
    solution = solve(
        pick(problem.tables, chosen), pick(problem.offset, chosen), initial, (points / count) ** 0.5
    )
    mask = jax.vmap(lambda where: jnp.zeros(points, bool).at[where].set(True))(chosen)
    return solution, mask


def _check_rows(rows, basis):
    if rows < basis:
        raise ValueError(
            f"A constraint needs at least as many rows as weights: {rows} rows (points times channels, and conditions) "
            f"for {basis} basis functions. Take more points, a finer grid, fewer experts or fewer basis functions."
        )
