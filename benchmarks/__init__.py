"""What sciml claims, measured: one file per benchmark, run with `python -m benchmarks NAME`.

A benchmark is a module of this folder whose name does not start with an underscore, with a docstring whose first line
says what it measures and a function `run(quick: bool)`. In it:

- `record_claim` sets a measured value against a target and keeps it as a row of `claims.csv`;
- `write_results` keeps the measurements behind it as a tidy table in `results/`;
- `measure` and `compare` take times, compilation apart from the run.

`python -m benchmarks` lists the benchmarks, `python -m benchmarks NAME --quick` runs one small and keeps nothing, and
`python -m benchmarks table` puts the claims into README.md.
"""

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._timing import Comparison, Timing, compare, measure

__all__ = ["Comparison", "Timing", "compare", "measure", "record_claim", "write_results"]
