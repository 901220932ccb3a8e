"""Several runs beside each other: a table with the spread over seeds, and one plot."""

import pathlib

import numpy as np

from . import plots
from .base import AbstractExperiment, Scatter
from .report import make_table
from .runs import read_config, read_table, write_table, write_text


def compare(folders: list[pathlib.Path], out: pathlib.Path) -> str:
    """Compare evaluated runs of one experiment.

    Runs of the same method are seeds: their mean and standard deviation are shown.

    **Arguments:**

    - `folders`: the runs.
    - `out`: a folder for `comparison.md`, `comparison.csv`, a picture of the experiment's curve and of each of its
        `scatters`, and for runs that hold one, a film of truth, predictions and meshes.

    **Returns:** the table, in markdown.

    **Raises:** `ValueError` for runs of different experiments, settings of data that differ, or runs that are not
    evaluated.
    """
    experiments = [read_config(folder)[0] for folder in folders]
    _check_alike(folders, experiments)
    curve = experiments[0].curve
    values: dict[tuple[str, str], dict[int, float]] = {}
    curves: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    for folder, experiment in zip(folders, experiments, strict=True):
        for row in read_table(folder / "metrics.csv"):
            # Persistence is the same in every run; it is one row, not one seed per run.
            seed = experiment.seed if row["method"] == experiment.label else 0
            values.setdefault((row["method"], row["metric"]), {})[seed] = float(row["value"])
        own = {}
        for row in read_table(folder / curve.file):
            own.setdefault(row["method"], []).append((float(row[curve.x]), float(row[curve.y])))
        for method, points in own.items():
            seed = experiment.seed if method == experiment.label else 0
            curves.setdefault(method, {})[seed] = tuple(np.array(points).T)
    rows = [_summarize(method, metric, list(seeds.values())) for (method, metric), seeds in values.items()]
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "comparison.csv", rows)
    drawn = {method: list(runs.values()) for method, runs in curves.items()}
    plots.save(plots.draw_curves(drawn, curve), out / curve.picture)
    pictures = [(curve.ylabel, curve.picture)]
    for scatter in experiments[0].scatters:
        points = _pair(values, scatter)
        if points:
            plots.save(plots.draw_scatter(points, scatter), out / scatter.picture)
            pictures.append((f"{scatter.ylabel} against {scatter.xlabel}", scatter.picture))
    if _film(folders, experiments, out / "film.gif"):
        pictures.append(("truth, predictions and meshes", "film.gif"))
    table = make_table([{**row, "value": _spread(row)} for row in rows])
    listed = "\n".join(f"- `{folder}`" for folder in folders)
    title = f"# {experiments[0].name}: {len(folders)} runs"
    note = f"Measured on {experiments[0].measured_on}; then mean ± standard deviation over seeds."
    picture = "\n\n".join(f"![{text}]({file})" for text, file in pictures)
    write_text(out / "comparison.md", f"{title}\n\n{note}\n\n{table}\n\n{picture}\n\n{listed}\n")
    return table


def _pair(values: dict, scatter: Scatter) -> dict[str, list[tuple[float, float]]]:
    """The points of a scatter by method: those of runs that have both numbers, above 0."""
    points = {}
    for (method, metric), seeds in values.items():
        if metric == scatter.y:
            across = values.get((method, scatter.x), {})
            pairs = [(across[seed], y) for seed, y in seeds.items() if across.get(seed, 0) > 0 and y > 0]
            if pairs:
                points[method] = pairs
    return points


def _film(folders: list[pathlib.Path], experiments: list[AbstractExperiment], file: pathlib.Path) -> bool:
    """Write the film of the first run of each method, at most four; whether there was any."""
    films = {}
    for folder, experiment in zip(folders, experiments, strict=True):
        if (folder / "film.npz").is_file() and len(films) < 4:
            with np.load(folder / "film.npz") as stored:
                films.setdefault(experiment.label, dict(stored))
    if films:
        plots.write_film(films, file)
    return bool(films)


def _check_alike(folders, experiments) -> None:
    names = {experiment.name for experiment in experiments}
    if len(names) > 1:
        raise ValueError(f"Runs of different experiments cannot be compared: {', '.join(sorted(names))}.")
    for field in experiments[0].data_fields():
        kinds = {
            repr(getattr(experiment, field)): folder
            for folder, experiment in zip(folders, experiments, strict=True)
        }
        if len(kinds) > 1:
            (one, here), (other, there) = list(kinds.items())[:2]
            raise ValueError(
                f"These runs were measured on different data: {field} is {one} in {here} and {other} in {there}."
            )
    seen = {}
    for folder, experiment in zip(folders, experiments, strict=True):
        twin = seen.setdefault((experiment.label, experiment.seed), folder)
        if twin != folder:
            raise ValueError(
                f"{twin} and {folder} are both {experiment.label} with seed {experiment.seed}; "
                f"give each method and seed once."
            )


def _summarize(method: str, metric: str, values: list[float]) -> dict:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return {
        "method": method,
        "metric": metric,
        "value": float(np.mean(values)),
        "standard_deviation": spread,
        "seeds": len(values),
    }


def _spread(row: dict) -> str:
    if row["metric"] == "parameters":
        return f"{int(row['value']):,}"
    return f"{row['value']:.4g}" + (f" ± {row['standard_deviation']:.1g}" if row["seeds"] > 1 else "")
