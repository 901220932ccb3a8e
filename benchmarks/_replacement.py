"""A plugin of pytest that puts `sciml.diffeqs.solve` in the place of `diffrax.diffeqsolve`, for diffrax's own tests.

Loaded by `pytest -p benchmarks._replacement`; the environment variable `SCIML_DIFFEQSOLVE` says what is put there.
"""

import functools
import importlib
import os
import types
from typing import Any

import pytest

VARIABLE = "SCIML_DIFFEQSOLVE"
# Without a regularizer `solve` hands over to diffrax; with an empty tuple its own loop runs, and counts.
KINDS = {"diffrax": None, "solve": {"regularizer": None}, "solve-counting": {"regularizer": ()}}

_calls = [0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Replace it before the tests are imported, and after the hook by which diffrax's types are checked."""
    given = KINDS[os.environ[VARIABLE]]
    if given is None:
        return
    import diffrax

    module: Any = importlib.import_module("sciml.diffeqs.solve")
    solve, original = module.solve, diffrax.diffeqsolve
    # Ours must go on calling the original.
    module.diffrax = types.SimpleNamespace(**vars(diffrax))

    @functools.wraps(original)
    def replacement(*args, **kwargs):
        _calls[0] += 1
        return solve(*args, **given, **kwargs)

    diffrax.diffeqsolve = replacement


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how often it was called, so that a replacement that is not in place is noticed.

    **Arguments:**

    - `terminalreporter`: of pytest.
    """
    terminalreporter.write_line(f"calls replaced: {_calls[0]}")
