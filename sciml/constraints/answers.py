"""The field of given weights, with its certificate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .certificate import Certificate, measure_residual
from .conditions import LiftedStart
from .least_squares import LeastSquaresSolution
from .partitions import Interface, Partition
from .scaling import RowScales
from .systems import System

if TYPE_CHECKING:
    from .hard import ConstrainedField, HardConstraint


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


def split_tables(
    system: System, partition: Partition, weight: int
) -> tuple[Float[Array, "box own term basis"], Float[Array, "box own term"]]:
    """Every box's tables and offsets; points it does not own have no weight.

    **Arguments:**

    - `system`, `partition`: as for `answer`.
    - `weight`: the number of the term that weighs the row.

    **Returns:** tables and offsets.
    """
    tables, offset = partition.split(system.tables), partition.split(system.offset)
    if not partition.even:
        offset = offset.at[..., weight].multiply(jnp.asarray(partition.owned, offset.dtype))
    return tables, offset


def answer(
    constraint: "HardConstraint",
    system: System,
    scales: RowScales,
    partition: Partition,
    interfaces: Sequence[Interface],
    weights: Float[Array, "box basis"],
    solution: LeastSquaresSolution,
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
    tables, offset = split_tables(system, partition, residual.terms.linear)
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
    misses = [jax.vmap(jax.vmap(residual))(terms)]
    constant_misses = [jax.vmap(residual)(still)]
    if not isinstance(constraint.start, LiftedStart):
        misses.append(scales.start * start_miss)
    if constraint.walls.weighted:
        weight = scales.walls / scales.share(wall_miss.size)
        misses.append(weight * wall_miss)
        constant_misses.append(weight * domain.wall_conditions(nothing, lift).offset)
    weighted_jumps = [
        weigh_interface(constraint, partition, scales, face) * jump
        for jump, face in zip(jumps, interfaces, strict=True)
    ]
    # Jumps are rows of a solve of all boxes together, and of the loss.
    together = solution.iterations.shape[0] < partition.boxes
    solved = misses + weighted_jumps if together else misses
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
        objective=0.5 * sum(jnp.sum(miss**2) for miss in solved),
        constant_objective=0.5 * sum(jnp.sum(miss**2) for miss in constant_misses),
    )
    loss = scales.reduce(misses + weighted_jumps)
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
