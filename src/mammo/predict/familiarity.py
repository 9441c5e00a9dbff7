"""Whether an image is like those that the network has learned from.

Features are compared by a distance that knows in which directions the training images vary, and
how much. What is kept are means, directions and variances over all of them: nothing of a patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DIRECTIONS = 32  # at most; a tenth of the training images where there are fewer
_VAL_SHARE = 0.99  # of val lies below the threshold
_SIZE_MARGIN = 1.25  # a side may be longer or shorter than any in train by this factor


@dataclass(frozen=True)
class FeatureModel:
    """A Gaussian of the training features, exact in the strongest directions, round in the rest.

    Attributes:
        mean: (F,).
        directions: (D, F), orthonormal.
        variances: (D,), along the directions.
        rest: The mean variance of all other directions.
        threshold: A larger distance is unfamiliar.

    Source: Lee 2018, arXiv:1807.03888 (Mahalanobis distance of features); Tipping 1999 (a Gaussian
    with few strong directions, probabilistic PCA).
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    threshold: float

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Measure how far features lie from those of train, per dimension: (n, F) -> (n,)."""
        return _distance(features, self.mean, self.directions, self.variances, self.rest)


def fit_features(train: np.ndarray, val: np.ndarray) -> FeatureModel:
    """Describe the features of the training images, and take the threshold from val.

    Args:
        train: (n, F) pooled features.
        val: (m, F), of other patients.
    """
    train = train.astype(np.float64)
    mean = train.mean(axis=0)
    centred = train - mean
    kept = max(1, min(DIRECTIONS, len(train) // 10, train.shape[1] - 1))
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2 / max(1, len(train) - 1)
    rest = float(variances[kept:].sum() / max(1, train.shape[1] - kept))
    rest = max(rest, 1e-12)
    kept_variances = np.maximum(variances[:kept], rest)
    distances = _distance(val, mean, directions[:kept], kept_variances, rest)
    threshold = float(np.quantile(distances, _VAL_SHARE, method="higher"))
    return FeatureModel(mean, directions[:kept], kept_variances, rest, threshold)


def _distance(
    features: np.ndarray,
    mean: np.ndarray,
    directions: np.ndarray,
    variances: np.ndarray,
    rest: float,
) -> np.ndarray:
    centred = features.astype(np.float64) - mean
    along = centred @ directions.T  # (n, F) -> (n, D)
    across = ((centred**2).sum(axis=1) - (along**2).sum(axis=1)).clip(0)
    distances: np.ndarray = np.sqrt(
        ((along**2 / variances).sum(axis=1) + across / rest) / len(mean)
    )
    return distances


@dataclass(frozen=True)
class Origin:
    """Where the training images come from, as far as a header tells.

    Attributes:
        makers: Manufacturers, as written.
        grey_scales: The kinds of grey scale (`lut`, `window`, `percentiles`, `none`).
        rows, columns: Least and most.
    """

    makers: list[str]
    grey_scales: list[str]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Origin":
        """Read what `making.origin_facts` wrote."""
        return cls(
            makers=list(values["makers"]),
            grey_scales=list(values["grey_scales"]),
            rows=(values["rows"][0], values["rows"][1]),
            columns=(values["columns"][0], values["columns"][1]),
        )

    def strangeness(self, maker: str, grey_scale: str, rows: int, columns: int) -> list[str]:
        """Say in what an image differs; an empty list where it doesn't."""
        found = []
        if maker not in self.makers:
            found.append(f"manufacturer {maker!r} not among the training images")
        if grey_scale not in self.grey_scales:
            found.append(f"grey scale by {grey_scale!r} never seen in training")
        for name, value, (least, most) in (
            ("rows", rows, self.rows),
            ("columns", columns, self.columns),
        ):
            if not least / _SIZE_MARGIN <= value <= most * _SIZE_MARGIN:
                found.append(f"{value} {name}, in training {least} to {most}")
        return found


def unfamiliar(strangeness: Sequence[str], distance: float, threshold: float) -> str:
    """Write down the reasons for the flag; '' for an image like the training images."""
    far = [f"features {distance / threshold:.2f} times as far as the threshold"]
    return "; ".join([*(far if distance > threshold else []), *strangeness])
