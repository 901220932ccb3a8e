"""The number of parameters of a network, and the width that gives a wanted number."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ._checks import check_positive


def count_parameters(model: PyTree) -> int:
    """Count the numbers a training run may change: the entries of all floating-point arrays.

    A complex weight stored as a real pair counts as two.

    **Arguments:**

    - `model`: any pytree of arrays (or of their shapes, as `eqx.filter_eval_shape` returns).

    **Returns:** the count.
    """
    return sum(
        leaf.size
        for leaf in jax.tree.leaves(model)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)
    )


def match_width(build: Callable[[int], PyTree], target_parameters: int, *, maximum: int = 4096) -> int:
    """Find the width whose network has the number of parameters nearest to a wanted one.

    No network is built on the way: only shapes are evaluated.

        width = match_width(lambda width: UNet(2, 1, 1, width=width, key=key), count_parameters(fno))

    **Arguments:**

    - `build`: makes a network from its width; wider networks must have more parameters.
    - `target_parameters`: the wanted number.
    - `maximum`: the largest width to consider.

    **Returns:** the width, an integer from 1 to `maximum`.

    **Raises:** `ValueError` when the wanted number is smaller than that of width 1 or larger than that of `maximum`.
    """
    check_positive("match_width", target_parameters=target_parameters, maximum=maximum)

    def count(width: int) -> int:
        return count_parameters(eqx.filter_eval_shape(lambda: build(width)))

    if not count(1) <= target_parameters <= count(maximum):
        raise ValueError(
            f"match_width got target_parameters={target_parameters}; the networks have {count(1)} at width 1 and "
            f"{count(maximum)} at width {maximum}. Ask for a number between them, or change depth or maximum."
        )
    low, high = 1, maximum
    while high - low > 1:
        middle = (low + high) // 2
        if count(middle) <= target_parameters:
            low = middle
        else:
            high = middle
    return min((low, high), key=lambda width: abs(count(width) - target_parameters))
