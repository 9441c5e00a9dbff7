"""Proportional odds: one weight vector and ascending thresholds.

P(class <= k) = sigmoid(threshold_k - score), score = features · weight.

Source: McCullagh 1980, "Regression models for ordinal data", section 2.1.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from mammo.heads.basis import Basis

ABSENT = -1e4  # log-probability of a class that training lacked: its exponential is 0, not a NaN


@dataclass(frozen=True)
class OrdinalHead:
    """Proportional odds on raw features.

    Attributes:
        weight: (F,).
        thresholds: (P - 1,) ascending, between the P classes present.
        present: (P,) positions of the classes that training held.
        classes: K.
    """

    weight: np.ndarray
    thresholds: np.ndarray
    present: np.ndarray
    classes: int

    def on_raw(self, basis: Basis) -> "OrdinalHead":
        """Turn a head on coordinates into one on raw features."""
        weight, shift = basis.fold_back(self.weight[:, None])
        return replace(self, weight=weight[:, 0], thresholds=self.thresholds + shift)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Compute log-probabilities: (n, F) -> (n, K)."""
        among = log_probabilities(features @ self.weight, self.thresholds)
        every = np.full((len(features), self.classes), ABSENT)
        every[:, self.present] = among
        return every


def log_probabilities(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Compute log P(class) from scores: (n,), (P - 1,) -> (n, P).

    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): a product, so that nothing
    cancels where both are near 0 or 1.
    """
    below = log_expit(thresholds - scores[:, None])  # (n, P - 1)
    above = log_expit(scores[:, None] - thresholds)
    out = np.zeros((len(scores), len(thresholds) + 1))
    out[:, :-1] += below
    out[:, 1:] += above
    out[:, 1:-1] += np.log(-np.expm1(-np.diff(thresholds)))
    return out


def ascending(parameters: np.ndarray) -> np.ndarray:
    """Make thresholds of the first one and the logarithms of the gaps: (P - 1,) -> (P - 1,)."""
    return np.cumsum(np.concatenate([parameters[:1], np.exp(parameters[1:])]))


class OrdinalLikelihood:
    """The weighted negative log-likelihood of one problem, and its gradient.

    Free parameters are the first threshold and the logarithms of the gaps, so that any values are
    thresholds in order.

    Attributes:
        columns: Score columns that a problem needs: 1.
        free: Number of parameters that aren't weights of features.
    """

    columns = 1

    def __init__(self, ranks: np.ndarray, weights: np.ndarray):
        """Take positions among the classes present, (n,), and image weights, (n,) with sum 1."""
        self.ranks, self.weights = ranks, weights
        self.shares = np.bincount(ranks, weights)
        self.free = len(self.shares) - 1

    def start(self) -> np.ndarray:
        """The parameters at which weightless features give the class shares: (P - 1,)."""
        cumulative = np.cumsum(self.shares)[:-1]
        thresholds = np.log(cumulative) - np.log1p(-cumulative)
        return np.concatenate([thresholds[:1], np.log(np.diff(thresholds))])

    def value(
        self, scores: np.ndarray, parameters: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Compute loss and gradients: (n, 1), (P - 1,) -> loss, (n, 1), (P - 1,)."""
        score = scores[:, 0]
        gaps = np.exp(parameters[1:])
        ends = np.concatenate([[-np.inf], ascending(parameters), [np.inf]])
        lower, upper = ends[self.ranks], ends[self.ranks + 1]  # of each image's class
        beyond = np.stack([score - upper, lower - score])
        # -log_expit(-beyond) and expit(beyond), by functions that NumPy vectorises
        decay = np.exp(-np.abs(beyond))
        loss = self.weights @ (np.maximum(beyond, 0) + np.log1p(decay)).sum(axis=0)
        loss -= self.shares[1:-1] @ np.log(-np.expm1(-gaps))
        over, under = self.weights * np.where(beyond > 0, 1, decay) / (1 + decay)
        by_upper = np.bincount(self.ranks, over, len(self.shares))[:-1]
        by_lower = np.bincount(self.ranks, under, len(self.shares))[1:]
        tail = np.cumsum((by_lower - by_upper)[::-1])[::-1]  # thresholds move all after them
        with np.errstate(over="ignore"):  # after a step too far a gap counts as infinite
            by_gap = gaps * tail[1:] - self.shares[1:-1] * gaps / np.expm1(gaps)
        return float(loss), (over - under)[:, None], np.concatenate([tail[:1], by_gap])

    def curvature(self, scores: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Compute the loss's second derivative by each score: (n, 1), (P - 1,) -> (n, 1, 1)."""
        ends = np.concatenate([[-np.inf], ascending(parameters), [np.inf]])
        below = expit(ends[self.ranks + 1] - scores[:, 0])
        above = expit(scores[:, 0] - ends[self.ranks])
        second: np.ndarray = self.weights * (below * (1 - below) + above * (1 - above))
        return second[:, None, None]


def fit_thresholds(scores: np.ndarray, ranks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit the thresholds alone, on scores that are given: (n,), (n,), (n,) -> (P - 1,).

    The weights' sum is 1. On scores of images that their head didn't see, thresholds aren't as
    far apart as overfitted scores make them.
    """
    likelihood = OrdinalLikelihood(ranks, weights)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        loss, _, gradient = likelihood.value(scores[:, None], parameters)
        return loss, gradient

    options = {"gtol": 1e-8, "ftol": 0.0}
    found = minimize(objective, likelihood.start(), jac=True, method="L-BFGS-B", options=options)
    return ascending(found.x)
