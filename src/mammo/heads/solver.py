"""Minimise several penalised problems on one table of features, in float64, to convergence.

The whole of train and its folds are the same rows with other weights (0 for who is held out), so
one product of matrices serves them all.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import minimize

# In preconditioned coordinates, where the curvature is near 1, a gradient is the distance that is
# left; ten times less would be below what float64 resolves in the loss.
_GRADIENT = 1e-7
_LOOSE_GRADIENT = 1e-5  # a search that rounding ends earlier is believed up to here
_MOST_ITERATIONS = 2000
_CURVATURE = 0.2  # of the likelihoods by the score, about; p (1 - p) is at most 1/4


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


@dataclass(frozen=True)
class Solution:
    """One problem at one penalty: weights (R, columns) of the coordinates, and (free,)."""

    weight: np.ndarray
    parameters: np.ndarray


def solve_problems(
    coordinates: np.ndarray,
    variances: np.ndarray,
    problems: Sequence[Likelihood],
    penalties: Sequence[float],
    start: Sequence[Sequence[Solution]] | None = None,
) -> Iterator[list[Solution]]:
    """Yield the solutions of all problems for each penalty, each starting from the last one.

    The objective is loss + penalty / 2 · |weight|²; the free parameters go unpenalised.

    Args:
        coordinates: (n, R) along principal axes.
        variances: (R,) of the coordinates.
        problems: On the same rows.
        penalties: From strong to weak.
        start: Solutions to start from at each penalty, in place of the last one's.
    """
    rank = coordinates.shape[1]
    current = [Solution(np.zeros((rank, p.columns)), p.start()) for p in problems]
    for step, penalty in enumerate(penalties):
        current = list(start[step]) if start is not None else current
        current = _solve(coordinates, variances, problems, penalty, current)
        yield current


def _solve(
    coordinates: np.ndarray,
    variances: np.ndarray,
    problems: Sequence[Likelihood],
    penalty: float,
    start: Sequence[Solution],
) -> list[Solution]:
    scale = 1 / np.sqrt(_CURVATURE * variances + penalty)[:, None]  # (R, 1)
    rank, columns = len(scale), [p.columns for p in problems]
    edges = np.cumsum([0, *columns])
    free_edges = rank * edges[-1] + np.cumsum([0, *(p.free for p in problems)])

    def unpack(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        weight = scale * x[: rank * edges[-1]].reshape(rank, edges[-1])
        return weight, [x[a:b] for a, b in zip(free_edges, free_edges[1:], strict=False)]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        weight, parameters = unpack(x)
        scores = coordinates @ weight  # (n, sum of columns)
        loss = penalty / 2 * float((weight**2).sum())
        by_score, by_free = np.empty_like(scores), []
        for problem, a, b, free in zip(problems, edges, edges[1:], parameters, strict=False):
            value, by_score[:, a:b], gradient = problem.value(scores[:, a:b], free)
            loss += value
            by_free.append(gradient)
        by_weight = scale * (coordinates.T @ by_score + penalty * weight)
        return loss, np.concatenate([by_weight.ravel(), *by_free])

    packed = np.concatenate([s.weight / scale for s in start], axis=1)
    found = minimize(
        objective,
        np.concatenate([packed.ravel(), *(s.parameters for s in start)]),
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
    return [
        Solution(weight[:, a:b], free)
        for a, b, free in zip(edges, edges[1:], parameters, strict=False)
    ]
