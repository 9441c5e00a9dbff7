"""From probabilities to an answer: which prior they assume, and which class is taken."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Rule = Literal["argmax", "median"]
RULES: tuple[Rule, ...] = ("argmax", "median")


def decide(probabilities: np.ndarray, rule: Rule) -> np.ndarray:
    """Answer with one class an image: (n, K) -> (n,) positions.

    `argmax` takes the likeliest class; `median` the first up to which half of the probability
    lies, which for classes in order is never far from the others.

    Raises:
        ValueError: There is no such rule.
    """
    if rule == "argmax":
        likeliest: np.ndarray = probabilities.argmax(axis=1)
        return likeliest
    if rule == "median":
        # a hair less than half, so that rounding doesn't decide a tie
        median: np.ndarray = (probabilities.cumsum(axis=1) >= 0.5 - 1e-12).argmax(axis=1)
        return median
    raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")


def change_prior(
    probabilities: np.ndarray, before: Sequence[float] | np.ndarray, after: np.ndarray
) -> np.ndarray:
    """Move probabilities from the class shares that they assume to others: (n, K) -> (n, K).

    A class that `before` gives no share keeps probability 0.

    Source: Saerens 2002, Neural Comput. 14, 21-41, equation 2.4.
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    ratio = np.divide(new, old, out=np.zeros(len(old)), where=old > 0)
    moved = probabilities * ratio
    scaled: np.ndarray = moved / moved.sum(axis=1, keepdims=True)
    return scaled


def prior_shares(prior: Literal["uniform", "train"], counts: Sequence[int]) -> np.ndarray:
    """Compute class shares: equal ones, or those of the training images; absent classes have 0."""
    n = np.asarray(counts, dtype=np.float64)
    sizes = (n > 0).astype(np.float64) if prior == "uniform" else n
    shares: np.ndarray = sizes / sizes.sum()
    return shares
