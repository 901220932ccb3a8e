"""A small training run, to be started as a process, killed, and started again: `small_run.py FOLDER STEPS [EVENT]`.

With EVENT it kills itself when it is about to change the folder for the EVENT-th time: between any two of the steps
that writing a checkpoint, a log or a model consists of.
"""

import os
import signal
import sys
import time

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "open"}


def die_at_event(folder: str, event: int) -> None:
    left = event

    def watch(name: str, arguments: tuple) -> None:
        nonlocal left
        if name not in WRITES or not str(arguments[0]).startswith(folder):
            return
        if name == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def run(folder: str, steps: int) -> None:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from sciml.training import Batches, fit

    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    y = np.sin(x.sum(axis=1, keepdims=True))
    source = Batches((x, y), 16, seed=3)

    def batches(step: int):
        if step == 0 or not hasattr(batches, "said"):
            batches.said = True
            print("ready", flush=True)
        time.sleep(0.004)  # so that kills fall into training, too, and not into checkpoints only
        inputs, targets = source(step)
        return inputs, targets * (np.float32(np.nan) if step % 37 == 5 else 1)

    def loss(model, batch, key):
        inputs, targets = batch
        inputs = inputs + 0.1 * jax.random.normal(key, inputs.shape)
        return jnp.mean((jax.vmap(model)(inputs) - targets) ** 2)

    fit(
        eqx.nn.MLP(2, 1, 8, 1, key=jax.random.key(1)),
        loss,
        batches,
        optimizer=optax.adam(optax.cosine_decay_schedule(1e-2, steps)),
        steps=steps,
        key=jax.random.key(2),
        validate=eqx.filter_jit(lambda model: jnp.mean((jax.vmap(model)(x) - y) ** 2)),
        validate_every=10,
        folder=folder,
        save_every=5,
        resume=True,
        progress=False,
    )


if __name__ == "__main__":
    if len(sys.argv) > 3:
        die_at_event(sys.argv[1], int(sys.argv[3]))
    run(sys.argv[1], int(sys.argv[2]))
