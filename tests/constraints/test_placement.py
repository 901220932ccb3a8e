"""Devices: every road gives the numbers of one device, gradients and iterations included (sharded equals unsharded).

What runs on several simulated devices runs in processes of its own, `devices.py`.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import (
    Coupled,
    Experts,
    HardConstraint,
    Independent,
    LevenbergMarquardt,
    OnDevices,
    make_device_mesh,
)

from .problems import BURGERS, make_network, make_start, periodic

PROGRAM = pathlib.Path(__file__).with_name("devices.py")


def start(roads, devices, *more):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    path = str(PROGRAM.parents[2])
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), roads, *more],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(out.splitlines()[-1])


def check(found):
    singles = {name: found.pop(name) for name in list(found) if name.endswith("single")}
    assert found
    for name, numbers in found.items():
        single = singles[f"{name.split(':')[0]}:single" if ":" in name else "single"]
        assert numbers["score"] == pytest.approx(single["score"], rel=1e-10), name
        assert numbers["gradient"] == pytest.approx(single["gradient"], rel=1e-9), name
        if "iterations" in numbers:
            assert numbers["iterations"] == single["iterations"], name
        if name.startswith("compiler"):
            assert numbers["in_loops"] > 0  # so that the count below means something
        else:
            assert numbers["in_loops"] == 0, name
    # Solves that stop after different numbers of steps, or independence would not be seen.
    for single in singles.values():
        assert len(set(np.ravel(single["iterations"]))) > 1


def test_experts_on_four_devices():
    check(finish(start("single,shard_map-experts,pmap-batch,coupled:single,coupled:shard_map-batch", 4)))


@pytest.mark.parametrize(
    "read",
    [
        "value",
        pytest.param("weights", marks=pytest.mark.slow),
        pytest.param("residual", marks=pytest.mark.slow),
        pytest.param("loss", marks=pytest.mark.slow),
    ],
)
def test_an_unconverged_solve_is_an_error_whatever_is_read(read):
    """One step is not enough; under `jit` a check on what is not used would be dropped."""
    domain = periodic()
    layer = HardConstraint(make_network(domain), BURGERS, domain, solver=LevenbergMarquardt(max_steps=1))
    placed = OnDevices(layer, make_device_mesh())
    starts = make_start(domain)[None]
    with pytest.raises(RuntimeError, match="were not found for some start"):
        jax.block_until_ready(eqx.filter_jit(lambda s: getattr(placed(s), read))(starts))


@pytest.mark.slow
def test_every_road_and_mesh_on_four_devices():
    roads = [
        f"{road}-{shape}" for road in ("shard_map", "compiler") for shape in ("experts", "batch", "both")
    ]
    found = finish(start(",".join(["single", *roads, "pmap-experts", "pmap-batch"]), 4))
    assert len(found) == 9
    check(found)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["hard", "coupled", "overlapping"])
def test_layers_of_one_solve_on_four_devices(layer):
    roads = [f"{layer}:{road}" for road in ("single", "shard_map-batch", "pmap-batch")]
    check(finish(start(",".join(roads), 4)))


@pytest.mark.slow
def test_two_processes_with_two_devices_each():
    """Both processes see the same numbers, which are those of one process with one device."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        where = f"localhost:{free.getsockname()[1]}"
    roads = "shard_map-experts,shard_map-batch,shard_map-both,coupled:shard_map-batch"
    both = [start(roads, 2, where, str(i), "2") for i in range(2)]
    found = [finish(process) for process in both]
    assert found[0] == found[1]
    alone = finish(start("single,coupled:single", 1))
    assert len(found[0]) == 4
    check(found[0] | alone)


def _layer(coupling, partition=(1, 4)):
    domain = periodic()
    return Experts(HardConstraint(make_network(domain), BURGERS, domain), partition, coupling)


class _Mesh:
    """A mesh of more devices than there are, which only its sizes are asked of."""

    axis_names = ("batch", "expert")

    def __init__(self, batch, expert):
        self.shape = {"batch": batch, "expert": expert}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_device_mesh(expert=3, batch=5), "needs 15 devices"),
        (lambda: OnDevices(_layer(Coupled()), _Mesh(1, 4)), "Coupled experts are one solve"),
        (lambda: OnDevices(_layer(Coupled()).constraint, _Mesh(1, 2)), "One constraint is one solve"),
        (lambda: OnDevices(_layer(Independent()), _Mesh(1, 3)), "4 experts do not divide over expert=3"),
        (lambda: OnDevices(_layer(Coupled()), _Mesh(1, 1))(jnp.sin), "cuts a batch of starts, one array"),
        (
            lambda: OnDevices(_layer(Coupled()), _Mesh(3, 1))(make_start(periodic())[None]),
            "batch of 1 starts does not divide",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
