"""Moving-mesh experiments at smoke size, and what their parts must do whatever was learned."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml import nn
from sciml.data import evolve
from sciml.experiments.base import find_experiment
from sciml.experiments.comparison import compare
from sciml.experiments.moving_losses import FixedLoss, MovingLoss
from sciml.experiments.moving_samples import (
    add_images,
    add_sample_images,
    measure_corrections,
    plan_meshes,
    sample_ahead,
    sample_moving,
)
from sciml.experiments.moving_steps import (
    GridStepper,
    MovingStepper,
    continue_series,
    list_nodes,
    roll_beside,
)
from sciml.experiments.runs import read_table, write_config
from sciml.experiments.settings import Steps
from sciml.meshes import uniform_mesh
from sciml.pdes import Box, Grid, Neumann, Periodic

slow = pytest.mark.slow
METHODS = [
    pytest.param("persistence"),
    pytest.param("moving", marks=slow),
    pytest.param("identity", marks=slow),
    pytest.param("corrected", marks=slow),
    pytest.param("corrected-identity", marks=slow),
    pytest.param("published", marks=slow),
    pytest.param("published-identity", marks=slow),
    pytest.param("gnn", marks=slow),
    pytest.param("gnn-big", marks=slow),
    pytest.param("cnn", marks=slow),
    pytest.param("unet", marks=slow),
    pytest.param("fno", marks=slow),
    pytest.param("classical", marks=slow),
    pytest.param("classical-volumes", marks=slow),
    pytest.param("classical-moving", marks=slow),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def run(runs, name, **settings):
    experiment = dataclasses.replace(find_experiment(name).sized("smoke"), **settings)
    folder = runs / f"{name}-{experiment.label}"
    folder.mkdir()
    write_config(folder, experiment, "smoke")
    experiment.train(folder, progress=False)
    experiment.evaluate(folder, progress=False)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_measured_against_the_fine_truth(runs, method):
    folder = run(runs, "burgers2d-mmpde", method=method)
    numbers = {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
    assert all(np.isfinite(value) for value in numbers.values())
    assert numbers["nodes"] == 16
    assert numbers["invalid_meshes"] == 0
    # No method is nearer to the truth than its nodes can show.
    assert numbers["one_step_error"] >= 0.5 * numbers["one_step_floor"] > 0
    assert numbers["rollout_error"] >= 0.5 * numbers["rollout_floor"] > 0
    rollout = read_table(folder / "rollout.csv")
    assert [int(row["step"]) for row in rollout] == [1, 2, 3, 4]
    assert (folder / "film.png").is_file()


@slow
@pytest.mark.parametrize("name", ["front-mmpde", "gray-scott-mmpde"])
def test_the_other_problems_run(runs, name):
    folder = run(runs, name, method="moving")
    assert json.loads((folder / "config.json").read_text())


def test_runs_are_compared_in_pictures_and_a_film(runs, tmp_path):
    folder = runs / "burgers2d-mmpde-persistence-16"
    table = compare([folder], tmp_path)
    assert "persistence-16" in table
    for file in ("rollout.png", "rollout_error-nodes.png", "rollout_error-step_seconds.png", "film.gif"):
        assert (tmp_path / file).stat().st_size > 1000


def test_a_series_is_continued_exactly():
    """Exact for what the grid resolves: between its points, too."""

    def wave(grid):
        x, y = 2 * jnp.pi * grid.coordinates
        return (jnp.sin(3 * x) * jnp.cos(2 * y) + jnp.cos(x + 4 * y))[None]

    box = Box((0.0, 0.0), (1.0, 1.0))
    coarse, fine = Grid(box, (12, 12)), Grid(box, (36, 36))
    found = jax.jit(lambda u: continue_series(u, fine.shape))(wave(coarse))
    np.testing.assert_allclose(found, wave(fine), atol=1e-10)


def test_an_exact_step_has_the_error_of_reconstruction_and_no_other():
    """Exact: a method that knows the truth at its nodes is at its floor."""
    box = Box((0.0, 0.0), (1.0, 1.0))
    coarse, fine = Grid(box, (8, 8)), Grid(box, (24, 24))
    sharp = jnp.tanh(8 * jnp.sin(2 * jnp.pi * fine.coordinates[0]))[None]
    frames = jnp.stack([sharp, jnp.roll(sharp, 3, axis=1), jnp.roll(sharp, 6, axis=1)])
    stepper = GridStepper(lambda u: jnp.roll(u, 1, axis=1), coarse, fine)
    found = roll_beside(stepper, frames, jnp.ones(1), 1)
    assert float(jnp.min(found.floors)) > 0.01
    np.testing.assert_allclose(found.errors, found.floors, rtol=1e-6)
    np.testing.assert_allclose(found.node_errors, 0, atol=1e-12)


def test_nodes_that_do_not_divide_the_truth_are_refused():
    experiment = dataclasses.replace(find_experiment("burgers2d-mmpde").sized("smoke"), nodes=12)
    with pytest.raises(ValueError, match=r"nodes=12 must divide the 32 points"):
        _ = experiment.grid


def test_errors_are_not_measured_at_nodes_alone():
    experiment = find_experiment("burgers2d-mmpde").sized("smoke")
    with pytest.raises(ValueError, match=r"judge_every=2 .* nodes=8, which are 4 points .* judge_every=3\."):
        _ = dataclasses.replace(experiment, nodes=8, judge_every=2).grid


def test_a_rollout_longer_than_the_truth_is_refused(runs):
    experiment = find_experiment("burgers2d-mmpde").sized("smoke")
    experiment = dataclasses.replace(experiment, method="persistence", rollout=7)
    with pytest.raises(ValueError, match=r"rollout=7 steps do not fit in trajectories of 7 frames"):
        experiment.train(runs, progress=False)


def test_a_rollout_that_blows_up_says_at_which_step(runs, capsys, monkeypatch):
    """A step that multiplies by a thousand is told of, and counted; numbers stay finite."""
    experiment = find_experiment("burgers2d-mmpde").sized("smoke")
    experiment = dataclasses.replace(experiment, method="persistence")
    folder = runs / "blown-up"
    folder.mkdir()
    experiment.train(folder, progress=False)
    monkeypatch.setattr("sciml.experiments.moving._stay", lambda u: 1e3 * u)
    experiment.evaluate(folder, progress=False)
    numbers = {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
    assert "blew up, the first at step 1" in capsys.readouterr().out
    assert numbers["blown_up"] > 0
    assert numbers["blown_up_at"] == 1
    with np.load(folder / "film.npz") as film:
        assert 1 <= len(film["found"]) == len(film["truth"]) == len(film["nodes"]) < 7
        assert np.all(np.isfinite(film["found"]))
    assert numbers["last_error"] == 10
    assert numbers["one_step_error"] == 10


@slow
def test_the_published_form_may_interpolate_as_published():
    """Structure: every setting takes effect, and the model still steps."""
    smoke = find_experiment("burgers2d-mmpde").sized("smoke")
    kinds = {}
    for kind in ("relative", "absolute"):
        networks = dataclasses.replace(smoke.networks, interpolation=kind)
        model = dataclasses.replace(smoke, method="published", networks=networks).network()
        nodes = list_nodes(smoke.grid)
        assert model(jnp.ones((1, len(nodes))), nodes, nodes + 0.01).shape == (1, len(nodes))
        kinds[kind] = type(model.gather), type(model.scatter)
    assert kinds["relative"] == (nn.RelativeInterpolation,) * 2
    assert kinds["absolute"] == (nn.AbsoluteInterpolation,) * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unroll": 0}, "Steps.unroll is 1 or more; got 0"),
        ({"noise": -0.1}, "Steps.noise is 0 or more; got -0.1"),
        ({"learning_rate": 0.0}, "Steps.learning_rate is more than 0; got 0.0"),
        ({"optimizer": "sgd"}, "Steps.optimizer is tuned, adam or muon; got 'sgd'"),
        ({"round_trips": 1.5}, "Steps.round_trips is a share, 0 to 1; got 1.5"),
    ],
)
def test_bad_steps_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Steps(**settings)


def test_a_run_that_was_not_trained_is_refused(runs, tmp_path):
    experiment = find_experiment("burgers2d-mmpde").sized("smoke")
    folder = runs / "untrained"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"holds no trained model yet"):
        experiment.evaluate(folder, progress=False)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("burgers2d-mmpde", {}),
        pytest.param("front-mmpde", {}, marks=slow),
        pytest.param("front-mmpde", {"family": "allen-cahn"}, marks=slow),
        pytest.param("gray-scott-mmpde", {"horizon": 60.0}, marks=slow),
    ],
)
def test_images_of_solutions_are_solutions(name, settings):
    """Exact: the law carries the image of a start to the image of where it carries the start."""
    experiment = dataclasses.replace(find_experiment(name).sized("smoke"), **settings)
    problem = experiment.problem()
    start = problem.initial(problem.calculus.grid, key=jax.random.key(0))
    starts = add_images(np.asarray(start)[None, None], experiment.reflection)[:, 0]
    times = jnp.asarray(problem.times[:3])
    step = jax.jit(jax.vmap(lambda u: evolve(problem.law, problem.calculus, u, times)[0]))
    found = np.asarray(step(jnp.asarray(starts)))
    assert np.max(np.abs(found[0, -1] - found[0, 0])) > 1e-3
    wanted = add_images(found[:1], experiment.reflection)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.max(np.abs(found[1] - found[0])) > 1e-3


def solve_briefly(experiment):
    """The first three frames of a trajectory, `(time, channel, x, y)`."""
    problem = experiment.problem()
    start = problem.initial(problem.calculus.grid, key=jax.random.key(0))
    times = jnp.asarray(problem.times[:3])
    return np.asarray(jax.jit(lambda u: evolve(problem.law, problem.calculus, u, times)[0])(start))


@slow
def test_meshes_ahead_know_nothing_of_what_is_to_be_predicted():
    """Exact: another last frame changes no mesh. To rounding: images of samples are samples of images."""
    experiment = find_experiment("burgers2d-mmpde").sized("smoke")
    follower, frames = experiment.follower(), solve_briefly(experiment)[None]
    other = frames.copy()
    other[:, -1] = 0.0
    trajectories = add_images(np.concatenate([frames, other]), experiment.reflection)
    found = sample_ahead(trajectories, experiment.fine, follower, experiment.prior())
    np.testing.assert_array_equal(found["vertices"][0], found["vertices"][1])
    assert np.max(np.abs(found["u"][0] - found["u"][1])) > 0.1
    some = {name: values[:2] for name, values in found.items()}
    images = add_sample_images(some, experiment.reflection, experiment.grid)
    for name, values in images.items():
        np.testing.assert_allclose(values, found[name], atol=1e-5)
    assert np.max(np.abs(found["vertices"][0] - found["vertices"][-1])) > 0.01


class _Known:
    """A step that is right where training and rollouts take it, and nowhere else; on the first two frames."""

    size = change = jnp.ones(1)

    def __init__(self, samples):
        self.samples = {name: jnp.asarray(values[0]) for name, values in samples.items()}

    def __call__(self, u, old, new, carried):
        one = self.samples
        places = [one["vertices"][1]] * 2, one["vertices"][:2]
        known = [
            (abs(u - first) < 1e-5).all()
            & (abs(old.vertices - at[0]) + abs(new.vertices - at[1]) < 1e-5).all()
            for first, at in zip((one["fresh"][0], one["u"][0]), places, strict=True)
        ]
        return jnp.where(known[0] | known[1], one["u"][1], jnp.nan)


@slow
def test_what_learns_the_whole_step_is_trained_on_starts_as_rollouts_have_them():
    """Exact but for rounding: of the mesh, of what is on it, and of what the loss compares with."""
    experiment = find_experiment("burgers2d-mmpde").sized("smoke")
    follower, frames = experiment.follower(), solve_briefly(experiment)
    samples = sample_moving(frames[None], experiment.fine, follower)
    u, vertices, *_ = MovingStepper(None, follower, experiment.fine).start(jnp.asarray(frames[0]))
    np.testing.assert_allclose(samples["fresh"][0, 0], u, atol=1e-6)
    np.testing.assert_allclose(samples["vertices"][0, 1], vertices, atol=1e-6)
    window = {name: jnp.asarray(values[0, :2]) for name, values in samples.items()}
    known = _Known(samples)
    loss = MovingLoss(experiment.grid, 0.0, 1)
    np.testing.assert_allclose(loss.measure(known, window, jax.random.key(0)), 0.0, atol=1e-9)
    # The second frame is on another mesh than the first, so that neither could be taken for the other.
    assert np.max(abs(samples["fresh"][0, 1] - samples["u"][0, 1])) > 1e-3


def test_the_scale_of_corrections_is_the_error_of_the_step():
    """Exact: of a trajectory of two frames, at rest."""
    experiment = find_experiment("burgers2d-mmpde").sized("smoke")
    grid, prior = experiment.grid, experiment.prior()
    u = jnp.sin(2 * jnp.pi * grid.coordinates[:1])
    rest = uniform_mesh(grid)
    after = jax.jit(lambda u: prior(u, rest, rest))(u)
    samples = {"u": np.stack([u, after + 0.25])[None]}
    np.testing.assert_allclose(measure_corrections(prior, samples, grid, count=2), 0.25, rtol=1e-5)


def test_a_plan_by_a_tree_is_that_of_the_search():
    """Property: the same nodes, in whatever order, on a periodic axis and one with walls."""
    box = Box((0.0, 0.0), (1.0, 1.0), (Periodic(), Neumann(0.0)))
    grid = Grid(box, (8, 8))
    nodes = list_nodes(grid) + 0.02 * jax.random.normal(jax.random.key(0), (64, 2))
    moved = nodes + 0.05 * jnp.sin(2 * jnp.pi * nodes)
    periods = (1.0, None)
    found = plan_meshes(nodes, moved, grid, 5, 7)
    expected = {
        "heard": nn.nearest_neighbors(moved, 5, periods=periods),
        "gather": nn.nearest_points(moved, nodes, 7, periods=periods),
        "scatter": nn.nearest_points(nodes, moved, 7, periods=periods),
    }
    for name, indices in expected.items():
        np.testing.assert_array_equal(np.sort(found[name], axis=1), np.sort(indices, axis=1), err_msg=name)


class _Scale(eqx.Module):
    """A step that multiplies by what is trained."""

    factor: jax.Array
    size: jax.Array
    change: jax.Array

    def __call__(self, u):
        return self.factor * u


@pytest.mark.parametrize(("pushforward", "slope"), [(False, 2 * 1 + 2 * 3 * 4), (True, 2 * 1 + 2 * 3 * 2)])
def test_pushforward_stops_gradients_between_steps(pushforward, slope):
    """Exact: of `((a - 1)^2 + (a^2 - 1)^2) / 2` at two, or of `((a - 1)^2 + (2 a - 1)^2) / 2`."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (4, 4))
    loss = FixedLoss(grid, 0.0, 2, pushforward)
    batch = {"u": jnp.ones((1, 3, 1, 4, 4))}
    step = _Scale(jnp.array(2.0), jnp.ones(1), jnp.ones(1))
    value, found = eqx.filter_value_and_grad(lambda step: loss(step, batch, key=jax.random.key(0)))(step)
    assert float(value) == pytest.approx((1 + 9) / 2)
    assert float(found.factor) == pytest.approx(slope / 2)
