"""One loop for all: a model, a loss, batches."""

import contextlib
import dataclasses
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from equinox import is_inexact_array
from jaxtyping import PRNGKeyArray, PyTree

from sciml.training.arguments import Intervals, check_combinations, check_counts, check_functions, to_json
from sciml.training.batches import AbstractBatches
from sciml.training.checkpoints import RunFolder
from sciml.training.logs import JsonLines, ProgressBar, to_plain
from sciml.training.models import describe_leaves, is_prng_key
from sciml.training.parallel import Placement
from sciml.training.results import Counters, FitResult, FitStats, NonFiniteError
from sciml.training.step import CAUSES, Report, Trainer

Log = Callable[[int, dict[str, Any]], None]


def fit(
    model: PyTree,
    loss: Callable[..., Any],
    batches: Callable[[int], PyTree],
    *,
    optimizer: optax.GradientTransformation,
    steps: int,
    key: PRNGKeyArray,
    validate: Callable[[PyTree], Any] | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    keep_best: bool = True,
    folder: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
    resume: bool = False,
    configuration: Any = None,
    clip: float | None = None,
    max_nonfinite: int = 10,
    progress: bool = True,
    log: Log | Sequence[Log] = (),
    log_every: int | None = None,
    trainable: PyTree = is_inexact_array,
    devices: Sequence[Any] | None = None,
    loss_state: PyTree = None,
) -> FitResult:
    """Train a model: `params <- params + optimizer(gradient of loss(model, batches(step), key))`, `steps`
    times.

    A run with a `folder` may be killed at any moment. The same call with `resume=True` goes on from the last
    checkpoint, and ends on the same machine with bitwise the parameters, and but for the times with the log, of a
    run never killed. For that `loss` and `validate` have to be functions of their arguments alone; on a GPU set
    `XLA_FLAGS=--xla_gpu_deterministic_ops=true`, too.

    **Day to day:**

    - `model`: any pytree with floating point arrays, such as an `equinox.Module`. It is copied, not changed.
    - `loss`: `loss(model, batch, key) -> scalar`, or `(scalar, {name: scalar})` with metrics for the log. It
        is called with `key=` by name, a new one each step. It is compiled.
    - `batches`: a function of the step, from 0, that returns a pytree of arrays: `Batches`, `Windows` or
        your own.
    - `optimizer`: an optax transformation; schedules and chains as optax makes them.
    - `steps`: the number of steps.
    - `key`: a PRNG key, for the loss.
    - `validate`: `validate(model) -> scalar`, lower is better, or `(scalar, {name: scalar})`. It is called
        as it is: wrap it in `equinox.filter_jit`.
    - `folder`: where to keep the run: log, checkpoints, and at the end the models `last.eqx` and `best.eqx`.
    - `resume`: go on with the run in `folder`; where there is none yet, start it; where it is finished, read
        it.

    **The rest:**

    - `validate_every`, `save_every`: steps between validations, and between checkpoints; `None` for twenty
        times in a run. Both are done after the last step, too.
    - `patience`: stop after so many validations in a row without a new best.
    - `keep_best`: keep the model of the best validation.
    - `configuration`: a dictionary or dataclass of all that fixes the run and that `fit` cannot see, such as
        the learning rate. A run is resumed with the same one only.
    - `clip`: the largest global norm of the gradient; longer ones are scaled down to it.
    - `max_nonfinite`: a step whose loss, gradient or update is not finite is skipped, model and optimizer
        unchanged; so many in a row stop the run.
    - `progress`: show a progress bar.
    - `log`: called as `log(step, metrics)` for each record, or several such; a `JsonLines` is cut back on
        resume.
    - `log_every`: steps between records; `None` for at most a thousand in a run. A validation makes one, too.
    - `trainable`: which leaves to train, as `equinox.partition` takes it.
    - `devices`: `None` for all local ones. With several the batch is cut over them, with the same result to
        rounding.
    - `loss_state`: what the loss carries from step to step, such as a running mean: a pytree of arrays. With one,
        the loss is called `loss(model, batch, loss_state, key=key)` and returns `(scalar, {name: scalar}, new
        loss_state)`, of the same structure, shapes and dtypes, through which no gradient passes. A step that is
        skipped keeps the old one. Checkpoints hold it; `validate` does not see it.

    **Returns:** a `FitResult`.

    **Raises:** `ValueError` for bad arguments, or a resume of a run with another configuration;
    `FileExistsError` for a folder with a run, without `resume`; `NonFiniteError` after `max_nonfinite` skipped
    steps in a row; `OSError` when a checkpoint cannot be written, with those before it intact.
    """
    check_counts(
        {"steps": steps, "max_nonfinite": max_nonfinite},
        {
            "validate_every": validate_every,
            "save_every": save_every,
            "log_every": log_every,
            "patience": patience,
        },
    )
    check_functions(batches, validate, key)
    check_combinations(validate, validate_every, patience, folder, save_every, resume, clip)
    often = max(1, steps // 20)
    every = Intervals(
        steps=steps,
        validate=0 if validate is None else validate_every or often,
        save=0 if folder is None else save_every or often,
        log=log_every or math.ceil(steps / 1000),
    )
    plain_configuration = to_json(configuration)
    placement = Placement(devices)
    chain = optimizer if clip is None else optax.chain(optax.clip_by_global_norm(clip), optimizer)
    trainer = Trainer(
        model, loss, chain, trainable=trainable, key=key, placement=placement, loss_state=loss_state
    )
    with contextlib.ExitStack() as stack:
        run_folder = None
        if folder is not None:
            described = batches.describe() if isinstance(batches, AbstractBatches) else {"kind": "function"}
            settings = {
                "steps": steps,
                "key": np.asarray(jax.random.key_data(key)).tolist(),
                "batches": described,
                "clip": clip,
                "validate_every": every.validate,
                "patience": patience,
                "keep_best": keep_best,
                "log_every": every.log,
                "configuration": plain_configuration,
                "state": describe_leaves(trainer.state),
            }
            run_folder = RunFolder(folder, settings, resume=resume)
            stack.callback(run_folder.close)
        logs = [log] if callable(log) else list(log)
        logs += [] if run_folder is None else [run_folder.log]
        bar = ProgressBar(steps, shown=progress)
        stack.callback(bar.close)
        loop = _Loop(
            trainer, batches, validate, every, patience, keep_best, max_nonfinite, run_folder, logs, bar
        )
        return loop.run()


@dataclasses.dataclass
class _Loop:
    trainer: Trainer
    batches: Callable[[int], PyTree]
    validate: Callable[[PyTree], Any] | None
    every: Intervals
    patience: int | None
    keep_best: bool
    max_nonfinite: int
    folder: RunFolder | None
    logs: list[Log]
    bar: ProgressBar
    counters: Counters = dataclasses.field(default_factory=Counters)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    resumed_from: int | None = None

    def __post_init__(self):
        # On the host, as the device's arrays are gone after the next step.
        keep = self.keep_best and self.validate is not None
        self.best = _to_host(self.trainer.state.params) if keep else None
        self.began = time.perf_counter()

    def run(self) -> FitResult:
        self._restore()
        counters = self.counters
        if not counters.finished:
            self._train()
        state = _to_host(self.trainer.state)
        last = self._build(state.params)
        best = self._build(self.best) if counters.best_step is not None and self.best is not None else last
        if self.folder is not None:
            self.folder.finish(last, best)
        if counters.skipped:
            warnings.warn(
                f"{counters.skipped} of {counters.step} steps were skipped, as a loss, gradient or update "
                "was not finite. The log counts them under 'skipped'.",
                stacklevel=3,
            )
        stats = FitStats(
            steps=counters.step,
            skipped=counters.skipped,
            best_step=counters.best_step,
            best_value=counters.best_value,
            stopped_early=counters.stopped_early,
            resumed_from=self.resumed_from,
            compile_seconds=counters.compile_seconds,
            run_seconds=counters.run_seconds,
        )
        return FitResult(last, best, self.history, stats, jax.tree.map(jnp.asarray, state.loss_state))

    def _restore(self) -> None:
        if self.folder is not None:
            found = self.folder.restore({"state": self.trainer.state, "best": self.best})
            if found is not None:
                saved, counters = found
                self.trainer.load(saved["state"])
                self.best = saved["best"]
                self.counters = Counters(**counters)
                self.resumed_from = self.counters.step
            self.history = self.folder.log.rewind(self.counters.step)
            for log in self.logs:
                if isinstance(log, JsonLines):
                    log.rewind(self.counters.step)
        # Times of earlier calls count as if this one had begun so much earlier.
        self.began = time.perf_counter() - self.counters.run_seconds - self.counters.compile_seconds

    def _train(self) -> None:
        self.bar.announce()
        waiting = None
        first = self.counters.step + 1
        for step in range(first, self.every.steps + 1):
            batch = self.batches(step - 1)
            report = self._compile(step, batch) if step == first else self.trainer.step(batch)
            # The report of a step is read when the next one is under way, so that no device waits for the
            # host; at a validation or a checkpoint it is read at once.
            if waiting is not None:
                self._account(step - 1, waiting)
            waiting = report
            if self.every.due(step, self.every.validate) or self.every.due(step, self.every.save):
                self._account(step, waiting)
                waiting = None
                if self.counters.finished:
                    break
        if waiting is not None:
            self._account(self.every.steps, waiting)
        self._measure()

    def _compile(self, step: int, batch: PyTree) -> Report:
        began = time.perf_counter()
        report = jax.block_until_ready(self.trainer.step(batch))
        self.counters.compile_seconds += time.perf_counter() - began
        self.bar.start(step - 1)
        return report

    def _account(self, step: int, report: Report) -> None:
        """Read a step's report; check, validate, log and save as is due."""
        numbers, counts = np.asarray(report.numbers), np.asarray(report.counts)
        counters = self.counters
        counters.step, counters.skipped = step, int(counts[0])
        if counts[1] >= self.max_nonfinite:
            raise self._explain_stop(step, int(counts[1]), CAUSES[counts[2]], float(numbers[1]))
        validating = self.every.due(step, self.every.validate)
        self.bar.advance()
        if validating or self.every.due(step, self.every.log):
            metrics = {"loss": numbers[0], **dict(zip(self.trainer.metric_names, numbers[2:], strict=True))}
            metrics |= self._validate(step) if validating else {}
            metrics |= {"skipped": counters.skipped, "seconds": self._measure()}
            metrics = {name: to_plain(value) for name, value in metrics.items()}
            self.history.append({"step": step, **metrics})
            for log in self.logs:
                log(step, metrics)
            self.bar.show(metrics)
        counters.finished = counters.stopped_early or step == self.every.steps
        if self.folder is not None and (counters.finished or self.every.due(step, self.every.save)):
            self._measure()
            saved = {"state": _to_host(self.trainer.state), "best": self.best}
            self.folder.save(step, saved, dataclasses.asdict(counters))

    def _validate(self, step: int) -> dict[str, Any]:
        counters = self.counters
        params = _to_host(self.trainer.state.params)
        value, metrics = _split_validation(self.validate(self._build(params)))
        if math.isfinite(value) and (counters.best_value is None or value < counters.best_value):
            counters.best_value, counters.best_step, counters.stale = value, step, 0
            self.best = None if self.best is None else params
        else:
            counters.stale += 1
        counters.stopped_early = self.patience is not None and counters.stale >= self.patience
        return {"validation": value, **{f"validation/{name}": number for name, number in metrics.items()}}

    def _build(self, params: PyTree) -> PyTree:
        frozen = _to_host(self.trainer.state.frozen)
        return self.trainer.build(*jax.tree.map(jnp.asarray, (params, frozen)))

    def _measure(self) -> float:
        self.counters.run_seconds = time.perf_counter() - self.began - self.counters.compile_seconds
        return round(self.counters.run_seconds, 6)

    def _explain_stop(self, step: int, count: int, cause: str, last_finite: float) -> NonFiniteError:
        known = (
            "No step before was finite"
            if math.isnan(last_finite)
            else f"The last finite loss was {last_finite:.6g}"
        )
        kept = "" if self.folder is None else f" The checkpoints in {self.folder.path} are from before."
        return NonFiniteError(
            f"Stopped at step {step}: the {cause} was not finite, in {count} steps in a row (max_nonfinite="
            f"{self.max_nonfinite}). {known}; the model has not changed since. Lower the learning rate, clip "
            "the gradient (clip=1.0), or look for numbers that are not finite in the data; jax_debug_nans "
            f"finds where they arise.{kept}"
        )


def _to_host(tree: PyTree) -> PyTree:
    def copy(leaf: Any) -> Any:
        if is_prng_key(leaf):
            data = np.array(jax.random.key_data(leaf), copy=True)
            return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(leaf))
        return np.array(leaf, copy=True)

    return jax.tree.map(copy, tree)


def _split_validation(result: Any) -> tuple[float, dict[str, Any]]:
    value, metrics = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    try:
        if not isinstance(metrics, dict):
            raise TypeError
        return float(value), {str(name): float(number) for name, number in metrics.items()}
    except (TypeError, ValueError) as error:
        kinds = jax.tree.map(
            lambda x: f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") else type(x).__name__, result
        )
        raise ValueError(
            f"validate returned {kinds}; expected a real scalar, or a pair of one and a dictionary of "
            "scalars by name."
        ) from error
