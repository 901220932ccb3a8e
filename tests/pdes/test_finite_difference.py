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
# A wave whose cells at the wall are well past the first crossing of error terms (near an extremum the leading term, a
# multiple of the wave itself, dominates). Finer grids than these drown fourth derivatives in rounding / h^4.
LINE = Waves(((1.0, (3.0,), (1.2,)),))


def errors_at(box, n, order, functions, operators):
    """The largest error of each operator over all cells, those at the wall included; compiled once for all."""
    grid = Grid(box, n)
    x = np.asarray(grid.coordinates)
    values = np.stack([f(x) for f in functions])

    @eqx.filter_jit
    def measure(calculus, values):
        u = calculus.field(values)
        return [apply(calculus, u) for apply, _ in operators.values()]

    got = measure(FiniteDifference(grid, order), values)
    exact = [np.stack([exact(f, x) for f in functions]) for _, exact in operators.values()]
    return {name: np.max(np.abs(g - e)) for name, g, e in zip(operators, got, exact, strict=True)}


def check_orders(order, sizes, errors):
    """Assert the measured order of each operator from its errors on every grid."""
    measured = {name: slope(sizes, [e[name] for e in errors]) for name in errors[0]}
    assert all(abs(found - order) < NOMINAL for found in measured.values()), (measured, errors)


def line_with(kind):
    """The box on which `LINE` is given by walls of one kind."""
    if kind == "periodic":
        return Box(0.0, 2 * np.pi / 3)
    right = 0.5 if kind == "outflow" else 2.0  # an outflow demands that u and du/dn have opposite signs
    sides = []
    for end, sign in ((0.0, -1.0), (right, 1.0)):
        x = np.array([end])
        sides.append(WALLS[kind](LINE(x), sign * LINE(x, (1,))))
    return Box(0.0, right, [tuple(sides)])


LINE_OPERATORS = {
    f"d{m}": (lambda c, u, m=m: c.partial(u, 0, m), lambda f, x, m=m: f(x, (m,))) for m in (1, 2, 3, 4)
} | {
    "laplacian": (lambda c, u: c.laplacian(u), lambda f, x: f(x, (2,))),
    "biharmonic": (lambda c, u: c.biharmonic(u), lambda f, x: f(x, (4,))),
}


@pytest.mark.parametrize("kind", ["periodic", *WALLS])
@pytest.mark.parametrize("order", [2, 4])
def test_orders_on_a_line(kind, order):
    """Order: first to fourth derivatives, Laplacian, biharmonic, with inhomogeneous walls, in the maximum norm."""
    sizes = (16, 32) if kind == "outflow" else (64, 128)
    errors = [errors_at(line_with(kind), n, order, [LINE], LINE_OPERATORS) for n in sizes]
    check_orders(order, sizes, errors)


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
            x[axis], x[other] = np.full(n, end), along
            values = np.stack([f(x) for f in functions])
            normals = np.stack([sign * f.gradient(x)[axis] for f in functions])
            sides.append(WALLS[kind](values, normals))
        pairs.append(tuple(sides))
    return Box(lower, upper, pairs)


SQUARE_OPERATORS = {
    "laplacian": (lambda c, u: c.laplacian(u), lambda f, x: f.laplacian(x)),
    "mixed (1, 1)": (lambda c, u: c.derivative(u, (1, 1)), lambda f, x: f(x, (1, 1))),
    "mixed (2, 1)": (lambda c, u: c.derivative(u, (2, 1)), lambda f, x: f(x, (2, 1))),
    "second along y": (lambda c, u: c.partial(u, 1, 2), lambda f, x: f(x, (0, 2))),
}


@pytest.mark.parametrize("kind", ["periodic", "dirichlet", "neumann", "robin"])
@pytest.mark.parametrize("order", [2, 4])
def test_orders_on_a_square(kind, order):
    """Order: two channels on two axes, wall data `(channel, wall)`, the largest error with walls and corners."""
    sizes = (48, 96)
    functions = [TWO_AXES, TWO_AXES_TOO]
    errors = [
        errors_at(square_with(kind, n, functions), (n, n), order, functions, SQUARE_OPERATORS) for n in sizes
    ]
    check_orders(order, sizes, errors)


@pytest.mark.parametrize("order", [2, 4])
def test_order_of_diffusion_with_a_varying_coefficient(order):
    """Order: `div(k grad u)`; the coefficient has no condition at the walls and is extrapolated there."""
    k = Waves(((0.3, (1.0, 1.5), (0.2, 0.5)),), 1.0)
    operators = {
        "diffusion": (
            lambda c, u: c.diffusion(u, k(np.stack(np.meshgrid(*c.grid.axes, indexing="ij")))),
            lambda f, x: k(x) * f.laplacian(x) + sum(map(np.multiply, k.gradient(x), f.gradient(x))),
        )
    }
    sizes = (48, 96)
    errors = [
        errors_at(square_with("dirichlet", n, [TWO_AXES]), (n, n), order, [TWO_AXES], operators)
        for n in sizes
    ]
    check_orders(order, sizes, errors)


def test_polynomials_are_differentiated_exactly_up_to_the_wall():
    """Exact: a polynomial of the degree that the stencils and ghost values reproduce has no error but rounding."""
    for order, derivative in itertools.product((2, 4), (1, 2, 3, 4)):
        p = np.polynomial.Polynomial(
            np.linspace(1.0, -0.5, order + derivative)
        )  # degree order + derivative - 1
        grid = Grid(Box(0.0, 1.0, [(Dirichlet(p(0.0)), Neumann(p.deriv()(1.0)))]), 10)

        @jax.jit
        def differentiate(calculus, values, m=derivative):
            return calculus.partial(calculus.field(values), 0, m)[0]

        got = differentiate(FiniteDifference(grid, order), p(grid.axes[0])[None])
        # Rounding of values of size 1, divided by h^4 = 1e-4 at worst.
        np.testing.assert_allclose(got, p.deriv(derivative)(grid.axes[0]), atol=1e-9)


def test_data_per_channel_and_per_point_of_a_wall():
    """Property: `(channel, 1)` means one value per channel, `(channel, wall)` and channels one by one agree with it."""
    u = jax.random.normal(jax.random.key(0), (2, 6, 8))
    data = jnp.array([[0.3], [-1.2]])

    @jax.jit
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


def spectra(pairs, n, order):
    """The eigenvalues of the discrete Laplacian for each pair of walls, `(pair, n)`."""
    robin = [
        tuple(Robin(*wall.robin()) for wall in pair) for pair in pairs
    ]  # of one type, so that vmap can stack them

    @jax.jit
    @jax.vmap
    def matrix(walls):
        calculus = FiniteDifference(Grid(Box(0.0, 1.0, [walls]), n), order)
        return jax.vmap(lambda u: calculus.laplacian(calculus.field(u[None]))[0], out_axes=1)(jnp.eye(n))

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *robin)
    return np.linalg.eigvals(np.asarray(matrix(stacked)))


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("n", [6, 16, 41])
def test_dissipative_walls_let_no_mode_grow(order, n):
    """Property: no eigenvalue of the Laplacian has a positive real part, whatever the pair of walls, order and size."""
    names = list(itertools.product(DISSIPATIVE, repeat=2))
    largest = spectra([tuple(DISSIPATIVE[name] for name in pair) for pair in names], n, order).real.max(
        axis=1
    )
    # Rounding is relative to the largest eigenvalue, about 5 n^2.
    growing = {pair: rate for pair, rate in zip(names, largest, strict=True) if rate > 1e-12 * 5 * n**2}
    assert not growing


@pytest.mark.parametrize("order", [2, 4])
def test_the_outflow_as_written_feeds_a_mode_as_thin_as_itself(order):
    """Exact: `u = D du/dn` has the growing mode `sinh(x/D)`, so `Outflow` takes the other sign (see its docstring)."""
    width = 0.1
    pairs = [(Dirichlet(0.0), Robin(1.0, -width)), (Dirichlet(0.0), Outflow(width))]
    rates = [spectra(pairs, n, order).real.max(axis=1) * width**2 for n in (40, 80)]
    # The exact rate q solves tanh(q / D) = q: 1 - q = 4e-9. The grids have 4 and 8 cells in the width of the mode.
    assert abs(rates[1][0] - 1.0) < 2e-3
    assert abs(rates[1][0] - 1.0) < 0.5 * abs(rates[0][0] - 1.0)
    assert rates[1][1] < 0


@pytest.mark.parametrize("order", [2, 4])
def test_order_of_the_rotational_velocity(order):
    """Order: a discrete Poisson solve, on a box of two different sides with different numbers of points."""
    stream = Waves(((1.0, (2 * np.pi, np.pi), (0.3, 0.9)), (0.3, (2 * np.pi, 2 * np.pi), (1.0, 0.0))))
    box = Box((0.0, 0.0), (1.0, 2.0))
    sizes, errors = (24, 48), []
    for n in sizes:
        grid = Grid(box, (n, 4 * n // 3))
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
    several = ((1, 0), (0, 2), (3, 1), (4, 0))
    for order in (2, 4):
        calculus = FiniteDifference(Grid(Box((0.0, 0.0), (1.0, 1.0)), (12, 10)), order)
        for out in jax.jit(lambda u, c=calculus: [c.derivative(c.field(u), orders) for orders in several])(u):
            np.testing.assert_allclose(np.sum(out), 0.0, atol=1e-12 * np.sum(np.abs(out)))
