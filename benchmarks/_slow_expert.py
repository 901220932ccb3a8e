"""Four experts on four devices, one of which does not converge: `_slow_expert.py STEPS` prints measurements as JSON.

Each row of an expert is `s exp(-u) + (1 - s) (u - 1)`. With `s = 0` its minimum is a step away; with `s = 1` it is at
infinity, so that the solve takes all its steps. An array's shard on a device can be waited for on its own, which tells
when that device was done.
"""
# ruff: noqa: E402 -- jax is configured before the rest is imported

import json
import os
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sciml.constraints import LevenbergMarquardt, PointwiseResiduals, least_squares
from tests.constraints.devices import find_loop_collectives

POINTS, UNKNOWNS, SLOW = 2000, 16, 3


def law(terms):
    """One row, from `u` and `s`."""
    u, s = terms
    return s * jnp.exp(-u) + (1 - s) * (u - 1)


def main(steps: int) -> None:
    """Measure every road.

    **Arguments:**

    - `steps`: the most that a solve may take.
    """
    rng = np.random.default_rng(0)
    tables = np.zeros((4, POINTS, 2, UNKNOWNS))
    tables[:, :, 0] = rng.uniform(size=(4, POINTS, UNKNOWNS))
    offset = np.zeros((4, POINTS, 2))
    offset[SLOW, :, 1] = 1.0

    def one(tables, offset):
        start = jnp.zeros(UNKNOWNS)
        solver = LevenbergMarquardt(1e-300, steps)
        found = least_squares(PointwiseResiduals(law), start, (tables, offset), solver=solver, throw=False)
        return found.value, found.iterations

    mesh = jax.make_mesh((4,), ("expert",), axis_types=(AxisType.Auto,))
    many, cut = jax.vmap(one), PartitionSpec("expert")
    roads = {
        "shard-map": jax.jit(jax.shard_map(many, mesh=mesh, in_specs=cut, out_specs=cut)),
        "shard-map-unchecked": jax.jit(
            jax.shard_map(many, mesh=mesh, in_specs=cut, out_specs=cut, check_vma=False)
        ),
        "pmap": jax.pmap(one),
        "compiler": jax.jit(many),
    }
    given = jax.device_put((tables, offset), NamedSharding(mesh, cut))
    found = {}
    for name, road in roads.items():
        jax.block_until_ready(road(*given))
        begin = time.perf_counter()
        value, count = road(*given)
        waiting, ready = {shard.index[0].start or 0: shard.data for shard in value.addressable_shards}, {}
        while waiting:
            for expert in [expert for expert, data in waiting.items() if data.is_ready()]:
                ready[expert] = time.perf_counter() - begin
                del waiting[expert]
            time.sleep(1e-4)
        text = road.lower(*given).compile().as_text()
        found[name] = {
            "iterations": np.asarray(count).tolist(),
            "seconds": [ready[expert] for expert in range(4)],
            "exchanges": find_loop_collectives(text),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
