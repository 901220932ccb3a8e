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

LINE, TIMES, KEY = Box(0.0, 1.0), jnp.linspace(0.0, 0.5, 9), jax.random.key(0)


class Reaction(AbstractPDE):
    """Spreading, and growth by any function of the value."""

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


def fit(model, loss, batches, rate, steps, **more):
    """By Adam."""
    settings = {"optimizer": optax.adam(rate), "steps": steps, "key": KEY, "progress": False}
    return training.fit(model, loss, batches, **settings, **more)


def train_mover(fine, steps):
    """On the Monge-Ampere equation, for starts of the kind it will see."""
    monitor, sensors = meshes.HessianMonitor(), meshes.GridSensors(Grid(LINE, 32), fine.shape)
    samples = meshes.make_samples(bumps(fine.coordinates, 64, 0), sensors, monitor)
    branch = meshes.DenseBranch(sensors.shape, 13, width=48, depth=2, key=KEY)
    family = meshes.describe_family(samples.seen, samples.seen)
    mover = meshes.DataFreeMover(meshes.SpectralPotential(LINE, branch, 13), sensors, family, monitor)
    loss = meshes.PhysicsLoss(meshes.JitteredLattice(64), meshes.LogarithmicResidual())
    batches = training.Batches(samples, 8, seed=0)
    return fit(mover, loss, batches, 3e-3, steps, trainable=mover.trainable()).last


def train_closure(moved, truths, steps, target):
    """Through a solver on the meshes, so that a solve takes about `target` evaluations."""
    budget = StepBudget(target, initial=0.1, smoothing=10)

    def loss(closure, batch, state, key):
        vertices, truth = batch
        rate = jax.vmap(lambda v, u: Reaction(closure).rate(0.0, v.field(u), v))
        rules = {"stepsize_controller": diffrax.PIDController(1e-5, 1e-5), "saveat": diffrax.SaveAt(ts=TIMES)}
        term, span = diffrax.ODETerm(lambda t, u, args: rate(vertices, u)), (TIMES[0], TIMES[-1], 0.05)
        solution = solve(term, diffrax.Tsit5(), *span, truth[:, 0], regularizer=ErrorEstimate(), **rules)
        task, number = jnp.mean((solution.ys.swapaxes(0, 1) - truth) ** 2), solution.stats["num_evaluations"]
        total = 1e3 * task + budget.value(state) * solution.penalty
        return total, {"evaluations": number}, budget.update(state, evaluations=number, loss=task)

    closure = Closure(eqx.nn.MLP(1, 1, 8, 1, jnp.tanh, key=jax.random.key(2)))
    result = fit(closure, loss, lambda step: (moved, truths), 2e-2, steps, loss_state=budget.init())
    return result.last, budget.report(result.loss_state)


def train_experts(closure, everywhere, truths, steps):
    """On the learned law alone, each start on a mesh of its own; the first one is only answered, and compared."""
    features = SpaceTimeGrid(Spectral(Grid(LINE, truths.shape[-1])), TIMES).count_inputs(1)
    network = FNO(2, features, 8, width=12, modes=4, depth=1, periodic=(False, True), key=KEY)

    def loss(network, batch, key):
        def answer(mesh, start):
            domain, rows = SpaceTimeGrid(mesh, TIMES), NonDimensional(jumps=3.0, slopes=3.0)
            constraint = HardConstraint(network, Reaction(closure), domain, scaling=rows, frozen=0)
            return Experts(constraint, (1, 4), Coupled())(start, throw=False)

        meshes, truth = batch
        fields = jax.vmap(answer)(meshes, truth[:, 0])
        off = [jnp.linalg.norm(fields.value[i] - truth[i]) / jnp.linalg.norm(truth[i]) for i in (0, 1)]
        report = fields.certificate
        converged = jnp.mean(report.converged.astype(float))
        numbers = {
            "moved": off[0],
            "uniform": off[1],
            "residual": report.equation_rms[0],
            "converged": converged,
        }
        return jnp.mean(jnp.sqrt(fields.loss[2:])), numbers

    slower = optax.cosine_decay_schedule(5e-3, steps)
    return fit(network, loss, lambda step: (everywhere, truths), slower, steps).history[-1]


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
        there = jax.vmap(lambda m, u: meshes.interpolate(u, fine, m.coordinates, meshes.Cubic()), (0, None))
        return both, jax.vmap(there, (None, 0), 1)(both, truth), moved.certificate.variation

    both, truth, variation = prepare(bumps(fine.coordinates, starts + 1, 7))
    print(f"mover: masses of cells vary by {100 * float(variation[0]):.0f} %, with no mesh to learn from")
    closure, report = train_closure(*jax.tree.map(lambda x: x[1:, 0], (both, truth)), closure_steps, 43)
    u = jnp.linspace(0.0, 1.0, 11)
    print(f"closure: off by {float(jnp.max(jnp.abs(closure(u) - growth(u)))):.3f} of {growth(0.5)}; {report}")
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (both, truth))
    found = train_experts(closure, *flat, experts_steps)
    print(
        f"experts: {100 * found['moved']:.1f} % off a solver on the moved mesh, residual {found['residual']:.3f}"
    )
    print(f"         {100 * found['uniform']:.1f} % on a uniform one of as many nodes")
    print(f"         {found['converged']:.0%} of the last solves converged")


if __name__ == "__main__":
    main(*((2, 20, 12, 5) if "--small" in sys.argv else (8, 400, 400, 150)))
