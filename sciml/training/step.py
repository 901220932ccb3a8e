"""One training step, compiled once: gradient, optimizer, and nothing changed when a number is not finite."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from sciml.training.models import is_prng_key
from sciml.training.parallel import Placement

RESERVED = ("step", "loss", "skipped", "seconds", "validation")
# What was not finite, by the code in the report of a step; zero is a step that was taken.
CAUSES = ("", "loss", "gradient", "update")


class TrainingState(eqx.Module):
    """All that a step reads and changes.

    **Arguments:**

    - `params`: the model with its trainable arrays only.
    - `frozen`: the model with its other arrays only.
    - `optimizer`: the arrays of the optimizer's state.
    - `step`: the number of steps done, `()`.
    - `skipped`: how many of them were skipped, `()`.
    - `in_a_row`: how many of the last ones were skipped, with none taken since, `()`.
    - `last_finite`: the last loss of a step that was taken, `()`; NaN before the first.
    - `loss_state`: the arrays that the loss carries from step to step; `None` where it carries none.
    """

    params: PyTree
    frozen: PyTree
    optimizer: PyTree
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    in_a_row: Int[Array, ""]
    last_finite: Float[Array, ""]
    # Without it there are no leaves, and a checkpoint is what it was before there were such states.
    loss_state: PyTree = None


class Report(NamedTuple):
    """What the host learns of a step, in two small arrays, as each array costs a transfer.

    **Arguments:**

    - `numbers`: the loss, the last finite loss, and the loss's metrics in the order of their names, `(2 +
        metric,)`.
    - `counts`: steps skipped, steps skipped in a row, and the index in `CAUSES`, `(3,)`.
    """

    numbers: Float[Array, " number"]
    counts: Int[Array, "3"]


class Trainer:
    """A model and an optimizer, taken apart into arrays that change and the rest, with the compiled step.

    **Arguments:**

    - `model`: any pytree; it is copied, as the step reuses the memory of what it is given.
    - `loss`: `loss(model, batch, key) -> scalar` or `(scalar, metrics by name)`; with a `loss_state`,
        `loss(model, batch, loss_state, key) -> (scalar, metrics by name, new loss_state)`.
    - `optimizer`: an optax transformation.
    - `trainable`: which leaves to train, as `eqx.partition` takes it.
    - `key`: the key from which each step's key is folded.
    - `placement`: the devices.
    - `loss_state`: a pytree of arrays, where the loss begins; `None` for a loss without a state.

    **Raises:** `ValueError` if nothing is trainable, or `loss`, `optimizer` or `loss_state` are not of their kind.
    """

    def __init__(
        self,
        model: PyTree,
        loss: Callable[..., Any],
        optimizer: optax.GradientTransformation,
        *,
        trainable: PyTree,
        key: PRNGKeyArray,
        placement: Placement,
        loss_state: PyTree = None,
    ):
        _check_loss(loss, loss_state is not None)
        _check_loss_state(loss_state)
        if not isinstance(optimizer, optax.GradientTransformation):
            raise ValueError(
                f"optimizer is of type {type(optimizer).__name__}; expected an optax.GradientTransformation, such "
                "as optax.adam(1e-3)."
            )
        self._loss = loss
        self._optimizer = optax.with_extra_args_support(optimizer)
        params, rest = eqx.partition(jax.tree.map(_own, model), trainable)
        _check_trainable(params)
        frozen, self._static = eqx.partition(rest, eqx.is_array)
        opt_state, self._static_optimizer = eqx.partition(
            jax.tree.map(_own, self._optimizer.init(params)), eqx.is_array
        )
        zero = jnp.zeros((), jnp.int32)
        nan = jnp.full((), jnp.nan, jnp.result_type(float))
        initial = TrainingState(params, frozen, opt_state, zero, zero, zero, nan, loss_state)
        # The compiled step takes flat leaves: flattening a model in Python at each step costs more than the
        # call.
        self.leaves, self._structure = jax.tree.flatten(placement.replicate(jax.tree.map(_own, initial)))
        self._key_data = placement.replicate(jax.random.key_data(key))
        self._key_impl = jax.random.key_impl(key)
        self._placement = placement
        self.metric_names: tuple[str, ...] = ()
        self._compiled = jax.jit(self._advance, donate_argnums=0, **placement.outputs())

    def step(self, batch: PyTree) -> Report:
        """Take one step and return at once, before the devices have done it.

        **Arguments:**

        - `batch`: a pytree of arrays `(batch, ...)`.

        **Returns:** the report, on the device.
        """
        self.leaves, report = self._compiled(self.leaves, self._key_data, self._placement.shard(batch))
        return report

    @property
    def state(self) -> TrainingState:
        """The state as it stands; its arrays are gone after the next step."""
        return jax.tree.unflatten(self._structure, self.leaves)

    def load(self, state: TrainingState) -> None:
        """Replace the state.

        **Arguments:**

        - `state`: one of the same structure.
        """
        self.leaves = jax.tree.leaves(self._placement.replicate(jax.tree.map(_own, state)))

    def build(self, params: PyTree, frozen: PyTree) -> PyTree:
        """Put a model together.

        **Arguments:**

        - `params`, `frozen`: as in a `TrainingState`.

        **Returns:** the model.
        """
        return eqx.combine(params, frozen, self._static)

    def _advance(self, leaves: list[Array], key_data: Array, batch: PyTree) -> tuple[list[Array], Report]:
        state = jax.tree.unflatten(self._structure, leaves)
        key = jax.random.fold_in(jax.random.wrap_key_data(key_data, impl=self._key_impl), state.step)

        def objective(params: PyTree) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
            model, old = self.build(params, state.frozen), state.loss_state
            if old is None:
                result, new = self._loss(model, batch, key=key), None
            else:
                result, new = _split_state(self._loss(model, batch, old, key=key), old)
            loss, metrics = _split(result)
            return loss, (metrics, new)

        (loss, (metrics, loss_state)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        # The direction of steepest descent of a complex weight is the conjugate of what JAX calls its
        # gradient.
        gradient = jax.tree.map(jnp.conj, gradient)
        updates, optimizer = self._optimizer.update(
            gradient,
            eqx.combine(state.optimizer, self._static_optimizer),
            state.params,
            value=loss,
            grad=gradient,
            value_fn=lambda params: objective(params)[0],
        )
        params = eqx.apply_updates(state.params, updates)
        wrong = [~jnp.isfinite(loss), ~_all_finite(gradient), ~_all_finite(params)]
        cause = jnp.select(wrong, [jnp.asarray(i, jnp.int32) for i in (1, 2, 3)], jnp.asarray(0, jnp.int32))
        taken = cause == 0
        new = TrainingState(
            _choose(taken, params, state.params),
            state.frozen,
            _choose(taken, eqx.filter(optimizer, eqx.is_array), state.optimizer),
            state.step + 1,
            jnp.where(taken, state.skipped, state.skipped + 1),
            jnp.where(taken, 0, state.in_a_row + 1),
            jnp.where(taken, loss, state.last_finite).astype(state.last_finite.dtype),
            _choose(taken, loss_state, state.loss_state),
        )
        self.metric_names = tuple(sorted(metrics))
        numbers = [loss, new.last_finite, *(metrics[name] for name in self.metric_names)]
        numbers = jnp.stack([jnp.asarray(number, new.last_finite.dtype) for number in numbers])
        return jax.tree.leaves(new), Report(numbers, jnp.stack([new.skipped, new.in_a_row, cause]))


def _own(leaf: Any) -> Any:
    # A copy, as the step reuses memory, and without weak types, with which the second step would be compiled
    # anew.
    if is_prng_key(leaf):
        return jax.random.wrap_key_data(
            jnp.array(jax.random.key_data(leaf), copy=True), impl=jax.random.key_impl(leaf)
        )
    if eqx.is_array(leaf):
        return jax.lax.convert_element_type(jnp.array(leaf, copy=True), jnp.asarray(leaf).dtype)
    return leaf


def _choose(taken: Array, new: PyTree, old: PyTree) -> PyTree:
    def choose(a: Array, b: Array) -> Array:
        chosen = jnp.where(taken, a, b)
        return chosen if is_prng_key(b) else chosen.astype(b.dtype)

    return jax.tree.map(choose, new, old)


def _all_finite(tree: PyTree) -> Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).all()


def _split(result: Any) -> tuple[Array, dict[str, Array]]:
    loss, metrics = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    expected = (
        "Return a scalar, such as jnp.mean(...), or a pair of a scalar and a dictionary of scalars by name."
    )
    if not isinstance(metrics, dict):
        raise ValueError(
            f"loss returned a value of type {type(metrics).__name__} where its metrics should be. {expected}"
        )
    for name, value in {"loss": loss, **metrics}.items():
        if not (hasattr(value, "shape") or isinstance(value, (int, float))):
            raise ValueError(f"loss returned a value of type {type(value).__name__} for {name!r}. {expected}")
        if jnp.shape(value) != () or jnp.iscomplexobj(value):
            raise ValueError(
                f"loss returned {jnp.result_type(value)}{list(jnp.shape(value))} for {name!r}; expected a "
                f"real scalar. {expected}"
            )
    clash = [
        name for name in metrics if name in RESERVED or not isinstance(name, str) or "validation/" in name
    ]
    if clash:
        raise ValueError(f"loss returned metrics named {clash}; the log uses {RESERVED} itself. Rename them.")
    loss = jnp.asarray(loss)
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"loss returned the integer type {loss.dtype}, which has no gradient. {expected}")
    return loss, metrics


def _split_state(result: Any, old: PyTree) -> tuple[tuple[Any, Any], PyTree]:
    expected = (
        "With loss_state=, return three things: a scalar, a dictionary of scalars by name ({} for none), and the "
        "new state, with the structure, shapes and dtypes of the one that fit was given."
    )
    if not (isinstance(result, tuple) and len(result) == 3):
        size = f" of {len(result)}" if isinstance(result, tuple) else ""
        raise ValueError(f"loss returned a value of type {type(result).__name__}{size}. {expected}")
    loss, metrics, new = result
    before, after = jax.tree.structure(old), jax.tree.structure(new)
    if before != after:
        raise ValueError(
            f"loss returned a loss_state of another structure: {after}, and was given {before}. {expected}"
        )
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True
    ):
        was, now = _describe(leaf), _describe(other)
        if was != now:
            raise ValueError(
                f"loss returned loss_state{jax.tree_util.keystr(path)} as {now}, and was given {was}. {expected}"
            )
    return (loss, metrics), new


def _describe(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__


def _check_loss_state(loss_state: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(loss_state):
        if not eqx.is_array(leaf):
            raise ValueError(
                f"loss_state{jax.tree_util.keystr(path)} is of type {type(leaf).__name__}; expected a pytree of "
                "arrays. A number becomes one as jnp.asarray(number)."
            )


def _check_loss(loss: Any, stateful: bool) -> None:
    names, count = ("model, batch, loss_state", "four") if stateful else ("model, batch", "three")
    if not callable(loss):
        raise ValueError(f"loss is of type {type(loss).__name__}; expected a function loss({names}, key).")
    try:
        inspect.signature(loss).bind(*names.split(", "), key="key")
    except TypeError as error:
        raise ValueError(
            f"loss{inspect.signature(loss)} cannot be called as loss({names}, key=...): {error}. Give "
            f"it {count} arguments and name the last one `key`, also if it has no use for it."
        ) from error
    except ValueError:
        return  # a builtin without a signature


def _check_trainable(params: PyTree) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError(
            "The model has no trainable arrays. Give an equinox.Module with floating point arrays; a number "
            "becomes trainable as jnp.asarray(number, dtype=float)."
        )
    for path, leaf in leaves:
        if not eqx.is_inexact_array(leaf):
            kind = leaf.dtype if eqx.is_array(leaf) else type(leaf).__name__
            raise ValueError(
                f"trainable chooses model{jax.tree_util.keystr(path)}, which is {kind}; only floating point "
                "arrays have gradients. Leave it out of `trainable`."
            )
