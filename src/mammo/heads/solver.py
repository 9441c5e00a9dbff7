"""Minimise a penalised problem for one penalty after another, in float64, to convergence.

solutions = solve_problem(coordinates, likelihood, penalties)
solutions[i].weight, .parameters            # (R, columns), (free,)
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

# In preconditioned coordinates, where the curvature is near 1, a gradient is the distance that is
# left; ten times less would be below what float64 resolves in the loss.
_GRADIENT = 1e-7
_LOOSE_GRADIENT = 1e-5  # a search that rounding ends earlier is believed up to here
_MOST_ITERATIONS = 2000
_LEAST_CURVATURE = 1e-12  # of a preconditioner: along a sum of all columns softmax has none


class Likelihood(Protocol):
    """One problem's loss."""

    columns: int
    free: int

    def start(self) -> np.ndarray:
        """The free parameters that fit best without features."""

    def value(
        self, scores: np.ndarray, parameters: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Compute loss and gradients: (n, columns), (free,) -> loss, and their shapes."""

    def curvature(self, scores: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Compute the loss's second derivatives by each row's scores: -> (n, columns, columns)."""


@dataclass(frozen=True)
class Solution:
    """One problem at one penalty: weights (R, columns) of the coordinates, and (free,)."""

    weight: np.ndarray
    parameters: np.ndarray

    def beyond(self, before: "Solution") -> "Solution":
        """Go as far again as from the one before to this one."""
        return Solution(2 * self.weight - before.weight, 2 * self.parameters - before.parameters)


def solve_problem(
    coordinates: np.ndarray,
    likelihood: Likelihood,
    penalties: Sequence[float],
    start: Sequence[Solution] | None = None,
) -> list[Solution]:
    """Find the solution for each penalty, the search starting from where the last two lead.

    The objective is loss + penalty / 2 · |weight|²; the free parameters go unpenalised.

    Args:
        coordinates: (n, R) along principal axes.
        likelihood: Of these n rows.
        penalties: From strong to weak, equally spaced in their logarithm.
        start: A solution to start from at each penalty, in place of the last ones'.
    """
    rank, squares = coordinates.shape[1], coordinates**2
    current = before = Solution(np.zeros((rank, likelihood.columns)), likelihood.start())
    found = []
    with _scipys_blas().limit(limits=1):
        for step, penalty in enumerate(penalties):
            begin = start[step] if start else current.beyond(before)
            solution = _solve(coordinates, squares, likelihood, penalty, begin)
            before, current = current, solution
            found.append(solution)
    return found


def _solve(
    coordinates: np.ndarray,
    squares: np.ndarray,
    likelihood: Likelihood,
    penalty: float,
    start: Solution,
) -> Solution:
    rows, rank, columns = *coordinates.shape, likelihood.columns
    scores = coordinates @ start.weight
    curvature = likelihood.curvature(scores, start.parameters).reshape(rows, -1)
    # along each axis, the columns' weights in coordinates in which their curvature is near 1
    blocks = (curvature.T @ squares).T.reshape(rank, columns, columns)
    damping = max(penalty, _LEAST_CURVATURE) * np.eye(columns)
    lower = np.linalg.cholesky(blocks + damping)  # (R, C, C)
    inverse = np.linalg.inv(lower)
    turn = _whitening(likelihood, scores, start.parameters)

    def unpack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = x[: rank * columns].reshape(rank, columns)
        return np.einsum("rji,rj->ir", inverse, scaled), turn @ x[rank * columns :]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        weight, parameters = unpack(x)  # (C, R), (free,)
        # Column by column: of few columns at once BLAS makes more than twice the time of it.
        scores = np.stack([coordinates @ column for column in weight], axis=1)
        loss, by_score, by_free = likelihood.value(scores, parameters)
        slope = np.stack([column @ coordinates for column in np.ascontiguousarray(by_score.T)])
        by_weight = np.einsum("rij,jr->ri", inverse, slope + penalty * weight)
        gradient = np.concatenate([by_weight.ravel(), turn.T @ by_free])
        return loss + penalty / 2 * float((weight**2).sum()), gradient

    packed = np.einsum("rji,rj->ri", lower, start.weight).ravel()
    found = minimize(
        objective,
        np.concatenate([packed, np.linalg.solve(turn, start.parameters)]),
        jac=True,
        method="L-BFGS-B",
        options={
            "gtol": _GRADIENT, "ftol": 0.0, "maxcor": 20, "maxls": 50,
            "maxiter": _MOST_ITERATIONS, "maxfun": 2 * _MOST_ITERATIONS,
        },
    )  # fmt: skip
    rest = float(np.abs(found.jac).max())
    if rest > _LOOSE_GRADIENT:
        warnings.warn(
            f"the head at penalty {penalty:.2g} isn't solved: gradient {rest:.1g} is left "
            f"({found.message}); a stronger head.penalties.weakest would help",
            stacklevel=2,
        )
    weight, parameters = unpack(found.x)
    return Solution(weight.T, parameters)


@cache
def _scipys_blas() -> ThreadpoolController:
    """Find the BLAS that SciPy's wheel brings beside NumPy's.

    The search adds up vectors with the one, the objective multiplies matrices with the other. The
    threads of both spin for a while after each call: on few cores they keep each other waiting.
    """
    every = ThreadpoolController()
    files = [library.filepath for library in every.lib_controllers]
    return every.select(filepath=[file for file in files if "scipy.libs" in file])


def _whitening(likelihood: Likelihood, scores: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Find coordinates of the free parameters in which their curvature is near 1: (free, free).

    The second derivatives by central differences of the gradient; a direction that the loss
    doesn't see (a constant added to all biases) stays as it is.
    """
    step = 1e-4 * np.eye(len(parameters))
    hessian = (
        np.array(
            [
                likelihood.value(scores, parameters + h)[2]
                - likelihood.value(scores, parameters - h)[2]
                for h in step
            ]
        ).reshape(len(parameters), len(parameters))
        / 2e-4
    )
    curvature, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    return axes / np.sqrt(np.where(curvature > 1e-6, curvature, 1))
