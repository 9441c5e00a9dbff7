"""What a picture of a breast says without a network: grey values, shape, texture by scale.

grey_features(image, outline)  # (H, W) in [0, 1], (H, W) bool -> (46,) float64, GREY_NAMES
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from mammo import paths
from mammo.storage.tensors import OUTLINES, Tensors, gather_outlines, unit_range

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of the range between the 1st and 99th percentile
SCALES = (1, 2, 4, 8, 16, 32)  # standard deviations of blurs, in pixels of _SIDE_PX
THIRDS = ("wall", "middle", "nipple")

GREY_NAMES = (
    *(f"quantile_{q:g}" for q in QUANTILES),
    "mean", "spread", "skewness", "kurtosis",
    *(f"share_above_{level:g}" for level in LEVELS),
    "otsu_level", "otsu_share", "otsu_contrast", "otsu_explained",
    "otsu3_share_middle", "otsu3_share_bright",
    "area", "aspect", "compactness",
    *(f"energy_{scale}" for scale in SCALES),
    *(f"peakedness_{scale}" for scale in SCALES),
    *(f"dense_{third}" for third in THIRDS),
    "dense_core", "dense_rim", "dense_depth", "dense_pieces",
)  # fmt: skip

_SIDE_PX = 224  # all images are brought to it, or scales would mean something else in each size
_LEAST_PIXELS = 16  # fewer are no breast
_BINS = 64  # of the histogram in which thresholds are searched
_TINY = 1e-6


Grey = Callable[[np.ndarray], np.ndarray]  # positions (n,) -> grey features (n, G)


def no_grey(positions: np.ndarray) -> np.ndarray:
    """Give images no grey features: (n, 0)."""
    return np.zeros((len(positions), 0), dtype=np.float32)


def open_grey(tensors: Path) -> Grey:
    """Open a folder of tensors: positions (n,) -> grey features (n, G), each computed once."""
    images, outlines = Tensors(tensors), Tensors(tensors / OUTLINES)
    known = np.full((len(images), len(GREY_NAMES)), np.nan, dtype=np.float32)

    def grey(positions: np.ndarray) -> np.ndarray:
        for position in np.unique(positions[np.isnan(known[positions, 0])]):
            one = np.array([position])
            image = unit_range(images.gather(one))[0]
            known[position] = grey_features(image, gather_outlines(outlines, one)[0])
        features: np.ndarray = known[positions]
        return features

    return grey


def read_grey(embeddings: Path) -> Grey:
    """Open the grey features in a strategy's folder of embeddings: positions (n,) -> (n, G).

    Raises:
        UserError: There are none, or they aren't as they were written.
    """
    return Tensors(embeddings / paths.GREY).gather


def grey_features(image: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Describe one breast.

    Args:
        image: (H, W) floats in [0, 1], chest wall at the left border.
        outline: (H, W) bool, the breast's pixels.

    Returns:
        (46,) float64, in the order of GREY_NAMES; zeros where there is no breast.

    Source:
        Otsu 1979 (threshold, and its form for three classes); density by thresholds and texture
        by scale as in Byng 1996, "Automated analysis of mammographic densities".
    """
    image, outline = _resized(image.astype(np.float32), outline)
    if np.count_nonzero(outline) < _LEAST_PIXELS:
        return np.zeros(len(GREY_NAMES))
    inside = image[outline].astype(np.float64)
    low, high = np.quantile(inside, (0.01, 0.99))
    reach = max(float(high - low), _TINY)
    relative = np.clip((inside - low) / reach, 0, 1)
    counts = np.bincount(
        np.minimum((relative * _BINS).astype(np.int64), _BINS - 1), minlength=_BINS
    )
    level, explained = _two_classes(counts / counts.sum())
    dense = np.zeros(outline.shape, dtype=bool)
    dense[outline] = relative >= level
    return np.concatenate(
        [
            np.quantile(inside, QUANTILES),
            _moments(inside),
            [(relative > share).mean() for share in LEVELS],
            [level, dense[outline].mean(), _contrast(inside, relative >= level), explained],
            _three_classes(counts / counts.sum()),
            _shape(outline),
            _bands(image, outline, reach),
            _where_dense(dense, outline),
        ]
    )


def _resized(image: np.ndarray, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring image and outline to _SIDE_PX."""
    if max(image.shape) == _SIDE_PX:
        return image, outline
    scale = _SIDE_PX / max(image.shape)
    size = tuple(max(1, round(side * scale)) for side in image.shape[::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    share = cv2.resize(outline.astype(np.float32), size, interpolation=method)
    return cv2.resize(image, size, interpolation=method), share > 0.5


def _moments(values: np.ndarray) -> list[float]:
    """Mean, spread, skewness and excess kurtosis."""
    mean, spread = float(values.mean()), float(values.std())
    standard = (values - mean) / max(spread, _TINY)
    square = standard**2  # products, since powers take five times as long
    return [mean, spread, float((square * standard).mean()), float((square**2).mean()) - 3]


def _contrast(values: np.ndarray, dense: np.ndarray) -> float:
    """Difference of the mean grey values of dense and other tissue."""
    return (
        0.0
        if dense.all() or not dense.any()
        else float(values[dense].mean() - values[~dense].mean())
    )


def _two_classes(shares: np.ndarray) -> tuple[float, float]:
    """Find Otsu's threshold in [0, 1], and the share of the variance that it explains."""
    centres = (np.arange(_BINS) + 0.5) / _BINS
    below = np.cumsum(shares)[:-1]
    sum_below, mean = np.cumsum(shares * centres)[:-1], shares @ centres
    between = (mean * below - sum_below) ** 2 / np.maximum(below * (1 - below), _TINY)
    best = int(np.argmax(between))
    variance = shares @ (centres - mean) ** 2
    return (best + 1) / _BINS, float(between[best] / max(variance, _TINY))


def _three_classes(shares: np.ndarray) -> list[float]:
    """Find Otsu's two thresholds; the shares of the middle and of the brightest class."""
    weight = np.concatenate([[0.0], np.cumsum(shares)])
    moment = np.concatenate([[0.0], np.cumsum(shares * np.arange(_BINS))])
    first, second = np.triu_indices(_BINS + 1, k=1)

    def spread(start: np.ndarray | int, stop: np.ndarray | int) -> np.ndarray:
        mass = weight[stop] - weight[start]
        squares: np.ndarray = (moment[stop] - moment[start]) ** 2 / np.maximum(mass, _TINY)
        return squares

    best = np.argmax(spread(0, first) + spread(first, second) + spread(second, _BINS))
    return [float(weight[second[best]] - weight[first[best]]), float(1 - weight[second[best]])]


def _shape(outline: np.ndarray) -> list[float]:
    """Area as a share of the image, width over height, area over squared perimeter."""
    rows, columns = outline.any(axis=1).sum(), outline.any(axis=0).sum()
    contours, _ = cv2.findContours(
        outline.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    perimeter = sum(cv2.arcLength(contour, True) for contour in contours)
    area = int(outline.sum())
    return [area / outline.size, columns / rows, 4 * np.pi * area / max(perimeter, 1.0) ** 2]


def _bands(image: np.ndarray, outline: np.ndarray, reach: float) -> list[float]:
    """Logarithmic energy and peakedness of what each blur takes away, an octave after the other.

    The blurs are weighted means inside the outline: its edge is no texture.
    """
    inside, energies, peaks = outline.astype(np.float32), [], []
    for _ in SCALES:
        weight = _blurred(inside)
        smooth = _blurred(image * inside) / np.maximum(weight, _TINY)
        band = ((image - smooth)[inside > 0.5] / reach).astype(np.float64)
        squares = band**2
        square = float(np.mean(squares)) if len(band) else 0.0
        fourth = float(np.mean(squares**2)) if len(band) else 0.0
        energies.append(float(np.log(square + _TINY)))
        peaks.append(float(np.log1p(fourth / (square**2 + _TINY**2))))
        image, inside = smooth[::2, ::2], weight[::2, ::2].round()
    return [*energies, *peaks]


def _blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 1.0, borderType=cv2.BORDER_CONSTANT)


def _where_dense(dense: np.ndarray, outline: np.ndarray) -> list[float]:
    """Dense shares by distance from the chest wall and from the skin; depth and pieces."""
    columns = np.flatnonzero(outline.any(axis=0))
    ends = np.linspace(columns[0], columns[-1] + 1, len(THIRDS) + 1).round().astype(int)
    thirds = [_share(dense[:, a:b], outline[:, a:b]) for a, b in pairwise(ends)]
    padded = np.pad(outline.astype(np.uint8), ((1, 1), (0, 1)))  # the wall itself is no skin
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, :-1]
    core = distance > distance.max() / 3
    depth = 0.0
    if dense.any():
        depth = float((np.nonzero(dense)[1].mean() - columns[0]) / len(columns))
    pieces = cv2.connectedComponents(dense.astype(np.uint8))[0] - 1
    return [
        *thirds,
        _share(dense & core, outline & core),
        _share(dense & ~core, outline & ~core),
        depth,
        float(np.log1p(pieces)),
    ]


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / max(1, whole.sum()))
