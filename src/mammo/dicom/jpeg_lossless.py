"""Count the bits that a JPEG Lossless scan must hold (ITU-T T.81 Annex H)."""

from collections.abc import Callable

import cv2
import numpy as np

from mammo.dicom.jpeg_scan import compare, parts_of, read_scan
from mammo.dicom.stream import Stream
from mammo.errors import FileFault

_STRIP_PIXELS = 2**18  # keeps the differences of a strip inside the processor's cache


def check_lossless(
    frame: bytes, stream: Stream, pixels: np.ndarray, first_order: bool = False
) -> None:
    """Compare a JPEG Lossless scan's length with what its decoded pixels cost to code.

    Args:
        frame: The codestream.
        stream: Its checked facts.
        pixels: (rows, columns) uint8 or uint16 as decoded.
        first_order: Whether the transfer syntax fixes predictor 1 (PS3.5 A.4.1: SV1). Another
            predictor codes other pixels in as many bits.

    Raises:
        FileFault: The scan is shorter or longer than the pixels need.
    """
    scan = read_scan(frame)
    if len(scan.components) != 1 or scan.high or scan.low:
        raise FileFault("codestream_header", "scan of several components or shifted")
    predictor, (component,) = scan.first, scan.components
    restart_rows, rest = divmod(scan.restart, pixels.shape[1])
    if rest or not 1 <= predictor <= (1 if first_order else 7):
        raise FileFault(
            "codestream_header",
            f"lossless JPEG of predictor {predictor}, restart interval {scan.restart}",
        )
    cost = _cost_by_difference(scan.table(0, component.dc).lengths)
    first = 1 << ((stream.precision or 16) - 1)
    rows = restart_rows or len(pixels)
    parts = [
        _cost(pixels[top : top + rows], predictor, first, cost)
        for top in range(0, len(pixels), rows)
    ]
    compare(parts, parts_of(frame[slice(*stream.scan)], scan))


def _cost_by_difference(lengths: np.ndarray) -> np.ndarray:
    """List the bits of each difference modulo 2^16: (65536,) uint8 (H.1.2.2, Table H.2)."""
    difference = np.arange(2**16)
    size = np.minimum(difference, 2**16 - difference)
    category = np.zeros(2**16, np.int64)
    for bit in range(16):
        category[size >= 1 << bit] = bit + 1
    extra = np.where(category == 16, 0, category)  # 32768 needs no further bits
    return (lengths[category] + extra).astype(np.uint8)


def _cost(pixels: np.ndarray, predictor: int, first: int, cost: np.ndarray) -> int:
    """Add up the bits of one restart interval of whole rows."""
    total, rows = 0, max(1, _STRIP_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        strip = pixels[max(top - 1, 0) : top + rows].astype(np.uint16, copy=False)
        differences = _differences(strip, predictor, first, starts=top == 0)
        total += int(cv2.sumElems(cv2.LUT(differences, cost))[0])
    return total


def _differences(strip: np.ndarray, predictor: int, first: int, starts: bool) -> np.ndarray:
    """Subtract the prediction, modulo 2^16 (H.1.2.1).

    Args:
        strip: (n, columns) uint16; its first row only predicts, unless `starts`.
        predictor: 1 to 7.
        first: Prediction of an interval's first sample.
        starts: Whether the strip begins the interval: its first row is predicted from the left.
    """
    left, above = strip[1:, :-1], strip[:-1, 1:]
    corner = strip[:-1, :-1]
    below = np.empty((len(strip) - 1, strip.shape[1]), np.uint16)
    below[:, 0] = strip[1:, 0] - strip[:-1, 0]
    if predictor == 1:
        np.subtract(strip[1:, 1:], left, out=below[:, 1:])
    else:
        a, b, c = (part.astype(np.int32) for part in (left, above, corner))
        predictions: dict[int, Callable[[], np.ndarray]] = {
            2: lambda: b,
            3: lambda: c,
            4: lambda: a + b - c,
            5: lambda: a + ((b - c) >> 1),
            6: lambda: b + ((a - c) >> 1),
            7: lambda: (a + b) >> 1,
        }
        below[:, 1:] = (strip[1:, 1:] - predictions[predictor]()).astype(np.uint16)
    if not starts:
        return below
    top = np.empty((1, strip.shape[1]), np.uint16)
    top[0, 0] = (int(strip[0, 0]) - first) % 2**16
    np.subtract(strip[0, 1:], strip[0, :-1], out=top[0, 1:])
    return np.concatenate([top, below])
