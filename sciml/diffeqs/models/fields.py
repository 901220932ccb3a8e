"""Vector fields: small networks `f(t, y, args)` that diffrax solves, as in the published experiments."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import check_sizes, check_vector


def identity(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Give back what came in.

    **Arguments:**

    - `x`: an array of any shape `(...)`.

    **Returns:** the same `(...)`.
    """
    return x


class TimeMLP(eqx.Module):
    """A perceptron that is given the time again at each layer.

        f(t, y) = s(W_n [... a(W_1 [y; t] + b_1) ...; t] + b_n)

    The defaults are the network of the MNIST experiment of 2021; that of 2023 has `final_activation=identity`.

    **Arguments:**

    - `dim`: the number of components of the state.
    - `width`, `depth`: of the hidden layers.
    - `activation`: `a`.
    - `final_activation`: `s`.
    - `key`: a random key.

    **Raises:** `ValueError` for a size that is not a positive integer.

    Reference: A. Pal, Y. Ma, V. Shah, C. Rackauckas, "Opening the Blackbox: Accelerating Neural Differential Equations
    by Regularizing Internal Solver Heuristics", 2021, arXiv:2105.03918.
    """

    layers: tuple[eqx.nn.Linear, ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)
    final_activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        width: int = 100,
        depth: int = 1,
        activation: Callable[[Array], Array] = jnp.tanh,
        final_activation: Callable[[Array], Array] = jnp.tanh,
        key: PRNGKeyArray,
    ):
        check_sizes("TimeMLP", dim=dim, width=width, depth=depth)
        sizes, keys = (dim, *[width] * depth, dim), jax.random.split(key, depth + 1)
        self.layers = tuple(eqx.nn.Linear(sizes[i] + 1, sizes[i + 1], key=keys[i]) for i in range(depth + 1))
        self.activation = activation
        self.final_activation = final_activation

    def __call__(
        self, t: Float[Array, ""], y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The rate of change.

        **Arguments:**

        - `t`: the time, a scalar.
        - `y`: the state `(dim,)`.
        - `args`: not used.

        **Returns:** the rate `(dim,)`.

        **Raises:** `ValueError` for a state of another shape.
        """
        check_vector("TimeMLP", "y", y, self.layers[-1].out_features)
        time = jnp.asarray(t, y.dtype)[None]
        for layer in self.layers[:-1]:
            y = self.activation(layer(jnp.concatenate([y, time])))
        return self.final_activation(self.layers[-1](jnp.concatenate([y, time])))


class Perceptron(eqx.Module):
    """A perceptron that is not given the time: `f(t, y) = s(W_n a(... a(W_1 y + b_1)) + b_n)`.

    The defaults are the drift of the MNIST neural SDE of 2021; with `depth=0` it is linear, as its diffusion is.

    **Arguments:**

    - `dim`: the number of components of the state.
    - `width`, `depth`: of the hidden layers; 0 of them for a linear map.
    - `activation`: `a`.
    - `final_activation`: `s`.
    - `key`: a random key.

    **Raises:** `ValueError` for a size that is not a positive integer, or a negative depth.

    Reference: as for `TimeMLP`.
    """

    mlp: eqx.nn.MLP
    final_activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        width: int = 64,
        depth: int = 1,
        activation: Callable[[Array], Array] = jnp.tanh,
        final_activation: Callable[[Array], Array] = identity,
        key: PRNGKeyArray,
    ):
        check_sizes("Perceptron", dim=dim, width=width, depth=depth + 1)
        self.mlp = eqx.nn.MLP(dim, dim, width, depth, activation, key=key)
        self.final_activation = final_activation

    def __call__(
        self, t: Float[Array, ""], y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The rate of change.

        **Arguments:**

        - `t`: not used, a scalar.
        - `y`: the state `(dim,)`.
        - `args`: not used.

        **Returns:** the rate `(dim,)`.

        **Raises:** `ValueError` for a state of another shape.
        """
        check_vector("Perceptron", "y", y, self.mlp.in_size)
        return self.final_activation(self.mlp(y))


class TanhStack(eqx.Module):
    """Bottlenecks in a row, the dynamics of the PhysioNet latent ODE: tanh, then `blocks` times wide and narrow again.

        h <- tanh(y);    h <- tanh(V_i tanh(W_i h + b_i) + c_i)    for i = 1, ..., blocks

    Weights begin as Glorot and Bengio have them, biases at 0, as in the framework it was published with. With
    Equinox's own, smaller ones, so many layers leave a rate that hardly depends on the state.

    **Arguments:**

    - `dim`: the number of components of the state.
    - `width`: the wide layers' size.
    - `blocks`: how many.
    - `key`: a random key.

    **Raises:** `ValueError` for a size that is not a positive integer.

    Reference: as for `TimeMLP`.
    """

    wide: tuple[eqx.nn.Linear, ...]
    narrow: tuple[eqx.nn.Linear, ...]

    def __init__(self, dim: int, *, width: int = 50, blocks: int = 4, key: PRNGKeyArray):
        check_sizes("TanhStack", dim=dim, width=width, blocks=blocks)
        keys = jax.random.split(key, (blocks, 2))
        self.wide = tuple(_draw_linear(dim, width, pair[0]) for pair in keys)
        self.narrow = tuple(_draw_linear(width, dim, pair[1]) for pair in keys)

    def __call__(
        self, t: Float[Array, ""], y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The rate of change.

        **Arguments:**

        - `t`: not used, a scalar.
        - `y`: the state `(dim,)`.
        - `args`: not used.

        **Returns:** the rate `(dim,)`.

        **Raises:** `ValueError` for a state of another shape.
        """
        check_vector("TanhStack", "y", y, self.narrow[0].out_features)
        y = jnp.tanh(y)
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            y = jnp.tanh(narrow(jnp.tanh(wide(y))))
        return y


def _draw_linear(inputs: int, outputs: int, key: PRNGKeyArray) -> eqx.nn.Linear:
    """A linear map with Glorot's uniform weights and no bias at first."""
    blank = eqx.nn.Linear(inputs, outputs, key=key)
    weight = jax.nn.initializers.glorot_uniform()(key, blank.weight.shape, blank.weight.dtype)
    return eqx.tree_at(lambda m: (m.weight, m.bias), blank, (weight, jnp.zeros_like(blank.bias)))


class ConcatSquash(eqx.Module):
    """The network of FFJORD: layers that time scales and shifts.

        layer(t, h) = (W h + b) * sigmoid(g t + c) + v t

    with tanh between the layers.

    **Arguments:**

    - `dim`: the number of components of the state.
    - `width`, `depth`: of the hidden layers.
    - `key`: a random key.

    **Raises:** `ValueError` for a size that is not a positive integer.

    Reference: W. Grathwohl, R. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud, "FFJORD: Free-form Continuous Dynamics
    for Scalable Reversible Generative Models", 2019, arXiv:1810.01367.
    """

    layers: tuple[eqx.nn.Linear, ...]
    gates: tuple[eqx.nn.Linear, ...]
    shifts: tuple[eqx.nn.Linear, ...]

    def __init__(self, dim: int, *, width: int = 16, depth: int = 1, key: PRNGKeyArray):
        check_sizes("ConcatSquash", dim=dim, width=width, depth=depth)
        sizes, keys = (dim, *[width] * depth, dim), jax.random.split(key, (depth + 1, 3))
        ends = [(sizes[i], sizes[i + 1], keys[i]) for i in range(depth + 1)]
        self.layers = tuple(eqx.nn.Linear(start, end, key=key[0]) for start, end, key in ends)
        self.gates = tuple(eqx.nn.Linear(1, end, key=key[1]) for _, end, key in ends)
        self.shifts = tuple(eqx.nn.Linear(1, end, use_bias=False, key=key[2]) for _, end, key in ends)

    def __call__(
        self, t: Float[Array, ""], y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The rate of change.

        **Arguments:**

        - `t`: the time, a scalar.
        - `y`: the state `(dim,)`.
        - `args`: not used.

        **Returns:** the rate `(dim,)`.

        **Raises:** `ValueError` for a state of another shape.
        """
        check_vector("ConcatSquash", "y", y, self.layers[-1].out_features)
        time = jnp.asarray(t, y.dtype)[None]
        last = len(self.layers) - 1
        for i, (layer, gate, shift) in enumerate(zip(self.layers, self.gates, self.shifts, strict=True)):
            y = layer(y) * jax.nn.sigmoid(gate(time)) + shift(time)
            y = y if i == last else jnp.tanh(y)
        return y


class BatchField(eqx.Module):
    """A batch as the state of one equation: one solve, one sequence of steps, one error for all.

        f(t, Y)_i = field(t, Y_i)

    This is how neural differential equations are mostly trained, and what the published numbers of evaluations count.
    On a CPU it is also the faster way. `jax.vmap` over a model solves one equation for each sample instead.

    **Arguments:**

    - `field`: `field(t, y, args)` for one sample.
    """

    field: Callable[..., Any]

    def __call__(
        self, t: Float[Array, ""], y: Float[Array, "batch *state"], args: Any = None
    ) -> Float[Array, "batch *state"]:
        """The rates of change.

        **Arguments:**

        - `t`: the time, a scalar.
        - `y`: the states `(batch, *state)`.
        - `args`: the same for all samples.

        **Returns:** the rates `(batch, *state)`.
        """
        return jax.vmap(lambda y: self.field(t, y, args))(y)


class Each(eqx.Module):
    """A function of one sample, for a batch.

    **Arguments:**

    - `function`: of one sample `(...)`, such as the readout of a model.
    """

    function: Callable[..., Any]

    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """Apply it to each.

        **Arguments:**

        - `x`: samples `(batch, ...)`.

        **Returns:** the results `(batch, ...)`.
        """
        return jax.vmap(self.function)(x)
