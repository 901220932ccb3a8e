"""What holds on one side of one axis: periodic, or a linear condition on the value and its normal derivative.

Every wall condition is a Robin condition

    a u + b du/dn = g        (n: the outward normal)

so a discretization implements one formula. Dirichlet is `(1, 0, g)`, Neumann `(0, 1, g)`.
"""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter, is_zero


class AbstractBoundary(eqx.Module):
    """The condition on one side of one axis of a [`Box`][sciml.pdes.Box]."""

    @property
    @abc.abstractmethod
    def is_periodic(self) -> bool:
        """Whether this side is glued to the opposite one."""


class AbstractWall(AbstractBoundary):
    """A side with a linear condition `a u + b du/dn = g`, where `n` points out of the domain."""

    @abc.abstractmethod
    def robin(self) -> tuple[Array, Array, Array]:
        """The numbers of the condition.

        **Returns:** `a`, `b` and `g`, each a scalar `()` or of a shape that broadcasts to `(channel, *wall)`.
        """

    @property
    def is_periodic(self) -> bool:
        """Always `False`."""
        return False


class Periodic(AbstractBoundary):
    """This side continues on the opposite one; both sides of an axis must be periodic together."""

    @property
    def is_periodic(self) -> bool:
        """Always `True`."""
        return True


class Dirichlet(AbstractWall):
    """The value is given: `u = value`.

    **Arguments:**

    - `value`: shape `()`, or anything that broadcasts to `(channel, *wall)`; the unit of `u`.

    **Raises:** `ValueError` for a value that is not finite.
    """

    value: Float[Array, "..."] = eqx.field(converter=as_parameter, default=0.0)

    def __check_init__(self):
        check_parameter("Dirichlet", "value", self.value)

    def robin(self):
        """`(1, 0, value)`."""
        return as_parameter(1.0), as_parameter(0.0), self.value


class Neumann(AbstractWall):
    """The outward normal derivative is given: `du/dn = slope`.

    **Arguments:**

    - `slope`: shape `()`, or anything that broadcasts to `(channel, *wall)`; unit of `u` per length.

    **Raises:** `ValueError` for a slope that is not finite.
    """

    slope: Float[Array, "..."] = eqx.field(converter=as_parameter, default=0.0)

    def __check_init__(self):
        check_parameter("Neumann", "slope", self.slope)

    def robin(self):
        """`(0, 1, slope)`."""
        return as_parameter(0.0), as_parameter(1.0), self.slope


class Robin(AbstractWall):
    """A mixture of value and outward normal derivative: `a u + b du/dn = g`.

    For diffusion the condition is dissipative when `a` and `b` have the same sign. With opposite signs the boundary
    feeds the solution and a mode of width `|b/a|` at the wall grows like `exp(kappa t (a/b)^2)`.

    **Arguments:**

    - `a`, `b`, `g`: shape `()`, or anything that broadcasts to `(channel, *wall)`.

    **Raises:** `ValueError` for data that are not finite, or `a` and `b` both 0.
    """

    a: Float[Array, "..."] = eqx.field(converter=as_parameter)
    b: Float[Array, "..."] = eqx.field(converter=as_parameter)
    g: Float[Array, "..."] = eqx.field(converter=as_parameter, default=0.0)

    def __check_init__(self):
        for name in ("a", "b", "g"):
            check_parameter("Robin", name, getattr(self, name))
        if is_zero(self.a) and is_zero(self.b):
            raise ValueError(
                "Robin(a, b, g) states a u + b du/dn = g; with a = 0 and b = 0 it states nothing. Make one of them "
                "non-zero."
            )

    def robin(self):
        """`(a, b, g)`."""
        return self.a, self.b, self.g


class Outflow(AbstractWall):
    """PDEBench's outflow of diffusion-sorption, as its generator computes it: `u + diffusivity du/dn = 0`.

    The data set's paper writes `u(1) = D u_x(1)`. Read with the outward normal that is the *opposite* sign: a boundary
    that feeds the solution, with a mode of width `D` growing like `exp(t / (R D))` as soon as the grid resolves `D`
    (a test shows it). The generator takes the ghost value `D (u[-2] - u[-1]) / dx`, the dissipative sign, which is
    implemented here. For the written sign take `Robin(1.0, -D)`.

    **Arguments:**

    - `diffusivity`: `D >= 0`, shape `()`, a length: the width of the outflow layer.

    **Raises:** `ValueError` for a width that is negative or not finite.

    **Reference:** Takamoto et al., "PDEBench: An Extensive Benchmark for Scientific Machine Learning", 2022,
    arXiv 2210.07182.
    """

    diffusivity: Float[Array, ""] = eqx.field(converter=as_parameter)

    def __check_init__(self):
        check_parameter("Outflow", "diffusivity", self.diffusivity, minimum=0.0)

    def robin(self):
        """`(1, diffusivity, 0)`."""
        return as_parameter(1.0), self.diffusivity, as_parameter(0.0)
