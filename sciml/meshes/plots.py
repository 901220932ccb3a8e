"""Pictures of meshes: their lines, the density beneath them, the quality of their cells, and films of meshes that move.

Each function draws into axes, or makes a figure for them, and returns the axes; so they can be put over one another.
"""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._optional import require
from ..pdes import Grid
from ..pdes.calculus import check_values
from .location import check_mesh, find_smallest_corners, locate
from .mesh import AbstractMesh, Density
from .structured import StructuredMesh, uniform_mesh
from .transfer import interpolate

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
else:
    # matplotlib is imported when something is drawn; the annotations can be read without it.
    Axes = FuncAnimation = Any

_LINES, _TANGLED = "#20303c", "#e0102a"
_FIELD, _DIVERGING, _SEQUENTIAL = "YlGnBu", "PuOr", "viridis"
_SAMPLES = 300  # of a density along each axis


def draw_mesh(
    mesh: AbstractMesh | Grid, ax: Axes | None = None, *, color: str = _LINES, width: float | None = None
) -> Axes:
    """The lines of a mesh; in one dimension a tick at each vertex.

    **Arguments:**

    - `mesh`: a structured mesh, a triangle mesh, or a grid for its uniform mesh.
    - `ax`: matplotlib axes to draw into; a new figure's by default.
    - `color`: of the lines.
    - `width`: of the lines, in points; by default thinner for finer meshes.

    **Returns:** the axes.
    """
    mesh, ax = _prepare("draw_mesh", mesh, ax)
    _add_lines(ax, mesh, color, width)
    return _frame(ax, [mesh])


def draw_density(
    density: Density | Float[Array, "*space"],
    mesh: AbstractMesh | Grid,
    ax: Axes | None = None,
    *,
    label: str = "density",
    colorbar: bool = True,
) -> Axes:
    """A density or another scalar field as colors beneath a mesh; in one dimension as a curve.

    **Arguments:**

    - `density`: positions `(dim, *points)` to numbers `(*points,)`; or values at the points of the mesh, `(*space,)`.
    - `mesh`: where it is drawn.
    - `ax`: matplotlib axes to draw into; a new figure's by default.
    - `label`: of the colors, with the unit.
    - `colorbar`: whether to add one.

    **Returns:** the axes.
    """
    mesh, ax = _prepare("draw_density", mesh, ax)
    if mesh.dimensions == 1:
        ax.plot(*_sample_line(density, mesh), color="C0")
        ax.margins(y=0.12)
        ax.set_ylabel(label)
        return _frame(ax, [mesh])
    drawn = ax.imshow(_sample(density, mesh), **_place_image(mesh))
    if colorbar:
        _add_colorbar(ax, drawn, label)
    return _frame(ax, [mesh])


def draw_quality(mesh: AbstractMesh | Grid, density: Density | None = None, ax: Axes | None = None) -> Axes:
    """How even the cells of a mesh are, and which are tangled: those are red.

    **Arguments:**

    - `mesh`: a structured mesh, a triangle mesh, or a grid.
    - `density`: what the cells should share evenly, positions `(dim, *points)` to numbers `(*points,)`: colors are the
        mass of each cell over the mean. Without it they are the smallest Jacobian at a corner, over that before the
        mesh was moved.
    - `ax`: matplotlib axes to draw into; a new figure's by default.

    **Returns:** the axes.
    """
    mesh, ax = _prepare("draw_quality", mesh, ax)
    corners = np.asarray(find_smallest_corners(mesh))
    tangled = ~(corners > 0)
    if density is None:
        values, label = corners, "smallest corner Jacobian" if mesh.dimensions == 2 else "Jacobian"
    else:
        masses = np.asarray(_weigh(mesh, density))
        values, label = masses / masses.mean(), "mass of a cell / mean"
    if mesh.dimensions == 1:
        return _draw_stairs(ax, mesh, values, tangled, label)
    collections = require("matplotlib.collections", extra="plots")
    cells, chosen = _outline_cells(mesh), tangled.ravel()
    even = collections.PolyCollection(cells[~chosen], linewidths=0.2, edgecolors="face")
    even.set_array(values.ravel()[~chosen])
    even.set_cmap(_DIVERGING if density is not None else _SEQUENTIAL)
    even.set_norm(_choose_norm(values[~tangled], density is not None))
    ax.add_collection(even, autolim=False)
    bad = collections.PolyCollection(cells[chosen], facecolors=_TANGLED, edgecolors=_TANGLED, linewidths=0.8)
    ax.add_collection(bad, autolim=False)
    _add_colorbar(ax, even, label)
    if tangled.any():
        ax.set_title(f"{tangled.sum()} of {tangled.size} cells tangled", color=_TANGLED)
    return _frame(ax, [mesh])


def animate(
    meshes: Sequence[AbstractMesh],
    densities: Sequence[Density | Float[Array, "*space"]] | None = None,
    *,
    times: Sequence[float] | None = None,
    label: str = "density",
    rate: float = 12.0,
    file: pathlib.Path | str | None = None,
) -> FuncAnimation:
    """A film of a mesh that moves, over the density or the solution that it follows.

    **Arguments:**

    - `meshes`: one for each picture, of one kind and shape.
    - `densities`: one for each picture, as for `draw_density`: functions, or values at the points `(*space,)`.
    - `times`: one for each picture, for the title.
    - `label`: of the colors, with the unit.
    - `rate`: pictures per second.
    - `file`: where to write it as a GIF, if anywhere.

    **Returns:** matplotlib's animation. Keep it for as long as it is to play.

    **Raises:** `ValueError` for no meshes, or another number of densities or times.
    """
    meshes = list(meshes)
    for name, given in (("densities", densities), ("times", times)):
        if given is not None and len(given) != len(meshes):
            raise ValueError(
                f"animate needs one of {name} per mesh; got {len(given)} for {len(meshes)} meshes."
            )
    if not meshes:
        raise ValueError("animate needs at least one mesh; got none.")
    pyplot = require("matplotlib.pyplot", extra="plots")
    animation = require("matplotlib.animation", extra="plots")
    meshes = [_prepare_mesh("animate", mesh) for mesh in meshes]
    flat = meshes[0].dimensions == 1
    size = (5.6, 3.2) if flat else (5.2, 4.6) if densities is not None else (4.4, 4.6)
    figure, ax = pyplot.subplots(figsize=size, layout="constrained")
    draw = _film_line if flat else _film_plane
    update = draw(ax, meshes, densities, label)
    title = ax.set_title(" ")

    def show(number):
        update(number)
        if times is not None:
            title.set_text(f"t = {float(times[number]):.3f}")
        return ()

    film = animation.FuncAnimation(figure, show, frames=len(meshes), interval=1000 / rate, blit=False)
    if file is not None:
        film.save(file, writer=animation.PillowWriter(fps=rate), dpi=100)
        pyplot.close(figure)
    return film


def _film_plane(ax, meshes, densities, label):
    if densities is not None:
        images = [_sample(density, mesh) for density, mesh in zip(densities, meshes, strict=True)]
        low, high = min(map(np.nanmin, images)), max(map(np.nanmax, images))
        image = ax.imshow(images[0], **_place_image(meshes[0]), vmin=low, vmax=high)
        _add_colorbar(ax, image, label)
    lines = _add_lines(ax, meshes[0], _LINES, None)
    _frame(ax, meshes)

    def update(number):
        lines.set_segments(_trace_lines(meshes[number]))
        if densities is not None:
            image.set_data(images[number])

    return update


def _film_line(ax, meshes, densities, label):
    ticks = _add_lines(ax, meshes[0], _LINES, None)
    if densities is not None:
        curves = [_sample_line(density, mesh) for density, mesh in zip(densities, meshes, strict=True)]
        (curve,) = ax.plot(*curves[0], color="C0")
        values = np.concatenate([y for _, y in curves])
        room = 0.08 * max(np.ptp(values), 1e-12)
        ax.set_ylim(values.min() - 2 * room, values.max() + room)
        ax.set_ylabel(label)
    _frame(ax, meshes)

    def update(number):
        ticks.set_segments(_trace_lines(meshes[number]))
        if densities is not None:
            curve.set_data(*curves[number])

    return update


def _prepare(owner: str, mesh: AbstractMesh | Grid, ax: Axes | None) -> tuple[AbstractMesh, Axes]:
    mesh = _prepare_mesh(owner, mesh)
    if ax is None:
        pyplot = require("matplotlib.pyplot", extra="plots")
        _, ax = pyplot.subplots(figsize=(5.2, 4.6 if mesh.dimensions == 2 else 2.6), layout="constrained")
    return mesh, ax


def _prepare_mesh(owner: str, mesh: AbstractMesh | Grid) -> AbstractMesh:
    if isinstance(mesh, Grid):
        return uniform_mesh(mesh)
    check_mesh(owner, mesh)
    return mesh


def _frame(ax: Axes, meshes: Sequence[AbstractMesh]) -> Axes:
    """Limits, aspect and labels; what has been drawn before stays within the limits."""
    ax.use_sticky_edges = False
    ax.set_xlabel("x")
    ends = np.concatenate([_find_ends(mesh) for mesh in meshes])
    if meshes[0].dimensions == 1:
        ax.update_datalim(np.pad(ends, [(0, 0), (0, 1)]), updatey=False)
        ax.margins(x=0.015)
    else:
        ax.update_datalim(ends)
        ax.margins(0.015)
        ax.set_ylabel("y")
        ax.set_aspect("equal")
    ax.autoscale_view()
    return ax


def _find_ends(mesh: AbstractMesh) -> np.ndarray:
    """The lower and the upper corner of what a mesh fills, `(2, dim)`."""
    corners = np.asarray(_corners(mesh)).reshape(mesh.dimensions, -1)
    return np.stack([corners.min(axis=1), corners.max(axis=1)])


@eqx.filter_jit
def _weigh(mesh: AbstractMesh, density: Density) -> Array:
    return mesh.masses(density, 6)


@eqx.filter_jit
def _corners(mesh: AbstractMesh) -> Array:
    return mesh.closed_vertices if isinstance(mesh, StructuredMesh) else mesh.coordinates


def _add_lines(ax: Axes, mesh: AbstractMesh, color: str, width: float | None):
    collections = require("matplotlib.collections", extra="plots")
    if mesh.dimensions == 1:
        width = 0.9 if width is None else width
        # Along x in the units of the data, along y in those of the axes.
        lines = collections.LineCollection(
            _trace_lines(mesh), colors=color, linewidths=width, transform=ax.get_xaxis_transform()
        )
    else:
        cells = np.sqrt(mesh.volumes.size / (1 if isinstance(mesh, StructuredMesh) else 2))
        width = float(np.clip(22 / cells, 0.3, 0.9)) if width is None else width
        lines = collections.LineCollection(_trace_lines(mesh), colors=color, linewidths=width)
    ax.add_collection(lines, autolim=False)
    return lines


def _trace_lines(mesh: AbstractMesh) -> list[np.ndarray]:
    corners = np.asarray(_corners(mesh))
    if not isinstance(mesh, StructuredMesh):
        triangles = np.asarray(mesh.triangles)
        edges = np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
        return list(np.moveaxis(corners[:, np.unique(np.sort(edges, axis=1), axis=0)], 0, -1))
    if mesh.dimensions == 1:
        return [np.array([[x, 0.0], [x, 0.06]]) for x in corners[0]]
    lattice = np.moveaxis(corners, 0, -1)
    return [*lattice, *lattice.swapaxes(0, 1)]


def _outline_cells(mesh: AbstractMesh) -> np.ndarray:
    """The corners of each cell, `(cell, corner, 2)`."""
    corners = np.moveaxis(np.asarray(_corners(mesh)), 0, -1)
    if not isinstance(mesh, StructuredMesh):
        return corners[np.asarray(mesh.triangles)]
    around = [corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]]
    return np.stack(around, axis=2).reshape(-1, 4, 2)


def _sample(density, mesh: AbstractMesh) -> np.ndarray:
    """A field at the middles of pixels, `(y, x)`; NaN outside the mesh."""
    low, high = _find_ends(mesh)
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    axes = [a + (b - a) * steps for a, b in zip(low, high, strict=True)]
    points = jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij")))
    if isinstance(mesh, StructuredMesh):
        if callable(density):
            return np.asarray(density(_wrap(points, mesh))).T
        return np.asarray(interpolate(jnp.asarray(density)[None], mesh, points)[0]).T
    place = locate(mesh, points)
    if callable(density):
        values = density(points)
    else:
        corners = check_values("draw_density", jnp.asarray(density)[None], mesh.coordinates.shape[1:])[0]
        values = jnp.sum(jnp.moveaxis(corners[mesh.triangles[place.cell[0]]], -1, 0) * place.local, axis=0)
    return np.where(place.found, values, np.nan).T


def _wrap(points: Array, mesh: StructuredMesh) -> Array:
    """Into the box: a mesh may reach beyond its seam, and a function need not be periodic there."""
    box = mesh.grid.box
    rows = [
        low + jnp.mod(x - low, length) if periodic else x
        for x, low, length, periodic in zip(points, box.lower, box.lengths, box.periodic, strict=True)
    ]
    return jnp.stack(rows)


def _sample_line(density, mesh: AbstractMesh) -> tuple[np.ndarray, np.ndarray]:
    if callable(density):
        x = np.linspace(*_find_ends(mesh)[:, 0], 2 * _SAMPLES)
        return x, np.asarray(density(_wrap(jnp.asarray(x)[None], mesh)))
    return np.asarray(mesh.coordinates[0]), np.asarray(density)


def _place_image(mesh: AbstractMesh) -> dict:
    pyplot = require("matplotlib.pyplot", extra="plots")
    colors = require("matplotlib.colors", extra="plots")
    (left, bottom), (right, top) = _find_ends(mesh)
    # Without the darkest third, on which lines could not be seen.
    light = colors.ListedColormap(pyplot.get_cmap(_FIELD)(np.linspace(0, 0.65, 256)))
    return {"extent": (left, right, bottom, top), "origin": "lower", "cmap": light, "zorder": 0}


def _choose_norm(values: np.ndarray, around_one: bool):
    colors = require("matplotlib.colors", extra="plots")
    if not around_one:
        return colors.Normalize(0, values.max(initial=1e-12))
    furthest = np.max(abs(np.log(np.clip(values, 1e-6, None))), initial=np.log(1.02))
    return colors.LogNorm(np.exp(-furthest), np.exp(furthest))


def _add_colorbar(ax: Axes, drawn, label: str) -> None:
    # As high as the axes, whatever their aspect.
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes([1.04, 0, 0.045, 1]), label=label)
    bar.outline.set_linewidth(0.5)
    if drawn.cmap.name == _DIVERGING:
        # Decades would be too few ticks: the furthest round factor, one about halfway, and their inverses.
        ticker = require("matplotlib.ticker", extra="plots")
        round_ = np.array(
            [1.01, 1.02, 1.05, 1.1, 1.2, 1.5, *np.outer([1, 10, 100, 1000], [2, 3, 5, 10]).ravel()]
        )
        furthest = drawn.norm.vmax
        factors = sorted({round_[round_ <= most].max(initial=1.01) for most in (furthest, furthest**0.6)})
        ticks = [1 / f for f in reversed(factors)] + [1.0, *factors]
        bar.set_ticks(ticks, labels=[f"{t:.3g}" if t >= 1 else f"1/{1 / t:.3g}" for t in ticks])
        bar.ax.yaxis.set_minor_locator(ticker.NullLocator())


def _draw_stairs(ax: Axes, mesh: AbstractMesh, values: np.ndarray, tangled: np.ndarray, label: str) -> Axes:
    edges = np.asarray(mesh.closed_vertices[0])
    ax.plot(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), color="C0")
    for cell in np.flatnonzero(tangled):
        ax.axvspan(*np.sort(edges[cell : cell + 2]), color=_TANGLED, alpha=0.4)
    ax.set_ylim(bottom=min(0.0, 1.1 * values.min()))
    ax.set_ylabel(label)
    if tangled.any():
        ax.set_title(f"{tangled.sum()} of {tangled.size} cells tangled", color=_TANGLED)
    return _frame(ax, [mesh])
