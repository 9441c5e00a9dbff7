"""Two remedies for imbalance, of which only one may act: sampling, or weights in the loss."""

import numpy as np

from mammo.heads.balance import frequency_weights
from mammo.training.params import AUTO_IMBALANCE, BalancingParams, LossParams


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the images of each class: (n,) -> (K,)."""
    return np.bincount(labels, minlength=classes)


def imbalance_ratio(counts: np.ndarray) -> float:
    """Divide the largest class by the smallest that has any image."""
    return float(counts.max() / counts[counts > 0].min())


def resolve(balancing: BalancingParams, loss: LossParams, counts: np.ndarray) -> BalancingParams:
    """Decide `weighted_sampler: auto`: on for an imbalanced set that nothing else balances."""
    if balancing.weighted_sampler != "auto":
        return balancing
    alone = not balancing.weighs and not loss.adjusts
    on = alone and imbalance_ratio(counts) > AUTO_IMBALANCE
    return balancing.model_copy(update={"weighted_sampler": on})


def effective_number_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Weigh each class by 1 / effective number of images, summing to K: (K,) -> (K,).

    The effective number (1 - beta^n) / (1 - beta) is n at beta near 1 and 1 at beta near 0, so
    beta leads from inverse frequency to no weights. A class without images weighs 0.

    Source: Cui 2019, arXiv:1901.05555, proposition 1 and section 4 (normalised to sum to K).
    """
    numbers = (1 - beta**counts) / (1 - beta)
    inverse = np.divide(1, numbers, out=np.zeros(len(counts)), where=counts > 0)
    weights: np.ndarray = inverse * len(counts) / inverse.sum()
    return weights


def loss_weights(counts: np.ndarray, params: BalancingParams) -> np.ndarray:
    """Weigh each class in the loss: (K,) -> (K,), all 1 unless weights are switched on."""
    if isinstance(params.class_weights, list):
        return np.array(params.class_weights, dtype=np.float64)
    if params.class_weights == "balanced":
        return frequency_weights(counts, params.power)
    if params.effective_beta is not None:
        return effective_number_weights(counts, params.effective_beta)
    return np.ones(len(counts))


def expected_weights(counts: np.ndarray, params: BalancingParams) -> np.ndarray:
    """Weigh an image of each class as an epoch does on average: (K,) -> (K,).

    The sampler's expectation times the loss weights. A solved head takes these as exact weights.

    Args:
        counts: Images of each class.
        params: With `weighted_sampler` decided.
    """
    sampled = frequency_weights(counts, params.power) if params.weighted_sampler else 1.0
    return sampled * loss_weights(counts, params)


def training_prior(
    counts: np.ndarray, params: BalancingParams, adjustment: np.ndarray
) -> np.ndarray:
    """Compute the class shares at which a trained network answers: (K,), sum 1.

    Balanced by power p a class of n images has the share n^(1 - p). An adjusted loss takes its
    adjustment out of the logits again.

    Args:
        counts: Training images of each class.
        params: With `weighted_sampler` decided.
        adjustment: (K,) that the loss adds to the logits.
    """
    seen = counts * expected_weights(counts, params)
    answered = seen * np.exp(-adjustment)
    shares: np.ndarray = answered / answered.sum()
    return shares


def draw_epoch(labels: np.ndarray, params: BalancingParams, seed: int, epoch: int) -> np.ndarray:
    """Draw the positions of one epoch: (n,) -> (n,), a function of seed and epoch alone.

    With the sampler, n draws with replacement in which an image of a class of n_k has a chance
    of n_k^-power; otherwise a permutation.
    """
    random = np.random.default_rng([seed, epoch])
    if not params.weighted_sampler:
        return random.permutation(len(labels))
    weights = frequency_weights(np.bincount(labels), params.power)[labels]
    return random.choice(len(labels), size=len(labels), p=weights / weights.sum())
