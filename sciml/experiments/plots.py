"""Pictures of predictions and of their errors."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._optional import require
from ..data import Trajectories
from .base import Curve, Scatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_prediction(
    truth: Trajectories, prediction: Float[np.ndarray, "trajectory time channel *space"], *, which: int = 0
) -> "Figure":
    """Truth, prediction and error of one trajectory: over space and time in 1-D, at four times in 2-D.

    **Arguments:**

    - `truth`: the test set, values `(trajectory, time, channel, *space)`.
    - `prediction`: the same shape.
    - `which`: the trajectory to draw.

    **Returns:** a figure with one column per channel in 1-D, one per time in 2-D.
    """
    pyplot = require("matplotlib.pyplot", extra="plots")
    space = truth.values.ndim - 3
    frames = np.linspace(0, len(truth.times) - 1, min(4, len(truth.times))).astype(int)
    columns = truth.values.shape[2] if space == 1 else len(frames)
    figure, grid = pyplot.subplots(
        3, columns, figsize=(2.2 + 2.6 * columns, 7.0), squeeze=False, layout="constrained"
    )
    for column in range(columns):
        if space == 1:
            pair = [x[which, :, column] for x in (truth.values, prediction)]
            title = truth.channels[column]
        else:
            pair = [x[which, frames[column], 0] for x in (truth.values, prediction)]
            title = f"{truth.channels[0]}, t = {truth.times[frames[column]]:.3g}"
        draw_comparison(grid[:, column], *pair, truth, title=title)
    return figure


def draw_comparison(
    axes: Sequence["Axes"],
    truth: Float[np.ndarray, "rows columns"],
    prediction: Float[np.ndarray, "rows columns"],
    data: Trajectories,
    *,
    title: str,
) -> Sequence["Axes"]:
    """Three images of one thing: truth and prediction on one color scale, and their difference on its own.

    **Arguments:**

    - `axes`: three matplotlib axes.
    - `truth`, `prediction`: `(rows, columns)`; `(time, space)` in 1-D, a field `(x, y)` in 2-D.
    - `data`: for the coordinates.
    - `title`: over the first image.

    **Returns:** the axes.
    """
    flat = len(data.coordinates) == 1
    first, second = (data.times, data.coordinates[0]) if flat else data.coordinates
    names = ("t", "x") if flat else ("x", "y")
    limit = float(np.max(np.abs(truth)))
    error = prediction - truth
    error_limit = max(float(np.max(np.abs(error))), 1e-12)
    rows = [
        (truth, limit, "truth"),
        (prediction, limit, "prediction"),
        (error, error_limit, "prediction - truth"),
    ]
    for ax, (image, bound, label) in zip(axes, rows, strict=True):
        drawn = ax.imshow(
            image.T,
            origin="lower",
            aspect="auto" if flat else "equal",
            extent=(first[0], first[-1], second[0], second[-1]),
            cmap="RdBu_r",
            vmin=-bound,
            vmax=bound,
        )
        ax.set_ylabel(f"{label}\n{names[1]}")
        ax.figure.colorbar(drawn, ax=ax)
    axes[0].set_title(title)
    axes[-1].set_xlabel(names[0])
    return axes


def draw_curves(
    curves: dict[str, Sequence[tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]]], curve: Curve
) -> "Figure":
    """Curves, one color per method, one line per run.

    **Arguments:**

    - `curves`: by method, `x` and `y` of each run, `(point,)` each.
    - `curve`: what they are.

    **Returns:** the figure.
    """
    pyplot = require("matplotlib.pyplot", extra="plots")
    figure, ax = pyplot.subplots(figsize=(6.0, 4.0), layout="constrained")
    draw_curves_into(ax, curves, curve)
    return figure


def draw_curves_into(
    ax: "Axes",
    curves: dict[str, Sequence[tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]]],
    curve: Curve,
) -> "Axes":
    """Draw curves into given axes.

    **Arguments:**

    - `ax`: matplotlib axes.
    - `curves`, `curve`: as for `draw_curves`, `(point,)` each.

    **Returns:** the axes.
    """
    # matplotlib's ten colors come back after ten methods.
    styles = ("-", "--", ":")
    for place, (method, runs) in enumerate(curves.items()):
        look = {"color": f"C{place % 10}", "linestyle": styles[place // 10 % len(styles)], "alpha": 0.8}
        for number, (x, y) in enumerate(runs):
            ax.plot(x[curve.start :], y[curve.start :], label=None if number else method, **look)
    if curve.logarithmic:
        ax.set_yscale("log")
    ax.set_xlabel(curve.xlabel)
    ax.set_ylabel(curve.ylabel)
    ax.grid(alpha=0.3)
    if len(curves) > 4:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        ax.legend()
    return ax


def draw_scatter(points: dict[str, Sequence[tuple[float, float]]], scatter: Scatter) -> "Figure":
    """One metric against another: a marker for each run, a color for each method, both axes logarithmic.

    **Arguments:**

    - `points`: by method, `(x, y)` of each run.
    - `scatter`: what they are.

    **Returns:** the figure.
    """
    pyplot = require("matplotlib.pyplot", extra="plots")
    figure, ax = pyplot.subplots(figsize=(6.0, 4.0), layout="constrained")
    for place, (method, pairs) in enumerate(points.items()):
        x, y = zip(*sorted(pairs), strict=True)
        marker = "osD^v"[place // 10 % 5]
        ax.plot(x, y, marker=marker, linestyle="none", color=f"C{place % 10}", label=method, alpha=0.8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(scatter.xlabel)
    ax.set_ylabel(scatter.ylabel)
    ax.grid(alpha=0.3, which="both")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_film(
    film: dict[str, Float[np.ndarray, "..."]], label: str, *, times: Float[np.ndarray, " time"]
) -> "Figure":
    """Truth, prediction with its nodes, and error at four times.

    **Arguments:**

    - `film`: `truth` and `found` `(time, rows, columns)`, NaN where nothing is, and `nodes` `(time, 2, *space)`, in
        the unit square; or in the `extent` `(4,)`, from left to right and from bottom to top, and with `triangles`
        `(triangle, 3)`. With the `periods` of the box, `(2,)`, 0 between walls, nodes are drawn all around it.
    - `label`: the method's name.
    - `times`: of the frames, `(time,)`.

    **Returns:** the figure.
    """
    pyplot = require("matplotlib.pyplot", extra="plots")
    frames = np.linspace(0, len(film["truth"]) - 1, 4).astype(int)
    figure, axes = pyplot.subplots(3, 4, figsize=(12.0, _height(film, 12.0, 4)), layout="constrained")
    for column, frame in zip(axes.T, frames, strict=True):
        draw_frame(column, film, label, frame)
        column[0].set_title(f"t = {times[frame]:.3g}")
    return figure


def draw_frame(
    axes: Sequence["Axes"],
    film: dict[str, Float[np.ndarray, "time ..."]],
    label: str,
    frame: int,
    *,
    bound: float | None = None,
    bars: bool = True,
) -> Sequence["Axes"]:
    """Truth, prediction with its nodes, and error at one time, one below the other.

    **Arguments:**

    - `axes`: three matplotlib axes.
    - `film`: as for `draw_film`, arrays `(time, ...)`.
    - `label`: the method's name.
    - `frame`: which.
    - `bound`: the end of the error's colors; by default nearly the largest error of the film.
    - `bars`: whether to draw color bars.

    **Returns:** the axes.
    """
    truth, found, (x, y) = (film[name][frame] for name in ("truth", "found", "nodes"))
    low, high = float(np.nanmin(film["truth"])), float(np.nanmax(film["truth"]))
    error, extent = found - truth, film.get("extent", (0, 1, 0, 1))
    if bound is None:
        bound = _bound_error(film)
    looks = (
        (truth, {"vmin": low, "vmax": high, "cmap": "viridis"}, "truth"),
        (found, {"vmin": low, "vmax": high, "cmap": "viridis"}, label),
        (error, {"vmin": -bound, "vmax": bound, "cmap": "RdBu_r"}, "error"),
    )
    for ax, (image, look, name) in zip(axes, looks, strict=True):
        drawn = ax.imshow(image.T, origin="lower", extent=extent, **look)
        ax.set_ylabel(name)
        ax.set_xticks([])
        ax.set_yticks([])
        if bars:
            ax.figure.colorbar(drawn, ax=ax)
    lines = {"color": "black", "linewidth": 0.3, "alpha": 0.6}
    if "triangles" in film:
        axes[1].triplot(x, y, film["triangles"], **lines)
    else:
        for one, other in _copy_nodes(x, y, film.get("periods", (0, 0))):
            axes[1].plot(one, other, **lines)
            axes[1].plot(one.T, other.T, **lines)
    axes[1].set_xlim(*extent[:2])
    axes[1].set_ylim(*extent[2:])
    return axes


def _copy_nodes(x: np.ndarray, y: np.ndarray, periods) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A mesh closed across the seams of its box, and its copies beside this."""
    both = np.stack([x, y])
    for axis, period in enumerate(periods):
        if period:
            first = np.take(both, [0], axis=axis + 1)
            first[axis] += period
            both = np.concatenate([both, first], axis=axis + 1)
    for along in (-1, 0, 1) if periods[0] else (0,):
        for across in (-1, 0, 1) if periods[1] else (0,):
            yield both[0] + along * periods[0], both[1] + across * periods[1]


def write_film(films: dict[str, dict[str, Float[np.ndarray, "time ..."]]], file: pathlib.Path) -> None:
    """Truth, predictions, nodes and errors as a GIF: a column for each method.

    **Arguments:**

    - `films`: by method, as for `draw_film`, arrays `(time, ...)`.
    - `file`: where to.
    """
    pyplot = require("matplotlib.pyplot", extra="plots")
    animation = require("matplotlib.animation", extra="plots")
    width = 3.4 * len(films)
    height = max(_height(film, width, len(films)) for film in films.values())
    figure, axes = pyplot.subplots(3, len(films), figsize=(width, height), squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.97, bottom=0.02, hspace=0.05)
    bound = max(map(_bound_error, films.values()))

    def draw(frame):
        for column, (label, film) in zip(axes.T, films.items(), strict=True):
            for ax in column:
                ax.clear()
            draw_frame(column, film, label, frame, bound=bound, bars=False)

    count = min(len(film["truth"]) for film in films.values())
    played = animation.FuncAnimation(figure, draw, frames=count)
    played.save(file, writer=animation.PillowWriter(fps=6), dpi=70)
    pyplot.close(figure)


def _bound_error(film) -> float:
    """The end of the colors of an error: all but the largest of a few points, beside which no other would be seen."""
    return max(float(np.nanquantile(np.abs(film["found"] - film["truth"]), 0.999)), 1e-12)


def _height(film, width: float, columns: int) -> float:
    """Of three rows of pictures."""
    left, right, bottom, top = film.get("extent", (0, 1, 0, 1))
    return 3 * width / columns * float(top - bottom) / float(right - left) + 0.6


def save(figure: "Figure", file: pathlib.Path) -> None:
    """Write a figure as PNG and close it.

    **Arguments:**

    - `figure`: the figure.
    - `file`: where to.
    """
    pyplot = require("matplotlib.pyplot", extra="plots")
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
