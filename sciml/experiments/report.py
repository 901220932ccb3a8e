"""A run's report: what was measured, in words, tables and pictures."""

import dataclasses
import json
import pathlib

from .base import AbstractExperiment
from .runs import write_text

MEANINGS = {
    "one_step_nrmse": "nRMSE of one step",
    "rollout_nrmse": "nRMSE over the rollout, mean over times",
    "final_nrmse": "nRMSE at the last time",
    "correlation_time": "time until correlation < 0.8, at most the horizon",
    "spectral_error_low": "spectral error at half time, wavenumbers 0 to 4",
    "spectral_error_middle": "spectral error at half time, 5 to 12",
    "spectral_error_high": "spectral error at half time, 13 and up",
    "residual": "PDE residual over a frame, relative",
    "residual_of_truth": "the truth's own, from the distance of frames",
    "prediction_seconds": "seconds per prediction",
    "parameters": "parameters",
    "test_loss": "test loss",
    "validation_loss": "validation loss",
    "test_accuracy": "test accuracy",
    "validation_accuracy": "validation accuracy",
    "test_error": "test mean squared error",
    "validation_error": "validation mean squared error",
    "validation_rollout_error": "relative error, mean over a rollout, of the validation",
    "evaluations": "evaluations of the field, test set",
    "steps": "steps of the solver, test set",
    "rejected_steps": "of these rejected",
    "training_seconds": "seconds of training, compilation apart",
    "compile_seconds": "seconds of compilation",
    "unfinished": "training steps in which max_steps was reached",
    "error": "relative error, up to the training's horizon",
    "worst_error": "of the worst trajectory",
    "error_beyond": "relative error, beyond the training's horizon",
    "equation_rms": "residual of the law, rms, without units",
    "start_violation": "violation of the start, largest",
    "wall_violation": "violation of the walls, largest",
    "value_jump": "jump between experts, largest",
    "converged": "share of solves that converged",
    "iterations": "iterations of a solve",
    "skipped": "training steps skipped, as not finite",
    "one_step_error": "relative error of one step",
    "one_step_floor": "that of the truth reconstructed from the nodes",
    "one_step_node_mse": "mean square error of one step at the nodes",
    "rollout_error": "relative error, mean over a rollout",
    "last_error": "relative error after the rollout",
    "rollout_floor": "that of the truth reconstructed from the nodes, mean over a rollout",
    "rollout_node_mse": "mean square error at the nodes, mean over a rollout",
    "invalid_meshes": "meshes that were not valid, and replaced by the one before",
    "blown_up": "rollouts that blew up",
    "blown_up_at": "the first step at which one did, or 0",
    "nodes": "nodes per axis, or of triangles in all",
    "step_seconds": "seconds per step of prediction",
    "preparation_seconds": "seconds of making the samples",
    "update_seconds": "seconds per optimizer step",
}


def make_table(rows: list[dict], *, over: str = "method") -> str:
    """A markdown table of metrics, one column per method.

    **Arguments:**

    - `rows`: tidy rows with `method`, `metric`, `value` (a number or text).
    - `over`: the key whose values become columns.

    **Returns:** markdown.
    """
    columns = list(dict.fromkeys(row[over] for row in rows))
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    cells = {(row["metric"], row[over]): row["value"] for row in rows}
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for metric in metrics:
        shown = [_show(cells.get((metric, column), "")) for column in columns]
        lines.append(f"| {MEANINGS.get(metric, metric)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _show(value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def write_report(
    folder: pathlib.Path, experiment: AbstractExperiment, rows: list[dict], pictures: list[str]
) -> None:
    """Write `report.md` into a run.

    **Arguments:**

    - `folder`: the run.
    - `experiment`: what was run.
    - `rows`: tidy rows with `method`, `metric`, `value`.
    - `pictures`: names of PNG files in the folder.
    """
    settings = json.dumps(dataclasses.asdict(experiment), indent=2)
    images = "\n\n".join(f"![{picture}]({picture})" for picture in pictures)
    write_text(
        folder / "report.md",
        f"# {experiment.name}: {experiment.label}\n\n{experiment.summary}.\n\n"
        f"Measured on {experiment.measured_on}.\n\n"
        f"{make_table(rows)}\n\n{images}\n\n## Settings\n\n```json\n{settings}\n```\n",
    )
