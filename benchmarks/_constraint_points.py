"""Seconds of a solve and of its gradient against points: `_constraint_points.py DEVICES POINTS,...` prints JSON.

The points are shared by one expert, or by four; on four devices each has one of them.
"""
# ruff: noqa: E402 -- jax is configured before the rest is imported

import json
import os
import sys

if int(sys.argv[1]) > 1:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[1]}"

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from benchmarks._least_squares import STEPS, make_batch, ours
from benchmarks._timing import measure
from sciml.constraints import ExactDerivative

UNKNOWNS = 16


def main(devices: int, sizes: list[int]) -> None:
    """Measure.

    **Arguments:**

    - `devices`: how many; with more than one, that many experts only.
    - `sizes`: how many points in all.
    """
    many = jax.vmap(lambda args, start: ours(args, start, STEPS, ExactDerivative())[0])
    mesh = jax.make_mesh((devices,), ("expert",), axis_types=(AxisType.Auto,))
    cut = PartitionSpec("expert")
    if devices > 1:
        many = jax.shard_map(many, mesh=mesh, in_specs=cut, out_specs=cut)
    solve = jax.jit(many)
    differentiate = jax.jit(jax.grad(lambda args, start: jnp.sum(jnp.sin(many(args, start)))))
    found = []
    for points in sizes:
        for experts in (1, 4) if devices == 1 else (devices,):
            given = jax.device_put(make_batch(points, UNKNOWNS, experts), NamedSharding(mesh, cut))
            repeats = 5 if points > 10_000 else 15
            times = [
                measure(lambda f=f, given=given: f(*given), repeats=repeats) for f in (solve, differentiate)
            ]
            names = ("solve_seconds", "run_seconds")
            seconds = {name: timing.run_seconds for name, timing in zip(names, times, strict=True)}
            place = {"points": points, "experts": experts, "devices": devices}
            found.append({**seconds, "compile_seconds": times[1].compile_seconds, **place})
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(points) for points in sys.argv[2].split(",")])
