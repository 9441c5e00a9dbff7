"""Minimise several penalised problems on one table of features, in float64, to convergence.

The whole of train and its folds are the same rows with other weights (0 for who is held out), so
one product of matrices serves them all.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Protocol

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

# In preconditioned coordinates, where the curvature is near 1, a gradient is the distance that is
# left; ten times less would be below what float64 resolves in the loss.
_GRADIENT = 1e-7
_LOOSE_GRADIENT = 1e-5  # a search that rounding ends earlier is believed up to here
_MOST_ITERATIONS = 2000


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
        """Compute the loss's second derivative by each score: -> (n, columns)."""


@dataclass(frozen=True)
class Solution:
    """One problem at one penalty: weights (R, columns) of the coordinates, and (free,)."""

    weight: np.ndarray
    parameters: np.ndarray


def solve_problems(
    coordinates: np.ndarray,
    problems: Sequence[Likelihood],
    penalties: Sequence[float],
    start: Sequence[Sequence[Solution]] | None = None,
) -> Iterator[list[Solution]]:
    """Yield the solutions of all problems for each penalty, each starting from the last one.

    The objective is loss + penalty / 2 · |weight|²; the free parameters go unpenalised.

    Args:
        coordinates: (n, R) along principal axes.
        problems: On the same rows.
        penalties: From strong to weak.
        start: Solutions to start from at each penalty, in place of the last one's.
    """
    rank, squares = coordinates.shape[1], coordinates**2
    current = [Solution(np.zeros((rank, p.columns)), p.start()) for p in problems]
    for step, penalty in enumerate(penalties):
        current = list(start[step]) if start is not None else current
        current = _solve(coordinates, squares, problems, penalty, current)
        yield current


def _solve(
    coordinates: np.ndarray,
    squares: np.ndarray,
    problems: Sequence[Likelihood],
    penalty: float,
    start: Sequence[Solution],
) -> list[Solution]:
    scores = [coordinates @ s.weight for s in start]
    curvature = np.concatenate(
        [p.curvature(a, s.parameters) for p, a, s in zip(problems, scores, start, strict=True)],
        axis=1,
    )  # (n, C), C the sum of columns
    # Few columns: with them as rows BLAS takes half the time for the same products.
    scale = 1 / np.sqrt(curvature.T @ squares + penalty)  # (C, R)
    turns = [
        _whitening(p, a, s.parameters) for p, a, s in zip(problems, scores, start, strict=True)
    ]
    edges = np.cumsum([0, *(p.columns for p in problems)])
    free_edges = scale.size + np.cumsum([0, *(p.free for p in problems)])

    def unpack(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        weight = scale * x[: scale.size].reshape(scale.shape)
        return weight, [t @ x[a:b] for t, (a, b) in zip(turns, pairwise(free_edges), strict=True)]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        weight, parameters = unpack(x)
        scores = weight @ coordinates.T  # (C, n)
        loss = penalty / 2 * float((weight**2).sum())
        by_score, by_free = np.empty_like(scores), []
        for problem, turn, (a, b), free in zip(
            problems, turns, pairwise(edges), parameters, strict=True
        ):
            value, slope, gradient = problem.value(scores[a:b].T, free)
            loss, by_score[a:b] = loss + value, slope.T
            by_free.append(turn.T @ gradient)
        by_weight = scale * (by_score @ coordinates + penalty * weight)
        return loss, np.concatenate([by_weight.ravel(), *by_free])

    packed = np.concatenate([s.weight.T for s in start]) / scale
    free = [np.linalg.solve(t, s.parameters) for t, s in zip(turns, start, strict=True)]
    with _scipys_blas().limit(limits=1):
        found = minimize(
            objective,
            np.concatenate([packed.ravel(), *free]),
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
        Solution(weight[a:b].T, free)
        for (a, b), free in zip(pairwise(edges), parameters, strict=True)
    ]


@cache
def _scipys_blas() -> ThreadpoolController:
    """Find the BLAS that SciPy's wheel brings beside NumPy's.

    The search adds up vectors with the one, the objective multiplies matrices with the other. The
    threads of both spin for a while after each call: on few cores they keep each other waiting.
    """
    every = ThreadpoolController()
    files = [library.filepath for library in every.lib_controllers]
    return every.select(filepath=[file for file in files if "scipy.libs" in file])


def _whitening(problem: Likelihood, scores: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Find coordinates of the free parameters in which their curvature is near 1: (free, free).

    The second derivatives by central differences of the gradient; a direction that the loss
    doesn't see (a constant added to all biases) stays as it is.
    """
    step = 1e-4 * np.eye(len(parameters))
    hessian = (
        np.array(
            [
                problem.value(scores, parameters + h)[2] - problem.value(scores, parameters - h)[2]
                for h in step
            ]
        ).reshape(len(parameters), len(parameters))
        / 2e-4
    )
    curvature, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    return axes / np.sqrt(np.where(curvature > 1e-6, curvature, 1))
