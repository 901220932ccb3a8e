"""A gate at inference: no answer leaves it that its certificate does not vouch for, unless it is marked."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .hard import ConstrainedField


class RejectedError(RuntimeError):
    """No attempt of a `Gate` gave an answer within its limit."""


class GatedField(NamedTuple):
    """An answer, whether it was accepted, and after how many attempts.

    **Arguments:**

    - `field`: the answer of the last attempt, or of the first that was accepted.
    - `accepted`: whether its certificate was.
    - `attempts`: how many layers were tried.
    """

    field: ConstrainedField
    accepted: bool
    attempts: int


class Gate:
    """Tries layers in turn, cheap ones first, until a certificate is good enough.

    For example the same constraint at 500 points and at all of them; each is compiled once. Called outside `jit`, as it
    looks at numbers.

    **Arguments:**

    - `layers`: constraints or experts.
    - `limit`: the largest residual accepted, root mean square and without units: at held-out points where there are
      any, else at all.

    **Raises:** `ValueError` for no layers, or a limit that is not positive.
    """

    def __init__(self, layers: Sequence[Callable], *, limit: float):
        if not layers or not limit > 0:
            raise ValueError(
                f"A Gate needs at least one layer and a positive limit; got {len(layers)} layers, limit={limit}."
            )
        self.layers = tuple(layers)
        self.limit = float(limit)

    def __call__(
        self,
        start: Float[Array, "channel *space"],
        *,
        key: PRNGKeyArray | None = None,
        throw: bool = True,
    ) -> GatedField:
        """Answer, or refuse.

        **Arguments:**

        - `start`: the initial values `(channel, *space)`.
        - `key`: a random key, for samplings that are random.
        - `throw`: whether to raise when no attempt is good enough; otherwise the last one is returned, and marked.

        **Returns:** the answer.

        **Raises:** `RejectedError` with the last certificate.
        """
        for attempts, layer in enumerate(self.layers, 1):
            field = _run(layer, start, key)
            certificate = field.certificate
            held_out = float(certificate.held_out_rms)
            residual = float(certificate.equation_rms) if np.isnan(held_out) else held_out
            # Written so that a residual that is not a number is not accepted.
            if bool(certificate.trusted) and residual <= self.limit:
                return GatedField(field, True, attempts)
        if throw:
            raise RejectedError(
                f"None of {len(self.layers)} attempts has a residual of at most {self.limit:g}. The last certificate:\n"
                f"{certificate}\nTrain the network further, add a layer with more points or basis functions, or raise "
                f"the limit."
            )
        return GatedField(field, False, attempts)


@eqx.filter_jit
def _run(layer, start, key):
    return layer(start, key=key, throw=False)
