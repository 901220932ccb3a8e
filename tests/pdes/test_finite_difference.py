"""Finite differences: measured orders up to the wall, stability, and what walls accept (order and property tests)."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.pdes import (
    Box,
    Dirichlet,
    FiniteDifference,
    Grid,
    Neumann,
    Outflow,
    Periodic,
    Robin,
)
from tests.pdes.manufactured import TWO_AXES, TWO_AXES_TOO, WALLS, Waves, slope

NOMINAL = 0.25  # how far a measured order may be from the nominal one
# A wave number 3 on a box of length 2: coarse enough for the error to stay above rounding, fine enough for the leading
# term to dominate. A fourth derivative amplifies rounding by 1/h^4, so its grids at order 4 are the coarsest possible.
LINE = Waves(((1.0, (3.0,), (0.4,)),))
SIZES = {1: (128, 256), 2: (192, 384), 3: (128, 256), 4: (128, 192)}


def max_error(box, n, order, function, operator, exact):
    """The largest error over all cells, those at the wall included."""
    grid = Grid(box, n)
    calculus = FiniteDifference(grid, order)
    x = grid.coordinates
    values = jnp.stack([f(x) for f in function])
    got = eqx.filter_jit(lambda c, v: operator(c, c.field(v)))(calculus, values)
    return float(jnp.max(jnp.abs(got - jnp.stack([exact(f, x) for f in function]))))


def line_with(kind):
    """The box on which `LINE` is given by walls of one kind."""
    if kind == "periodic":
        return Box(0.0, 2 * np.pi / 3)
    ends = [jnp.array([0.0]), jnp.array([2.0])]
    if kind == "outflow":  # both walls where u and du/dn have opposite signs, as an outflow demands
        ends = [jnp.array([0.1]), jnp.array([0.8])]
    sides = [WALLS[kind](LINE(end), sign * LINE(end, (1,))) for end, sign in zip(ends, (-1, 1), strict=True)]
    return Box(float(ends[0][0]), float(ends[1][0]), [tuple(sides)])


@pytest.mark.parametrize("kind", ["periodic", *WALLS])
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("derivative", [1, 2, 3, 4])
def test_order_of_derivatives(kind, order, derivative):
    """Order: each derivative on a line, in the largest error of all cells, with inhomogeneous walls."""
    box = line_with(kind)
    sizes = SIZES[derivative]
    if kind == "outflow":  # a box a third as long
        sizes = tuple(n // 2 for n in sizes)
    errors = [
        max_error(
            box,
            n,
            order,
            [LINE],
            lambda c, u: c.partial(u, 0, derivative),
            lambda f, x: f(x, (derivative,)),
        )
        for n in sizes
    ]
    assert abs(slope(sizes, errors) - order) < NOMINAL, errors


@pytest.mark.parametrize("kind", ["periodic", "dirichlet", "neumann", "robin"])
@pytest.mark.parametrize("order", [2, 4])
def test_order_of_the_biharmonic(kind, order):
    """Order: the operator of Kuramoto and Sivashinsky, `u_xxxx` on one axis."""
    sizes = SIZES[4]
    errors = [
        max_error(line_with(kind), n, order, [LINE], lambda c, u: c.biharmonic(u), lambda f, x: f(x, (4,)))
        for n in sizes
    ]
    assert abs(slope(sizes, errors) - order) < NOMINAL, errors


def square_with(kind, n, functions):
    """A square whose wall data vary along the wall and, for two functions, from channel to channel."""
    if kind == "periodic":
        return Box((0.0, 0.0), (2 * np.pi, 2 * np.pi))
    lower, upper = (0.2, -0.3), (1.5, 1.3)
    pairs = []
    for axis in range(2):
        other = 1 - axis
        along = lower[other] + (upper[other] - lower[other]) * (np.arange(n) + 0.5) / n
        sides = []
        for end, sign in ((lower[axis], -1.0), (upper[axis], 1.0)):
            x = [None, None]
            x[axis], x[other] = jnp.full(n, end), jnp.asarray(along)
            values = jnp.stack([f(x) for f in functions])
            normals = jnp.stack([sign * f.gradient(x)[axis] for f in functions])
            sides.append(WALLS[kind](values, normals))
        pairs.append(tuple(sides))
    return Box(lower, upper, pairs)


OPERATORS = {
    "laplacian": (lambda c, u: c.laplacian(u), lambda f, x: f.laplacian(x)),
    "mixed (1, 1)": (lambda c, u: c.derivative(u, (1, 1)), lambda f, x: f(x, (1, 1))),
    "mixed (2, 1)": (lambda c, u: c.derivative(u, (2, 1)), lambda f, x: f(x, (2, 1))),
    "second along y": (lambda c, u: c.partial(u, 1, 2), lambda f, x: f(x, (0, 2))),
}


@pytest.mark.parametrize("kind", ["periodic", "dirichlet", "neumann", "robin"])
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("operator", list(OPERATORS))
def test_order_on_a_square(kind, order, operator):
    """Order: two channels on two axes, wall data `(channel, wall)`, the largest error with walls and corners."""
    sizes = (48, 96) if kind != "periodic" else (64, 128)
    functions = [TWO_AXES, TWO_AXES_TOO]
    errors = [
        max_error(square_with(kind, n, functions), (n, n), order, functions, *OPERATORS[operator])
        for n in sizes
    ]
    assert abs(slope(sizes, errors) - order) < NOMINAL, errors


@pytest.mark.parametrize("order", [2, 4])
def test_order_of_diffusion_with_a_varying_coefficient(order):
    """Order: `div(k grad u)`; the coefficient has no condition at the walls and is extrapolated there."""
    k = Waves(((0.3, (1.0, 1.5), (0.2, 0.5)),), 1.0)
    sizes = (48, 96)
    errors = [
        max_error(
            square_with("dirichlet", n, [TWO_AXES]),
            (n, n),
            order,
            [TWO_AXES],
            lambda c, u: c.diffusion(u, k(c.coordinates)),
            lambda f, x: (
                k(x) * f.laplacian(x) + sum(a * b for a, b in zip(k.gradient(x), f.gradient(x), strict=True))
            ),
        )
        for n in sizes
    ]
    assert abs(slope(sizes, errors) - order) < NOMINAL, errors


def test_polynomials_are_differentiated_exactly_up_to_the_wall():
    """Exact: a polynomial of the degree that the stencils and ghost values reproduce has no error but rounding."""
    for order, derivative in itertools.product((2, 4), (1, 2, 3, 4)):
        p = np.polynomial.Polynomial(
            np.linspace(1.0, -0.5, order + derivative)
        )  # degree order + derivative - 1
        walls = (Dirichlet(p(0.0)), Neumann(p.deriv()(1.0)))
        grid = Grid(Box(0.0, 1.0, [walls]), 10)
        calculus = FiniteDifference(grid, order)
        got = calculus.partial(calculus.field(p(grid.axes[0])[None]), 0, derivative)[0]
        # Rounding of values of size 1, divided by h^4 = 1e-4 at worst.
        np.testing.assert_allclose(got, p.deriv(derivative)(grid.axes[0]), atol=1e-9)


def test_data_per_channel_and_per_point_of_a_wall():
    """Property: `(channel, 1)` means one value per channel, `(channel, wall)` and channels one by one agree with it."""
    u = jax.random.normal(jax.random.key(0), (2, 6, 8))
    data = jnp.array([[0.3], [-1.2]])

    def laplacian(values, left):
        box = Box(
            (0.0, 0.0), (1.0, 2.0), [(Dirichlet(left), Robin(1.0, 0.5, left)), (Periodic(), Periodic())]
        )
        calculus = FiniteDifference(Grid(box, (6, 8)), 4)
        return calculus.laplacian(calculus.field(values))

    together = laplacian(u, data)
    np.testing.assert_array_equal(together, laplacian(u, jnp.broadcast_to(data, (2, 8))))
    alone = jnp.concatenate([laplacian(u[i : i + 1], data[i, 0]) for i in range(2)])
    # Equal but for the order in which numbers of size 1 / h^2 = 36 are added.
    np.testing.assert_allclose(together, alone, atol=1e-11)


DISSIPATIVE = {
    "dirichlet": Dirichlet(0.0),
    "neumann": Neumann(0.0),
    "robin": Robin(1.0, 0.3),
    "mostly neumann": Robin(1.0, 100.0),
    "outflow": Outflow(0.1),
    "thin outflow": Outflow(5e-4),  # far thinner than a cell
}


def spectrum(left, right, n, order):
    """The eigenvalues of the discrete Laplacian."""
    calculus = FiniteDifference(Grid(Box(0.0, 1.0, [(left, right)]), n), order)
    columns = jax.vmap(lambda u: calculus.laplacian(calculus.field(u[None]))[0])(jnp.eye(n))
    return np.linalg.eigvals(np.asarray(columns).T)


@pytest.mark.parametrize(("left", "right"), itertools.combinations_with_replacement(DISSIPATIVE, 2))
def test_dissipative_walls_let_no_mode_grow(left, right):
    """Property: no eigenvalue of the Laplacian has a positive real part, whatever the pair of walls, order and size."""
    for order, n in itertools.product((2, 4), (6, 16, 41)):
        for walls in ((left, right), (right, left)):
            eigenvalues = spectrum(*(DISSIPATIVE[wall] for wall in walls), n, order)
            # Rounding is relative to the largest eigenvalue, about 5 n^2.
            assert eigenvalues.real.max() < 1e-12 * 5 * n**2, (walls, order, n)


@pytest.mark.parametrize("order", [2, 4])
def test_the_outflow_as_written_feeds_a_mode_as_thin_as_itself(order):
    """Exact: `u = D du/dn` has the growing mode `sinh(x/D)`, so `Outflow` takes the other sign (see its docstring)."""
    width = 0.1
    rates = [spectrum(Dirichlet(0.0), Robin(1.0, -width), n, order).real.max() * width**2 for n in (40, 80)]
    # The exact rate q solves tanh(q / D) = q: 1 - q = 4e-9. The grids have 4 and 8 cells in the width of the mode.
    assert abs(rates[1] - 1.0) < 2e-3
    assert abs(rates[1] - 1.0) < 0.5 * abs(rates[0] - 1.0)
    assert spectrum(Dirichlet(0.0), Outflow(width), 80, order).real.max() < 0


@pytest.mark.parametrize("order", [2, 4])
def test_order_of_the_rotational_velocity(order):
    """Order: a discrete Poisson solve, on a box of two different sides with different numbers of points."""
    stream = Waves(((1.0, (2 * np.pi, np.pi), (0.3, 0.9)), (0.3, (2 * np.pi, 2 * np.pi), (1.0, 0.0))))
    box = Box((0.0, 0.0), (1.0, 2.0))
    sizes, errors = (24, 48), []
    for n in sizes:
        grid = Grid(box, (n, n + 8))
        calculus = FiniteDifference(grid, order)
        x = grid.coordinates
        velocity = [
            calculus.rotational_velocity(calculus.field(-stream.laplacian(x)[None]), a)[0] for a in (0, 1)
        ]
        psi_x, psi_y = stream.gradient(x)
        errors.append(max(np.max(np.abs(velocity[0] - psi_y)), np.max(np.abs(velocity[1] + psi_x))))
    assert abs(slope(sizes, errors) - order) < NOMINAL, errors


def test_periodic_derivatives_conserve():
    """Property: the sum over a periodic axis of any derivative vanishes to rounding."""
    u = jax.random.normal(jax.random.key(1), (1, 12, 10))
    for order in (2, 4):
        calculus = FiniteDifference(Grid(Box((0.0, 0.0), (1.0, 1.0)), (12, 10)), order)
        for orders in ((1, 0), (0, 2), (3, 1), (4, 0)):
            out = calculus.derivative(calculus.field(u), orders)
            np.testing.assert_allclose(jnp.sum(out), 0.0, atol=1e-12 * float(jnp.sum(jnp.abs(out))))
