"""Nodes of a triangle mesh at rest in a network of springs along its edges.

Springs have no length of their own, and a stiffness `k` that grows with the density. Nodes are at rest where

    sum_j k_ij (x_j - x_i) = s_i c_i sum_j k0_ij (xi_j - xi_i),        c_i = sum_j k_ij / sum_j k0_ij,

with `xi` the mesh as it was made, `k0` the stiffness under a density of one, and `s` by how much the mesh has been
stretched around the node, the root of the areas' ratio. So a uniform density leaves every mesh as it was made.
Stiffness and stretch depend on where nodes are. They are frozen, the nodes solve the linear system by conjugate
gradients, and go there by a part of the way that Aitken's formula chooses.

Without a force on the right, with positive stiffness and a fixed, convex boundary such a network cannot fold (Tutte).
For all other cases steps are cut, so that a mesh that comes in untangled is not tangled on the way.

**Reference:** Tutte, "How to draw a graph", 1963, doi:10.1112/plms/s3-13.1.743; Kuttler and Wall, "Fixed-point
fluid-structure interaction solvers with dynamic relaxation", 2008, doi:10.1007/s00466-008-0255-5.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import bicgstab, cg
from jaxtyping import Array, Bool, Float, Int

from .mesh import Density
from .triangles import TriangleMesh

_POINTS = 3  # of Gauss' formula, per direction, for the density in a triangle
_FIRST_SHARE, _LEAST_SHARE = 0.3, 0.05  # of the way to the solution of the frozen system
_LEAST_LEFT = 0.1  # of what the smallest triangle had, after a step
_LEAST_AREA = 1e-6  # of a triangle, over that before it was moved
_SHORTEST_STEP = 1e-6  # of the way; a network that can go no further is stuck
_MOST_CONJUGATE_GRADIENTS = 20000

# From a mesh and the density in its triangles, over its mean, `(triangle,)`, to the stiffness of its edges `(edge,)`.
Stiffness = Callable[[TriangleMesh, Float[Array, " triangle"]], Float[Array, " edge"]]


class Network(eqx.Module):
    """The equation of rest.

    **Arguments:**

    - `mesh`: as it was made, and where its nodes start from.
    - `density`: positions `(dim, triangle)` to positive numbers `(triangle,)`.
    - `stiffness`: of the edges, from the mesh as it was made and the density in its triangles.
    - `slides`: which nodes of the boundary may slide on their straight side, `(node,)`.
    """

    mesh: TriangleMesh
    density: Density
    stiffness: Stiffness
    slides: Bool[Array, " node"]

    def find_stiffness(self, points: Array) -> Array:
        """The stiffness `(edge,)` with nodes at `points` `(2, node)`."""
        means = self.mesh.move_to(points).means(self.density, _POINTS)
        return self.stiffness(self.mesh, means / jnp.mean(means))

    def find_stretch(self, points: Array) -> Array:
        """How much larger lengths around a node are than when the mesh was made, `(node,)`."""
        mesh = self.mesh.move_to(points)
        zero = jnp.zeros_like(points[0])
        now, before = (
            zero.at[mesh.triangles].add(areas[:, None]) for areas in (mesh.volumes, mesh.reference_volumes)
        )
        return jnp.sqrt(jnp.maximum(now / before, _LEAST_AREA))

    def project(self, values: Array) -> Array:
        """What of forces or steps `(2, node)` the boundary lets through."""
        tangents = self.mesh.tangents
        along = jnp.where(self.slides, tangents * jnp.sum(tangents * values, axis=0), 0)
        return jnp.where(self.mesh.on_boundary, along, values)

    def residual(self, points: Array) -> Array:
        """How far each node is off the place where it would be at rest if its neighbors were held, `(2, node)`."""
        stiffness = self.find_stiffness(points)
        before = self.stiffness(self.mesh, jnp.ones_like(self.mesh.volumes))
        rest = pull(self.mesh, before, self.mesh.reference) / gather(self.mesh, before)
        rest = rest * self.find_stretch(points)
        return self.project(pull(self.mesh, stiffness, points) / gather(self.mesh, stiffness) - rest)

    def equation(self, points: Array) -> Array:
        """Zero at rest, `(2, node)`: the residual, and how far nodes are off the boundary they came in on."""
        moved = points - self.mesh.points
        return self.residual(points) + moved - self.project(moved)

    def step(self, points: Array) -> Array:
        """To where all nodes would be at rest if the stiffness stayed as it is, `(2, node)`."""
        stiffness = self.find_stiffness(points)
        diagonal = gather(self.mesh, stiffness)
        change, _ = cg(
            lambda v: -self.project(pull(self.mesh, stiffness, v)),
            self.residual(points) * diagonal,
            M=lambda v: v / diagonal,
            tol=1e-3,  # the stiffness will have changed by more
            maxiter=_MOST_CONJUGATE_GRADIENTS,
        )
        return change

    def smallest(self, points: Array) -> Array:
        """The least area of a triangle over that before it was moved, a scalar."""
        return jnp.min(self.mesh.move_to(points).corner_jacobians)


class Rest(eqx.Module):
    """Where a network came to rest.

    **Arguments:**

    - `points`: of the nodes `(2, node)`.
    - `residual`: the largest step that is left, over the size of a triangle, a scalar.
    - `steps`: how many linear systems were solved, a scalar.
    - `share`: how much of the next step would be taken, a scalar.
    """

    points: Float[Array, "2 node"]
    residual: Float[Array, ""]
    steps: Int[Array, ""]
    share: Float[Array, ""]


@eqx.filter_custom_jvp
def relax(network: Network, goal: Float[Array, ""], *, max_steps: int) -> Rest:
    """Let nodes go until they are at rest.

    The points are differentiable with respect to the density and to the mesh, as it was made and as it comes in, by the
    implicit function theorem: one linear solve, whatever number of steps it took.

    **Arguments:**

    - `network`: the equation; nodes start from where those of its mesh are.
    - `goal`: the largest step that may be left, over the size of a triangle, a scalar.
    - `max_steps`: how many linear systems to solve at most.

    **Returns:** the nodes, and how they came there.
    """
    start, size = network.mesh.points, measure_size(network.mesh)

    def shorten(points, change, share):
        now = network.smallest(points)
        # A mesh that comes in tangled may go where it likes.
        least = jnp.minimum(now, jnp.maximum(_LEAST_LEFT * now, _LEAST_AREA))
        least = jnp.where(now > 0, least, -jnp.inf)

        def folds(share):
            return network.smallest(points + share * change) < least

        share = jax.lax.while_loop(lambda s: folds(s) & (s > _SHORTEST_STEP), lambda s: s / 2, share)
        return jnp.where(share > _SHORTEST_STEP, share, 0)

    def step(state):
        points, change, share, _, count, _ = state
        share = shorten(points, change, share)
        points = points + share * change
        found = network.step(points)
        # The share that would have made the next step vanish, as far as two steps can tell.
        bend = found - change
        squares = jnp.sum(bend**2)
        secant = share * abs(jnp.sum(change * bend)) / jnp.where(squares > 0, squares, 1)
        secant = jnp.clip(secant, _LEAST_SHARE, 1).astype(share.dtype)
        following = jnp.where(count == 0, _FIRST_SHARE, secant)
        return points, found, following, jnp.max(abs(found)) / size, count + 1, share == 0

    def goes_on(state):
        _, _, _, residual, count, stuck = state
        return (residual > goal) & (count < max_steps) & ~stuck

    # The first step is zero and shows where the second goes: so the program holds only one linear solver.
    share = jnp.asarray(_FIRST_SHARE, start.dtype)
    state = (
        start,
        jnp.zeros_like(start),
        share,
        jnp.full_like(size, jnp.inf),
        jnp.zeros((), int),
        share == 0,
    )
    points, _, share, residual, count, _ = jax.lax.while_loop(goes_on, step, state)
    return Rest(points, residual, count - 1, share)


@relax.def_jvp
def _relax_jvp(primals, tangents, *, max_steps):
    network, goal = primals
    rest = relax(network, goal, max_steps=max_steps)
    _, change = eqx.filter_jvp(lambda n: n.equation(rest.points), (network,), (tangents[0],))

    def operator(v):
        return jax.jvp(network.equation, (rest.points,), (v,))[1]

    exact = 1e-12 if rest.points.dtype == jnp.float64 else 1e-6

    def solve(matrix, right):
        return bicgstab(matrix, right, tol=exact, maxiter=_MOST_CONJUGATE_GRADIENTS)[0]

    # Wrapped once more: by itself bicgstab cannot be transposed when all it is given is a tangent.
    solved = jax.lax.custom_linear_solve(operator, change, solve, solve)
    return rest, Rest(-solved, None, None, None)


def drag_nodes(
    mesh: TriangleMesh, stiffness: Stiffness, given: Float[Array, "2 node"], known: Bool[Array, " node"]
) -> tuple[Float[Array, "2 node"], Float[Array, ""]]:
    """Displace some nodes and let all others follow, `sum_j k_ij (d_j - d_i) = 0`.

    **Arguments:**

    - `mesh`: the mesh.
    - `stiffness`: of its edges.
    - `given`: how far nodes move, `(2, node)`.
    - `known`: of which nodes this is known, `(node,)`.

    **Returns:** the displaced nodes `(2, node)`, and the relative residual of the linear system, a scalar.
    """
    mesh = eqx.tree_at(lambda m: m.reference, mesh, mesh.points)
    edges = stiffness(mesh, jnp.ones_like(mesh.volumes))
    diagonal = gather(mesh, edges)
    start = jnp.where(known, given, 0)

    def free(values):
        return jnp.where(known, 0, values)

    force = free(pull(mesh, edges, start))
    change, _ = cg(
        lambda v: -free(pull(mesh, edges, v)),
        force,
        M=lambda v: v / diagonal,
        tol=10 * float(jnp.finfo(given.dtype).eps),
        maxiter=_MOST_CONJUGATE_GRADIENTS,
    )
    left, scale = (jnp.sqrt(jnp.sum(v**2)) for v in (free(pull(mesh, edges, start + change)), force))
    return mesh.points + start + change, left / jnp.where(scale > 0, scale, 1)


def measure_size(mesh: TriangleMesh) -> Float[Array, ""]:
    """The mean size of a triangle: the side of a square of twice its area.

    **Arguments:**

    - `mesh`: the mesh.

    **Returns:** a scalar, a length.
    """
    return jnp.sqrt(2 * jax.lax.stop_gradient(mesh.domain_volume) / len(mesh.triangles))


def pull(
    mesh: TriangleMesh, stiffness: Float[Array, " edge"], values: Float[Array, "2 node"]
) -> Float[Array, "2 node"]:
    """The force on each node, `sum_j k_ij (v_j - v_i)`.

    **Arguments:**

    - `mesh`: the mesh.
    - `stiffness`: of its edges, `(edge,)`.
    - `values`: positions or displacements `(2, node)`.

    **Returns:** `(2, node)`.
    """
    i, j = mesh.connectivity.edges.T
    along = stiffness * (values[:, j] - values[:, i])
    return jnp.zeros_like(values).at[:, i].add(along).at[:, j].add(-along)


def gather(mesh: TriangleMesh, stiffness: Float[Array, " edge"]) -> Float[Array, " node"]:
    """The stiffness that holds each node, `sum_j k_ij`.

    **Arguments:**

    - `mesh`: the mesh.
    - `stiffness`: of its edges, `(edge,)`.

    **Returns:** `(node,)`.
    """
    return jnp.zeros_like(mesh.points[0]).at[mesh.connectivity.edges.T].add(stiffness)


def sum_at_edges(mesh: TriangleMesh, values: Float[Array, "triangle 3"]) -> Float[Array, " edge"]:
    """Add up values at the corners of triangles over the edges opposite to them.

    **Arguments:**

    - `mesh`: the mesh.
    - `values`: one per corner, `(triangle, 3)`.

    **Returns:** `(edge,)`.
    """
    connectivity = mesh.connectivity
    return jnp.zeros(len(connectivity.edges), values.dtype).at[connectivity.triangle_edges].add(values)
