"""One slow expert among four on four simulated devices: the others do not wait for it, as nothing is exchanged."""

import json
import os
import subprocess
import sys

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._session import ROOT

DEVICE = "cpu, 4 simulated devices"


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the slow expert takes fewer steps.
    """
    steps = 500 if quick else 5000
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "_slow_expert.py"), str(steps)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The four devices failed:\n{done.stderr[-3000:]}")
    rows = []
    for road, found in json.loads(done.stdout.splitlines()[-1]).items():
        *fast, slow = found["seconds"]
        for expert, (seconds, count) in enumerate(zip(found["seconds"], found["iterations"], strict=True)):
            row = {"seed": 0, "dtype": "float64", "compile_seconds": None, "run_seconds": seconds}
            place = {"road": road, "expert": expert, "exchanges_in_loop": found["exchanges"]}
            rows.append({**row, "evaluations": count, "error": None, **place, "device": DEVICE})
        print(road, found, flush=True)
        # By the compiler alone all wait for the slowest: it is there to show that the measures see that.
        ours = road != "compiler"
        record_claim(
            claim=f"constraints/slow-expert-seconds-of-the-others-over-its-own-{road}",
            value=max(fast) / slow,
            target="<= 0.1" if ours else "report",
            device=DEVICE,
        )
        record_claim(
            claim=f"constraints/slow-expert-exchanges-in-loop-{road}",
            value=found["exchanges"],
            target="== 0" if ours else "report",
            device=DEVICE,
        )
        if road == "shard-map":
            *few, many = found["iterations"]
            record_claim(
                claim="constraints/slow-expert-iterations-over-those-of-the-others",
                value=many / max(few),
                target="> 100",
                device=DEVICE,
            )
    write_results("slow-expert", rows)
