"""Several runs beside each other: a table with the spread over seeds, and one plot."""

import pathlib

import numpy as np

from . import plots
from .report import make_table
from .runs import read_config, read_table, write_table, write_text


def compare(folders: list[pathlib.Path], out: pathlib.Path) -> str:
    """Compare evaluated runs of one experiment.

    Runs of the same method are seeds: their mean and standard deviation are shown.

    **Arguments:**

    - `folders`: the runs.
    - `out`: a folder for `comparison.md`, `comparison.csv` and a picture of the experiment's curve.

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
    table = make_table([{**row, "value": _spread(row)} for row in rows])
    listed = "\n".join(f"- `{folder}`" for folder in folders)
    title = f"# {experiments[0].name}: {len(folders)} runs"
    note = f"Measured on {experiments[0].measured_on}; then mean ± standard deviation over seeds."
    picture = f"![{curve.ylabel}]({curve.picture})"
    write_text(out / "comparison.md", f"{title}\n\n{note}\n\n{table}\n\n{picture}\n\n{listed}\n")
    return table


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
