"""The markers of JPEG (ITU-T T.81) and JPEG-LS (T.87), followed to the end of the image."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mammo.dicom.stream import Stream, check_rest, expect
from mammo.errors import FileFault

_EOI, _SOS = 0xD9, 0xDA
# After an 0xFF in entropy-coded data: stuffed zero or restart marker (T.81 B.1.1.5).
# Any number of 0xFF may precede a marker's code (B.1.1.2).
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
# JPEG-LS stuffs a zero *bit*: any byte of 0x80 or more after 0xFF is a marker (T.87 C.1).
_JPEG_LS_MARKER = re.compile(rb"\xff+[\x80-\xfe]", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A JPEG marker segment: the marker's second byte, and where its parameters lie."""

    code: int
    start: int
    end: int


def jpeg_segments(frame: bytes, position: int = 2) -> Iterator[Segment]:
    """Yield the marker segments up to and including the next scan header.

    Args:
        frame: The codestream.
        position: Where to begin: behind the start-of-image marker, or a scan.

    Raises:
        FileFault: Something other than a whole marker segment stands between two markers.
    """
    expect(frame[:2] == b"\xff\xd8", "codestream_header", "no start-of-image marker")
    code = 0
    while code != _SOS:
        expect(frame[position] == 0xFF, "codestream_header", f"no marker at byte {position}")
        while frame[position + 1] == 0xFF:  # fill bytes (B.1.1.2)
            position += 1
        code = frame[position + 1]
        expect(code != _EOI, "truncated_codestream", "ends before its scan")
        (length,) = struct.unpack_from(">H", frame, position + 2)
        end = position + 2 + length
        expect(
            length >= 2 and end <= len(frame),
            "truncated_codestream",
            f"marker FF{code:02X} says {length} bytes at {position} of {len(frame)}",
        )
        yield Segment(code, position + 4, end)
        position = end


def _jpeg(frame: bytes, frames: tuple[int, ...], marker: re.Pattern[bytes]) -> Stream:
    """Walk SOI, segments, one scan, EOI; `frames` are the start-of-frame markers allowed."""
    found, position = None, 0
    for segment in jpeg_segments(frame):
        position = segment.end
        if segment.code not in _FRAME_MARKERS:
            continue
        expect(found is None, "codestream_header", "two frame headers")
        expect(
            segment.code in frames,
            "codestream_header",
            f"frame marker FF{segment.code:02X} doesn't belong to this transfer syntax",
        )
        precision, rows, columns, components = struct.unpack_from(">BHHB", frame, segment.start)
        expect(components == 1, "not_monochrome", f"codestream of {components} components")
        found = (rows, columns, precision)
    if found is None:
        raise FileFault("codestream_header", "a scan without a frame header")
    end, last, after = scan_end(frame, position, marker)
    expect(last == _EOI, "codestream_header", f"marker FF{last:02X} inside or after the one scan")
    rows, columns, precision = found
    flags = check_rest(frame, after)
    scan = (position, end)
    return Stream(rows, columns, precision, None, after, scan=scan, bounded=False, flags=flags)


def scan_end(
    frame: bytes, start: int, marker: re.Pattern[bytes] = _JPEG_MARKER
) -> tuple[int, int, int]:
    """Find where a scan's data end, the second byte of the marker there, and where it ends.

    Raises:
        FileFault: No marker follows.
    """
    end = frame.rfind(b"\xff\xd9", start)
    # The usual case, ten times as fast as searching: every 0xFF before the end is a stuffed one.
    if (
        marker is _JPEG_MARKER
        and end >= 0
        and frame.count(b"\xff", start, end) == count_stuffed(frame[start:end])
    ):
        return end, _EOI, end + 2
    match = marker.search(frame, start)
    if match is None:
        raise FileFault("truncated_codestream", "no end-of-image marker")
    return match.start(), frame[match.end() - 1], match.end()


def count_stuffed(data: bytes) -> int:
    """Count the zeros stuffed after 0xFF in entropy-coded data (F.1.2.3)."""
    values = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == 0)))


_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def walk_baseline(frame: bytes) -> Stream:
    """Walk a stream of 8-bit sequential DCT."""
    return _jpeg(frame, (0xC0,), _JPEG_MARKER)


def walk_extended(frame: bytes) -> Stream:
    """Walk a stream of 8-bit or 12-bit sequential DCT."""
    return _jpeg(frame, (0xC0, 0xC1), _JPEG_MARKER)


def walk_lossless(frame: bytes) -> Stream:
    """Walk a stream of predicted samples (Annex H)."""
    return _jpeg(frame, (0xC3,), _JPEG_MARKER)


def walk_jpeg_ls(frame: bytes) -> Stream:
    """Walk a JPEG-LS stream."""
    return _jpeg(frame, (0xF7,), _JPEG_LS_MARKER)
