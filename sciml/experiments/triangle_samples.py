"""What methods on triangle meshes train on, and their losses: as on grids, with wakes for the truth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..meshes import (
    MovingMeshSolver,
    PlannedTriangles,
    SolverPlan,
    TriangleFollower,
    TriangleMesh,
    TriangleStep,
    lump_mass,
    plan_triangles,
)
from .moving_losses import compare, disturb, hand_on
from .moving_samples import stack_samples
from .triangle_steps import WakeStep, Window, add_feature, look_at, reconstruct_on_grid
from .wake_data import Wake

Samples = dict[str, np.ndarray]


def sample_moving_wakes(wakes: list[Wake], follower: TriangleFollower, window: Window) -> Samples:
    """The truth on meshes that follow it, one frame behind.

    **Arguments:**

    - `wakes`: the truth.
    - `follower`: moves the meshes.
    - `window`: where flows are looked at.

    **Returns:** arrays `(trajectory, time, ...)`: `u` on the mesh of its frame, `fresh` the same frame on the next
    mesh, which was made for it, as a rollout starts; the nodes as `points`, `cell` and `local` of the next mesh's nodes
    in it, and the `feature`.
    """
    seen_at = jnp.asarray(follower.seen.coordinates)

    def sample(wake: Wake):
        own, points = [], follower.mesh.points
        for values in wake.values:
            density = follower.measure(look_at(values, window.spacing, seen_at))
            points, _ = follower.keep(follower.move(density, points), points)
            own.append(points)
        places, rows = [own[0], *own[:-1]], []
        for k, points in enumerate(places):
            after = min(k + 1, len(places) - 1)
            u, fresh = (look_at(wake.values[k], window.spacing, places[i]) for i in (k, after))
            plan = _plan(follower.mesh.move_to(points), places[after])
            rows.append({"u": u, "fresh": fresh, "points": points, "cell": plan.cell, "local": plan.local})
        return stack_samples(rows) | {"feature": wake.feature}

    return stack_samples([sample(wake) for wake in wakes])


def sample_fixed_wakes(wakes: list[Wake], mesh: TriangleMesh, window: Window) -> Samples:
    """The truth on a mesh that stays.

    **Arguments:**

    - `wakes`: the truth.
    - `mesh`: the mesh.
    - `window`: where flows are looked at.

    **Returns:** `u` `(trajectory, time, channel, node)`, the `feature` `(trajectory, time, 1)`, and the nodes as
    `points`, the same at all times.
    """

    def sample(wake: Wake):
        u = stack_samples([look_at(values, window.spacing, mesh.points) for values in wake.values])
        points = np.broadcast_to(np.asarray(mesh.points), (len(u), *mesh.points.shape))
        return {"u": u, "feature": wake.feature, "points": points}

    return stack_samples([sample(wake) for wake in wakes])


def sample_branch_wakes(
    wakes: list[Wake], mesh: TriangleMesh, follower: TriangleFollower, model: MovingMeshSolver, window: Window
) -> Samples:
    """The truth on a mesh that stays, the mesh that follows it, and who is near whom on both.

    **Arguments:**

    - `wakes`: the truth.
    - `mesh`: of the solution.
    - `follower`: moves the other.
    - `model`: finds neighbors.
    - `window`: where flows are looked at.

    **Returns:** arrays `(trajectory, time, ...)`: those of `sample_fixed_wakes`, the nodes `moved`, and the parts of a
    `SolverPlan` that change with them.
    """
    find = eqx.filter_jit(lambda points: model.plan(mesh.points.T, points.T))

    def sample(frames):
        points, rows = follower.mesh.points, []
        for u in frames:
            density = follower.measure(reconstruct_on_grid(follower, jnp.asarray(u), mesh))
            points, _ = follower.keep(follower.move(density, points), points)
            plan = find(points)
            rows.append(
                {"moved": points, "heard": plan.moved, "gather": plan.gather, "scatter": plan.scatter}
            )
        return stack_samples(rows)

    found = sample_fixed_wakes(wakes, mesh, window)
    return found | stack_samples([sample(frames) for frames in found["u"]])


def add_predictions(prior: WakeStep, samples: Samples, mesh: TriangleMesh) -> Samples:
    """What a classical step makes of each frame: taken once here, it need not be taken in every step of a training.

    **Arguments:**

    - `prior`: the step.
    - `samples`: what `sample_moving_wakes` or `sample_fixed_wakes` has made.
    - `mesh`: has their triangles.

    **Returns:** the samples, with `predicted` on the mesh of the next frame, `(trajectory, time, channel, node)`, and
    for meshes that move `started`, of what is `fresh` there. Those of the last frame are of no next.
    """

    @eqx.filter_jit
    def predict(now, places):
        u, (old, new) = now["u"], (mesh.move_to(points) for points in (now["points"], places))
        if "cell" not in now:
            return {"predicted": prior(u, old, now["feature"])}
        carried = PlannedTriangles(now["cell"], now["local"])(u, old)
        return {
            "predicted": prior(carried, new, now["feature"]),
            "started": prior(now["fresh"], new, now["feature"]),
        }

    def sample(trajectory):
        count = len(trajectory["u"])
        frames = [{name: x[k] for name, x in trajectory.items()} for k in range(count)]
        return stack_samples(
            [predict(frames[k], frames[min(k + 1, count - 1)]["points"]) for k in range(count)]
        )

    count = len(samples["u"])
    return samples | stack_samples(
        [sample({name: x[i] for name, x in samples.items()}) for i in range(count)]
    )


class MovingTriangleLoss(eqx.Module):
    """Of steps between moving meshes: onto the next mesh, and, as a rollout starts, on the mesh made for its frame.

    Where what the prior makes of the first frame is known it is one step, in two windows of five that of a start.

    **Arguments:**

    - `mesh`: as it was made.
    - `noise`: over the size of the solution.
    - `unroll`: how many steps.
    - `pushforward`: whether gradients stop between steps.
    """

    mesh: TriangleMesh
    noise: float
    unroll: int = eqx.field(static=True)
    pushforward: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, *, key):
        """The mean over windows; see `measure` for one of the `(window, time, ...)`."""
        return _average(self, model, batch, key)

    def measure(
        self, model: TriangleStep, window: dict[str, Float[Array, "time ..."]], key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """The loss of one window.

        **Arguments:**

        - `model`: the step.
        - `window`: arrays of `sample_moving_wakes`, `(time, ...)`.
        - `key`: of the noise.

        **Returns:** a scalar.
        """
        if "predicted" in window:
            return self._measure_once(model, window, key)
        meshes = [self.mesh.move_to(points) for points in window["points"]]
        feature = window["feature"][0]
        first, second = jax.random.split(key)
        u = disturb(self.noise, window["u"][0], model.size, first)
        start = disturb(self.noise, window["fresh"][0], model.size, second)
        started = model(start, meshes[1], meshes[1], feature)
        losses = [compare(started, window["u"][1], model.change, weigh_nodes(meshes[1]))]
        for k in range(self.unroll):
            carried = PlannedTriangles(window["cell"][k], window["local"][k])(u, meshes[k])
            carried = model.predict(carried, meshes[k + 1], feature)
            u = model(u, meshes[k], meshes[k + 1], feature, carried)
            losses.append(compare(u, window["u"][k + 1], model.change, weigh_nodes(meshes[k + 1])))
            u = hand_on(u, self.pushforward)
        return sum(losses) / len(losses)

    def _measure_once(self, model: TriangleStep, window, key: PRNGKeyArray) -> Array:
        noise_key, key = jax.random.split(key)
        starts = jax.random.bernoulli(key, 0.4)
        points, first, predicted = (
            jnp.where(starts, one, other)
            for one, other in (
                (window["points"][1], window["points"][0]),
                (window["fresh"][0], window["u"][0]),
                (window["started"][0], window["predicted"][0]),
            )
        )
        old, new = self.mesh.move_to(points), self.mesh.move_to(window["points"][1])
        # The noise is taken to go along with what the prior carries.
        u = disturb(self.noise, first, model.size, noise_key)
        found = model(u, old, new, window["feature"][0], predicted + u - first)
        return compare(found, window["u"][1], model.change, weigh_nodes(new))


class FixedTriangleLoss(eqx.Module):
    """Of steps on a mesh that stays.

    **Arguments:**

    - `mesh`: the mesh.
    - `noise`: over the size of the solution.
    - `unroll`: how many steps.
    - `pushforward`: whether gradients stop between steps.
    """

    mesh: TriangleMesh
    noise: float
    unroll: int = eqx.field(static=True)
    pushforward: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, *, key):
        """The mean over windows; see `measure` for one of the `(window, time, ...)`."""
        return _average(self, model, batch, key)

    def measure(
        self, model: TriangleStep, window: dict[str, Float[Array, "time ..."]], key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """The loss of one window.

        **Arguments:**

        - `model`: the step.
        - `window`: arrays of `sample_fixed_wakes`, `(time, ...)`.
        - `key`: of the noise.

        **Returns:** a scalar.
        """
        weights, losses = weigh_nodes(self.mesh), []
        u = disturb(self.noise, window["u"][0], model.size, key)
        # The noise is taken to go along with what the prior carries.
        known = window["predicted"][0] + u - window["u"][0] if "predicted" in window else None
        for k in range(self.unroll):
            carried = known if k == 0 else None
            u = model(u, self.mesh, self.mesh, window["feature"][0], carried)
            losses.append(compare(u, window["u"][k + 1], model.change, weights))
            u = hand_on(u, self.pushforward)
        return sum(losses) / len(losses)


class BranchTriangleLoss(eqx.Module):
    """Of the published form and of one branch of it: first the round trip between the meshes, then steps.

    **Arguments:**

    - `mesh`: of the solution.
    - `noise`: over the size of the solution.
    - `unroll`: how many steps; 0 for the round trip.
    - `size`, `change`: those of the solution and of its change, `(channel,)`.
    - `plan`: who is near whom where no node moves.
    - `pushforward`: whether gradients stop between steps.
    """

    mesh: TriangleMesh
    noise: float
    unroll: int = eqx.field(static=True)
    size: Float[Array, " channel"]
    change: Float[Array, " channel"]
    plan: SolverPlan
    pushforward: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, *, key):
        """The mean over windows; see `measure` for one of the `(window, time, ...)`."""
        return _average(self, model, batch, key)

    def measure(
        self, model: MovingMeshSolver, window: dict[str, Float[Array, "time ..."]], key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """The loss of one window.

        **Arguments:**

        - `model`: the branches.
        - `window`: arrays of `sample_branch_wakes`, `(time, ...)`, or of `sample_fixed_wakes` where no node moves.
        - `key`: of the noise.

        **Returns:** a scalar.
        """
        nodes, weights, feature = self.mesh.points.T, weigh_nodes(self.mesh), window["feature"][0]

        def place(k):
            if "moved" not in window:
                return nodes, self.plan
            found = (window[name][k] for name in ("heard", "gather", "scatter"))
            return window["moved"][k].T, SolverPlan(self.plan.fixed, *found)

        u = disturb(self.noise, window["u"][0], self.size, key)
        channels = len(u)
        if self.unroll == 0:
            found = model.round_trip(add_feature(u, feature), nodes, *place(0))[:channels]
            return compare(found, window["u"][0], self.change, weights)
        losses = []
        for k in range(self.unroll):
            u = self.mesh.field(model(add_feature(u, feature), nodes, *place(k))[:channels]).value
            losses.append(compare(u, window["u"][k + 1], self.change, weights))
            u = hand_on(u, self.pushforward)
        return sum(losses) / len(losses)


def weigh_nodes(mesh: TriangleMesh) -> Float[Array, " node"]:
    """Weights of the nodes in a loss: nine tenths of each are by its area, and the rest by its being a node.

    Errors are measured over the area, but where nodes crowd a small error soon is everywhere.

    **Arguments:**

    - `mesh`: the mesh.

    **Returns:** `(node,)`, with mean one.
    """
    areas = lump_mass(mesh)
    return jax.lax.stop_gradient(0.1 + 0.9 * areas / jnp.mean(areas))


def _average(loss, model, batch, key):
    # One window after another, and nothing of it kept: on a CPU side by side they would be slower by a half.
    size = jax.tree.leaves(batch)[0].shape[0]
    arrays, rest = eqx.partition(model, eqx.is_array)

    @jax.checkpoint
    def measure(window, key):
        return loss.measure(eqx.combine(arrays, rest), window, key)

    return jnp.mean(jax.lax.map(lambda pair: measure(*pair), (batch, jax.random.split(key, size))))


_plan = eqx.filter_jit(plan_triangles)
