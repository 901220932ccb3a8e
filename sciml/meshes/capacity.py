"""Whether a mesh of some size can carry a density, estimated without solving anything.

Cells of the mesh that a density `m` asks for have sides of about `h (mean m / m)^(1/d)`, with `h` those of the regular
grid. How much the logarithm of the density changes along such a side, at the most,

    steepness = max |h grad log m| (mean m / m)^(1/d),

falls as one over the number of cells along an axis. What spoils meshes is most often the foot of a feature, where cells
are still large.

**What was measured.** 219 meshes in two dimensions with 16, 32 and 64 cells per axis, of monitors of a shock, a ring
and a bell from harmless to hopeless, and of five published test problems. Whatever had a steepness below 4.8 came out
untangled; half of what was above did not, 24 in all. The limit of 3 is chosen so that the size that is named does not
fail again: of the 11 densities among them with up to 95 % of their mass in features, none did. Of the 13 with 99 % at
least 4 did, which is why that is named, too.
"""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Grid
from .mesh import Density

STEEPEST = 3.0
LARGEST_SHARE = 0.9
FINER = 4  # points of the estimate along each side of a cell


class Demand(eqx.Module):
    """What a density asks of the mesh of a grid.

    **Arguments:**

    - `steepness`: the largest change of its logarithm along a side of a cell, a scalar.
    - `share`: of its mass above its least value, `1 - min / mean`, a scalar.
    """

    steepness: Float[Array, ""]
    share: Float[Array, ""]


@eqx.filter_jit
def estimate_demand(density: Density, grid: Grid) -> Demand:
    """Estimate what a density asks of a mesh, at four points along each side of a cell.

    **Arguments:**

    - `density`: positions `(dim, *points)` to positive numbers `(*points,)`.
    - `grid`: the grid whose vertices are to be moved.

    **Returns:** its steepness and share.
    """
    n, box = grid.dimensions, grid.box
    corners = [low + h * np.arange(k) for low, h, k in zip(box.lower, grid.spacing, grid.shape, strict=True)]
    corners = jnp.asarray(np.stack(np.meshgrid(*corners, indexing="ij")), dtype=float)
    inside = (np.arange(FINER) + 0.5) / FINER
    offsets = np.array([np.multiply(o, grid.spacing) for o in itertools.product(inside, repeat=n)])

    def look(offset):
        x = corners + offset.reshape((-1,) + (1,) * n)
        logarithm, pull = jax.vjp(lambda x: jnp.log(density(x)), x)
        (slopes,) = pull(jnp.ones_like(logarithm))
        squares = sum((h * slope) ** 2 for h, slope in zip(grid.spacing, slopes, strict=True))
        return logarithm, jnp.sqrt(squares)

    # One point of each cell at a time, to keep memory small.
    logarithm, slope = jax.lax.map(look, jnp.asarray(offsets, corners.dtype))
    mean = jax.scipy.special.logsumexp(logarithm) - math.log(logarithm.size)
    return Demand(
        steepness=jnp.max(slope * jnp.exp((mean - logarithm) / n)),
        share=1 - jnp.exp(jnp.min(logarithm) - mean),
    )


def describe_capacity(density: Density, grid: Grid) -> str:
    """Say whether a mesh of this size could carry a density, and which size could: for movers whose mesh came out bad.

    **Arguments:**

    - `density`: positions `(dim, *points)` to positive numbers `(*points,)`, of known values.
    - `grid`: the grid whose vertices were to be moved.

    **Returns:** a sentence or two.
    """
    demand = estimate_demand(density, grid)
    # Under `grad` a lambda may hold traced numbers.
    return "" if isinstance(demand.steepness, jax.core.Tracer) else _describe(demand, grid)


def check_capacity(density: Density, grid: Grid) -> Density:
    """Refuse a density that is likely too much for a mesh of this size, before any time is spent on it.

    Movers do not, as some of these meshes come out well. They say the same when one did not.

    **Arguments:**

    - `density`: positions `(dim, *points)` to positive numbers `(*points,)`, of known values.
    - `grid`: the grid whose vertices are to be moved.

    **Returns:** the density.

    **Raises:** `ValueError` that names the size that could carry it.
    """
    demand = estimate_demand(density, grid)
    # Written so that NaN is refused.
    if not (demand.steepness <= STEEPEST and demand.share <= LARGEST_SHARE):
        raise ValueError(f"{_describe(demand, grid)} Or smooth the density, or lower its weight.")
    return density


def _describe(demand: Demand, grid: Grid) -> str:
    steepness, share = float(demand.steepness), float(demand.share)
    cells = " x ".join(map(str, grid.shape))
    if not math.isfinite(steepness):
        return (
            f"The density cannot be differentiated everywhere: its steepness on {cells} cells is {steepness}."
        )
    said = []
    if steepness > STEEPEST:
        enough = " x ".join(str(math.ceil(n * steepness / STEEPEST)) for n in grid.shape)
        hope = "could carry it" if share <= LARGEST_SHARE else "are the least that might carry it"
        said.append(
            f"The density is too steep for {cells} cells: along a side of a cell of the mesh it asks for, its "
            f"logarithm changes by {steepness:.3g}, and should by no more than {STEEPEST:g}. {enough} cells {hope}."
        )
    if share > LARGEST_SHARE:
        said.append(
            f"{100 * share:.3g} % of the density's mass lies above its least value, which leaves few cells for the "
            f"rest; a monitor's cap=0.8 limits it."
        )
    return (
        " ".join(said) or f"The density is not too steep for {cells} cells: its steepness is {steepness:.3g}."
    )
