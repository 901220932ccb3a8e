"""Steps of a solution by message passing: on one mesh, or on two at once, of which one has moved (MM-PDE).

    u_{t+1} = G1(u_t; uniform) + Itp2[G2(Itp1[u_t]; moved)] + ResCut(u_t)

`G1` and `G2` pass messages between nearest nodes, the `Itp` are learned interpolations between the meshes, and `ResCut`
is what is left of the solution where a network on a moved mesh cannot see it. With the identity for a mesh it is the
same network without a mesh that moves: the control.

**Reference:** Hu, Wang, Ma, "Better neural PDE solvers through data-free mesh movers", ICLR 2024. There positions are
absolute, and the graph network has batch normalization and a decoder of convolutions; here edges carry relative
positions, and `nn.MessagePassing` has normalization by layers.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .. import nn
from ..nn._checks import spread
from ..nn.neighbors import Periods


class GraphStep(eqx.Module):
    """A change of a solution from messages between its nearest nodes.

    **Arguments:**

    - `channels`: of the solution.
    - `dims`: how many coordinates a node has.
    - `spacing`: a length, by which positions along edges are divided: about the distance of neighbors.
    - `neighbors`: how many nodes a node hears from.
    - `width`, `depth`: of the network.
    - `features`: further numbers given at each node.
    - `periods`: the side of a periodic box per axis, or None.
    - `activation`: between its layers.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size.
    """

    network: nn.MessagePassing
    spacing: float = eqx.field(static=True)
    neighbors: int = eqx.field(static=True)
    periods: Periods = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        dims: int,
        spacing: float,
        *,
        neighbors: int = 8,
        width: int = 32,
        depth: int = 6,
        features: int = 0,
        periods: Periods = None,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        key: PRNGKeyArray,
    ):
        if not spacing > 0:
            raise ValueError(f"GraphStep.spacing is the distance of neighbors, positive; got {spacing}.")
        self.network = nn.MessagePassing(
            channels + features,
            channels + dims + 1,
            channels,
            width=width,
            depth=depth,
            message_depth=1,
            activation=activation,
            key=key,
        )
        self.spacing, self.neighbors, self.periods = float(spacing), neighbors, periods

    def __call__(
        self,
        u: Float[Array, "channel node"],
        nodes: Float[Array, "node dim"],
        features: Float[Array, "feature node"] | None = None,
        senders: Int[Array, "node neighbor"] | None = None,
    ) -> Float[Array, "channel node"]:
        """The network's answer; it contains no `u` of itself.

        **Arguments:**

        - `u`: the solution at the nodes `(channel, node)`.
        - `nodes`: their positions `(node, dim)`, a length.
        - `features`: what else is known of each, `(feature, node)`.
        - `senders`: what `find` says, `(node, neighbor)`, where that is known already; or other nodes to hear from.

        **Returns:** `(channel, node)`.

        **Raises:** `ValueError` for a wrong shape, or fewer nodes than neighbors.
        """
        check_nodes("GraphStep", u, nodes)
        if senders is None:
            senders = self.find(nodes)
        along = nn.measure_displacements(nodes, senders, periods=self.periods) / self.spacing
        length = jnp.sqrt(jnp.sum(along**2, axis=-1, keepdims=True) + 1e-12)
        rows = u.T
        change = rows[:, None] - rows[senders]
        given = rows if features is None else jnp.concatenate([rows, features.T], axis=1)
        return self.network(given, senders, None, jnp.concatenate([change, along, length], axis=-1)).T

    def find(self, nodes: Float[Array, "node dim"]) -> Int[Array, "node neighbor"]:
        """The nearest nodes of each: the search is a large part of a step.

        **Arguments:**

        - `nodes`: positions `(node, dim)`, a length.

        **Returns:** indices of nodes `(node, neighbor)`.

        **Raises:** `ValueError` for a wrong shape, or fewer nodes than neighbors.
        """
        return nn.nearest_neighbors(nodes, self.neighbors, periods=self.periods)


class SolverPlan(eqx.Module):
    """Who is near whom on two meshes, found once; `MovingMeshSolver.plan` makes one.

    **Arguments:**

    - `fixed`, `moved`: whom the nodes of either mesh hear from, `(node, neighbor)` and `(other, neighbor)`.
    - `gather`, `scatter`: of which nodes values on the other mesh are made, `(other, near)` and `(node, near)`.
    """

    fixed: Int[Array, "node neighbor"]
    moved: Int[Array, "other neighbor"]
    gather: Int[Array, "other near"]
    scatter: Int[Array, "node near"]


class MovingMeshSolver(eqx.Module):
    """Two branches of message passing, one on the nodes where the solution is and one on nodes that have moved.

    **Arguments:**

    - `fixed`: the branch on the solution's own nodes.
    - `moved`: the branch on the moved ones.
    - `gather`: interpolates the solution to the moved nodes.
    - `scatter`: interpolates the second branch's answer back.
    - `cut`: of the solution, `(channel, node)` to the same, added to both: such as `nn`'s convolutions on a grid, or
        the solution itself.
    """

    fixed: GraphStep
    moved: GraphStep
    gather: nn.AbstractLearnedInterpolation
    scatter: nn.AbstractLearnedInterpolation
    cut: Callable[[Float[Array, "channel node"]], Float[Array, "channel node"]]

    def __call__(
        self,
        u: Float[Array, "channel node"],
        nodes: Float[Array, "node dim"],
        moved: Float[Array, "other dim"],
        plan: SolverPlan | None = None,
    ) -> Float[Array, "channel node"]:
        """One step.

        **Arguments:**

        - `u`: the solution `(channel, node)`.
        - `nodes`: where it is, `(node, dim)`, a length.
        - `moved`: the nodes of the mesh that has moved, `(other, dim)`; `nodes` themselves for the control.
        - `plan`: that of these meshes, where it is known already.

        **Returns:** the solution one step later, `(channel, node)`.

        **Raises:** `ValueError` for a wrong shape, or fewer nodes than neighbors.
        """
        check_nodes("MovingMeshSolver", u, nodes)
        plan = self.plan(nodes, moved) if plan is None else plan
        seen = self.gather(u, nodes, moved, plan.gather)
        back = self.scatter(self.moved(seen, moved, senders=plan.moved), moved, nodes, plan.scatter)
        return self.fixed(u, nodes, senders=plan.fixed) + back + self.cut(u)

    def plan(self, nodes: Float[Array, "node dim"], moved: Float[Array, "other dim"]) -> SolverPlan:
        """Find who is near whom: most of the time of a step, and not to be done again where meshes are known before.

        **Arguments:**

        - `nodes`: where the solution is, `(node, dim)`, a length.
        - `moved`: the moved nodes `(other, dim)`.

        **Returns:** the plan.

        **Raises:** `ValueError` for a wrong shape, or fewer nodes than neighbors; outside of `jit`, where positions are
        known, also for two nodes at one place, nodes that are not finite, and moved nodes outside of the domain.
        """
        check_places("MovingMeshSolver", nodes, self.fixed.periods)
        check_places("MovingMeshSolver: the moved mesh", moved, self.fixed.periods)
        _check_inside(nodes, moved, self.fixed)
        return SolverPlan(
            self.fixed.find(nodes),
            self.moved.find(moved),
            self.gather.find(nodes, moved),
            self.scatter.find(moved, nodes),
        )

    def round_trip(
        self,
        u: Float[Array, "channel node"],
        nodes: Float[Array, "node dim"],
        moved: Float[Array, "other dim"],
        plan: SolverPlan | None = None,
    ) -> Float[Array, "channel node"]:
        """To the moved nodes and back, without a step: the interpolations are trained on it first, to give `u`.

        **Arguments:**

        - `u`: the solution `(channel, node)`.
        - `nodes`: where it is, `(node, dim)`.
        - `moved`: the moved nodes `(other, dim)`.
        - `plan`: that of these meshes, where it is known already.

        **Returns:** `(channel, node)`.
        """
        plan = self.plan(nodes, moved) if plan is None else plan
        return self.scatter(self.gather(u, nodes, moved, plan.gather), moved, nodes, plan.scatter) + self.cut(
            u
        )


def check_places(owner: str, nodes: Float[Array, "node dim"], periods: Periods) -> None:
    """Refuse nodes that are nowhere, or two at one place, if positions are known.

    **Arguments:**

    - `owner`: the name of what was called.
    - `nodes`: positions `(node, dim)`.
    - `periods`: as for `nearest_neighbors`.

    **Raises:** `ValueError` with the nodes and their place.
    """
    if isinstance(nodes, jax.core.Tracer) or jnp.ndim(nodes) != 2:
        return
    places = np.array(nodes)
    lost = np.flatnonzero(~np.isfinite(places).all(axis=1))
    if len(lost):
        raise ValueError(
            f"{owner} got {len(lost)} node(s) that are not finite; node {lost[0]} is at {places[lost[0]].tolist()}. A "
            "rollout that blew up moves nodes so: stop it before, or keep the mesh of the step before."
        )
    sides = spread(owner, "periods", periods, places.shape[1])
    for axis, side in enumerate(sides):
        if side is not None:
            places[:, axis] %= side
    # To a millionth of the domain: rounding may part nodes that were meant to be one.
    unit = 1e-6 * max(np.ptp(places), 1e-12)
    places = np.round(places / unit)
    for axis, side in enumerate(sides):
        if side is not None:
            places[:, axis] %= max(np.round(side / unit), 1)  # what was just below the end is at the start
    _, index, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(counts > 1)
    if len(twice):
        pair = np.flatnonzero(index.reshape(-1) == twice[0])[:2]
        raise ValueError(
            f"{owner} got nodes {pair[0]} and {pair[1]} at one place, {np.asarray(nodes)[pair[0]].tolist()}, and "
            f"{len(twice)} such place(s) in all; weights of nodes at one place are not defined. Leave one of them out: "
            "along a periodic axis the end is the start."
        )


def _check_inside(nodes: Array, moved: Array, step: GraphStep) -> None:
    """Refuse moved nodes that are farther outside of the others than these are apart."""
    if any(isinstance(x, jax.core.Tracer) for x in (nodes, moved)) or nodes.shape[1] != moved.shape[1]:
        return
    sides = spread("MovingMeshSolver", "periods", step.periods, nodes.shape[1])
    for axis, side in enumerate(sides):
        if side is not None:
            continue
        low, high = float(jnp.min(nodes[:, axis])), float(jnp.max(nodes[:, axis]))
        along = np.asarray(moved[:, axis])
        away = np.maximum(low - along, along - high)
        if not away.max() <= step.spacing:
            worst = int(np.argmax(away))
            raise ValueError(
                f"MovingMeshSolver got {int(np.sum(away > step.spacing))} moved node(s) outside of the domain; the "
                f"worst, node {worst}, is at {np.asarray(moved[worst]).tolist()}, where the nodes that stay go from "
                f"{low:g} to {high:g} along axis {axis}. Use a mover that keeps walls, such as MongeAmpere(), or give "
                "the period of the axis."
            )


def check_nodes(owner: str, u: Float[Array, "channel node"], nodes: Float[Array, "node dim"]) -> None:
    """Refuse values and nodes that do not belong together.

    **Arguments:**

    - `owner`: the name of what was called.
    - `u`: values `(channel, node)`.
    - `nodes`: positions `(node, dim)`.

    **Raises:** `ValueError` with both shapes.
    """
    if u.ndim != 2 or nodes.ndim != 2 or u.shape[1] != nodes.shape[0]:
        raise ValueError(
            f"{owner} got values of shape {u.shape} and nodes of shape {nodes.shape}; expected (channel, node) and "
            "(node, dim) for the same nodes. Values on a grid are flattened by u.reshape(channels, -1)."
        )
