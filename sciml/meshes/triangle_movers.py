"""Movers of triangle meshes: every node at the weighted mean of its neighbors.

Along a line this shares a density evenly; in two dimensions it does so roughly, in exchange for which it moves meshes
of any domain and any connectivity. The equation is in `spring_network.py`; movers differ in the stiffness of edges.

**Reference:** Winslow, "Adaptive mesh zoning by the equipotential method", 1981, doi:10.2172/6227449; Blom,
"Considerations on the spring analogy", 2000, doi:10.1002/(SICI)1097-0363(20000330)32:6<647::AID-FLD979>3.0.CO;2-K.
"""

import abc
import dataclasses
from collections.abc import Hashable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._checks import check_positive
from .certificate import Certificate, MeshError, certify, check_certificate
from .densities import Uniform, check_positive_values
from .mesh import Density
from .monge_ampere import close_density
from .mover import AbstractMover, Moved
from .spring_network import Network, drag_nodes, measure_size, relax, sum_at_edges
from .triangle_connectivity import connect
from .triangles import TriangleMesh

_CURE = (
    "Take more triangles, a smaller power, or a density with less of its mass in its peaks; on a domain with reentrant "
    "corners fix its boundary with sliding=False."
)


class AbstractTriangleMover(AbstractMover):
    """A network of springs along the edges of a triangle mesh."""

    power: eqx.AbstractVar[float]
    sliding: eqx.AbstractVar[bool | tuple[Hashable, ...]]
    tolerance: eqx.AbstractVar[float]
    max_steps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def stiffness(self, mesh: TriangleMesh, means: Float[Array, " triangle"]) -> Float[Array, " edge"]:
        """The stiffness of each edge.

        **Arguments:**

        - `mesh`: whose reference gives the lengths and angles.
        - `means`: the density in each triangle, over its mean, `(triangle,)`.

        **Returns:** `(edge,)`, positive or nearly so.
        """

    def move(
        self, density: Density, mesh: TriangleMesh, *, start: Moved | None = None, throw: bool = True
    ) -> Moved:
        """Move the nodes of a triangle mesh until they are at rest.

        The result depends on the mesh as it was made, `mesh.reference`; where its inner nodes are now is only the first
        guess. It is differentiable with respect to the density and the mesh, by the implicit function theorem.

        **Arguments:**

        - `density`: of the nodes, positions `(dim, *points)` to positive numbers `(*points,)`.
        - `mesh`: the triangle mesh.
        - `start`: what this mover made of this mesh for a density nearby, to start from.
        - `throw`: refuse a mesh that is not valid; else it is returned, and its certificate says so.

        **Returns:** the mesh with its certificate. The residual is the largest step that is left, over the size of a
        triangle.

        **Raises:** `MeshError` for a mesh that comes in tangled, or with the triangle and the cure; `ValueError` for a
        density that is not positive and finite, another mesh, or walls that cannot slide.
        """
        owner = type(self).__name__
        check_triangle_mesh(owner, mesh)
        _check_sliding(owner, mesh, self.sliding)
        if not callable(density):
            raise ValueError(
                f"{owner} needs a density, a function of positions (dim, *points); got {type(density).__name__}."
            )
        if start is not None:
            check_triangle_mesh(f"{owner}'s start", start.mesh)
            mesh = mesh.move_to(start.mesh.points)
        values, corners, slides = _prepare(density, mesh, _choose_walls(mesh, self.sliding))
        check_positive_values(f"{owner}: the density", values, mesh.points)
        if throw:
            _check_start(owner, corners)
        mover = _unify(self, mesh.points.dtype)
        return finish_triangles(owner, _move(mover, density, mesh, slides), throw)

    def displace(
        self,
        mesh: TriangleMesh,
        displacements: Mapping[Hashable, Float[Array, "2 *node"]],
        *,
        throw: bool = True,
    ) -> Moved:
        """Move walls, and let the nodes between follow: `sum_j k_ij (d_j - d_i) = 0` for the displacement `d`.

        The domain changes: the mesh that is returned counts as made where it is now, except that its triangles are
        compared with those before. It does not work under `jax.jit`.

        **Arguments:**

        - `mesh`: the triangle mesh.
        - `displacements`: by the name of a wall how far its nodes move, `(2,)` or `(2, node)`, of which those on the
            wall are used. Walls that are not named are free; name them with zeros to hold them. At a corner the wall
            named last decides.
        - `throw`: refuse a mesh that is tangled; else it is returned, and its certificate says so.

        **Returns:** the mesh with its certificate, for a uniform density.

        **Raises:** `MeshError` with the triangle and the cure; `ValueError` for unknown walls or none, or
        displacements of another shape.
        """
        owner = f"{type(self).__name__}.displace"
        check_triangle_mesh(owner, mesh)
        given, known = _spread_displacements(owner, mesh, displacements)
        points, volumes, residual = _displace(self, mesh, given, known)
        mesh = _redraw(mesh, points, volumes)
        return finish_triangles(owner, Moved(mesh, _certify_displaced(mesh, residual)), throw)


class LaplacianSmoothing(AbstractTriangleMover):
    """Variable diffusion, `div(m^p grad x) = 0` by linear finite elements on the mesh as it was made.

    The stiffness of an edge is half the sum of the cotangents of the angles opposite to it, each times `m^p` in its
    triangle. On a mesh whose angles are at most 90 degrees all are positive or zero.

    **Arguments:**

    - `power`: `p`. 1 concentrates nodes most, less makes cells of more even shape; 0.75 was the most even over rings,
        bells and fronts of sharpness 10 to 50.
    - `sliding`: whether nodes of straight sides slide along them: `True`, `False`, or the names of the walls that do.
        Corners, and all nodes at which a curved boundary turns, are fixed.
    - `tolerance`: the largest step that may be left, over the size of a triangle.
    - `max_steps`: at most so many linear systems.

    **Raises:** `ValueError` for a power or tolerance that is not positive.
    """

    power: float = 0.75
    sliding: bool | tuple[Hashable, ...] = eqx.field(static=True, default=True)
    tolerance: float = 1e-5
    max_steps: int = 500

    def __check_init__(self):
        _check_numbers(self)

    def stiffness(self, mesh, means):
        """Cotangents times densities; see `AbstractTriangleMover.stiffness` for shapes."""
        corners = mesh.reference[:, mesh.triangles]
        first, second = jnp.roll(corners, -1, -1) - corners, jnp.roll(corners, 1, -1) - corners
        cross = first[0] * second[1] - first[1] * second[0]
        shares = 0.5 * jnp.sum(first * second, axis=0) / cross * (means**self.power)[:, None]
        return sum_at_edges(mesh, shares)


class Spring(AbstractTriangleMover):
    """Springs along edges, stiffer where the edge was short and where the density is large: `k = m^p / |xi_j - xi_i|`.

    `m` is the mean over the triangles at the edge. The stiffness is positive on every mesh, however flat its triangles.

    **Arguments:**

    - `power`: `p`, as for `LaplacianSmoothing`.
    - `sliding`, `tolerance`, `max_steps`: as for `LaplacianSmoothing`.

    **Raises:** `ValueError` for a power or tolerance that is not positive.
    """

    power: float = 0.75
    sliding: bool | tuple[Hashable, ...] = eqx.field(static=True, default=True)
    tolerance: float = 1e-5
    max_steps: int = 500

    def __check_init__(self):
        _check_numbers(self)

    def stiffness(self, mesh, means):
        """Densities over lengths; see `AbstractTriangleMover.stiffness` for shapes."""
        start, end = jnp.moveaxis(mesh.reference[:, mesh.connectivity.edges], -1, 0)
        sums = sum_at_edges(mesh, jnp.broadcast_to(means[:, None], mesh.triangles.shape))
        counts = sum_at_edges(mesh, jnp.ones(mesh.triangles.shape, means.dtype))
        return (sums / counts) ** self.power / jnp.sqrt(jnp.sum((end - start) ** 2, axis=0))


@eqx.filter_jit
def _move(mover: AbstractTriangleMover, density: Density, mesh: TriangleMesh, slides: Array) -> Moved:
    closed = close_density(density, 2, (len(mesh.triangles),), mesh.points.dtype)
    network = Network(mesh, closed, mover.stiffness, slides)
    # In single precision no step can be smaller than the rounding of positions.
    rounding = float(jnp.finfo(mesh.points.dtype).eps) * jnp.max(abs(mesh.reference)) / measure_size(mesh)
    goal = jax.lax.stop_gradient(jnp.maximum(mover.tolerance, 100 * rounding))
    rest = relax(network, goal, max_steps=mover.max_steps)
    moved = mesh.move_to(rest.points)
    certificate = certify(
        moved,
        density,
        residual=rest.residual,
        iterations=rest.steps,
        converged=rest.residual <= goal,
        details={"share": rest.share, "sliding": jnp.sum(slides)},
    )
    return Moved(moved, certificate)


@eqx.filter_jit
def _prepare(density: Density, mesh: TriangleMesh, chosen: Array) -> tuple[Array, Array, Array]:
    """The density at the nodes, the Jacobian of each triangle, and which nodes slide on the walls that were chosen."""
    closed = close_density(density, 2, mesh.points.shape[1:], mesh.points.dtype)
    slides = mesh.may_slide & jnp.any(mesh.connectivity.members & chosen[:, None], axis=0)
    return closed(mesh.points), mesh.corner_jacobians[0], slides


@eqx.filter_jit
def _displace(
    mover: AbstractTriangleMover, mesh: TriangleMesh, given: Array, known: Array
) -> tuple[Array, Array, Array]:
    points, residual = drag_nodes(mesh, mover.stiffness, given, known)
    return points, mesh.volumes, residual


@eqx.filter_jit
def _certify_displaced(mesh: TriangleMesh, residual: Array) -> Certificate:
    small = 1e4 * float(jnp.finfo(residual.dtype).eps)
    return certify(mesh, Uniform(), residual=residual, converged=residual <= small)


def _unify(mover: AbstractTriangleMover, dtype: np.dtype) -> AbstractTriangleMover:
    """The mover with its numbers as arrays, which are not compiled into a program: one program for all of them."""

    def as_array(x):
        return jnp.asarray(x, dtype) if isinstance(x, float) else jnp.asarray(x)

    return jax.tree.map(as_array, dataclasses.replace(mover, sliding=True))


def _choose_walls(mesh: TriangleMesh, sliding: bool | tuple[Hashable, ...]) -> np.ndarray:
    """Along which walls nodes may slide, `(wall,)`."""
    return np.array([sliding if isinstance(sliding, bool) else name in sliding for name in mesh.walls])


def _redraw(mesh: TriangleMesh, points: Array, volumes: Array) -> TriangleMesh:
    """The mesh with its boundary where it is now."""
    old = mesh.connectivity
    index = np.asarray(old.segment_walls)
    walls = {name: np.asarray(old.segments)[index == k] for k, name in enumerate(old.walls)}
    tolerance = 1e-9 if points.dtype == np.float64 else 1e-5
    connectivity, points = connect(np.asarray(points), np.asarray(old.triangles), walls, tolerance)
    points = jax.device_put(points)
    return eqx.tree_at(
        lambda m: (m.connectivity, m.points, m.reference, m.reference_volumes),
        mesh,
        (connectivity, points, points, volumes),
    )


def finish_triangles(owner: str, moved: Moved, throw: bool) -> Moved:
    """Refuse a mesh that is not valid, if that is asked for.

    **Arguments:**

    - `owner`: what was called, for the message.
    - `moved`: the mesh with its certificate.
    - `throw`: whether to refuse.

    **Returns:** the same.

    **Raises:** `MeshError`, as `check_certificate` does.
    """
    if not throw:
        return moved
    return check_certificate(
        moved.certificate, moved.mesh.volumes.shape, owner=owner, cure=_CURE, guarded=moved
    )


def _check_numbers(mover: AbstractTriangleMover) -> None:
    check_positive(type(mover).__name__, "power", mover.power)
    check_positive(type(mover).__name__, "tolerance", mover.tolerance)
    check_positive(type(mover).__name__, "max_steps", mover.max_steps)


def check_triangle_mesh(owner: str, mesh) -> None:
    """Refuse what is no triangle mesh.

    **Arguments:**

    - `owner`: what was called, for the message.
    - `mesh`: what was given.

    **Raises:** `ValueError` naming it.
    """
    if not isinstance(mesh, TriangleMesh):
        raise ValueError(
            f"{owner} moves a TriangleMesh; got {type(mesh).__name__}. Write triangulate(uniform_mesh(grid)), or take "
            f"MongeAmpere() for a grid."
        )


def _check_start(owner: str, corners: Array) -> None:
    """Refuse a mesh that comes in tangled, where that can be known."""
    if isinstance(corners, jax.core.Tracer) or np.all(np.asarray(corners) > 0):
        return
    bad = np.flatnonzero(~(np.asarray(corners) > 0))
    raise MeshError(
        f"{owner}: the mesh comes in tangled: {len(bad)} of {len(corners)} triangles are turned over, such as "
        f"{bad[0]}. Start from the mesh as it was made, mesh.move_to(mesh.reference); throw=False starts from this one."
    )


def _check_sliding(owner: str, mesh: TriangleMesh, sliding) -> None:
    """Refuse walls that are asked to slide and are not straight."""
    if isinstance(sliding, bool):
        return
    if not isinstance(sliding, tuple):
        raise ValueError(
            f"{owner}.sliding must be True, False or a tuple of names of walls; got {sliding!r}."
        )
    connectivity = mesh.connectivity
    for name in sliding:
        if name not in mesh.walls:
            raise ValueError(
                f"{owner}.sliding names the wall {name!r}; the mesh has {', '.join(map(repr, mesh.walls))}."
            )
        if isinstance(connectivity.segments, jax.core.Tracer):
            continue
        index, segments = np.asarray(connectivity.segment_walls), np.asarray(connectivity.segments)
        count = np.bincount(segments[index == mesh.walls.index(name)].ravel(), minlength=mesh.points.shape[1])
        turns = np.flatnonzero((count > 1) & ~np.asarray(mesh.may_slide))
        if len(turns):
            shown = ", ".join(map(str, turns[:5].tolist())) + (", ..." if len(turns) > 5 else "")
            raise ValueError(
                f"{owner} cannot slide nodes along the wall {name!r}: it is not straight, but turns at {len(turns)} "
                f"node(s), {shown}. Leave it out of `sliding`, so that its nodes stay, or write sliding=True to slide "
                f"only those on straight sides."
            )


def _spread_displacements(owner: str, mesh: TriangleMesh, displacements: Mapping) -> tuple[Array, Array]:
    """The given displacements `(2, node)`, and at which nodes `(node,)`."""
    if any(isinstance(d, jax.core.Tracer) for d in (mesh.points, *displacements.values())):
        raise ValueError(
            f"{owner} looks at where the corners of the new boundary are, so it does not work under jax.jit, jax.vmap "
            f"or jax.grad. Call it outside."
        )
    if not displacements:
        raise ValueError(f"{owner} needs the displacement of at least one wall; the mesh has {mesh.walls}.")
    given, known = np.zeros(mesh.points.shape, mesh.points.dtype), np.zeros(mesh.points.shape[1], bool)
    members = np.asarray(mesh.connectivity.members)
    for name, displacement in displacements.items():
        if name not in mesh.walls:
            raise ValueError(
                f"{owner} names the wall {name!r}; the mesh has {', '.join(map(repr, mesh.walls))}."
            )
        if np.shape(displacement) not in ((2,), mesh.points.shape):
            raise ValueError(
                f"{owner} needs the displacement of wall {name!r} as (2,) or {mesh.points.shape} (2, node); got "
                f"{np.shape(displacement)}."
            )
        there = members[mesh.walls.index(name)]
        given = np.where(there, np.asarray(displacement, given.dtype).reshape(2, -1), given)
        known |= there
    return jax.device_put((given, known))
