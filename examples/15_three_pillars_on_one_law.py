"""Three pillars on one law, `u_t = D u_xx + g(u)` with a `g` that nobody wrote down.

A mover that was trained without meshes makes one for every start. On these meshes a neural closure learns `g` from a
few solutions, within a budget of evaluations. Coupled experts then answer for another start, by the learned law.

Run: python examples/15_three_pillars_on_one_law.py [--small]
"""

import sys
from collections.abc import Callable
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from sciml import meshes, training
from sciml.constraints import Coupled, Experts, HardConstraint, NonDimensional, SpaceTimeGrid
from sciml.data import evolve
from sciml.diffeqs import ErrorEstimate, StepBudget, solve
from sciml.nn import FNO
from sciml.pdes import AbstractPDE, Box, Grid, Spectral

jax.config.update("jax_enable_x64", True)

LINE, TIMES = Box(0.0, 1.0), jnp.linspace(0.0, 0.5, 9)


class Reaction(AbstractPDE):
    """Spreading by a known law, growth by any function of the value."""

    growth: Callable
    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        """`D u_xx + g(u)`."""
        return 2e-4 * calculus.laplacian(u) + self.growth(u.value)


def growth(u):
    """What is to be learned."""
    return 5 * u * (1 - u)


class Closure(eqx.Module):
    """`g(u) = u net(u)`, so that nothing grows from nothing."""

    net: eqx.nn.MLP

    def __call__(self, u):
        """Pointwise, whatever the shape."""
        return u * jax.vmap(self.net)(u.reshape(-1, 1)).reshape(u.shape)


def bumps(x, count, seed):
    """Starts `(start, channel, x)`: narrow bumps anywhere."""
    center, width = jax.random.uniform(jax.random.key(seed), (2, count, 1, 1), float, 0.0, 1.0)
    return 0.8 * jnp.exp(-((jnp.sin(jnp.pi * (x - center)) / (0.12 + 0.04 * width)) ** 2))


def train_mover(fine, steps):
    """On the Monge-Ampere equation, for starts of the kind it will see."""
    monitor, sensors = meshes.HessianMonitor(), meshes.GridSensors(Grid(LINE, 32), fine.shape)
    samples = meshes.make_samples(bumps(fine.coordinates, 64, 0), sensors, monitor)
    branch = meshes.DenseBranch(sensors.shape, 13, width=48, depth=2, key=jax.random.key(0))
    mover = meshes.DataFreeMover(
        meshes.SpectralPotential(LINE, branch, 13),
        sensors,
        meshes.describe_family(samples.seen, samples.seen),
        monitor,
    )
    loss, adam = (
        meshes.PhysicsLoss(meshes.JitteredLattice(64), meshes.LogarithmicResidual()),
        optax.adam(3e-3),
    )
    batches, key = training.Batches(samples, 8, seed=0), jax.random.key(1)
    chosen = {"trainable": mover.trainable(), "progress": False}
    return training.fit(mover, loss, batches, optimizer=adam, steps=steps, key=key, **chosen).last


def train_closure(moved, truths, steps, target):
    """Through a solver on the meshes, so that a solve takes about `target` evaluations."""
    budget = StepBudget(target, initial=0.1, smoothing=10)

    def loss(closure, batch, state, key):
        vertices, truth = batch
        rate = jax.vmap(lambda v, u: Reaction(closure).rate(0.0, v.field(u), v))
        solution = solve(
            diffrax.ODETerm(lambda t, u, args: rate(vertices, u)),
            diffrax.Tsit5(),
            *(TIMES[0], TIMES[-1], 0.05, truth[:, 0]),
            saveat=diffrax.SaveAt(ts=TIMES),
            stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-5),
            regularizer=ErrorEstimate(),
        )
        task = jnp.mean((solution.ys.swapaxes(0, 1) - truth) ** 2)
        number = solution.stats["num_evaluations"].astype(float)
        total = 1e3 * task + budget.value(state) * solution.penalty
        return total, {"evaluations": number}, budget.update(state, evaluations=number, loss=task)

    closure = Closure(eqx.nn.MLP(1, 1, 8, 1, jnp.tanh, key=jax.random.key(2)))
    settings = {"optimizer": optax.adam(2e-2), "steps": steps, "key": jax.random.key(3), "progress": False}
    result = training.fit(closure, loss, lambda step: (moved, truths), loss_state=budget.init(), **settings)
    return result.last, budget.report(result.loss_state)


def train_experts(closure, everywhere, starts, steps):
    """On the learned law alone, each start on a mesh of its own."""
    features = SpaceTimeGrid(Spectral(Grid(LINE, starts.shape[-1])), TIMES).count_inputs(1)
    sizes = {"width": 12, "modes": 4, "depth": 1, "periodic": (False, True)}
    network = FNO(2, features, 8, **sizes, key=jax.random.key(4))

    def answer(network, mesh, start):
        weights = NonDimensional(jumps=3.0, slopes=3.0)
        domain = SpaceTimeGrid(mesh, TIMES)
        constraint = HardConstraint(network, Reaction(closure), domain, scaling=weights, frozen=0)
        return Experts(constraint, (1, 4), Coupled())(start, throw=False)

    def loss(network, batch, key):
        return jnp.mean(jnp.sqrt(jax.vmap(lambda mesh, start: answer(network, mesh, start).loss)(*batch)))

    adam = optax.adam(optax.cosine_decay_schedule(5e-3, steps))
    settings = {"optimizer": adam, "steps": steps, "key": jax.random.key(5), "progress": False}
    trained = training.fit(network, loss, lambda step: (everywhere, starts), **settings).last
    return eqx.filter_jit(jax.vmap(lambda mesh, start: answer(trained, mesh, start)))


def main(starts, mover_steps, closure_steps, experts_steps):
    """Train all three, then compare with a solver on a fine grid: on the mover's mesh, and on one that is uniform."""
    fine, grid = Grid(LINE, 256), Grid(LINE, 32)
    mover = train_mover(fine, mover_steps)

    @eqx.filter_jit
    @jax.vmap
    def prepare(start):
        moved = mover.move_for(start, mover.monitor.density(start, fine), grid, throw=False)
        both = jax.tree.map(lambda *two: jnp.stack(two), moved.mesh, meshes.uniform_mesh(grid))
        truth, _ = evolve(Reaction(growth), Spectral(fine), start, TIMES)
        there = jax.vmap(
            lambda mesh, u: meshes.interpolate(u, fine, mesh.coordinates, meshes.Cubic()), (0, None)
        )
        return both, jax.vmap(there, (None, 0), 1)(both, truth), moved.certificate.variation

    everything = prepare(bumps(fine.coordinates, starts + 1, 7))
    (both, truth, _), (new, answers, variation) = (
        jax.tree.map(lambda x, s=s: x[s], everything) for s in (slice(1, None), 0)
    )
    print(f"mover: the masses of cells vary by {100 * float(variation):.0f} %, without a mesh to learn from")

    closure, report = train_closure(*jax.tree.map(lambda x: x[:, 0], (both, truth)), closure_steps, 43)
    u = jnp.linspace(0.0, 1.0, 11)
    print(
        f"closure: off by {float(jnp.max(jnp.abs(closure(u) - growth(u)))):.3f} of {float(growth(0.5))}; {report}"
    )

    flat, seen = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (both, truth[:, :, 0]))
    fields = train_experts(closure, flat, seen, experts_steps)(new, answers[:, 0])
    errors = jnp.sqrt(jnp.sum((fields.value - answers) ** 2, (1, 2, 3)) / jnp.sum(answers**2, (1, 2, 3)))
    for name, error, rms in zip(("moved", "uniform"), errors, fields.certificate.equation_rms, strict=True):
        print(
            f"experts on the {name} mesh: residual {float(rms):.3f}, off a solver by {100 * float(error):.1f} %"
        )


if __name__ == "__main__":
    main(*((2, 20, 12, 5) if "--small" in sys.argv else (8, 400, 400, 150)))
