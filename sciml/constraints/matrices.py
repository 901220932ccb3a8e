"""Symmetric matrices as the solver's loop meets them: dense, or of blocks of which only neighbors in a chain meet.

A chain of `K` blocks of size `n` is solved by elimination from the first to the last, in `K n^3` where a dense matrix
takes `(K n)^3`. If the last block meets the first, as in a periodic box, each block that is eliminated hands on what it
had to do with the last one.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Steps of the inverse iteration for the smallest eigenvalue of a chain.
STEPS = 20


class AbstractSymmetric(eqx.Module):
    """A symmetric matrix."""

    @abc.abstractmethod
    def diagonal(self) -> Float[Array, " unknown"]:
        """Its diagonal."""

    @abc.abstractmethod
    def multiply(self, vector: Float[Array, " unknown"]) -> Float[Array, " unknown"]:
        """The product with a vector.

        **Arguments:**

        - `vector`: `(unknown,)`.

        **Returns:** `(unknown,)`.
        """

    @abc.abstractmethod
    def rescale(self, scale: Float[Array, " unknown"]) -> "AbstractSymmetric":
        """Rows and columns divided by numbers.

        **Arguments:**

        - `scale`: `(unknown,)`.

        **Returns:** a matrix of the same kind.
        """

    @abc.abstractmethod
    def shift(self, number: Float[Array, ""] | float) -> "AbstractSymmetric":
        """With a multiple of the identity added.

        **Arguments:**

        - `number`: the multiple.

        **Returns:** a matrix of the same kind.
        """

    @abc.abstractmethod
    def solve(self, vector: Float[Array, " unknown"], *, positive: bool) -> Float[Array, " unknown"]:
        """The solution of a linear system, linear in its right side also where that is differentiated.

        **Arguments:**

        - `vector`: the right side `(unknown,)`.
        - `positive`: by the factors of Cholesky, which are NaN unless the matrix is positive definite.

        **Returns:** `(unknown,)`.
        """

    @abc.abstractmethod
    def smallest_eigenvalue(self) -> Float[Array, ""]:
        """The smallest eigenvalue; of a chain an estimate from above, and 0 where it is not positive definite."""

    @abc.abstractmethod
    def is_positive(self) -> Bool[Array, ""]:
        """Whether Cholesky's factors are finite."""


class Dense(AbstractSymmetric):
    """All entries.

    **Arguments:**

    - `matrix`: `(unknown, unknown)`.
    """

    matrix: Float[Array, "unknown unknown"]

    def diagonal(self):
        """See `AbstractSymmetric.diagonal`."""
        return jnp.diag(self.matrix)

    def multiply(self, vector):
        """See `AbstractSymmetric.multiply`; `vector` is `(unknown,)`."""
        return self.matrix @ vector

    def rescale(self, scale):
        """See `AbstractSymmetric.rescale`; `scale` is `(unknown,)`."""
        return Dense(self.matrix / scale[:, None] / scale[None])

    def shift(self, number):
        """See `AbstractSymmetric.shift`."""
        return Dense(self.matrix + number * jnp.eye(len(self.matrix), dtype=self.matrix.dtype))

    def solve(self, vector, *, positive):
        """See `AbstractSymmetric.solve`; `vector` is `(unknown,)`."""
        if positive:
            return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(self.matrix), True), vector)
        return jnp.linalg.solve(self.matrix, vector)

    def smallest_eigenvalue(self):
        """See `AbstractSymmetric.smallest_eigenvalue`."""
        return jnp.linalg.eigvalsh(self.matrix)[0]

    def is_positive(self):
        """See `AbstractSymmetric.is_positive`."""
        return jnp.all(jnp.isfinite(jnp.linalg.cholesky(self.matrix)))


class Chain(AbstractSymmetric):
    """Blocks of which only neighbors meet.

    **Arguments:**

    - `blocks`: those on the diagonal, `(block, basis, basis)`; three or more.
    - `beside`: row `k + 1`, column `k`, `(block - 1, basis, basis)`.
    - `border`: the last row's first column, `(basis, basis)`; zeros for a chain that is open.
    """

    blocks: Float[Array, "block basis basis"]
    beside: Float[Array, "pair basis basis"]
    border: Float[Array, "basis basis"]

    def diagonal(self):
        """See `AbstractSymmetric.diagonal`."""
        return jnp.diagonal(self.blocks, axis1=1, axis2=2).ravel()

    def multiply(self, vector):
        """See `AbstractSymmetric.multiply`; `vector` is `(unknown,)`."""
        parts = vector.reshape(len(self.blocks), -1)
        total = jnp.einsum("kij,kj->ki", self.blocks, parts)
        total = total.at[1:].add(jnp.einsum("kij,kj->ki", self.beside, parts[:-1]))
        total = total.at[:-1].add(jnp.einsum("kji,kj->ki", self.beside, parts[1:]))
        return total.at[-1].add(self.border @ parts[0]).at[0].add(self.border.T @ parts[-1]).ravel()

    def rescale(self, scale):
        """See `AbstractSymmetric.rescale`; `scale` is `(unknown,)`."""
        scale = scale.reshape(len(self.blocks), -1)
        return Chain(
            self.blocks / scale[:, :, None] / scale[:, None],
            self.beside / scale[1:, :, None] / scale[:-1, None],
            self.border / scale[-1, :, None] / scale[0, None],
        )

    def shift(self, number):
        """See `AbstractSymmetric.shift`."""
        identity = jnp.eye(self.blocks.shape[-1], dtype=self.blocks.dtype)
        return Chain(self.blocks + number * identity, self.beside, self.border)

    def solve(self, vector, *, positive):
        """See `AbstractSymmetric.solve`; `vector` is `(unknown,)`."""
        return self._substitute(self._eliminate(positive), vector, positive)

    def smallest_eigenvalue(self):
        """See `AbstractSymmetric.smallest_eigenvalue`."""
        factors = self._eliminate(True)

        def step(_, vector):
            turned = self._substitute(factors, vector, True)
            return turned / jnp.linalg.norm(turned)

        # A start that no eigenvector is likely to be orthogonal to.
        start = jnp.cos(jnp.arange(len(self.blocks) * self.blocks.shape[-1], dtype=self.blocks.dtype) ** 2)
        start = start + 0 * self.blocks[0, 0, 0]
        vector = jax.lax.fori_loop(0, STEPS, step, start / jnp.linalg.norm(start))
        found = vector @ self.multiply(vector)
        return jnp.where(jnp.isfinite(found), found, 0.0)

    def is_positive(self):
        """See `AbstractSymmetric.is_positive`."""
        factors, *_, last = self._eliminate(True)
        return jnp.all(jnp.isfinite(factors[0])) & jnp.all(jnp.isfinite(last[0]))

    def _eliminate(self, positive):
        """Factors of each pivot, what is below it and in the last row divided by it, and factors of the last pivot."""
        zero = jnp.zeros_like(self.border)
        below = self.beside.at[-1].set(zero)  # of the last but one in the last row, which is kept apart
        row = jnp.zeros_like(self.beside).at[0].set(self.border).at[-1].add(self.beside[-1])

        def advance(state, given):
            pivot, edge, corner = state
            under, following, beyond = given
            factor = _factor(pivot, positive)
            lower, last = (_apply(factor, block.T, positive).T for block in (under, edge))
            state = following - lower @ under.T, beyond - last @ under.T, corner - last @ edge.T
            return state, (factor, lower, last)

        # The row's entry at the next block, and the next block: of the last but one there is none, and it is not used.
        start = self.blocks[0], row[0], self.blocks[-1]
        beyond = jnp.concatenate([row[1:], zero[None]])
        (*_, corner), (factors, lower, last) = jax.lax.scan(advance, start, (below, self.blocks[1:], beyond))
        return factors, lower, last, _factor(corner, positive)

    def _substitute(self, eliminated, vector, positive):
        factors, lower, last, corner = eliminated
        parts = vector.reshape(len(self.blocks), -1)

        def forward(above, given):
            under, own = given
            own = own - above
            return under @ own, own

        _, reduced = jax.lax.scan(forward, 0 * parts[0], (lower, parts[:-1]))
        end = _apply(corner, parts[-1] - jnp.einsum("kij,kj->i", last, reduced), positive)

        def backward(after, given):
            factor, under, edge, own = given
            own = _apply(factor, own, positive) - under.T @ after - edge.T @ end
            return own, own

        _, solved = jax.lax.scan(backward, 0 * end, (factors, lower, last, reduced), reverse=True)
        return jnp.concatenate([solved, end[None]]).ravel()


def as_symmetric(matrix: AbstractSymmetric | Float[Array, "unknown unknown"]) -> AbstractSymmetric:
    """A matrix with these methods.

    **Arguments:**

    - `matrix`: one, or an array `(unknown, unknown)`.

    **Returns:** the matrix.
    """
    return matrix if isinstance(matrix, AbstractSymmetric) else Dense(matrix)


def _factor(matrix, positive):
    if positive:
        return (jnp.linalg.cholesky(matrix),)
    return jax.scipy.linalg.lu_factor(matrix)


def _apply(factor, right, positive):
    if positive:
        return jax.scipy.linalg.cho_solve((factor[0], True), right)
    return jax.scipy.linalg.lu_solve(factor, right)
