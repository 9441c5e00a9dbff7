"""Features standardised and turned to their principal axes, and the way back to raw ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEAST_SPREAD = 1e-3  # of a feature's mean: less is the arithmetic's noise, not the image's doing
_LEAST_VARIANCE = 1e-13  # of the largest axis': beyond it lies rounding


@dataclass(frozen=True)
class Basis:
    """An affine map of raw features to principal coordinates of total variance 1.

    A ridge penalty doesn't see a rotation, so the problem is the same one; but along these axes
    its curvature is nearly diagonal, and a solver needs tens of steps, not thousands.

    Attributes:
        mean: (F,) weighted mean of the raw features.
        axes: (F, R) raw differences from the mean -> coordinates.
    """

    mean: np.ndarray
    axes: np.ndarray

    def coordinates(self, features: np.ndarray) -> np.ndarray:
        """Map raw features to coordinates: (n, F) -> (n, R)."""
        coordinates: np.ndarray = (features - self.mean) @ self.axes
        return coordinates

    def fold_back(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn weights of coordinates into weights of raw features: (R, C) -> (F, C), (C,).

        The second is what has to be subtracted from the scores.
        """
        raw = self.axes @ weight
        return raw, self.mean @ raw


def find_basis(features: np.ndarray, weights: np.ndarray, emphasis: np.ndarray) -> Basis:
    """Standardise by weighted statistics and find the principal axes.

    Args:
        features: (n, F) float64.
        weights: (n,), at least 0, with sum 1.
        emphasis: (F,) spread of each feature in proportion to the others.
    """
    mean = weights @ features
    spread = np.sqrt((weights[:, None] * (features - mean) ** 2).sum(axis=0))
    scale = standard_scale(mean, spread, emphasis)  # (F,)
    scaled = (features - mean) * (scale * np.sqrt(weights)[:, None])  # (n, F)
    rows, columns = scaled.shape
    if rows < columns:  # the smaller of the two Gram matrices has the same axes
        variances, left = np.linalg.eigh(scaled @ scaled.T)
        kept = variances > _LEAST_VARIANCE * variances.max()
        turn = scaled.T @ left[:, kept] / np.sqrt(variances[kept])  # (F, R)
    else:
        variances, turn = np.linalg.eigh(scaled.T @ scaled)
        kept = variances > _LEAST_VARIANCE * variances.max()
        turn = turn[:, kept]
    return Basis(mean, scale[:, None] * turn)


def standard_scale(mean: np.ndarray, spread: np.ndarray, emphasis: np.ndarray) -> np.ndarray:
    """Scale features to a total variance of 1: (F,), (F,), (F,) -> (F,); constant ones to 0."""
    floor = np.maximum(spread, _LEAST_SPREAD * np.abs(mean))
    varies = spread > 0
    scale = np.divide(emphasis, floor, out=np.zeros(len(floor)), where=varies)
    total = (emphasis[varies] ** 2).sum()
    return np.asarray(scale / np.sqrt(total) if total else scale)


def emphasise(widths: Sequence[int], power: float) -> np.ndarray:
    """Give each block's features a variance of width^-power: -> (F,) their spread.

    A penalty on squared weights spares what varies much. With all features alike, a block's share
    of what is cheap to use is its number of channels, and that says nothing of density.

    Args:
        widths: Features of each block, one after the other.
        power: 0: all features alike; 1: all blocks alike.
    """
    sizes = np.asarray(widths, dtype=np.int64)
    return np.repeat((sizes / sizes.max()) ** (-power / 2), sizes)
