"""Solving for the weights of one constraint, or of many experts with one of several ways to couple them."""

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .blocks import BlockProblem, BlockSolution, guess_blocks, solve_blocks
from .certificate import Certificate, measure_residual
from .conditions import LiftedStart
from .levenberg_marquardt import RESULTS
from .partitions import Interface, Partition, find_interfaces
from .scaling import RowScales
from .systems import System

if TYPE_CHECKING:
    from .hard import ConstrainedField, HardConstraint


class AbstractCoupling(eqx.Module):
    """Which conditions an expert is held to, and what it owes its neighbors."""

    @abc.abstractmethod
    def owns(self, owner: np.ndarray, boxes: int) -> np.ndarray:
        """Which conditions an expert is held to.

        **Arguments:**

        - `owner`: the box each condition is in, `(row,)`.
        - `boxes`: how many boxes.

        **Returns:** booleans `(box, row)`.
        """


class Independent(AbstractCoupling):
    """The published experts: each solves alone and is held to all initial and boundary conditions, wherever it is."""

    def owns(self, owner, boxes):
        """All; booleans `(box, row)`."""
        return np.ones((boxes, len(owner)), bool)


class OwnRows(AbstractCoupling):
    """Each expert solves alone and is held to the conditions in its own box."""

    def owns(self, owner, boxes):
        """Its own; booleans `(box, row)`."""
        return owner[None] == np.arange(boxes)[:, None]


class Coupled(AbstractCoupling):
    """Each expert is held to the conditions in its own box, and neighbors to the same value and slope where they meet.

    All weights are found together. How much a jump weighs beside the equation is a matter of the constraint's scaling.
    """

    def owns(self, owner, boxes):
        """Its own; booleans `(box, row)`."""
        return owner[None] == np.arange(boxes)[:, None]


class Overlapping(AbstractCoupling):
    """Experts that reach into their neighbors' boxes and are blended there by a partition of unity.

    The field is `sum_k window_k sum_i w_ki b_i`, so it is as smooth as the basis and needs no interface. All weights
    are found together.

    **Arguments:**

    - `width`: how far a window reaches beyond its box, as a fraction of the box, at most 1/2.

    **Reference:** Moseley, Markham, Nissen-Meyer, "Finite basis physics-informed neural networks (FBPINNs)", 2023,
    arXiv 2107.07871.
    """

    width: float = eqx.field(static=True, default=0.5)

    def __check_init__(self):
        if not 0 < self.width <= 0.5:
            raise ValueError(
                f"Overlapping.width is a fraction of a box, above 0 and at most 1/2; got {self.width}."
            )

    def owns(self, owner, boxes):
        """All, as there is one system; booleans `(box, row)`."""
        return np.ones((boxes, len(owner)), bool)


class AbstractSpread(eqx.Module):
    """How the solves of one start are laid out over devices."""

    @abc.abstractmethod
    def map(self, solve: Callable, problems: tuple) -> tuple:
        """Solve every problem.

        **Arguments:**

        - `solve`: of one problem.
        - `problems`: its arguments, with a leading axis of problems.

        **Returns:** what `solve` returns, with that axis.
        """


class Together(AbstractSpread):
    """On one device, or wherever the program is."""

    def map(self, solve, problems):
        """See `AbstractSpread.map`."""
        return jax.vmap(solve)(*problems)


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
    tables, offset = _split_tables(system, partition, residual.terms.linear)
    matrix, data = weigh_conditions(constraint, system, scales, partition, coupling)
    interfaces = find_interfaces(partition, constraint.domain, system.tables[:, : residual.terms.channels])
    if isinstance(coupling, Coupled):
        # One solve of many blocks, where the others are many solves of one block.
        matrix, data = couple(constraint, partition, scales, interfaces, matrix, data)
        problems = BlockProblem(tables, offset, matrix, data)
        problems = jax.tree.map(lambda x: x[None], problems)
    else:
        problems = BlockProblem(tables[:, None], offset[:, None], matrix, data)
    keys = None if key is None else jax.random.split(key, len(problems.data))
    solution, chosen = spread.map(
        lambda problem, key: _solve_one(constraint, residual, problem, key), (problems, keys)
    )
    weights = solution.weights.reshape(partition.boxes, -1)
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


def weigh_interface(
    constraint: "HardConstraint", partition: Partition, scales: RowScales, interface: Interface
) -> Float[Array, ""]:
    """The weight of the rows of an interface; slopes are made values by the width of a box.

    **Arguments:**

    - `constraint`, `partition`, `scales`: as for `solve_system`.
    - `interface`: the rows.

    **Returns:** a scalar.
    """
    pairs, count, _ = interface.matrix.shape
    if interface.order == 0:
        return scales.jumps / scales.share(count * pairs)
    axis = interface.axis
    length = constraint.domain.calculus.grid.box.lengths[axis - 1] / partition.counts[axis]
    return scales.slopes * length / scales.share(count * pairs)


def _split_tables(system, partition, weight):
    """The tables by box; what only fills a box up has no weight in it."""
    tables, offset = partition.split(system.tables), partition.split(system.offset)
    if not partition.even:
        offset = offset.at[..., weight].multiply(jnp.asarray(partition.owned, offset.dtype))
    return tables, offset


def _solve_one(constraint, residual, problem, key):
    """One solve; the solution and which points were chosen, `(block, point)`."""
    blocks, points, _, basis = problem.tables.shape
    channels, linear = residual.terms.channels, residual.terms.linear
    conditions = problem.data.shape[0]
    _check_rows(blocks * points * channels + conditions, blocks * basis)

    choices = {"solver": constraint.solver, "ridge": constraint.regularization}

    def weigh(tables, offset, factor):
        return problem._replace(tables=tables, offset=offset.at[..., linear].multiply(factor))

    def solve(tables, offset, initial, factor=1.0):
        return solve_blocks(residual, weigh(tables, offset, factor), initial, **choices)

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


def answer(
    constraint: "HardConstraint",
    system: System,
    scales: RowScales,
    partition: Partition,
    interfaces: Sequence[Interface],
    weights: Float[Array, "box basis"],
    solution: BlockSolution,
    converged: Bool[Array, ""],
    chosen: Bool[Array, "box own"],
    start: Float[Array, "channel *space"],
) -> "ConstrainedField":
    """The field of given weights, with its certificate.

    **Arguments:**

    - `constraint`, `system`, `scales`, `partition`, `start`: as for `solve_system`; the start `(channel, *space)`.
    - `interfaces`: the rows where boxes meet.
    - `weights`: `(box, basis)`.
    - `solution`: what the solver says, with a leading axis of solves.
    - `converged`: whether all of them did, a scalar.
    - `chosen`: the points where the law was enforced, `(box, own)`.

    **Returns:** the field.
    """
    from .hard import ConstrainedField  # the two are one layer in two files

    residual, domain = constraint.residual_of(), constraint.domain
    channels, linear = residual.terms.channels, residual.terms.linear
    tables, offset = _split_tables(system, partition, residual.terms.linear)
    # The terms are those the solve saw; only the weight of the row is replaced, by one without position.
    terms = offset + jnp.einsum("kptn,kn->kpt", tables, weights)
    plain = terms.at[..., linear].set(domain.duration / scales.field)
    size = jax.vmap(jax.vmap(residual))(plain)
    nothing = domain.propose_nothing(start)
    lift = domain.hold(start, nothing)
    conditioned = constraint.walls.conditioned
    _, still = domain.tabulate(residual.terms, nothing, lift, scales.equation, conditioned=conditioned)
    start_miss = _violation(system.start, partition, weights)
    wall_miss = _violation(system.walls, partition, weights)
    jumps = [
        jnp.einsum("irn,in->ir", interface.matrix, weights[interface.first] - weights[interface.second])
        for interface in interfaces
    ]
    largest_jump = [
        _largest_of([jump for jump, face in zip(jumps, interfaces, strict=True) if face.order == order])
        for order in (0, 1)
    ]
    rms, largest = measure_residual(partition.join(size), partition.join(chosen))
    held_rms, held_largest = measure_residual(partition.join(size), ~partition.join(chosen))
    certificate = Certificate(
        equation_rms=rms,
        equation_max=largest,
        held_out_rms=held_rms,
        held_out_max=held_largest,
        start_violation=_largest(start_miss),
        wall_violation=_largest(wall_miss),
        value_jump=largest_jump[0],
        slope_jump=largest_jump[1],
        gradient_norm=jnp.max(solution.gradient_norm),
        smallest_eigenvalue=jnp.min(solution.smallest_eigenvalue),
        iterations=solution.iterations,
        converged=converged,
        objective=jnp.sum(solution.objective),
        constant_objective=0.5 * jnp.sum(jax.vmap(residual)(still) ** 2),
    )
    misses = [jax.vmap(jax.vmap(residual))(terms)]
    if not isinstance(constraint.start, LiftedStart):
        misses.append(scales.start * start_miss)
    if constraint.walls.weighted:
        misses.append(scales.walls * wall_miss / scales.share(wall_miss.size))
    misses += [
        weigh_interface(constraint, partition, scales, face) * jump
        for jump, face in zip(jumps, interfaces, strict=True)
    ]
    loss = scales.reduce(misses)
    return ConstrainedField(
        domain.arrange(partition.join(terms[..., :channels])),
        weights,
        domain.arrange(partition.join(size)),
        loss,
        jax.lax.stop_gradient(certificate),
    )


def _violation(conditions, partition, weights):
    owner = partition.find_owner(conditions.places)
    return jnp.einsum("rn,rn->r", conditions.matrix, weights[owner]) + conditions.offset


def _largest(values):
    return jnp.max(jnp.abs(values)) if values.size else jnp.zeros(())


def _largest_of(parts):
    """The largest entry of several arrays, 0 if there is none."""
    return jnp.max(jnp.stack([_largest(part) for part in parts])) if parts else jnp.zeros(())
