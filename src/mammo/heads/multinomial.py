"""Softmax regression and the losses that a table of features allows."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax

from mammo.heads.basis import Basis
from mammo.heads.ordinal import ABSENT


@dataclass(frozen=True)
class Objective:
    """What a multinomial head minimises for one image.

    Attributes:
        adjustment: (K,) added to the logits while fitting (logit adjustment, balanced softmax).
        label_smoothing: Share of the target that is spread over all classes; the image's weight
            multiplies the whole of its loss.
        gamma: Of the focal loss, -(1 - p)^gamma log(p); 0 is cross-entropy. Above 0 the problem
            isn't convex, and the solution of cross-entropy is where it starts.

    Raises:
        ValueError: Focal loss and label smoothing are both asked for: p is of one class.

    Source:
        Menon 2021, arXiv:2007.07314 (adjustment); Szegedy 2016, arXiv:1512.00567 (smoothing);
        Lin 2017, arXiv:1708.02002 (focal).
    """

    adjustment: np.ndarray
    label_smoothing: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if self.gamma and self.label_smoothing:
            raise ValueError("focal loss takes no label smoothing: its p is that of one class")


@dataclass(frozen=True)
class MultinomialHead:
    """Softmax regression on raw features: weight (K, F), bias (K,)."""

    weight: np.ndarray
    bias: np.ndarray

    def on_raw(self, basis: Basis) -> "MultinomialHead":
        """Turn a head on coordinates into one on raw features."""
        weight, shift = basis.fold_back(self.weight.T)
        return MultinomialHead(weight.T, self.bias - shift)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Compute logits: (n, F) -> (n, K)."""
        logits: np.ndarray = features @ self.weight.T + self.bias
        return logits


class MultinomialLikelihood:
    """The weighted loss of one problem, and its gradient.

    Attributes:
        columns: Score columns that a problem needs: P, the classes present.
        free: Number of parameters that aren't weights of features: P biases.
    """

    def __init__(self, ranks: np.ndarray, weights: np.ndarray, objective: Objective):
        """Take positions among the classes present, (n,), and image weights, (n,) with sum 1.

        The objective's adjustment holds the classes present only.
        """
        self.weights, self.objective = weights, objective
        self.shares = np.bincount(ranks, weights)
        self.columns = self.free = len(self.shares)
        smoothing = objective.label_smoothing
        self.target = np.full((len(ranks), self.columns), smoothing / self.columns)
        self.target[np.arange(len(ranks)), ranks] += 1 - smoothing

    def start(self) -> np.ndarray:
        """The biases at which weightless features give the class shares: (P,)."""
        biases: np.ndarray = np.log(self.shares) - self.objective.adjustment
        return biases

    def value(
        self, scores: np.ndarray, parameters: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Compute loss and gradients: (n, P), (P,) -> loss, (n, P), (P,)."""
        logits = scores + (parameters + self.objective.adjustment)
        log_p = log_softmax(logits, axis=1)  # (n, P)
        each, slope = self._loss(log_p)
        by_score = slope * self.weights[:, None]
        return float(self.weights @ each), by_score, by_score.sum(axis=0)

    def curvature(self, scores: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Compute cross-entropy's second derivatives by the scores: (n, P), (P,) -> (n, P, P)."""
        p = softmax(scores + (parameters + self.objective.adjustment), axis=1)
        by_logits = p[:, :, None] * (np.eye(self.columns) - p[:, None, :])
        second: np.ndarray = by_logits * self.weights[:, None, None]
        return second

    def _loss(self, log_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute each image's loss and its gradient by the logits: (n, P) -> (n,), (n, P)."""
        p, gamma = np.exp(log_p), self.objective.gamma
        each = -(self.target * log_p).sum(axis=1)
        if gamma == 0:
            return each, p - self.target
        right, wrong = np.exp(-each), np.maximum(-np.expm1(-each), np.finfo(float).tiny)
        steepness = wrong**gamma + gamma * right * wrong ** (gamma - 1) * each  # by -log p
        return wrong**gamma * each, steepness[:, None] * (p - self.target)


def spread_over_classes(
    weight: np.ndarray, bias: np.ndarray, present: np.ndarray, classes: int
) -> MultinomialHead:
    """Put the rows of the classes present among K; the others answer probability 0.

    Args:
        weight: (P, F).
        bias: (P,).
        present: (P,) positions among K.
        classes: K.
    """
    all_weights = np.zeros((classes, weight.shape[1]))
    all_biases = np.full(classes, ABSENT)
    all_weights[present], all_biases[present] = weight, bias
    return MultinomialHead(all_weights, all_biases)
