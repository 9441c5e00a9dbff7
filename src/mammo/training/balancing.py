"""Two remedies for imbalance, of which only one may act: sampling, or weights in the loss."""

import numpy as np

from mammo.training.params import BalancingParams


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


def effective_number_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Weigh each class by 1 / effective number of images, summing to K: (K,) -> (K,).

    The effective number (1 - beta^n) / (1 - beta) is n at beta near 1 and 1 at beta near 0, so
    beta leads from inverse frequency to no weights. A class without images weighs 0.

    Source: Cui 2019, arXiv:1901.05555, proposition 1 and section 4 (normalised to sum to K).
    """
    numbers = (1 - beta**counts) / (1 - beta)
    weights = np.divide(1, numbers, out=np.zeros(len(counts)), where=counts > 0)
    return weights * len(counts) / weights.sum()


def loss_weights(counts: np.ndarray, params: BalancingParams) -> np.ndarray:
    """Weigh each class in the loss: (K,) -> (K,), all 1 unless weights are switched on."""
    if params.class_weights:
        return inverse_frequency(counts)
    if params.effective_beta is not None:
        return effective_number_weights(counts, params.effective_beta)
    return np.ones(len(counts))


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
