"""Coefficients of stochastic Runge-Kutta methods for Ito equations with diagonal noise.

For `dy = f(t, y) dt + g(t, y) dW`, one step of length `h` of a method with stages `i = 1, ..., s` is

    H0_i = y0 + sum_j A0_ij f(t + c0_j h, H0_j) h + sum_j B0_ij g(t + c1_j h, H1_j) I10 / h
    H1_i = y0 + sum_j A1_ij f(t + c0_j h, H0_j) h + sum_j B1_ij g(t + c1_j h, H1_j) sqrt(h)
    y1   = y0 + sum_i alpha_i f(t + c0_i h, H0_i) h
              + sum_i (beta1_i I1 + beta2_i I11 / sqrt(h) + beta3_i I10 / h + beta4_i I111 / h) g(t + c1_i h, H1_i)

with the iterated Ito integrals `I1 = W`, `I11 = (W^2 - h) / 2`, `I111 = (W^3 - 3 h W) / 6` of the step and
`I10`, the integral of `W` over it. `c0 = A0 e` and `c1 = A1 e`, where `e` is all ones.

References:

- A. Rößler, "Runge-Kutta Methods for the Strong Approximation of Solutions of Stochastic Differential Equations", SIAM
  J. Numer. Anal. 48 (2010), doi:10.1137/09076636X: the form, its order conditions, SRIW1.
- C. Rackauckas, Q. Nie, "Stability-Optimized High Order Methods and Stiffness Detection for Pathwise Stiff Stochastic
  Differential Equations", 2018, arXiv:1804.04344: SOSRI and SOSRI2; the digits are those of StochasticDiffEq.jl.
"""

import dataclasses
from typing import final

import numpy as np
from jaxtyping import Float


@final
@dataclasses.dataclass(frozen=True, eq=False)
class SRITableau:
    """The coefficients of one method; matrices are strictly lower triangular.

    **Arguments:**

    - `a0`, `b0`: drift and noise in the stages where the drift is taken, `(stage, stage)`.
    - `a1`, `b1`: drift and noise in the stages where the diffusion is taken, `(stage, stage)`.
    - `alpha`: weights of the drift `(stage,)`.
    - `beta1`, `beta2`, `beta3`, `beta4`: weights of the diffusion with `I1`, `I11`, `I10`, `I111` `(stage,)`.
    """

    a0: Float[np.ndarray, "stage stage"]
    a1: Float[np.ndarray, "stage stage"]
    b0: Float[np.ndarray, "stage stage"]
    b1: Float[np.ndarray, "stage stage"]
    alpha: Float[np.ndarray, " stage"]
    beta1: Float[np.ndarray, " stage"]
    beta2: Float[np.ndarray, " stage"]
    beta3: Float[np.ndarray, " stage"]
    beta4: Float[np.ndarray, " stage"]

    @property
    def stages(self) -> int:
        """The number of stages."""
        return self.alpha.size

    @property
    def betas(self) -> tuple[Float[np.ndarray, " stage"], ...]:
        """The weights of the diffusion, by integral.

        **Returns:** four arrays `(stage,)`.
        """
        return self.beta1, self.beta2, self.beta3, self.beta4

    @property
    def c0(self) -> Float[np.ndarray, " stage"]:
        """When each drift is taken, as a part of the step.

        **Returns:** `(stage,)`.
        """
        return self.a0.sum(axis=1)

    @property
    def c1(self) -> Float[np.ndarray, " stage"]:
        """When each diffusion is taken, as a part of the step.

        **Returns:** `(stage,)`.
        """
        return self.a1.sum(axis=1)

    @property
    def drift_stages(self) -> tuple[int, ...]:
        """The stages whose drift is used at all; the others need not be evaluated."""
        used = (self.alpha != 0) | np.any(self.a0 != 0, axis=0) | np.any(self.a1 != 0, axis=0)
        return tuple(int(i) for i in np.flatnonzero(used))


def _lower(*rows: tuple[float, ...]) -> Float[np.ndarray, "stage stage"]:
    """A strictly lower triangular matrix `(stage, stage)` from its rows below the first."""
    matrix = np.zeros((len(rows) + 1, len(rows) + 1))
    for i, row in enumerate(rows):
        matrix[i + 1, : i + 1] = row
    return matrix


# The paper's last row of a1 takes the drift of the third stage. That stage is the first over again (its rows of a0 and
# b0 are zero), so taking the first is the same method, with two drifts for each step instead of three.
SRIW1_TABLEAU = SRITableau(
    a0=_lower((3 / 4,), (0.0, 0.0), (0.0, 0.0, 0.0)),
    a1=_lower((1 / 4,), (1.0, 0.0), (1 / 4, 0.0, 0.0)),
    b0=_lower((3 / 2,), (0.0, 0.0), (0.0, 0.0, 0.0)),
    b1=_lower((1 / 2,), (-1.0, 0.0), (-5.0, 3.0, 1 / 2)),
    alpha=np.array([1 / 3, 2 / 3, 0.0, 0.0]),
    beta1=np.array([-1.0, 4 / 3, 2 / 3, 0.0]),
    beta2=np.array([-1.0, 4 / 3, -1 / 3, 0.0]),
    beta3=np.array([2.0, -4 / 3, -2 / 3, 0.0]),
    beta4=np.array([-2.0, 5 / 3, -2 / 3, 1.0]),
)

SOSRI_TABLEAU = SRITableau(
    a0=_lower(
        (-0.04199224421316468,),
        (2.842612915017106, -2.0527723684000727),
        (4.338237071435815, -2.8895936137439793, 2.3017575594644466),
    ),
    a1=_lower(
        (0.26204282091330466,),
        (0.20903646383505375, -0.1502377115150361),
        (0.05836595312746999, 0.6149440396332373, 0.08535117634046772),
    ),
    b0=_lower(
        (-0.21641093549612528,),
        (1.5336352863679572, 0.26066223492647056),
        (-1.0536037558179159, 1.7015284721089472, -0.20725685784180017),
    ),
    b1=_lower(
        (-0.5119011827621657,),
        (2.67767339866713, -4.9395031322250995),
        (0.15580956238299215, 3.2361551006624674, -1.4223118283355949),
    ),
    alpha=np.array([1.140099274172029, -0.6401334255743456, 0.4736296532772559, 0.026404498125060714]),
    beta1=np.array([-1.8453464565104432, 2.688764531100726, -0.2523866501071323, 0.40896857551684956]),
    beta2=np.array([0.4969658141589478, -0.5771202869753592, -0.12919702470322217, 0.2093514975196336]),
    beta3=np.array([2.8453464565104425, -2.688764531100725, 0.2523866501071322, -0.40896857551684945]),
    beta4=np.array([0.11522663875443433, -0.57877086147738, 0.2857851028163886, 0.17775911990655704]),
)

SOSRI2_TABLEAU = SRITableau(
    a0=_lower(
        (0.13804532298278663,),
        (0.5818361298250374, 0.4181638701749618),
        (0.4670018408674211, 0.8046204792187386, -0.27162232008616016),
    ),
    a1=_lower(
        (0.45605532163856893,),
        (0.7555807846451692, 0.24441921535482677),
        (0.6981181143266059, 0.3453277086024727, -0.04344582292908241),
    ),
    b0=_lower(
        (0.08852381537667678,),
        (1.0317752458971061, 0.4563552922077882),
        (1.73078280444124, -0.46089678470929774, -0.9637509618944188),
    ),
    b1=_lower(
        (0.6753186815412179,),
        (-0.07452812525785148, -0.49783736486149366),
        (-0.5591906709928903, 0.022696571806569924, -0.8984927888368557),
    ),
    alpha=np.array([-0.15036858140642623, 0.7545275856696072, 0.686995463807979, -0.2911544680711602]),
    beta1=np.array([-0.45315689727309133, 0.8330937231303951, 0.3792843195533544, 0.24077885458934192]),
    beta2=np.array([-0.4994383733810986, 0.9181786186154077, -0.25613778661003145, -0.16260245862427797]),
    beta3=np.array([1.4531568972730915, -0.8330937231303933, -0.3792843195533583, -0.24077885458934023]),
    beta4=np.array([-0.4976090683622265, 0.9148155835648892, -1.4102107084476505, 0.9930041932449877]),
)
