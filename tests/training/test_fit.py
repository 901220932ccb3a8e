"""The loop: what it computes, what it skips, what it keeps, and what it says about bad input."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.training import Batches, JsonLines, NonFiniteError, fit

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(12, 3))
Y = X @ np.array([1.0, -2.0, 0.5])
DATA = Batches((X, Y), 4, seed=1)


class Linear(eqx.Module):
    """`x -> w x`."""

    w: jax.Array
    scale: float = 1.0

    def __call__(self, x):
        return self.scale * jnp.dot(self.w, x)


def square(model, batch, key):
    return jnp.mean((jax.vmap(model)(batch[0]) - batch[1]) ** 2)


def train(loss=square, batches=DATA, *, steps=10, optimizer=None, model=None, **more):
    model = Linear(jnp.zeros(3)) if model is None else model
    optimizer = optax.sgd(0.1) if optimizer is None else optimizer
    return fit(model, loss, batches, optimizer=optimizer, steps=steps, key=KEY, **{"progress": False, **more})


def descend(steps, rate=0.1, clip=np.inf, skip=()):
    """Gradient descent by hand."""
    w, history = np.zeros(3), []
    for step in range(steps):
        x, y = DATA(step)
        history.append(np.mean((x @ w - y) ** 2))
        slope = 2 * x.T @ (x @ w - y) / len(y)
        if step not in skip:
            w = w - rate * slope * min(1, clip / np.linalg.norm(slope))
    return w, history


# What it computes.


def test_gradient_descent_by_hand():
    """Exact."""
    result = train(steps=25)
    w, history = descend(25)
    np.testing.assert_allclose(result.last.w, w, rtol=1e-12)
    np.testing.assert_allclose([record["loss"] for record in result.history], history, rtol=1e-12)
    assert [record["step"] for record in result.history] == list(range(1, 26))
    assert result.stats.steps == 25
    assert result.stats.skipped == 0
    assert result.best is result.last
    assert result.stats.compile_seconds > 0
    assert result.stats.run_seconds > 0


def test_clip_scales_the_gradient_to_the_norm():
    """Exact."""
    np.testing.assert_allclose(train(clip=0.3).last.w, descend(10, clip=0.3)[0], rtol=1e-12)


def test_schedules_and_chains_are_those_of_optax():
    """Exact: the rate, which float32 holds, as optax computes it in that, halves after each step."""
    result = train(optimizer=optax.sgd(optax.exponential_decay(0.125, 1, 0.5)), steps=2)
    w, _ = descend(1, rate=0.125)
    x, y = DATA(1)
    w = w - 0.0625 * 2 * x.T @ (x @ w - y) / len(y)
    np.testing.assert_allclose(result.last.w, w, rtol=1e-12)


def test_complex_weights_go_downhill():
    """Exact: one step of gradient descent on |z - c|^2 with rate 1/2 is the minimum."""
    c = 1.0 + 2.0j
    result = train(
        lambda z, batch, key: jnp.abs(z - c) ** 2,
        model=jnp.zeros((), complex),
        optimizer=optax.sgd(0.5),
        steps=1,
    )
    np.testing.assert_allclose(result.last, c, rtol=1e-14)


def test_optimizers_that_need_the_value_get_it():
    """Property: L-BFGS with its line search, and a rate that falls on a plateau."""
    whole = Batches((X, Y), 12, seed=0)
    result = train(batches=whole, optimizer=optax.lbfgs(), steps=12)
    np.testing.assert_allclose(result.last.w, [1.0, -2.0, 0.5], atol=1e-8)
    plateau = optax.chain(optax.sgd(1e-12), optax.contrib.reduce_on_plateau(patience=1, factor=0.5))
    assert np.all(np.isfinite(train(optimizer=plateau).last.w))


def test_each_step_has_a_key_of_its_own_from_the_one_given():
    """Exact."""
    result = train(lambda m, b, *, key: (square(m, b, key), {"draw": jax.random.uniform(key)}), steps=3)
    draws = [float(jax.random.uniform(jax.random.fold_in(KEY, step))) for step in range(3)]
    assert [record["draw"] for record in result.history] == draws


def test_the_step_is_compiled_once():
    """Property."""
    traces = []

    def loss(model, batch, key):
        traces.append(None)
        return square(model, batch, key)

    train(loss, steps=5, optimizer=optax.adam(optax.cosine_decay_schedule(0.1, 5)))
    assert len(traces) == 1


def test_the_model_that_is_given_is_not_changed_or_used_up():
    """Property: the memory of a state is reused, that of the user's model is not."""
    model = Linear(jnp.ones(3))
    result = train(model=model)
    np.testing.assert_array_equal(model.w, np.ones(3))
    assert not np.array_equal(result.last.w, np.ones(3))


def test_only_what_is_trainable_is_trained():
    """Exact."""
    model = (Linear(jnp.zeros(3)), jnp.full(3, 2.0), jnp.arange(3), KEY)
    chosen = (Linear(True, False), False, False, False)
    seen = []
    result = train(
        lambda m, b, key: square(m[0], b, key) + jnp.sum(m[1] ** 2),
        model=model,
        trainable=chosen,
        validate=lambda m: seen.append(m) or 0.0,
    )
    assert jnp.array_equal(seen[0][3], KEY)  # the memory of a model seen in a validation is its own
    np.testing.assert_allclose(result.last[0].w, descend(10)[0], rtol=1e-12)
    np.testing.assert_array_equal(result.last[1], [2, 2, 2])
    np.testing.assert_array_equal(result.last[2], [0, 1, 2])
    assert jnp.array_equal(result.last[3], KEY)


def test_batches_may_be_any_function_of_the_step():
    """Property."""
    np.testing.assert_array_equal(train(batches=lambda step: DATA(step)).last.w, train().last.w)


def test_single_precision_stays_single(float32):
    """Property."""
    result = train(model=Linear(jnp.zeros(3)), validate=lambda m: jnp.sum(m.w))
    assert result.last.w.dtype == result.best.w.dtype == jnp.float32


# What it skips.


def spoiled(*steps):
    return lambda step: (X[:4], np.full(4, np.nan)) if step in steps else DATA(step)


def test_a_step_that_is_not_finite_changes_nothing():
    """Exact: as if it had not been, in the model and in the optimizer's momentum."""
    with pytest.warns(UserWarning, match="2 of 10 steps were skipped"):
        result = train(batches=spoiled(3, 4))
    np.testing.assert_allclose(result.last.w, descend(10, skip=(3, 4))[0], rtol=1e-12)
    assert result.stats.skipped == 2
    assert [record["skipped"] for record in result.history] == [0, 0, 0, 1, 2, 2, 2, 2, 2, 2]
    assert [record["step"] for record in result.history if record["loss"] is None] == [4, 5]
    with pytest.warns(UserWarning, match="skipped"):
        spoiled_adam = train(batches=spoiled(2), steps=3, optimizer=optax.adam(0.1))
    np.testing.assert_array_equal(spoiled_adam.last.w, train(steps=2, optimizer=optax.adam(0.1)).last.w)


@pytest.mark.parametrize(
    ("loss", "optimizer", "cause"),
    [
        (lambda m, b, key: jnp.sum(m.w) / 0.0, optax.sgd(0.1), "the loss was not finite"),
        (lambda m, b, key: jnp.sum(jnp.sqrt(m.w)), optax.sgd(0.1), "the gradient was not finite"),
        (lambda m, b, key: jnp.sum(m.w), optax.sgd(np.inf), "the update was not finite"),
    ],
)
def test_the_cause_is_named(loss, optimizer, cause):
    with pytest.raises(
        NonFiniteError, match=rf"Stopped at step 3: {cause}, in 3 steps in a row .*No step before"
    ):
        train(loss, optimizer=optimizer, max_nonfinite=3)


def test_several_in_a_row_stop_the_run_with_step_count_loss_and_cure():
    loss = descend(3)[1][2]
    with pytest.raises(
        NonFiniteError, match=rf"step 6: .* last finite loss was {loss:.5g}.*Lower the learning rate"
    ):
        train(batches=spoiled(*range(3, 10)), max_nonfinite=3)
    with pytest.warns(UserWarning, match="5 of 10"):
        train(batches=spoiled(1, 2, 4, 5, 7), max_nonfinite=3)


# What it keeps.


def test_the_best_model_is_that_of_the_best_validation():
    """Exact: a validation that is best at step 6 of 10."""
    values = iter([5.0, 3.0, 1.0, 4.0, 2.0])
    seen = []

    def validate(model):
        seen.append(np.asarray(model.w))
        return next(values), {"size": jnp.max(model.w)}

    result = train(validate=validate, validate_every=2)
    assert (result.stats.best_step, result.stats.best_value) == (6, 1.0)
    np.testing.assert_allclose(result.best.w, descend(6)[0], rtol=1e-12)
    np.testing.assert_allclose(result.last.w, descend(10)[0], rtol=1e-12)
    np.testing.assert_array_equal(seen[2], result.best.w)
    assert [record.get("validation") for record in result.history][1::2] == [5.0, 3.0, 1.0, 4.0, 2.0]
    assert result.history[5]["validation/size"] == np.max(seen[2])


def test_keep_best_can_be_left_out():
    values = iter([1.0, 2.0])
    result = train(validate=lambda m: next(values), validate_every=5, keep_best=False)
    assert result.best is result.last
    assert result.stats.best_step == 5


def test_a_validation_that_is_not_finite_is_never_the_best():
    values = iter([np.nan, 2.0, -np.inf, 3.0, np.nan])
    result = train(validate=lambda m: next(values), validate_every=2)
    assert (result.stats.best_step, result.stats.best_value) == (4, 2.0)
    assert result.history[1]["validation"] is None
    result = train(validate=lambda m: np.nan, validate_every=2)
    assert result.best is result.last
    assert result.stats.best_step is None


def test_patience_stops_after_so_many_validations_without_a_best():
    values = iter([3.0, 2.0, 2.0, 2.5, 1.0])
    result = train(validate=lambda m: next(values), validate_every=2, patience=2)
    assert result.stats.stopped_early
    assert result.stats.steps == 8
    assert result.stats.best_step == 4
    np.testing.assert_allclose(result.last.w, descend(8)[0], rtol=1e-12)


def test_the_last_step_is_validated_and_logged_whatever_the_intervals():
    result = train(validate=lambda m: 1.0, validate_every=4, log_every=3)
    assert [record["step"] for record in result.history] == [3, 4, 6, 8, 9, 10]
    assert [record["step"] for record in result.history if "validation" in record] == [4, 8, 10]


# What it tells.


def test_logs_get_what_the_history_holds(tmp_path):
    seen = []
    result = train(
        log=[lambda step, metrics: seen.append((step, metrics)), JsonLines(tmp_path / "log.jsonl")]
    )
    assert [{"step": step, **metrics} for step, metrics in seen] == result.history
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.history
    with pytest.raises(FileExistsError, match=r"log.jsonl exists. Choose another name, or pass append=True"):
        JsonLines(tmp_path / "log.jsonl")
    assert train(log=lambda step, metrics: None).history


def test_the_progress_bar_shows_loss_validation_and_skipped_steps(capsys):
    with pytest.warns(UserWarning, match="skipped"):
        train(progress=True, batches=spoiled(2), validate=lambda m: 0.25)
    shown = capsys.readouterr().err
    assert "compiling the training step" in shown
    assert "10/10" in shown
    assert "validation=0.25" in shown
    assert "skipped=1" in shown
    train(progress=False)
    assert capsys.readouterr().err == ""


# Bad input.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0 must be an integer of at least 1"),
        ({"steps": 1.5}, "steps=1.5 must be"),
        ({"max_nonfinite": None}, "max_nonfinite=None must be an integer of at least 1"),
        ({"log_every": 0}, "log_every=0 must be an integer of at least 1, or None"),
        ({"batches": [1, 2]}, "batches is of type list; expected a function of the step"),
        ({"batches": iter([1])}, "batches is of type list_iterator"),
        ({"optimizer": 1e-3}, r"optimizer is of type float; expected an optax.GradientTransformation"),
        ({"clip": 0.0}, "clip=0.0 must be a positive number"),
        ({"clip": float("nan")}, "clip=nan must be"),
        ({"patience": 3}, "patience without `validate`: nothing is validated"),
        ({"resume": True, "save_every": 3}, "resume and save_every without `folder`: no run is kept"),
        ({"validate": 3}, "validate is of type int; expected a function"),
        ({"validate": lambda m: m.w}, r"validate returned float64\[3\]; expected a real scalar"),
        ({"validate": lambda m: (1.0, 2.0)}, "expected a real scalar, or a pair"),
        ({"model": Linear(jnp.arange(3))}, "The model has no trainable arrays"),
        (
            {"model": Linear(jnp.zeros(3)), "trainable": Linear(True, True)},
            r"model\.scale, which is float",
        ),
        ({"devices": []}, r"devices=\[\] must be different devices"),
        ({"loss": 3}, "loss is of type int; expected a function"),
        ({"loss": lambda m, b: 0.0}, r"loss\(m, b\) cannot be called as loss\(model, batch, key=...\)"),
        ({"loss": lambda m, b, k: 0.0}, "name the last one `key`"),
        ({"loss": lambda m, b, key: m.w}, r"loss returned float64\[3\] for 'loss'; expected a real scalar"),
        ({"loss": lambda m, b, key: None}, "loss returned a value of type NoneType for 'loss'"),
        ({"loss": lambda m, b, key: jnp.sum(m.w) + 1j}, r"loss returned complex128\[\] for 'loss'"),
        ({"loss": lambda m, b, key: jnp.argmax(m.w)}, "loss returned the integer type int64"),
        ({"loss": lambda m, b, key: (jnp.sum(m.w), m.w)}, "where its metrics should be"),
        ({"loss": lambda m, b, key: (jnp.sum(m.w), {"a": m.w})}, r"float64\[3\] for 'a'"),
        ({"loss": lambda m, b, key: (jnp.sum(m.w), {"step": 1.0})}, r"metrics named \['step'\].*Rename them"),
    ],
)
def test_bad_input(change, message):
    arguments = {"loss": square, "batches": DATA, **change}
    with pytest.raises(ValueError, match=message):
        train(arguments.pop("loss"), arguments.pop("batches"), **arguments)


@pytest.mark.parametrize("key", [0, None, jnp.zeros(3), jax.random.split(KEY)])
def test_bad_keys(key):
    with pytest.raises(ValueError, match=r"expected (a|one) PRNG key, such as jax.random.key\(0\)"):
        fit(Linear(jnp.zeros(3)), square, DATA, optimizer=optax.sgd(0.1), steps=1, key=key, progress=False)


def test_legacy_keys_do():
    fit(
        Linear(jnp.zeros(3)),
        square,
        DATA,
        optimizer=optax.sgd(0.1),
        steps=1,
        key=jax.random.PRNGKey(0),
        progress=False,
    )
