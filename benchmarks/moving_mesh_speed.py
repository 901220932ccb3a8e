"""What a training step of MM-PDE costs over one of a single branch, and message passing over a plain implementation.

Comparisons in float32, each turn by turn in one run, compilation apart:

- the published form over the single branch of the same width, as the experiments train them on 48 x 48 nodes: who is
  near whom is found once, with the meshes;
- the same where every step searches for it;
- `MessagePassing` over the same network by gathers of both ends, one product for every edge and `segment_sum`, as
  jraph's interaction network has it: value and gradient, equal numbers;
- a corrected step on 48 x 48 nodes that move over one on as many that stay, and on 96 x 96, about as many as have the
  same error: in training, where meshes are known, and in a rollout, where the mesh is moved.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._timing import Comparison, compare
from sciml import nn
from sciml.experiments.base import find_experiment
from sciml.experiments.moving_losses import Unmoved
from sciml.experiments.moving_networks import NEAR
from sciml.experiments.moving_samples import plan_meshes
from sciml.experiments.moving_steps import GridStepper, MovingStepper, list_nodes
from sciml.meshes import StructuredMesh
from sciml.meshes.structured import reference_vertices


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: few nodes and rounds.
    """
    rounds, rows = (2, []) if quick else (9, [])
    planned = compare(
        *[build_training_step(method, quick) for method in ("published", "gnn")], repeats=rounds
    )
    rows += _list_rows("training-step", ("published", "gnn"), planned)
    found_again = compare(
        *[build_searching_step(method, quick) for method in ("published", "gnn")], repeats=2 if quick else 5
    )
    rows += _list_rows("searching-training-step", ("published", "gnn"), found_again)
    messages, difference = compare_messages(quick, rounds)
    rows += _list_rows("message-passing", ("gather", "segment-sum"), messages, difference)
    few, many = (8, 16) if quick else (48, 96)
    fixed = {}
    for kind, build in (("training", build_training_step), ("rollout", build_rollout_step)):
        for nodes in (few, many):
            found = compare(
                build("corrected", quick, few), build("corrected-identity", quick, nodes), repeats=rounds
            )
            rows += _list_rows(
                f"corrected-{kind}-step", (f"corrected-{few}", f"corrected-identity-{nodes}"), found
            )
            fixed[f"{kind}-step-corrected-{few}-over-identity-{nodes}"] = found.ratio
    write_results("moving-mesh-speed", rows)
    for claim, value, target in (
        *[(claim, value, "report") for claim, value in fixed.items()],
        ("training-step-published-over-gnn", planned.ratio, "<= 3"),
        ("training-step-published-over-gnn-searching", found_again.ratio, "report"),
        ("message-passing-over-segment-sum", messages.ratio, "<= 1"),
        ("message-passing-difference-from-segment-sum", difference, "<= 1e-4"),
    ):
        record_claim(claim=f"moving-mesh/{claim}", value=value, target=target, seeds=(0,))


def build_training_step(method: str, quick: bool, nodes: int | None = None) -> Callable:
    """A step of training of the Burgers experiment, compiled at its first call: loss, gradient, update.

    **Arguments:**

    - `method`: of the experiment.
    - `quick`: size smoke.
    - `nodes`: per axis, by default the experiment's.

    **Returns:** a function without arguments.
    """
    experiment = _make_experiment(method, quick, nodes)
    shape = experiment.grid.shape
    batch = {"u": _draw((4, 3, 1, *shape))}
    if method == "corrected":
        vertices = _move(experiment.grid)
        batch["vertices"] = jnp.broadcast_to(vertices, (4, 3, *vertices.shape))
    if method == "published":
        grid, vertices = experiment.grid, _move(experiment.grid)
        batch["moved"] = jnp.broadcast_to(vertices, (4, 3, *vertices.shape))
        moved = list_nodes(StructuredMesh(grid, vertices))
        for name, found in plan_meshes(
            list_nodes(grid), moved, grid, experiment.networks.neighbors, NEAR
        ).items():
            batch[name] = jnp.broadcast_to(jnp.asarray(found), (4, 3, *found.shape))
    u = np.asarray(batch["u"])
    return _compile_step(experiment._build(u), experiment._loss({"u": u}, pretrain=False), batch)


def build_rollout_step(method: str, quick: bool, nodes: int) -> Callable:
    """A step of a rollout, with the mesh's where it moves, from a solution with steep fronts.

    **Arguments:**

    - `method`: `corrected` or `corrected-identity`.
    - `quick`: size smoke.
    - `nodes`: per axis.

    **Returns:** a function without arguments.
    """
    experiment = _make_experiment(method, quick, nodes)
    grid, fine = experiment.grid, experiment.fine
    model = experiment._build(np.ones((1, 2, 1, *grid.shape), np.float32))
    x, y = jnp.asarray(fine.coordinates, jnp.float32)
    steep = jnp.tanh(8 * jnp.sin(2 * jnp.pi * (x + 0.1 * jnp.sin(2 * jnp.pi * y))))[None]
    if method == "corrected":
        stepper = MovingStepper(model, experiment.follower(), fine, experiment.prior())
    else:
        stepper = GridStepper(Unmoved(model, grid), grid, fine)
    state = eqx.filter_jit(stepper.start)(steep)
    step = eqx.filter_jit(lambda state: stepper.step(state))
    return lambda: step(state)


def build_searching_step(method: str, quick: bool) -> Callable:
    """A step of training of the same models that searches for neighbors itself, on all meshes and in every step.

    **Arguments:**

    - `method`: of the experiment.
    - `quick`: size smoke.

    **Returns:** a function without arguments.
    """
    experiment = _make_experiment(method, quick)
    grid = experiment.grid
    model = experiment._build(np.asarray(_draw((1, 3, 1, *grid.shape))))
    nodes, other = list_nodes(grid), list_nodes(StructuredMesh(grid, _move(grid)))

    def loss(model, batch, *, key):
        def one(frames, nodes, other):
            u, total = frames[0], 0.0
            for truth in frames[1:]:
                u = model(u, nodes, other)
                total = total + jnp.mean((u - truth) ** 2)
            return total

        return jnp.mean(jax.vmap(one)(*batch))

    repeated = (jnp.broadcast_to(x, (4, *x.shape)).astype(jnp.float32) for x in (nodes, other))
    return _compile_step(model, loss, (_draw((4, 3, 1, len(nodes))), *repeated))


def compare_messages(quick: bool, rounds: int) -> tuple[Comparison, float]:
    """Value and gradient of a network of messages, by ours and by the plain implementation.

    **Arguments:**

    - `quick`: few nodes.
    - `rounds`: of the timing.

    **Returns:** their times, and the largest difference of gradients over the largest gradient.
    """
    count, neighbors, width = (64, 4, 8) if quick else (2304, 8, 32)
    network = nn.MessagePassing(1, 4, 1, width=width, depth=3, message_depth=1, key=jax.random.key(0))
    points = jax.random.uniform(jax.random.key(1), (count, 2))
    senders = nn.nearest_neighbors(points, neighbors)
    nodes, edges = _draw((count, 1)), _draw((count, neighbors, 4), 1)
    receivers = jnp.repeat(jnp.arange(count), neighbors)

    def measure(apply, *graph):
        @jax.jit
        def step(network):
            return jax.value_and_grad(lambda n: jnp.mean(apply(n, nodes, *graph) ** 2))(network)

        return lambda: step(network)

    ours = measure(lambda n, *graph: n(*graph), senders, None, edges)
    plain = measure(apply_plain, senders.reshape(-1), receivers, edges.reshape(-1, 4))
    found = compare(ours, plain, repeats=rounds if quick else 40)
    pairs = zip(jax.tree.leaves(found.first.output), jax.tree.leaves(found.second.output), strict=True)
    differences, sizes = zip(
        *[(float(jnp.max(abs(a - b))), float(jnp.max(abs(b)))) for a, b in pairs], strict=True
    )
    return found, max(differences) / max(sizes)


def apply_plain(network: nn.MessagePassing, nodes, senders, receivers, edges):
    """The same network, written as it reads: every edge takes both its ends, and sums go by receiver.

    **Arguments:**

    - `network`: whose weights.
    - `nodes`, `senders`, `receivers`, `edges`: as for `MessagePassing`, `(node, feature)`, `(edge,)` twice and
      `(edge, feature)`.

    **Returns:** `(node, out)`.
    """
    h = network.encode(nodes)
    ones = jnp.ones(len(receivers), h.dtype)
    count = jnp.maximum(jax.ops.segment_sum(ones, receivers, len(nodes)), 1)[:, None]
    arrays, rest = eqx.partition(network.layers, eqx.is_array)
    for depth in range(len(jax.tree.leaves(arrays)[0])):
        layer = eqx.combine(jax.tree.map(lambda x, depth=depth: x[depth], arrays), rest)
        n = jax.vmap(layer.norm)(h)
        weights = [layer.from_receiver.weight, layer.from_sender.weight, layer.from_edge.weight]
        given = jnp.concatenate([n[receivers], n[senders], edges], axis=-1)
        messages = layer.activation(given @ jnp.concatenate(weights, axis=1).T + layer.from_receiver.bias)
        joined = jax.ops.segment_sum(messages, receivers, len(nodes)) / count
        h = h + layer.update(jnp.concatenate([n, joined], axis=-1))
    return network.decode(jax.vmap(network.norm)(h))


def _make_experiment(method: str, quick: bool, nodes: int | None = None):
    default = find_experiment("burgers2d-mmpde").sized("smoke" if quick else "laptop")
    return dataclasses.replace(default, method=method, nodes=nodes or default.nodes)


def _compile_step(model: eqx.Module, loss: Callable, batch) -> Callable:
    optimizer = optax.adam(1e-3)
    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    held, key = optimizer.init(weights), jax.random.key(0)

    @jax.jit
    def step(weights, held, batch):
        value, slope = jax.value_and_grad(lambda w: loss(eqx.combine(w, rest), batch, key=key))(weights)
        updates, held = optimizer.update(slope, held)
        return eqx.apply_updates(weights, updates), held, value

    return lambda: step(weights, held, batch)


def _move(grid):
    """Vertices of a mesh that has moved smoothly by about a cell."""
    vertices = reference_vertices(grid)
    wave = jnp.sin(2 * jnp.pi * vertices)
    return (vertices + grid.spacing[0] * wave * wave[::-1]).astype(jnp.float32)


def _draw(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def _list_rows(kind: str, names: tuple[str, str], found: Comparison, error: float | None = None):
    return [
        {
            "seed": 0,
            "dtype": "float32",
            "compile_seconds": timing.compile_seconds,
            "run_seconds": timing.run_seconds,
            "evaluations": None,
            "error": error,
            "comparison": kind,
            "method": name,
        }
        for name, timing in zip(names, (found.first, found.second), strict=True)
    ]
