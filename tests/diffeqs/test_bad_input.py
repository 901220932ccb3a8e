"""What `solve` and its regularizers refuse (tables of bad input): the value, what was expected, and the cure."""

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import pytest

from sciml.diffeqs import (
    SOSRI,
    ErrorEstimate,
    FrozenSteps,
    HairerStep,
    JacobianNorm,
    KineticEnergy,
    LocalErrorEstimate,
    LocalStiffnessEstimate,
    SolverStep,
    SolverSteps,
    StiffnessEstimate,
    Sum,
    TaylorDerivative,
    UniformTime,
)

from .problems import ODE, PID, SmoothPath, additive, solve_here, stochastic

KEY = jax.random.key(0)
NOISY = stochastic()


class OneOfTheirs(diffrax.AbstractAdjoint):
    """An adjoint we know nothing of."""

    def loop(self, **kwargs):
        """Never called."""


def two_terms():
    """Two ordinary equations in one, for implicit-explicit solvers."""
    return diffrax.MultiTerm(ODE, ODE)


# What is wrong in the regularizer itself.


@pytest.mark.parametrize(
    "kind", [ErrorEstimate, StiffnessEstimate, LocalErrorEstimate, LocalStiffnessEstimate]
)
@pytest.mark.parametrize("power", [0, 3, -1, 1.5, "2", True, None])
def test_a_power_is_one_or_two(kind, power):
    with pytest.raises(ValueError, match=rf"{kind.__name__} got power={power!r}; expected 1 or 2"):
        kind(power=power)


@pytest.mark.parametrize("kind", [ErrorEstimate, StiffnessEstimate])
@pytest.mark.parametrize("reduction", ["mean", Sum, jnp.sum, None])
def test_a_reduction_is_an_object(kind, reduction):
    with pytest.raises(
        ValueError, match=rf"{kind.__name__} got reduction=.*expected Sum\(\), Mean\(\) or Max\(\)"
    ):
        kind(reduction=reduction)


@pytest.mark.parametrize("kind", [ErrorEstimate, LocalErrorEstimate])
@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", [-1e-3, float("nan"), float("inf"), -1, "1e-3"])
def test_a_tolerance_is_a_finite_number(kind, name, value):
    with pytest.raises(
        ValueError, match=rf"{kind.__name__} got {name}={value!r}; expected a finite number >= 0"
    ):
        kind(**{name: value})


@pytest.mark.parametrize("kind", [ErrorEstimate, LocalErrorEstimate])
def test_one_tolerance_is_positive(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__} got rtol=0 and atol=0.*give one of them > 0"):
        kind(rtol=0.0, atol=0)


@pytest.mark.parametrize("kind", [LocalErrorEstimate, LocalStiffnessEstimate])
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sampling", "uniform", r"UniformTime\(\) or SolverSteps\(\)"),
        ("sampling", UniformTime, "with the parentheses"),
        ("sampling", SolverStep(), r"UniformTime\(\) or SolverSteps\(\)"),
        ("step", HairerStep, "with the parentheses"),
        ("step", SolverSteps(), r"HairerStep\(\) or SolverStep\(\)"),
        ("step", 0.1, r"HairerStep\(\) or SolverStep\(\)"),
    ],
)
def test_samplings_and_steps_are_objects(kind, name, value, expected):
    with pytest.raises(ValueError, match=rf"(?s){kind.__name__} got {name}=.*expected.*{expected}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TaylorDerivative, "order"),
        (TaylorDerivative, "points"),
        (KineticEnergy, "points"),
        (JacobianNorm, "points"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_orders_and_points_are_positive_integers(kind, name, value):
    with pytest.raises(ValueError, match=rf"{kind.__name__} got {name}={value!r}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    "adjoint", [diffrax.BacksolveAdjoint(), diffrax.ImplicitAdjoint(), "recursive", None]
)
def test_frozen_steps_need_an_adjoint_that_differentiates_them(adjoint):
    with pytest.raises(
        ValueError, match=r"FrozenSteps got adjoint=.*expected diffrax.RecursiveCheckpointAdjoint\(\)"
    ):
        FrozenSteps(adjoint)


# What is wrong in a solve.

NO_TOLERANCE = {"stepsize_controller": diffrax.ConstantStepSize(), "dt0": 0.1}
REPLAY = {"stepsize_controller": diffrax.StepTo(ts=jnp.array([0.0, 0.5, 1.0])), "dt0": None}

REFUSED = {
    "no error estimate": (
        ErrorEstimate(rtol=1e-3, atol=1e-3),
        {"solver": diffrax.Euler(), **NO_TOLERANCE},
        r"ErrorEstimate penalizes the error that a solver estimates, and Euler estimates none.*Tsit5\(\).*"
        r"HalfSolver\(Euler\(\)\)",
    ),
    "no error estimate, stochastic": (
        ErrorEstimate(rtol=1e-3, atol=1e-3),
        {"solver": diffrax.EulerHeun(), "terms": NOISY, **NO_TOLERANCE},
        r"EulerHeun estimates none.*SOSRI\(\).*SPaRK\(\)",
    ),
    "no error estimate, and no HalfSolver": (
        ErrorEstimate(rtol=1e-3, atol=1e-3),
        {"solver": diffrax.Euler(), "terms": NOISY, **NO_TOLERANCE},
        r"Euler estimates none.*SPaRK\(\)\)\.\n",
    ),
    "no error estimate, local": (
        LocalErrorEstimate(step=SolverStep(), rtol=1e-3, atol=1e-3),
        {"solver": diffrax.Euler(), **NO_TOLERANCE},
        "LocalErrorEstimate penalizes the error that a solver estimates, and Euler estimates none",
    ),
    "no tolerance": (
        ErrorEstimate(),
        NO_TOLERANCE,
        r"the step size controller has no rtol and no atol.*ErrorEstimate\(rtol=1e-6, atol=1e-6\).*PIDController",
    ),
    "half a tolerance": (ErrorEstimate(rtol=1e-3), REPLAY, "the step size controller has no atol. Give"),
    "StepTo": (ErrorEstimate(), REPLAY, "the step size controller has no rtol and no atol"),
    "no tolerance, local": (LocalErrorEstimate(), REPLAY, r"LocalErrorEstimate\(rtol=1e-6, atol=1e-6\)"),
    "no tolerance to choose a step": (
        LocalStiffnessEstimate(),
        REPLAY,
        r"LocalStiffnessEstimate\(step=HairerStep\(\)\) .*Use step=SolverStep\(\), or diffrax.PIDController",
    ),
    "no two stages": (
        StiffnessEstimate(),
        {"solver": diffrax.Heun()},
        r"StiffnessEstimate compares two stages.*Heun has no two stages.*Tsit5\(\).*Kvaerno5\(\).*ErrorEstimate\(\)",
    ),
    "no two stages, Bosh3": (StiffnessEstimate(), {"solver": diffrax.Bosh3()}, "Bosh3 has no two stages"),
    "no two stages, local": (
        LocalStiffnessEstimate(),
        {"solver": diffrax.Heun()},
        "LocalStiffnessEstimate compares",
    ),
    "Heun on a stochastic equation": (
        StiffnessEstimate(),
        {"solver": diffrax.Heun(), "terms": additive()},
        r"Heun .*SOSRI2\(\) for a stochastic equation",
    ),
    "Tsit5 on a stochastic equation": (
        StiffnessEstimate(),
        {
            "solver": diffrax.Tsit5(),
            "terms": additive(),
            "stepsize_controller": diffrax.PIDController(rtol=0.1, atol=0.1, error_order=1.5),
        },
        r"Tsit5 is given more than one ordinary differential equation.*SOSRI2\(\) for a stochastic equation",
    ),
    "SOSRI": (
        StiffnessEstimate(),
        {"solver": SOSRI(), "terms": NOISY},
        r"SOSRI has no two stages.*SOSRI2\(\)",
    ),
    "HalfSolver": (
        StiffnessEstimate(),
        {"solver": diffrax.HalfSolver(diffrax.Tsit5())},
        "HalfSolver has no two stages",
    ),
    "region of stability": (
        StiffnessEstimate(relative=True),
        {"solver": diffrax.Dopri5()},
        r"StiffnessEstimate\(relative=True\) .*known for Tsit5 \(3.5068\), SOSRI2 \(10.6\) and not for Dopri5.*"
        "relative=False",
    ),
    "Hairer's step for noise": (
        LocalErrorEstimate(),
        {"solver": SOSRI(), "terms": NOISY},
        r"LocalErrorEstimate\(step=HairerStep\(\)\) .*Use step=SolverStep\(\)",
    ),
    "a path integral for noise": (
        KineticEnergy(),
        {"solver": SOSRI(), "terms": NOISY},
        r"KineticEnergy is an integral along the solution of one diffrax.ODETerm.*ErrorEstimate\(\)",
    ),
    "a path integral for two terms": (
        TaylorDerivative(),
        {"solver": diffrax.KenCarp3(), "terms": two_terms()},
        "TaylorDerivative is an integral along the solution of one diffrax.ODETerm",
    ),
    "BacksolveAdjoint": (
        ErrorEstimate(),
        {"adjoint": diffrax.BacksolveAdjoint()},
        r"ErrorEstimate is a function of the solver's own steps, and BacksolveAdjoint does not.*"
        r"RecursiveCheckpointAdjoint\(\).*FrozenSteps\(\).*LocalErrorEstimate\(\)",
    ),
    "ImplicitAdjoint": (
        StiffnessEstimate(),
        {"adjoint": diffrax.ImplicitAdjoint()},
        r"StiffnessEstimate is a function of the solver's own steps, and ImplicitAdjoint does not",
    ),
    "an adjoint of theirs": (
        ErrorEstimate(),
        {"adjoint": OneOfTheirs()},
        "OneOfTheirs does not differentiate those",
    ),
    "BacksolveAdjoint on a path": (
        KineticEnergy(),
        {"adjoint": diffrax.BacksolveAdjoint()},
        "KineticEnergy is a function of the solver's own steps, and BacksolveAdjoint",
    ),
    "BacksolveAdjoint, state not detached": (
        (LocalErrorEstimate(), LocalErrorEstimate(detach_state=False)),
        {"adjoint": diffrax.BacksolveAdjoint()},
        "LocalErrorEstimate.*BacksolveAdjoint does not differentiate those.*detach_state=True",
    ),
    "FrozenSteps without a bound": (
        ErrorEstimate(),
        {"adjoint": FrozenSteps(), "max_steps": None},
        "FrozenSteps keeps the times of all steps, and max_steps is None; expected a number",
    ),
    "a class": (
        ErrorEstimate,
        {},
        r"solve got regularizer=.*expected one such as sciml.diffeqs.ErrorEstimate\(\)",
    ),
    "a string": ("er", {}, "solve got regularizer='er'"),
    "a list": ([ErrorEstimate()], {}, "expected one such as .* or a tuple of them"),
    "None in a tuple": ((ErrorEstimate(), None), {}, "solve got regularizer=None"),
    "a method without Levy area": (
        ErrorEstimate(),
        {
            "solver": SOSRI(),
            "terms": diffrax.MultiTerm(
                ODE,
                diffrax.ControlTerm(
                    lambda t, y, args: lx.DiagonalLinearOperator(y),
                    diffrax.VirtualBrownianTree(0.0, 1.0, 0.1, (2,), KEY),
                ),
            ),
        },
        "SOSRI needs the integral of the Brownian motion over each step.*levy_area=diffrax.SpaceTimeLevyArea",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_solve_refuses(what):
    """Each is refused before anything is solved, by an error that names the value and the cure."""
    regularizer, kwargs, message = REFUSED[what]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        solve_here(regularizer, key=KEY, **{"stepsize_controller": PID, **kwargs})


@pytest.mark.parametrize(
    "regularizer", [LocalErrorEstimate(), LocalStiffnessEstimate(step=SolverStep()), JacobianNorm()]
)
def test_what_is_drawn_needs_a_key(regularizer):
    message = rf"{type(regularizer).__name__} draws at random, and key is None; .*Pass solve\(..., key=...\)"
    with pytest.raises(ValueError, match=f"(?s){message}"):
        solve_here((ErrorEstimate(), regularizer))


def test_what_diffrax_refuses_is_refused_in_its_words():
    """With a regularizer as without."""
    unsafe = additive(diffrax.UnsafeBrownianPath((2,), KEY))
    for regularizer in (None, ErrorEstimate()):
        with pytest.raises(ValueError, match="`UnsafeBrownianPath` cannot be used with adaptive step sizes"):
            solve_here(regularizer, solver=diffrax.Heun(), terms=unsafe)
        with pytest.raises(ValueError, match="Terms are not compatible with solver"):
            solve_here(regularizer, solver=diffrax.KenCarp3())
    for regularizer in (None, ()):
        with pytest.raises(RuntimeError, match="solver that does not provide error estimates"):
            solve_here(regularizer, solver=diffrax.Euler())


def test_noise_for_the_refusals_is_fine_otherwise():
    """The table above would prove nothing if its terms were refused anyway."""
    path = SmoothPath(KEY)
    solution = solve_here(
        ErrorEstimate(),
        solver=SOSRI(),
        terms=stochastic(path),
        stepsize_controller=diffrax.PIDController(0.5, 0.5),
    )
    assert jnp.isfinite(solution.penalty)
