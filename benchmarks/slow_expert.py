"""One slow expert among four on four simulated devices: the others do not wait for it, as nothing is exchanged."""

from benchmarks._claims import record_claim
from benchmarks._programs import run_program
from benchmarks._results import write_results

DEVICE = "cpu, 4 simulated devices"


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the slow expert takes fewer steps.
    """
    steps = 500 if quick else 5000
    measured = run_program("_slow_expert.py", str(steps))
    rows = []
    for road, found in measured.items():
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
