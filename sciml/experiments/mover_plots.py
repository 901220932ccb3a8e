"""Pictures of moved meshes."""

from typing import TYPE_CHECKING

import numpy as np

from .._optional import require
from ..pdes import Box
from .mover_judgement import MeshJudgement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_meshes(
    judgement: MeshJudgement,
    part: dict[str, np.ndarray],
    box: Box,
    *,
    methods: tuple[str, ...],
    count: int = 3,
) -> "Figure":
    """The meshes of some methods over the solution, for a few solutions.

    **Arguments:**

    - `judgement`: what was found of them.
    - `part`: the solutions, `u` `(sample, channel, *space)`.
    - `box`: their domain.
    - `methods`: one row of pictures for each.
    - `count`: how many solutions, taken evenly.

    **Returns:** the figure.
    """
    pyplot = require("matplotlib.pyplot", extra="plots")
    chosen = np.linspace(0, len(part["u"]) - 1, min(count, len(part["u"]))).astype(int)
    size = (3.2 * len(chosen), 3.3 * len(methods))
    figure, axes = pyplot.subplots(
        len(methods), len(chosen), figsize=size, squeeze=False, layout="constrained"
    )
    extent = (box.lower[0], box.upper[0], box.lower[1], box.upper[1])
    found = {(row["method"], row["sample"]): row["variation"] for row in judgement.rows}
    for row, method in enumerate(methods):
        for ax, index in zip(axes[row], chosen, strict=True):
            u = part["u"][index, 0]
            limit = float(np.max(np.abs(u)))
            ax.imshow(u.T, origin="lower", extent=extent, cmap="RdBu_r", alpha=0.6, vmin=-limit, vmax=limit)
            x, y = judgement.corners[index][method]
            ax.plot(x, y, "k", linewidth=0.3)
            ax.plot(x.T, y.T, "k", linewidth=0.3)
            ax.set_title(f"{method}, variation {found[method, index]:.3f}", fontsize=9)
            ax.set_aspect("equal")
    return figure
