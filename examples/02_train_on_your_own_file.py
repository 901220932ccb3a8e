"""Train a surrogate on your own HDF5 file, read batch by batch: the file may be larger than memory.

Here the file is made first, from arrays of any origin. Run: python examples/02_train_on_your_own_file.py [--small]
"""

import pathlib
import sys
import tempfile

import jax
import numpy as np
import optax

from sciml.data import Trajectories, open_trajectories, save_trajectories
from sciml.nn import FNO
from sciml.training import Windows, fit, metrics, one_step_loss, rollout


def make_your_file(file: pathlib.Path, trajectories: int) -> None:
    """Stand-in for your measurements: waves that travel and fade, `(trajectory, time, channel, space)`."""
    generator = np.random.default_rng(0)
    x, times = np.arange(64) / 64, np.linspace(0.0, 1.0, 11)
    phases, numbers = generator.uniform(0, 1, (trajectories, 3)), np.array([1, 2, 3])
    angles = 2 * np.pi * numbers * (x[:, None] - times[:, None, None] - phases[:, None, None])
    values = np.sum(np.sin(angles) * np.exp(-0.3 * numbers * times[:, None, None]), axis=-1)
    save_trajectories(file, Trajectories(values[:, :, None].astype(np.float32), times, (x,)))


def main(trajectories: int, steps: int) -> None:
    """Make the file, train on all but its last 4 trajectories, and measure on those."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "mine.h5"
        make_your_file(file, trajectories)
        with open_trajectories(file) as data:
            print(data)
            test = data.values[-4:]
            train = data.values[:-4]  # read into memory; hand over `data.values` itself to stay on disk
        model = FNO(1, 1, 1, width=16, modes=8, depth=2, key=jax.random.key(0))
        result = fit(
            model,
            one_step_loss,
            Windows(train, 2, 16, seed=0),
            optimizer=optax.adam(optax.cosine_decay_schedule(5e-3, steps)),
            steps=steps,
            key=jax.random.key(1),
        )
    prediction = jax.vmap(lambda start: rollout(result.last, start, 10))(test[:, 0])
    error = jax.vmap(metrics.rollout_error)(prediction, test[:, 1:]).mean(axis=0)
    print(f"rollout nRMSE after 1 step {error[0]:.3f}, after 10 steps {error[-1]:.3f}")


if __name__ == "__main__":
    main(*((12, 20) if "--small" in sys.argv else (200, 1000)))
