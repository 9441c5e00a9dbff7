"""Bring an image to a square: by area, with kept aspect, and padded."""

import cv2
import numpy as np


def fitted_shape(extent: tuple[float, float], size_px: int) -> tuple[int, int]:
    """Say the rows and columns of an image whose long side becomes `size_px`."""
    scale = size_px / max(extent)
    rows, columns = (max(1, min(size_px, round(side * scale))) for side in extent)
    return rows, columns


def fit(image: np.ndarray, size_px: int, extent: tuple[float, float] | None = None) -> np.ndarray:
    """Resize by area with kept aspect so that the long side is `size_px`.

    Args:
        image: (rows, columns) float32.
        size_px: The long side of the result.
        extent: Height and width in pixels, where the last row or column is a part of one.
    """
    height, width = extent or image.shape
    rows, columns = fitted_shape((height, width), size_px)
    if max(image.shape) <= size_px:  # averaging by area has no meaning where pixels are added
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    # Twice along the first axis: there, whole rows are added up at the speed of memory.
    return _averaged(_averaged(image, rows, height).T, columns, width).T


def _averaged(image: np.ndarray, rows: int, height: float) -> np.ndarray:
    """Average over `rows` bands of equal height, borders split exactly: (rows, columns)."""
    image = np.ascontiguousarray(image)
    borders = np.minimum(np.arange(rows + 1) * (height / rows), height)
    first = borders[:-1].astype(np.int64)
    last = np.minimum(np.ceil(borders[1:]), len(image)).astype(np.int64)
    # The share of each row in its band: 1 inside, a part at both ends.
    row = first[:, None] + np.arange((last - first).max())
    share = np.minimum(row + 1, borders[1:, None]) - np.maximum(row, borders[:-1, None])
    weights = (share.clip(0) / share.clip(0).sum(axis=1, keepdims=True)).astype(np.float32)
    bands = np.empty((rows, image.shape[1]), np.float32)
    for band, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        np.dot(weights[band, : end - start], image[start:end], out=bands[band])
    return bands


def pad(image: np.ndarray, size_px: int) -> np.ndarray:
    """Pad to a square with zeros; the chest wall stays at the left border.

    Columns are padded on the right, rows on both sides.
    """
    square = np.zeros((size_px, size_px), dtype=image.dtype)
    rows, columns = image.shape
    top = (size_px - rows) // 2
    square[top : top + rows, :columns] = image
    return square
