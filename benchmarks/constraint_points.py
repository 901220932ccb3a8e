"""What a constraint costs against its points, 1e2 to 1e5: one expert and four, on one device and on four.

Seconds of eight iterations for 16 weights, without and with the exact gradient. The four devices are simulated and
share the cores of one machine, which the CSV names: they show what the devices' program costs, and not what four
machines gain.
"""

import numpy as np

from benchmarks._claims import record_claim
from benchmarks._programs import run_program
from benchmarks._results import write_results
from benchmarks._session import FOLDER, ROOT, current_session
from sciml._optional import require

SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
PICTURE = ROOT / "docs" / "pictures" / "constraint-points.png"


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: two sizes only.
    """
    sizes = (100, 400) if quick else SIZES
    found = [row for devices in (1, 4) for row in _measure(devices, sizes)]
    rows = [
        {
            "seed": 0,
            "dtype": "float64",
            "evaluations": 8,
            "error": None,
            **row,
            "device": f"{current_session().device}, {row['devices']} device(s)",
        }
        for row in found
    ]
    write_results("constraint-points", rows)
    curves = {}
    for row in found:
        curves.setdefault((row["experts"], row["devices"]), []).append(row)
    if current_session().folder == FOLDER:
        _draw(curves)
    last = {key: curve[-1]["run_seconds"] for key, curve in curves.items()}
    many = f"{sizes[-1]:.0e}".replace("+0", "")
    record_claim(
        claim=f"constraints/points-seconds-of-{many}-four-devices-over-one",
        value=last[4, 4] / last[4, 1],
        target="report",
        device=f"{current_session().device}, 4 simulated devices",
    )
    record_claim(
        claim=f"constraints/points-seconds-of-{many}-four-experts-over-one",
        value=last[4, 1] / last[1, 1],
        target="report",
    )
    ten = curves[1, 1][-3 if not quick else 0 :]
    growth = np.log(ten[-1]["run_seconds"] / ten[0]["run_seconds"]) / np.log(
        ten[-1]["points"] / ten[0]["points"]
    )
    record_claim(claim="constraints/points-exponent-of-seconds", value=float(growth), target="report")


def _measure(devices, sizes):
    found = run_program("_constraint_points.py", str(devices), ",".join(map(str, sizes)))
    for row in found:
        print(row, flush=True)
    return found


def _draw(curves) -> None:
    plt = require("matplotlib.pyplot", extra="plots")
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for number, ((experts, devices), curve) in enumerate(sorted(curves.items())):
        points = [row["points"] for row in curve]
        name = f"{experts} expert{'s' * (experts > 1)}, {devices} device{'s' * (devices > 1)}"
        for key, style, what in (("run_seconds", "o-", "with gradient"), ("solve_seconds", "o:", "solve")):
            seconds = [1e3 * row[key] for row in curve]
            axes.loglog(points, seconds, style, color=f"C{number}", markersize=4, label=f"{name}, {what}")
    axes.set(xlabel="points in all", ylabel="milliseconds of eight iterations")
    axes.legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)
