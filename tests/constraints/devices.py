"""A program that tests start with several simulated devices: numbers of a constraint on every road, as JSON.

python devices.py ROADS [COORDINATOR PROCESS PROCESSES]

A road is `single`, or a road and a mesh such as `shard_map-batch`, for separate experts; for another layer it begins
with its name, as in `coupled:single`.
"""
# ruff: noqa: E402 -- jax is configured before the rest is imported

import json
import re
import sys

import jax

jax.config.update("jax_enable_x64", True)
if len(sys.argv) > 2:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[2], int(sys.argv[4]), int(sys.argv[3]))

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from sciml.constraints import (
    Compiler,
    Coupled,
    Experts,
    HardConstraint,
    OnDevices,
    Overlapping,
    OwnRows,
    Pmap,
    ShardMap,
    SpaceTimeGrid,
    make_device_mesh,
)
from sciml.nn import FNO
from sciml.pdes import Box, Burgers, FourierSeries, Grid, Spectral

DOMAIN = SpaceTimeGrid(Spectral(Grid(Box(0.0, 1.0), 16)), np.linspace(0.0, 0.3, 8))
STARTS = jax.vmap(lambda key: FourierSeries(cutoff=2)(DOMAIN.calculus.grid, key=key))(
    jax.random.split(jax.random.key(1), 4)
)


def make_layer(network, kind):
    constraint = HardConstraint(network, Burgers(0.05), DOMAIN)
    if kind == "hard":
        return constraint
    coupling = {"own": OwnRows(), "coupled": Coupled(), "overlapping": Overlapping()}[kind]
    return Experts(constraint, (1, 4), coupling)


def make_network():
    return FNO(
        2, DOMAIN.count_inputs(1), 3, width=4, modes=3, depth=1, periodic=(False, True), key=jax.random.key(0)
    )


def score(fields):
    return jnp.mean(jnp.sqrt(fields.loss)) + jnp.mean(fields.value**3)


def find_loop_collectives(text: str) -> int:
    """How many exchanges the compiled program has inside its loops, those of functions called there included."""
    bodies = dict(re.findall(r"^%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}", text.replace("ENTRY ", ""), re.M | re.S))
    inside, waiting = set(), re.findall(r"(?:body|condition)=%?([\w.\-]+)", text)
    while waiting:
        name = waiting.pop()
        if name in inside or name not in bodies:
            continue
        inside.add(name)
        waiting += re.findall(r"(?:body|condition|calls|to_apply)=%?([\w.\-]+)", bodies[name])
    pattern = r"= (?:\([^)]*\)|\S+) (?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)"
    return sum(len(re.findall(pattern, bodies[name])) for name in inside)


def measure(make, kind, compiled=False):
    """The score, its gradient's first numbers, and the iterations, of whatever runs the layer on the starts."""
    parameters, rest = eqx.partition(make_network(), eqx.is_array)

    def loss(parameters, starts):
        fields = make(make_layer(eqx.combine(parameters, rest), kind))(starts)
        return score(fields), fields.certificate.iterations

    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    program = both.lower(parameters, STARTS).compile()
    (value, iterations), gradient = program(parameters, STARTS)
    flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])
    found = {
        "score": float(value),
        "gradient": [float(jnp.linalg.norm(flat)), float(jnp.sum(flat * jnp.cos(jnp.arange(flat.size))))],
    }
    if iterations.is_fully_addressable:
        found["iterations"] = np.asarray(iterations).tolist()
    if compiled:
        found["in_loops"] = find_loop_collectives(program.as_text())
    return found


def main(wanted):
    count = len(jax.devices())
    roads = {"shard_map": ShardMap(), "pmap": Pmap(), "compiler": Compiler()}
    meshes = {"experts": (count, 1), "batch": (1, count), "both": (2, count // 2)}
    found = {}
    for name in wanted:
        kind, road = name.split(":") if ":" in name else ("own", name)
        if road == "single":
            found[name] = measure(lambda layer: jax.vmap(lambda start: layer(start, throw=False)), kind)
            continue
        road, shape = road.split("-")
        expert, batch = meshes[shape]
        mesh = make_device_mesh(expert=expert, batch=batch)
        found[name] = measure(
            lambda layer, mesh=mesh, road=roads[road]: lambda s: OnDevices(layer, mesh, road)(s, throw=False),
            kind,
            compiled=True,
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1].split(","))
