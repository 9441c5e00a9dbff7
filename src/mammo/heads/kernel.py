"""Random Fourier features: a Gaussian kernel as a layer of cosines.

Source: Rahimi and Recht 2007, "Random features for large-scale kernel machines", section 3.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist

from mammo.heads.basis import standard_scale

_MOST_IMAGES = 1000  # whose distances are measured: the median of half a million is exact enough


@dataclass(frozen=True)
class FourierFeatures:
    """cos(features · projection + offset): nothing of it is any image's.

    Attributes:
        projection: (F, D) on raw features.
        offset: (D,).
    """

    projection: np.ndarray
    offset: np.ndarray

    def map(self, features: np.ndarray) -> np.ndarray:
        """Map raw features: (..., F) -> (..., D) in [-1, 1]."""
        mapped: np.ndarray = np.cos(features @ self.projection + self.offset)
        return mapped


def draw_fourier_features(
    features: np.ndarray, count: int, scale: float, seed: int
) -> FourierFeatures:
    """Draw a kernel exp(-d² / 2 l²) of standardised features.

    The length l is `scale` times the median distance between two images.

    Args:
        features: (n, F) of clean images.
        count: D.
        scale: Of the length, in median distances.
        seed: Of the directions and phases.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scaling = standard_scale(mean, spread, np.ones(len(mean)))
    length = scale * median_distance((features - mean) * scaling)
    random = np.random.default_rng(seed)
    directions = random.standard_normal((features.shape[1], count))
    projection = scaling[:, None] * directions / length
    phases = random.uniform(0, 2 * np.pi, count)
    return FourierFeatures(projection, phases - mean @ projection)


def median_distance(points: np.ndarray) -> float:
    """Compute the median distance between two of at most 1,000 points, spread over all of them.

    Points that are the same have none; where all are, it is 1.
    """
    step = -(-len(points) // _MOST_IMAGES)
    distances = pdist(points[::step])
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 1.0
