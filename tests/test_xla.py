"""Sums of products of sums, which the compiler of jaxlib 0.10.2 gets wrong on CPUs unless it is told."""

import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml import _xla


def test_sums_of_products_of_sums_are_right():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 9000, (3, 9000))
    slopes, points, weights = (
        rng.normal(size=n).astype(np.float32) for n in ((4, 2, 9000), (2, 9000), (3, 9000))
    )

    def interpolate(xp, slopes, points, weights):
        corners = points[:, places]
        away = xp.sum(weights * corners, axis=1)[:, None] - corners
        return xp.sum(weights * xp.sum(slopes[:, :, places] * away, axis=1), axis=1)

    found = jax.jit(lambda *arrays: interpolate(jnp, *arrays))(slopes, points, weights)
    np.testing.assert_allclose(found, interpolate(np, slopes, points, weights), atol=1e-4)


@pytest.mark.parametrize("first", ["import sciml, jax", "import jax, sciml"])
def test_importing_sciml_is_enough(first):
    if _xla.importlib.metadata.version("jaxlib") != _xla._WRONG:
        pytest.skip("only one version needs the flag")
    program = f"""
{first}
import jax.numpy as jnp, numpy as np
i = np.arange(32_769, dtype=np.float32)
x = np.stack((i, 0 * i, 0 * i), axis=1)
f = lambda x: jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))(x)
assert float(jax.jit(f)(x)[-1]) == float(i[-1]) ** 2
"""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_it_says_so_where_it_comes_too_late(monkeypatch):
    jax.numpy.ones(1).block_until_ready()
    monkeypatch.setattr(_xla.importlib.metadata, "version", lambda name: _xla._WRONG)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    with pytest.warns(RuntimeWarning, match="Import sciml first"):
        _xla.avoid_wrong_sums()
    assert os.environ["XLA_FLAGS"].split() == ["--xla_cpu_multi_thread_eigen=false", f"{_xla._FLAG}="]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _xla.avoid_wrong_sums()  # it is set now


def test_other_versions_are_left_alone(monkeypatch):
    monkeypatch.setattr(_xla.importlib.metadata, "version", lambda name: "0.10.1")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    _xla.avoid_wrong_sums()
    assert "XLA_FLAGS" not in os.environ
    assert sciml.__version__
