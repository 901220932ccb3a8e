"""Checks of what models are built from and given."""

import math
from collections.abc import Callable

import diffrax
from jaxtyping import Array


def check_sizes(owner: str, **sizes: int) -> None:
    """Refuse a size that is not a positive integer.

    **Arguments:**

    - `owner`: the class that was built.
    - `sizes`: the sizes by name.

    **Raises:** `ValueError` that names the first bad one.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{owner} got {name}={size!r}; expected a positive integer (a Python int).")


def check_vector(owner: str, name: str, x: Array, size: int) -> None:
    """Refuse an array that is not `(size,)`.

    **Arguments:**

    - `owner`: the class that was called.
    - `name`: the argument.
    - `x`: the array, of any shape `(...)`.
    - `size`: the number of components expected.

    **Raises:** `ValueError` that names the shape, what was expected and the cure.
    """
    if x.shape == (size,):
        return
    cure = f"Build it for as many components, or pass {size}."
    if x.ndim == 2 and x.shape[1] == size:
        cure = "If the first axis is a batch, write jax.vmap(model)(batch)."
    raise ValueError(f"{owner} got {name} of shape {x.shape}; expected {(size,)}. {cure}")


def check_solving(
    owner: str,
    solver: diffrax.AbstractSolver,
    controller: diffrax.AbstractStepSizeController,
    adjoint: diffrax.AbstractAdjoint,
    max_steps: int | None,
) -> None:
    """Refuse what is not a solver, a controller, an adjoint or a number of steps.

    **Arguments:**

    - `owner`: the class that was built.
    - `solver`, `controller`, `adjoint`: of diffrax.
    - `max_steps`: a positive integer, or `None` for no limit.

    **Raises:** `ValueError` that names the value, what was expected and the cure.
    """
    kinds = {
        "solver": (solver, diffrax.AbstractSolver, "diffrax.Tsit5()"),
        "controller": (
            controller,
            diffrax.AbstractStepSizeController,
            "diffrax.PIDController(rtol=1e-3, atol=1e-6)",
        ),
        "adjoint": (adjoint, diffrax.AbstractAdjoint, "diffrax.RecursiveCheckpointAdjoint()"),
    }
    for name, (value, kind, example) in kinds.items():
        if not isinstance(value, kind):
            raise ValueError(
                f"{owner} got {name}={value!r}; expected a {kind.__name__} such as {example}. Give an instance, with "
                "its parentheses."
            )
    if max_steps is not None:
        check_sizes(owner, max_steps=max_steps)


def check_interval(owner: str, t0: float, t1: float) -> None:
    """Refuse an interval of time that is empty, runs backwards or is not finite.

    **Arguments:**

    - `owner`: the class that was built.
    - `t0`, `t1`: its ends.

    **Raises:** `ValueError` that names them.
    """
    if not (math.isfinite(t0) and math.isfinite(t1) and t0 < t1):
        raise ValueError(f"{owner} got t0={t0!r} and t1={t1!r}; expected finite times with t0 < t1.")


def check_callable(owner: str, **values: Callable) -> None:
    """Refuse what cannot be called.

    **Arguments:**

    - `owner`: the class that was built.
    - `values`: the arguments by name.

    **Raises:** `ValueError` that names the first that cannot.
    """
    for name, value in values.items():
        if not callable(value):
            raise ValueError(
                f"{owner} got {name}={value!r}; expected a module or a function, such as those in "
                "sciml.diffeqs.models."
            )
