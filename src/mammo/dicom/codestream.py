"""What a compressed image says about itself, checked without decoding it.

Decoders forgive: a JPEG Lossless stream cut in half decodes without a word. So every marker and
length that a standard fixes is followed here to the end-of-image marker first.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mammo.errors import FileFault

# PS3.5 Annex A; UIDs below 1.2.840.10008.1.2.4 are shortened in `_CHECKS` only.
NATIVE = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
}
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", JPEG_LOSSLESS_SV1)
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")

# Known, and refused: decoded in several scans, they can lose one without any sign of it.
_REFUSED = {
    "1.2.840.10008.1.2.4.53": "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)",
    "1.2.840.10008.1.2.4.55": "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)",
}


@dataclass(frozen=True)
class Stream:
    """Facts of a codestream.

    Attributes:
        rows, columns: None where the syntax has no header of its own (RLE).
        precision: Bits a sample; None for RLE.
        signed: Whether the stream itself marks its samples as signed (JPEG 2000 only).
        length: Bytes from the start to the end of the end-of-image marker.
        levels: Wavelet decompositions, 0 for other syntaxes.
        bounded: Whether lengths in the stream cover all of its data, so that a loss shows
            without decoding.
        scan: JPEG and JPEG-LS: start and end of the entropy-coded data.
    """

    rows: int | None
    columns: int | None
    precision: int | None
    signed: bool | None
    length: int
    levels: int = 0
    bounded: bool = True
    scan: tuple[int, int] = (0, 0)


def is_native(syntax: str) -> bool:
    """Tell uncompressed syntaxes, one of which is deflated as a whole, from encapsulated ones."""
    return syntax in NATIVE


def check_known(syntax: str) -> None:
    """Refuse a transfer syntax that no trusted decoder reads.

    Raises:
        FileFault: Names the syntax.
    """
    if not is_native(syntax) and syntax not in _CHECKS:
        name = _REFUSED.get(syntax, "not known here")
        raise FileFault("unsupported_transfer_syntax", f"(0002,0010) is {syntax} ({name})")


def check(frame: bytes, syntax: str) -> Stream:
    """Follow a codestream's markers and lengths to its end.

    Raises:
        FileFault: A marker is missing or out of place, or a length doesn't fit.
    """
    check_known(syntax)
    try:
        return _CHECKS[syntax](frame)
    except (struct.error, IndexError) as error:  # read past the end
        raise FileFault("truncated_codestream", f"cut inside a marker segment: {error}") from error


# ---- JPEG (ITU-T T.81) and JPEG-LS (T.87)

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


def jpeg_segments(frame: bytes) -> Iterator[Segment]:
    """Yield the marker segments up to and including the first scan header.

    Raises:
        FileFault: Something other than a whole marker segment stands between two markers.
    """
    _expect(frame[:2] == b"\xff\xd8", "codestream_header", "no start-of-image marker")
    position, code = 2, 0
    while code != _SOS:
        _expect(frame[position] == 0xFF, "codestream_header", f"no marker at byte {position}")
        code = frame[position + 1]
        _expect(code != _EOI, "truncated_codestream", "ends before its scan")
        (length,) = struct.unpack_from(">H", frame, position + 2)
        end = position + 2 + length
        _expect(
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
        _expect(found is None, "codestream_header", "two frame headers")
        _expect(
            segment.code in frames,
            "codestream_header",
            f"frame marker FF{segment.code:02X} doesn't belong to this transfer syntax",
        )
        precision, rows, columns, components = struct.unpack_from(">BHHB", frame, segment.start)
        _expect(components == 1, "not_monochrome", f"codestream of {components} components")
        found = (rows, columns, precision)
    if found is None:
        raise FileFault("codestream_header", "a scan without a frame header")
    end, after = _scan_end(frame, position, marker)
    rows, columns, precision = found
    return Stream(rows, columns, precision, None, after, scan=(position, end), bounded=False)


def _scan_end(frame: bytes, start: int, marker: re.Pattern[bytes]) -> tuple[int, int]:
    """Find where the one scan's data end, and where its end-of-image marker does."""
    end = len(frame.rstrip(b"\0")) - 2
    # The usual case, ten times as fast as searching: every 0xFF before the end is a stuffed one.
    if (
        marker is _JPEG_MARKER
        and frame[end : end + 2] == b"\xff\xd9"
        and frame.count(b"\xff", start, end) == count_stuffed(frame[start:end])
    ):
        return end, end + 2
    match = marker.search(frame, start)
    if match is None:
        raise FileFault("truncated_codestream", "no end-of-image marker")
    last = frame[match.end() - 1]
    _expect(last == _EOI, "codestream_header", f"marker FF{last:02X} inside or after the one scan")
    _only_padding(frame, match.end())
    return match.start(), match.end()


def count_stuffed(data: bytes) -> int:
    """Count the zeros stuffed after 0xFF in entropy-coded data (F.1.2.3)."""
    values = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == 0)))


_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def _jpeg_baseline(frame: bytes) -> Stream:
    return _jpeg(frame, (0xC0,), _JPEG_MARKER)


def _jpeg_extended(frame: bytes) -> Stream:
    return _jpeg(frame, (0xC0, 0xC1), _JPEG_MARKER)


def _jpeg_lossless(frame: bytes) -> Stream:
    return _jpeg(frame, (0xC3,), _JPEG_MARKER)


def _jpeg_ls(frame: bytes) -> Stream:
    return _jpeg(frame, (0xF7,), _JPEG_LS_MARKER)


# ---- JPEG 2000 (ITU-T T.800 Annex A) and HTJ2K (T.814)


def _jpeg_2000(frame: bytes) -> Stream:
    """Walk the main header and the chain of tile-parts to the end-of-codestream marker."""
    _expect(frame[:4] == b"\xff\x4f\xff\x51", "codestream_header", "no SOC and SIZ markers")
    # Lsiz Rsiz Xsiz Ysiz XOsiz YOsiz XTsiz YTsiz XTOsiz YTOsiz Csiz Ssiz
    size = struct.unpack_from(">HHLLLLLLLLHB", frame, 4)
    _expect(size[10] == 1, "not_monochrome", f"codestream of {size[10]} components")
    columns, rows = size[2] - size[4], size[3] - size[5]
    position, levels = 2, None
    while (marker := frame[position : position + 2]) != b"\xff\x90":  # SOT
        _expect(
            marker[0] == 0xFF and marker != b"\xff\xd9",
            "codestream_header",
            f"{marker.hex().upper()} in the main header",
        )
        if marker == b"\xff\x52":  # COD: Lcod Scod SGcod(4 bytes) levels
            levels = frame[position + 9]
        (length,) = struct.unpack_from(">H", frame, position + 2)
        position += 2 + length
    _expect(levels is not None, "codestream_header", "no coding style (COD) in the main header")
    assert levels is not None
    end, bounded = _tile_parts(frame, position)
    _only_padding(frame, end)
    signed, precision = bool(size[11] & 0x80), (size[11] & 0x7F) + 1
    return Stream(rows, columns, precision, signed, end, levels, bounded)


def _tile_parts(frame: bytes, position: int) -> tuple[int, bool]:
    """Follow the tile-parts' lengths (A.4.2); return the stream's end and if all had a length."""
    while frame[position : position + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">L", frame, position + 6)
        if length == 0:  # the last tile-part may run to the end-of-codestream marker
            end = len(frame.rstrip(b"\0"))
            _expect(
                end >= position + 14 and frame[end - 2 : end] == b"\xff\xd9",
                "truncated_codestream",
                "no end-of-codestream marker",
            )
            return end, False
        _expect(length >= 14, "codestream_header", f"a tile-part of {length} bytes")
        position += length
    _expect(
        frame[position : position + 2] == b"\xff\xd9",
        "truncated_codestream",
        "no tile-part or end-of-codestream marker where the last tile-part ends",
    )
    return position + 2, True


# ---- RLE (PS3.5 Annex G)


def _rle(frame: bytes) -> Stream:
    """Check the table of segments; their contents are checked by decoding."""
    count, *offsets = struct.unpack_from("<16L", frame)
    _expect(count in (1, 2), "codestream_header", f"{count} RLE segments, must be 1 or 2")
    used = offsets[:count]
    _expect(
        used[0] == 64 and used == sorted(used) and used[-1] < len(frame),
        "codestream_header",
        f"RLE segments at {used} in {len(frame)} bytes",
    )
    _expect(
        not any(offsets[count:]), "codestream_header", "offsets of RLE segments beyond the last"
    )
    return Stream(None, None, 8 * count, None, len(frame))


_CHECKS: dict[str, Callable[[bytes], Stream]] = {
    RLE: _rle,
    JPEG_BASELINE: _jpeg_baseline,
    JPEG_EXTENDED: _jpeg_extended,
    **dict.fromkeys(JPEG_LOSSLESS, _jpeg_lossless),
    **dict.fromkeys(JPEG_LS, _jpeg_ls),
    **dict.fromkeys((*JPEG_2000, *HTJ2K), _jpeg_2000),
}


def _expect(condition: bool, reason: str, detail: str) -> None:
    if not condition:
        raise FileFault(reason, detail)


def _only_padding(frame: bytes, end: int) -> None:
    """An encapsulated frame may be padded to even length (PS3.5 A.4); writers use zeros."""
    _expect(
        not frame[end:].strip(b"\0"),
        "codestream_header",
        f"{len(frame) - end} bytes after the end-of-image marker",
    )
