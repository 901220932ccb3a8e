"""What every test runs under: float64, one compilation cache for all workers, repeatable random examples."""

import contextlib
import importlib.metadata
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Read when jax and matplotlib are imported, and inherited by the processes that tests start.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers already fill the cores: pools of threads inside each only make them wait for one another.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    flags = ["--xla_cpu_multi_thread_eigen=false"]
    # The tests spend their time compiling, and XLA's former emitters compile a solve in two thirds of it. A flag that a
    # later jaxlib does not know would end the process, so only the one that was tried is told.
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))

import hypothesis
import jax
import pytest

# By configuration, not by the environment: the command-line programs that tests start must run as a user's do.
jax.config.update("jax_enable_x64", True)

hypothesis.settings.register_profile(
    "sciml",
    derandomize=True,
    database=None,
    deadline=None,  # the first example compiles
    max_examples=20,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("sciml")


def pytest_collection_modifyitems(items):
    """Begin with what takes two minutes, the README's program, so that no worker waits for it at the end."""
    items.sort(key=lambda item: "test_readme.py::test_its_python_runs" not in item.nodeid)


# Every compiled function keeps memory mapped, and the kernel allows a process only so many maps (65530 by default): one
# that asks for more dies, as a worker did. The tests of one worker would come to hold about 90 000.
MAPS = Path("/proc/self/maps")
MOST_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def few_maps():
    """Let go of compiled functions after a module, where they have come to hold too many maps of memory."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(0)


@pytest.fixture
def float32():
    """Run one test in jax's default precision, as users who do not turn on float64 do."""
    with single_precision():
        yield


@contextlib.contextmanager
def single_precision():
    """Turn float64 off inside a `with` block and put it back, whatever happens."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
