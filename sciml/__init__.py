"""Neural differential equations and neural PDE surrogates in JAX.

A PDE is a law, written once against the operators of a calculus; the calculus says how to differentiate. Around that
noun stand the rooms of the library:

- `sciml.pdes`: laws, domains, boundaries, initial conditions and calculi;
- `sciml.nn`: networks that know nothing of PDEs;
- `sciml.data`: simulation by the method of lines, stored trajectories, readers;
- `sciml.training`: one training loop for all, with exact resume, and metrics;
- `sciml.diffeqs`: neural differential equations that are cheap to solve;
- `sciml.meshes`: meshes whose nodes go where the solution needs them;
- `sciml.constraints`: fields that obey a law by a solve inside the network, with a certificate;
- `sciml.experiments`: named experiments, which the command `sciml` runs.

A room is imported when it is first used, so `import sciml` alone costs next to nothing.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from ._xla import avoid_wrong_sums

if TYPE_CHECKING:
    from sciml import constraints, data, diffeqs, experiments, meshes, nn, pdes, training

avoid_wrong_sums()

__version__ = "0.1.0"
__all__ = ["__version__", "constraints", "data", "diffeqs", "experiments", "meshes", "nn", "pdes", "training"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"sciml.{name}")
    raise AttributeError(f"module 'sciml' has no attribute {name!r}; its rooms are {', '.join(__all__[1:])}.")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
