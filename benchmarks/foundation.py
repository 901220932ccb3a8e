"""Foundation: simulations against independent references, and their throughput against exponax at equal accuracy."""

import diffrax
import exponax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _references as references
from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._timing import measure
from sciml.data import SemiImplicit, evolve
from sciml.pdes import Box, Burgers, FourierSeries, Grid, KuramotoSivashinsky, NavierStokes, Spectral

CLAIMS = (
    ("foundation/burgers-cole-hopf", references.burgers_cole_hopf, "<= 1e-6"),
    ("foundation/navier-stokes-taylor-green", references.navier_stokes_taylor_green, "<= 1e-8"),
    ("foundation/navier-stokes-exponax", references.navier_stokes_exponax, "<= 1e-5"),
    ("foundation/kuramoto-sivashinsky-exponax", references.kuramoto_sivashinsky_exponax, "<= 1e-5"),
    ("foundation/burgers2d-exponax", references.burgers2d_exponax, "<= 1e-5"),
)
SOLVERS = {"SemiImplicit": SemiImplicit(), "Tsit5": diffrax.Tsit5(), "Dopri8": diffrax.Dopri8()}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: two references and a short sweep.
    """
    jax.config.update("jax_enable_x64", True)
    for claim, solve, target in CLAIMS[:2] if quick else CLAIMS:
        record_claim(claim=claim, value=solve(), target=target)
    if not quick:
        errors, order = references.diffusion_sorption_scipy()
        record_claim(claim="foundation/diffusion-sorption-scipy", value=errors[-1], target="<= 1e-4")
        record_claim(claim="foundation/diffusion-sorption-order", value=order, target="within 0.25 of 2")
        # The worst of all operators: how far each measured order falls short of its nominal one.
        short = _worst(
            order - references.finite_difference_order(order, derivative, wall)
            for order in (2, 4)
            for derivative in (1, 2, 3, 4)
            for wall in references.WALLS
        )
        record_claim(claim="foundation/finite-difference-order-shortfall", value=short, target="<= 0.25")
    rows = []
    for case in _cases()[:1] if quick else _cases():
        rows += _sweep(*case, quick=quick)
    write_results("simulation", rows)
    ratio = _worst(
        _time_at(rows, "sciml", error) / _time_at(rows, "exponax", error) for error in (1e-4, 1e-6)
    )
    record_claim(claim="foundation/simulation-throughput", value=ratio, target="<= 1.5")


def _worst(values):
    """The largest; unlike Python's `max`, not a number if any of them is not, which no target counts as met."""
    return float(np.max(list(values)))


def _cases():
    """Name, law, calculus, start `(1, *space)`, horizon, and exponax's stepper of `(dt, order)`."""
    square = Grid(Box((0.0, 0.0), (1.0, 1.0)), (64, 64))
    spectral = Spectral(square)

    def flow(dt, order):
        return exponax.stepper.NavierStokesVorticity(2, 1.0, 64, dt, diffusivity=1e-3, order=order)

    line, long = Grid(Box(0.0, 1.0), 256), Grid(Box(0.0, 64.0), 128)
    shock, chaos = (
        Spectral(grid).project(FourierSeries()(grid, key=jax.random.key(0))) for grid in (line, long)
    )

    def burgers(dt, order):
        return exponax.stepper.Burgers(1, 1.0, 256, dt, diffusivity=1e-2, order=order)

    def sivashinsky(dt, order):
        return exponax.stepper.KuramotoSivashinskyConservative(1, 64.0, 128, dt, order=order)

    # exponax's vorticity has the other sign; only errors against its own reference are taken here.
    vorticity = references.random_vorticity(square, spectral)
    return [
        ("navier-stokes-non-stiff", NavierStokes(1e-3), spectral, vorticity, 1.0, flow),
        ("burgers-stiff", Burgers(1e-2), Spectral(line), shock, 0.5, burgers),
        ("kuramoto-sivashinsky-stiff", KuramotoSivashinsky(), Spectral(long), chaos, 5.0, sivashinsky),
    ]


def _sweep(case, law, calculus, start, horizon, make, *, quick):
    """Time and error of both libraries, each error against its own solution fine in time on the same grid."""
    rows = []

    def note(library, method, setting, solve, truth):
        timing = measure(lambda: solve(start), repeats=3 if quick else 9)
        rows.append(
            {
                "case": case,
                "library": library,
                "method": method,
                "setting": setting,
                "seed": 0,
                "dtype": "float64",
                "error": references.relative(timing.output, truth),
                "compile_seconds": timing.compile_seconds,
                "run_seconds": timing.run_seconds,
                "evaluations": "",
            }
        )

    def step(steps, order):
        return jax.jit(exponax.repeat(make(horizon / steps, order), steps))

    def ours(solver, tolerance):
        def solve(u):
            controller = references.tight(tolerance)
            return evolve(
                law,
                calculus,
                u,
                jnp.array([0.0, horizon]),
                solver=solver,
                controller=controller,
                max_steps=100_000,
            )[0][-1]

        return jax.jit(solve)

    truth = step(3200, 4)(start)
    for order in (2, 4):
        for steps in (50, 100) if quick else (16, 32, 64, 128, 256, 512):
            note("exponax", f"ETDRK{order}", steps, step(steps, order), truth)
    truth = ours(SemiImplicit(), 1e-12)(start) if case.endswith("-stiff") and "non" not in case else None
    truth = ours(diffrax.Dopri8(), 1e-13)(start) if truth is None else truth
    for name, solver in SOLVERS.items():
        for tolerance in (1e-5,) if quick else (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9):
            note("sciml", name, tolerance, ours(solver, tolerance), truth)
    return rows


def _time_at(rows, library, error):
    """The least run time of a library's measured points that reach an error, in the non-stiff case."""
    good = [
        row["run_seconds"]
        for row in rows
        if row["library"] == library and row["error"] <= error and row["case"] == "navier-stokes-non-stiff"
    ]
    return min(good) if good else float("nan")
