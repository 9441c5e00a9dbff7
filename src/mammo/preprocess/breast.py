"""Find the breast in an image, and turn every breast the same way."""

from dataclasses import dataclass

import cv2
import numpy as np

from mammo.errors import FileFault
from mammo.preprocess.frame import film_base, frame_of, without_slanted_frame

_SAMPLE_PX = 512  # long side of the sample that the breast is looked for in
_DARK_GAMMA = 0.4  # spreads the dark end, where skin fades into background
_LEAST_SHARE = 0.01  # of the image: below it there is no breast, but a label or dust
_GAP = 32  # grey levels that no pixel has, between background and tissue
_WAVERING = 8  # grey levels of a ground whose values differ by up to 3; a detector's has 14 or more
_EDGE_SHARE = 0.15  # of the breast's width: the strips whose heights are compared


@dataclass(frozen=True)
class Breast:
    """Where the breast lies.

    Attributes:
        top, bottom, left, right: Its box in pixels of the image; bottom and right are exclusive.
        chest_wall: `left` or `right`, from the pixels.
        step: Sampling distance of `mask`.
        mask: (ceil(rows / step), ceil(columns / step)) bool.
    """

    top: int
    bottom: int
    left: int
    right: int
    chest_wall: str
    step: int
    mask: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its box as top, bottom, left, right."""
        return self.top, self.bottom, self.left, self.right

    @property
    def holds_all_corners(self) -> bool:
        """Tell what lies in all corners of the image: the ground of a negative, say, no breast."""
        return bool(self.mask[[0, 0, -1, -1], [0, -1, 0, -1]].all())


def find_breast(pixels: np.ndarray, table: np.ndarray, lowest: int) -> Breast:
    """Find the largest bright region.

    Args:
        pixels: (rows, columns) stored values.
        table: Brightness in [0, 1] of each stored value from `lowest`, padding 0.
        lowest: The stored value of the table's first entry.

    Raises:
        FileFault: The image is flat, or its largest region is too small for a breast.
    """
    step = -(-max(pixels.shape) // _SAMPLE_PX)
    # Strided, not averaged: padding next to skin would average to tissue.
    sample = table[pixels[::step, ::step].astype(np.int64) - lowest]
    mask = _largest_region(_tissue(sample))
    if mask.mean() < _LEAST_SHARE:
        raise FileFault("no_breast", f"the largest bright region is {mask.mean():.2%} of the image")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    return Breast(
        top=top * step,
        bottom=min(bottom * step, pixels.shape[0]),
        left=left * step,
        right=min(right * step, pixels.shape[1]),
        chest_wall=_chest_wall(mask[top:bottom, left:right]),
        step=step,
        mask=mask,
    )


def _tissue(sample: np.ndarray) -> np.ndarray:
    """Mark what is brighter than the background, the frame of a digitised film left out."""
    low, high = np.percentile(sample, (0.5, 99.5))
    if high - low < 1e-6:
        raise FileFault("no_breast", "the image is flat")
    scaled = ((sample - low) / (high - low)).clip(0, 1)
    top, bottom, left, right = frame_of(scaled)
    mask = np.zeros(sample.shape, np.uint8)
    if bottom - top > 8 and right - left > 8:
        inner, frame = without_slanted_frame(scaled[top:bottom, left:right])
        mask[top:bottom, left:right] = _bright(inner) & ~frame
    return mask


def _bright(scaled: np.ndarray) -> np.ndarray:
    """Tell tissue from background, and from the base of a film that lies on black."""
    grey = cv2.medianBlur(np.rint(255 * scaled**_DARK_GAMMA).astype(np.uint8), 5)
    mask = _opened(grey > _threshold(grey.ravel()))
    film = film_base(grey, mask)
    return mask if film is None else _opened((grey > _threshold(grey[film])) & film)


def _threshold(values: np.ndarray) -> float:
    """Halfway from the background's peak to Otsu's threshold, of (n,) uint8.

    Otsu's threshold alone parts bright glands from dark fat.
    """
    otsu, _ = cv2.threshold(values, 0, 255, cv2.THRESH_OTSU)
    peak = int(np.argmax(np.bincount(values[values <= otsu], minlength=1)))
    half = float(peak + otsu) / 2
    # A ground that wavers by one to three stored values has a few levels and nothing after them:
    # some of these would lie above the half and be taken for tissue.
    wavers = len(np.unique(values[values <= otsu])) <= _WAVERING
    gap = int(values[values > otsu].min(initial=255)) - otsu
    return float(otsu) if wavers and gap > _GAP else half


def _opened(mask: np.ndarray) -> np.ndarray:
    """Cut the thin bridges that tie labels and edges to the breast."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))


def _largest_region(mask: np.ndarray) -> np.ndarray:
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.zeros(mask.shape, dtype=bool)
    largest: np.ndarray = labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return largest


def _chest_wall(mask: np.ndarray) -> str:
    """The breast is tall at the chest wall and thin at the nipple."""
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    ends = [np.stack([columns, rows], axis=1) for columns in (first, last)]
    points = np.concatenate(ends).astype(np.int32)  # (n, 2), x before y
    # Fat as dark as background leaves gaps; the hull doesn't have them.
    hull = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(points), 1)
    strip = max(1, round(mask.shape[1] * _EDGE_SHARE))
    return "left" if hull[:, :strip].sum() >= hull[:, -strip:].sum() else "right"
