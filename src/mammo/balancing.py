"""Two remedies for imbalance, of which only one may act: sampling, or weights in the loss."""

from typing import Self

import numpy as np
from pydantic import model_validator

from mammo.params import Params


class BalancingParams(Params):
    """Section `balancing`."""

    weighted_sampler: bool
    class_weights: bool
    allow_double: bool

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        if self.weighted_sampler and self.class_weights and not self.allow_double:
            raise ValueError(
                "weighted_sampler and class_weights are both on: double balancing counts rare "
                "classes twice; switch one off, or set balancing.allow_double: true"
            )
        return self


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the images of each class: (n,) -> (K,)."""
    return np.bincount(labels, minlength=classes)


def imbalance_ratio(counts: np.ndarray) -> float:
    """Divide the largest class by the smallest that has any image."""
    return float(counts.max() / counts[counts > 0].min())


def inverse_frequency(counts: np.ndarray) -> np.ndarray:
    """Weigh each class by 1 / count, relative to the largest class: (K,) -> (K,).

    A class without images weighs 0.
    """
    return np.divide(counts.max(), counts, out=np.zeros(len(counts)), where=counts > 0)


def draw_epoch(labels: np.ndarray, params: BalancingParams, seed: int, epoch: int) -> np.ndarray:
    """Draw the positions of one epoch: (n,) -> (n,), a function of seed and epoch alone.

    With the sampler, n draws with replacement in which every class has the same chance;
    otherwise a permutation.
    """
    random = np.random.default_rng([seed, epoch])
    if not params.weighted_sampler:
        return random.permutation(len(labels))
    weights = inverse_frequency(np.bincount(labels))[labels]
    return random.choice(len(labels), size=len(labels), p=weights / weights.sum())
