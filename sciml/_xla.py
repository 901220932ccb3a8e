"""What XLA has to be told before it computes anything.

The compiler of jaxlib 0.10.2 gets some sums of products of other sums wrong on CPUs, silently, from about 65 thousand
products on: `PlannedTriangles` on a mesh of 9000 nodes was off by more than the values themselves. Without the library
that it hands such sums to they are right. Earlier versions do not use it.

**Reference:** https://github.com/jax-ml/jax/issues/39103.
"""

import importlib.metadata
import os
import sys
import warnings

_WRONG = "0.10.2"
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def avoid_wrong_sums() -> None:
    """Set the flag that makes sums right, where the installed jaxlib needs it and the user has not set it.

    Where JAX has computed something already it is too late, and a `RuntimeWarning` says what to do.
    """
    try:
        version = importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return
    # A version that does not know the flag would end the process.
    if version != _WRONG or _FLAG in os.environ.get("XLA_FLAGS", ""):
        return
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=".strip()
    bridge = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and getattr(bridge, "backends_are_initialized", lambda: False)():
        warnings.warn(
            f"jaxlib {version} computes some sums wrongly on CPUs, and it was used before sciml was imported, so that "
            f"sciml could not set XLA_FLAGS={_FLAG}= in time. Import sciml first, or set that in the environment.",
            RuntimeWarning,
            stacklevel=3,
        )
