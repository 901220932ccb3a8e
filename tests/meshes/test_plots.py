"""Pictures of meshes: what is in them, read back from the artists and from the file; and what is refused."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LogNorm, to_rgba

from sciml.meshes import animate, draw_density, draw_mesh, draw_quality, triangulate, uniform_mesh
from sciml.meshes.location import find_smallest_corners
from tests.meshes.maps import LINES, SIDES, find_averages, find_volumes, make_grid, move, tangle

WALLS = move(make_grid((8, 9), SIDES["walls"]), 1, 0.6)
TORUS = move(make_grid((8, 9), SIDES["torus"]), 1, 0.6, shift=0.3)
LINE = move(make_grid((9,), LINES["line"]), 1, 0.6)
TRIANGLES = triangulate(WALLS)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def density(x):
    return 1 + x[0] ** 2


def get(ax, kind):
    return [c for c in ax.collections if isinstance(c, kind)]


@pytest.mark.parametrize(
    ("mesh", "count"),
    [(WALLS, 9 + 10), (TORUS, 9 + 10), (WALLS.grid, 9 + 10), (LINE, 10), (TRIANGLES, 8 * 10 + 9 * 9 + 72)],
)
def test_the_lines_of_a_mesh(mesh, count):
    """Exact: one per row and column of vertices, one per edge of triangles, one tick per vertex; all in view."""
    ax = draw_mesh(mesh)
    (lines,) = get(ax, LineCollection)
    segments = lines.get_segments()
    assert len(segments) == count
    points = np.concatenate(segments)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left < points[:, 0].min() < points[:, 0].max() < right
    if mesh is not LINE:
        assert bottom < points[:, 1].min() < points[:, 1].max() < top
        assert ax.get_aspect() == 1
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")


@pytest.mark.parametrize("mesh", [WALLS, TORUS, TRIANGLES])
def test_a_density_beneath_a_mesh(mesh):
    """Exact: colors are those of the function, or of values interpolated, and lie below the lines, in one view."""
    shown = []
    for given in (density, *([] if mesh is TORUS else [np.asarray(mesh.coordinates[1])])):
        ax = draw_mesh(mesh, draw_density(given, mesh, label="u / (m/s)"))
        (image,) = ax.images
        assert image.get_zorder() < get(ax, LineCollection)[0].get_zorder()
        assert ax.child_axes[0].get_ylabel() == "u / (m/s)"
        shown.append(image.get_array())
    left, right, bottom, top = image.get_extent()
    points = np.asarray(mesh.coordinates).reshape(2, -1)
    low, high = points.min(1), points.max(1)
    assert np.all(low >= np.array([left, bottom]) - 1e-12)
    assert np.all(high <= np.array([right, top]) + 1e-12)
    n = len(shown[0])
    x, y = (a + (b - a) * (np.arange(n) + 0.5) / n for a, b in ((left, right), (bottom, top)))
    if mesh is TORUS:
        x = -0.5 + np.mod(x + 0.5, 1.5)
    np.testing.assert_allclose(shown[0], np.broadcast_to(1 + x**2, (n, n)), rtol=1e-6)
    if mesh is not TORUS:
        np.testing.assert_allclose(shown[1], np.broadcast_to(y[:, None], (n, n)), rtol=1e-6)


def test_colors_end_at_the_edge_of_triangles():
    """Exact: a pixel outside is left empty."""
    half = triangulate(uniform_mesh(make_grid((4, 4), SIDES["walls"])))
    slanted = half.move_to(half.points.at[1].add(0.5 * (half.points[0] + 0.5)))
    image = draw_density(density, slanted, colorbar=False).images[0].get_array()
    empty = np.ma.getmaskarray(np.ma.masked_invalid(image))
    assert empty[-1, 0]
    assert empty[0, -1]
    assert not empty[len(empty) // 2, len(empty) // 2]


@pytest.mark.parametrize("mesh", [WALLS, TORUS, TRIANGLES])
def test_quality_shows_masses_around_their_mean(mesh):
    """Exact: the masses of the certificate, on a scale on which 1 is in the middle."""
    ax = draw_quality(mesh, density)
    even, bad = get(ax, PolyCollection)
    if mesh is TRIANGLES:
        masses = np.asarray(mesh.masses(density, 6)).ravel()
    else:
        masses = (find_averages(density, mesh)[0] * find_volumes(mesh)).ravel()
    np.testing.assert_allclose(even.get_array(), masses / masses.mean(), rtol=1e-12)
    assert len(even.get_paths()) == masses.size
    assert len(bad.get_paths()) == 0
    assert isinstance(even.norm, LogNorm)
    assert even.norm.vmin * even.norm.vmax == pytest.approx(1)
    assert ax.child_axes[0].get_ylabel() == "mass of a cell / mean"
    assert ax.get_title() == ""


def test_quality_marks_tangled_cells():
    """Exact: as many red cells as the certificate counts; in one dimension, too."""
    mesh = tangle(uniform_mesh(WALLS.grid))
    ax = draw_quality(mesh)
    even, bad = get(ax, PolyCollection)
    tangled = int(np.sum(np.asarray(find_smallest_corners(mesh)) <= 0))
    assert len(bad.get_paths()) == tangled > 0
    assert len(even.get_paths()) == 72 - tangled
    np.testing.assert_allclose(bad.get_facecolor()[0], to_rgba("#e0102a"))
    assert ax.get_title() == f"{tangled} of 72 cells tangled"
    assert draw_quality(tangle(uniform_mesh(LINE.grid))).get_title() == "1 of 9 cells tangled"


def test_pictures_in_one_dimension():
    """Exact: the curve of values at points, of a function, and of masses."""
    ax = draw_mesh(LINE, draw_density(np.arange(9.0), LINE, label="u"))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.arange(9.0))
    assert ax.get_ylabel() == "u"
    x, y = draw_density(density, LINE).lines[0].get_data()
    np.testing.assert_allclose(y, 1 + x**2)
    heights = draw_quality(LINE, density).lines[0].get_ydata()
    masses = find_averages(density, LINE)[0] * find_volumes(LINE)
    np.testing.assert_allclose(heights[::2], masses / masses.mean())


@pytest.mark.parametrize("grid", [WALLS.grid, LINE.grid])
def test_a_film(tmp_path, grid):
    """Exact: one picture per mesh, each other than the one before; times in the title; the figure is closed."""
    meshes = [move(grid, 1, strength) for strength in (0.2, 0.4, 0.6)]
    values = [np.asarray(mesh.coordinates[0]) for mesh in meshes]
    film = animate(meshes, values, times=[0, 0.5, 1], rate=10, file=tmp_path / "film.gif")
    assert not plt.get_fignums()
    assert film._fig.axes[0].get_title() == "t = 1.000"
    with PIL.Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 3
        assert gif.info["duration"] == 100
        frames = []
        for k in range(3):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    assert all(np.sum(abs(a - b)) > 0 for a, b in itertools.pairwise(frames))


def test_a_film_without_a_density(tmp_path):
    animate([WALLS, uniform_mesh(WALLS.grid)], file=str(tmp_path / "film.gif"))
    assert (tmp_path / "film.gif").stat().st_size > 1000


def test_axes_given_are_used():
    """Property: no function makes a figure of its own then."""
    _, ax = plt.subplots()
    for drawn in (
        draw_density(density, WALLS, ax, colorbar=False),
        draw_mesh(WALLS, ax),
        draw_quality(WALLS, density, ax),
    ):
        assert drawn is ax
    assert len(plt.get_fignums()) == 1
    assert matplotlib.get_backend().lower() == "agg"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: animate([]), "at least one mesh; got none"),
        (lambda: animate([WALLS], [density, density]), "one of densities per mesh; got 2 for 1 meshes"),
        (lambda: animate([WALLS], times=[]), "one of times per mesh; got 0 for 1 meshes"),
        (lambda: draw_mesh(np.zeros(3)), "draw_mesh needs a StructuredMesh or a TriangleMesh; got ndarray"),
        (lambda: draw_density(np.zeros((9, 8)), WALLS), r"expected values of shape \(channel, 8, 9\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
