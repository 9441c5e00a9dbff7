"""Find what lies around a breast on a digitised film: the light box, and the film's own base."""

import cv2
import numpy as np

# Lines along an edge that are no tissue: so bright, so near to their median, over such a share of
# their length, no further in than such a share of the side; and with an end as straight.
_FRAME_BRIGHT, _FRAME_FLAT, _FRAME_LENGTH, _FRAME_REACH = 0.3, 0.06, 0.95, 0.15
_FRAME_END = 0.7  # share of the line behind the frame that must be of another grey


def frame_of(scaled: np.ndarray) -> tuple[int, int, int, int]:
    """Find what a bright frame, or a strip along an edge, leaves of an image.

    Tissue is curved and textured; the light box around a digitised film is straight and flat.

    Args:
        scaled: (rows, columns) in [0, 1].

    Returns:
        top, bottom, left, right; bottom and right are exclusive.
    """
    rows, columns = scaled.shape
    # The sides hold the corners of top and bottom strips, and the other way round: twice.
    top = bottom = left = right = 0
    for _ in range(2):
        inner = scaled[top : rows - bottom, left : columns - right]
        if min(inner.shape) < 16:
            break
        top, bottom = top + _strip(inner), bottom + _strip(inner[::-1])
        left, right = left + _strip(inner.T), right + _strip(inner.T[::-1])
        if not (top or bottom or left or right):
            break
    return top, rows - bottom, left, columns - right


def _strip(lines: np.ndarray) -> int:
    """Count the first lines that belong to a bright, flat strip with a straight end."""
    reach = max(2, round(len(lines) * _FRAME_REACH))
    near = lines[:reach]
    median = np.median(near, axis=1, keepdims=True)
    bright = median[:, 0] >= _FRAME_BRIGHT
    if not bright.any():
        return 0
    # As bright everywhere, or falling off along the side, as the light of a box does.
    level = _falling(near, bright)
    return _strip_at(lines, near, median, bright) or (
        0 if level is None else _strip_at(lines, near, level, bright)
    )


def _strip_at(lines: np.ndarray, near: np.ndarray, level: np.ndarray, bright: np.ndarray) -> int:
    """Count the first lines that keep to a level; the rest is as `_strip` has it.

    Args:
        lines: (n, m), from the edge inwards.
        near: (reach, m), the first of them.
        level: (reach, 1 or m), of each line; NaN is none.
        bright: (reach,) bool.
    """
    frame = np.zeros(len(near), dtype=bool)
    flat = np.abs(near[bright] - level[bright]) < _FRAME_FLAT
    frame[bright] = flat.mean(axis=1) >= _FRAME_LENGTH
    if not frame.any():
        return 0
    first = int(frame.argmax())  # dark lines may lie outside of it
    last = first + int(np.append(frame[first:], False).argmin()) - 1
    behind = lines[min(last + 3, len(lines) - 1)]
    ends = (np.abs(behind - level[last]) > _FRAME_FLAT).mean() >= _FRAME_END
    return last + 2 if ends and last + 3 < len(near) else 0  # and the pixel that the edge blurs


# Light that falls off along a side: a parabola through the medians of so many parts of a line,
# but for so many that lie off it (a corner, a label), and over such a share of its brightest.
_PARTS, _PARTS_OFF, _FALL = 16, 3, 0.35


def _falling(lines: np.ndarray, bright: np.ndarray) -> np.ndarray | None:
    """Fit how the brightness of each line falls off along it.

    Args:
        lines: (n, m).
        bright: (n,) bool: the lines to look at.

    Returns:
        (n, m): a parabola each; NaN where it falls further than light does. None: all do.
    """
    few = np.flatnonzero(bright)
    if lines.shape[1] < 2 * _PARTS or not len(few):
        return None
    # A few pixels of each line tell most tissue apart: the rest is for what may be a light box.
    sample = np.sort(lines[few, :: lines.shape[1] // _PARTS], axis=1)
    low, high = sample[:, sample.shape[1] // 4], sample[:, -1 - sample.shape[1] // 10]
    few = few[low >= (1 - _FALL - _FRAME_FLAT) * high]
    if not len(few):
        return None
    medians = _medians(lines[few])
    inner = np.sort(medians, axis=1)[:, _PARTS_OFF:]
    steady = inner[:, 0] >= (1 - _FALL) * inner[:, -1]
    few, medians = few[steady], medians[steady]
    if not len(few):
        return None
    powers = np.vander((np.arange(_PARTS) + 0.5) / _PARTS, 3)  # (parts, 3)
    weights = np.ones((len(few), _PARTS))
    for _ in range(2):  # fitted to all parts, then without those that lie off
        normal = np.einsum("np,pi,pj->nij", weights, powers, powers)
        right = np.einsum("np,pi,np->ni", weights, powers, medians)
        curves = np.linalg.solve(normal, right[..., None])[..., 0]  # (few, 3)
        off = np.abs(medians - curves @ powers.T)
        weights = (off <= np.sort(off, axis=1)[:, [-1 - _PARTS_OFF]]).astype(float)
    places = (np.arange(lines.shape[1]) + 0.5) / lines.shape[1]
    fitted = curves @ np.vander(places, 3).T
    falls = fitted.min(axis=1) < (1 - _FALL) * fitted.max(axis=1)
    level = np.full(lines.shape, np.nan)
    level[few] = np.where(falls[:, None], np.nan, fitted)
    return level


def _medians(lines: np.ndarray) -> np.ndarray:
    """Take the median of each part of each line: (n, m) -> (n, _PARTS)."""
    parts = np.array_split(lines, _PARTS, axis=1)
    return np.stack([np.median(part, axis=1) for part in parts], axis=1)


# A film that lay askew: the frame's end is a line of such a slope, along such a share of a side
# whose corners the other sides' frames may hold, with such a share of it no further off than this.
_SLANT_SLOPE, _SLANT_LENGTH, _SLANT_FREE = 0.09, 0.5, 0.6
_SLANT_SHARE, _SLANT_OFF_PX, _SLANT_LEAST_PX = 0.9, 2, 3


def without_slanted_frame(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill what a slanted frame covers with what lies next to it.

    Args:
        scaled: (rows, columns) in [0, 1], straight frames cut away.

    Returns:
        The image filled, and where the frame was: (rows, columns) uint8, 0 or 1.
    """
    filled, frame = scaled.copy(), np.zeros(scaled.shape, np.uint8)
    smooth = cv2.medianBlur(np.rint(255 * scaled).astype(np.uint8), 5) / 255
    # Views of the four sides, each with the line along the image's edge first.
    sides = [(a, a[::-1], a.T, a.T[::-1]) for a in (smooth, filled, frame)]
    for lines, target, marks in zip(*sides, strict=True):
        depth = _slant(lines)
        if not depth.any():
            continue
        covered = np.arange(len(lines))[:, None] < depth
        behind = np.take_along_axis(target, depth[None].clip(max=len(lines) - 1), axis=0)
        np.copyto(target, behind, where=covered)
        np.copyto(marks, 1, where=covered)
    return filled, frame


def _slant(lines: np.ndarray) -> np.ndarray:
    """Count, at each place along an edge, the pixels of a bright, flat strip with a straight end.

    Args:
        lines: (n, m): n lines from the edge inwards.

    Returns:
        (m,) integers: all 0 where there is no such strip.
    """
    count = lines.shape[1]
    none = np.zeros(count, int)
    reach = max(2, round(len(lines) * _FRAME_REACH))
    bright = lines[0][lines[0] >= _FRAME_BRIGHT]
    if len(bright) < _SLANT_LENGTH * count:
        return none
    level = _falling(lines[:1], np.array([True]))
    if level is None or np.isnan(level).any():
        level = np.median(bright)
    flat = np.abs(lines[:reach] - level) < _FRAME_FLAT
    depth = np.logical_and.accumulate(flat, axis=0).sum(axis=0)
    places = np.arange(count)
    seen = (depth > 0) & (depth < reach)  # deeper: a corner that another side's frame holds
    if seen.sum() < _SLANT_LENGTH * count or (depth < reach).mean() < _SLANT_FREE:
        return none
    slope, intercept = theil_sen(places[seen], depth[seen])
    end = (intercept + slope * places).clip(0)
    near = np.abs(end - depth)[depth < reach] <= _SLANT_OFF_PX
    if abs(slope) > _SLANT_SLOPE or end.max() < _SLANT_LEAST_PX or near.mean() < _SLANT_SHARE:
        return none
    return np.where(end > 0, np.ceil(end) + 2, 0).astype(int)  # and what the edge blurs


def theil_sen(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit a line through the medians (Theil 1950, Sen 1968): slope and intercept."""
    right = x[:, None] > x
    slope = float(np.median((y[:, None] - y)[right] / (x[:, None] - x)[right]))
    return slope, float(np.median(y) - slope * np.median(x))


# A region of such a share of the smallest rectangle around it is a film, if so much of it and of
# its rim has one grey (of 255, half the width of a mode) that is dark; tissue is none of these.
_FILM_FILLS, _BASE_SHARE, _BASE_RIM, _BASE_WIDTH, _BASE_DARK = 0.95, 0.2, 0.4, 8, 128
_RIM_PX = 4


def film_base(grey: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """Tell a film that a scanner laid on black from tissue: where the film lies, or None.

    The base of an exposed film is grey, and next to black it looks like tissue.

    Args:
        grey: (rows, columns) uint8, smoothed, the dark end spread.
        region: (rows, columns) uint8, 1 where the brighter region lies.

    Returns:
        (rows, columns) bool: the film without its rim, to be looked at by itself.
    """
    outlines, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    outline = max(outlines, key=cv2.contourArea)
    _, sides, _ = cv2.minAreaRect(outline)
    if cv2.contourArea(outline) < _FILM_FILLS * max(1.0, sides[0] * sides[1]):
        return None
    film = cv2.drawContours(np.zeros_like(region), [outline], -1, 1, cv2.FILLED)
    # What the image's own edge cuts off has no rim there.
    inside = cv2.erode(film, np.ones((2 * _RIM_PX + 1,) * 2), borderValue=1).astype(bool)
    rim = inside & ~cv2.erode(inside.astype(np.uint8), np.ones((5, 5)), borderValue=0).astype(bool)
    if not rim.any() or film.all():
        return None
    counts = np.bincount(grey[inside], minlength=256)[:_BASE_DARK]
    base = int(np.convolve(counts, np.ones(2 * _BASE_WIDTH + 1), mode="same").argmax())
    is_base = np.abs(grey.astype(int) - base) <= _BASE_WIDTH
    if is_base[inside].mean() < _BASE_SHARE or is_base[rim].mean() < _BASE_RIM:
        return None
    return inside
