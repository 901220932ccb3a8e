"""Simulations against solutions from elsewhere, each one number; the tests and the benchmark both use them."""

import diffrax
import exponax
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import scipy.interpolate
import scipy.special

from sciml.data import evolve
from sciml.pdes import (
    Box,
    Burgers,
    DiffusionSorption,
    Dirichlet,
    FiniteDifference,
    FourierSeries,
    GaussianRandomField,
    Grid,
    KuramotoSivashinsky,
    NavierStokes,
    Neumann,
    Robin,
    Spectral,
)


def tight(tolerance: float) -> diffrax.PIDController:
    """A controller of the given relative and absolute tolerance."""
    return diffrax.PIDController(rtol=tolerance, atol=tolerance, pcoeff=0.3, icoeff=0.3)


def relative(value, truth) -> float:
    """The relative 2-norm of a difference, over all axes of arrays `(...)`."""
    return float(jnp.linalg.norm(jnp.ravel(value - truth)) / jnp.linalg.norm(jnp.ravel(truth)))


def burgers_cole_hopf() -> float:
    """Burgers from a sine against its Cole-Hopf solution as a series of Bessel functions."""
    nu, t = 0.02, 0.3
    grid = Grid(Box(0.0, 1.0), 192)
    x = grid.axes[0]
    # u = -2 nu phi_x / phi; phi_0 = exp(cos(2 pi x) / (4 pi nu)) = I_0(z) + 2 sum I_n(z) cos(2 pi n x).
    z = 1 / (4 * np.pi * nu)
    n = np.arange(1, 60)[:, None]
    weights = 2 * scipy.special.ive(n, z) * np.exp(-((2 * np.pi * n) ** 2) * nu * t)
    phi = scipy.special.ive(0, z) + np.sum(weights * np.cos(2 * np.pi * n * x), axis=0)
    slope = -np.sum(weights * 2 * np.pi * n * np.sin(2 * np.pi * n * x), axis=0)
    start = jnp.sin(2 * jnp.pi * jnp.asarray(x))[None]
    values, _ = evolve(
        Burgers(nu), Spectral(grid), start, jnp.array([0.0, t]), controller=tight(1e-10), max_steps=10_000
    )
    return relative(values[-1, 0], -2 * nu * slope / phi)


def navier_stokes_taylor_green() -> float:
    """The Taylor-Green vortex, whose nonlinear term vanishes and which decays exponentially."""
    nu, t, k = 1e-2, 0.5, 2 * np.pi
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (32, 32))
    x, y = grid.coordinates
    vorticity = (2 * k * jnp.cos(k * x) * jnp.cos(k * y))[None]
    values, _ = evolve(
        NavierStokes(nu),
        Spectral(grid),
        vorticity,
        jnp.array([0.0, t]),
        controller=tight(1e-11),
        max_steps=10_000,
    )
    return relative(values[-1], vorticity * np.exp(-2 * k**2 * nu * t))


def random_vorticity(grid: Grid, calculus: Spectral) -> jax.Array:
    """A random vorticity `(1, x, y)` with largest value 5, resolved by the calculus."""
    start = GaussianRandomField()(grid, key=jax.random.key(0))
    return calculus.project(5.0 * start / jnp.max(jnp.abs(start)))


def navier_stokes_exponax() -> float:
    """Random vorticity to t = 1 against exponax, whose velocity has the other sign: it is given and gives -w."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (64, 64))
    calculus = Spectral(grid)
    start = random_vorticity(grid, calculus)
    stepper = exponax.stepper.NavierStokesVorticity(2, 1.0, 64, 1 / 200, diffusivity=1e-3, order=4)
    truth = -exponax.repeat(stepper, 200)(-start)
    values, _ = evolve(
        NavierStokes(1e-3), calculus, start, jnp.array([0.0, 1.0]), controller=tight(1e-8), max_steps=10_000
    )
    return relative(values[-1], truth)


def kuramoto_sivashinsky_exponax() -> float:
    """Chaos over a short horizon against exponax."""
    length, n, t = 64.0, 192, 5.0
    grid = Grid(Box(0.0, length), n)
    calculus = Spectral(grid)
    start = calculus.project(FourierSeries()(grid, key=jax.random.key(3)))
    stepper = exponax.stepper.KuramotoSivashinskyConservative(1, length, n, 1 / 200, order=4)
    truth = exponax.repeat(stepper, int(200 * t))(start)
    values, _ = evolve(
        KuramotoSivashinsky(), calculus, start, jnp.array([0.0, t]), controller=tight(1e-8), max_steps=10_000
    )
    return relative(values[-1], truth)


def burgers2d_exponax() -> float:
    """The scalar equation in two dimensions against exponax."""
    nu, n, t = 0.02, 64, 0.25
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (n, n))
    calculus = Spectral(grid)
    start = calculus.project(FourierSeries(cutoff=2)(grid, key=jax.random.key(4)))
    stepper = exponax.stepper.Burgers(2, 1.0, n, t / 200, diffusivity=nu, single_channel=True, order=4)
    truth = exponax.repeat(stepper, 200)(start)
    values, _ = evolve(
        Burgers(nu), calculus, start, jnp.array([0.0, t]), controller=tight(1e-8), max_steps=10_000
    )
    return relative(values[-1], truth)


def diffusion_sorption_scipy(sizes: tuple[int, ...] = (64, 128, 256)) -> tuple[list[float], float]:
    """Errors on several grids against scipy's LSODA on a vertex-centered finite volume mesh, and their order."""
    law, start, times = DiffusionSorption(), 0.1, np.array([0.0, 100.0, 300.0, 500.0])
    cells = 2000
    h = 1 / cells
    d = float(law.diffusivity)

    def rate(t, inner):
        u = np.concatenate([[1.0], inner])
        solid = (1 - 0.29) / 0.29 * 2880.0 * 3.5e-4 * 0.874
        retardation = 1 + solid * (u**2 + 1e-12) ** ((0.874 - 1) / 2)
        change = np.empty_like(u)
        change[1:-1] = d * (u[2:] - 2 * u[1:-1] + u[:-2]) / h**2
        # Half a cell at the wall, through which D u_x = -u leaves.
        change[-1] = 2 / h * (-u[-1] - d * (u[-1] - u[-2]) / h)
        return (change / retardation)[1:]

    solved = scipy.integrate.solve_ivp(
        rate, (0, 500), np.full(cells, start), "LSODA", times[1:], rtol=1e-8, atol=1e-10, lband=1, uband=1
    )
    nodes = np.linspace(0, 1, cells + 1)
    truth = np.concatenate([np.ones((1, 3)), solved.y])
    spline = scipy.interpolate.CubicSpline(nodes, truth)
    errors = []
    for n in sizes:
        grid = Grid(law.domain(), n)
        values, _ = evolve(
            law,
            FiniteDifference(grid),
            jnp.full((1, n), start),
            jnp.asarray(times),
            solver=diffrax.Kvaerno5(),
            controller=tight(1e-8),
            max_steps=10_000,
        )
        errors.append(relative(values[1:, 0].T, spline(grid.axes[0])))
    slope = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    return errors, float(slope)


WALLS = {
    "periodic": None,
    "dirichlet": lambda value, slope: Dirichlet(value),
    "neumann": lambda value, slope: Neumann(slope),
    "robin": lambda value, slope: Robin(2.0, 0.5, 2.0 * value + 0.5 * slope),
    "outflow": lambda value, slope: Robin(1.0, 0.3, value + 0.3 * slope),
}


def finite_difference_order(order: int, derivative: int, wall: str) -> float:
    """The measured order of one derivative, largest error over all points, those at the walls included."""
    k = 2 * np.pi
    phase = 0.0 if wall == "periodic" else 0.7

    def exact(x, m):
        return k**m * np.sin(k * x + phase + m * np.pi / 2)

    errors, sizes = [], (24, 48, 96) if derivative < 4 else (16, 32, 64)
    for n in sizes:
        box = Box(0.0, 1.0)
        if WALLS[wall] is not None:
            make = WALLS[wall]
            box = Box(0.0, 1.0, [(make(exact(0.0, 0), -exact(0.0, 1)), make(exact(1.0, 0), exact(1.0, 1)))])
        grid = Grid(box, n)
        calculus = FiniteDifference(grid, order)
        values = calculus.partial(calculus.field(jnp.asarray(exact(grid.axes[0], 0))[None]), 0, derivative)
        errors.append(float(np.max(np.abs(values[0] - exact(grid.axes[0], derivative)))))
    return float(-np.polyfit(np.log(sizes), np.log(errors), 1)[0])
