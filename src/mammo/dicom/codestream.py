"""What a compressed image says about itself, checked without decoding it.

Decoders forgive: a JPEG Lossless stream cut in half decodes without a word. So every marker and
length that a standard fixes is followed here to the end-of-image marker first.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from pydicom import uid

from mammo.errors import FileFault

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
LOSSY = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
)

# What may follow an end marker: writers make odd lengths even with 00, FF or a space.
_PADS = b"\0\xff\x20"


@dataclass(frozen=True)
class Stream:
    """Facts of a codestream.

    Attributes:
        rows, columns: None where the syntax has no header of its own (RLE).
        precision: Bits a sample; None for RLE.
        signed: Whether the stream itself marks its samples as signed (JPEG 2000 only).
        length: Bytes from the start to the end of the end-of-image marker.
        start: Where the codestream begins: behind 0 in JP2 boxes alone.
        levels: Wavelet decompositions, 0 for other syntaxes.
        bounded: Whether lengths in the stream cover all of its data, so that a loss shows
            without decoding.
        scan: JPEG and JPEG-LS: start and end of the entropy-coded data.
        flags: Contradictions that leave the pixels unambiguous.
    """

    rows: int | None
    columns: int | None
    precision: int | None
    signed: bool | None
    length: int
    levels: int = 0
    bounded: bool = True
    scan: tuple[int, int] = (0, 0)
    start: int = 0
    flags: tuple[str, ...] = ()


def name_of(syntax: str) -> str:
    """Name a transfer syntax as the standard does; its UID where that is unknown."""
    return uid.UID(syntax).name


def is_native(syntax: str) -> bool:
    """Tell uncompressed syntaxes, one of which is deflated as a whole, from encapsulated ones."""
    return syntax in NATIVE


def check_known(syntax: str) -> None:
    """Refuse a transfer syntax that no trusted decoder reads.

    Raises:
        FileFault: Names the syntax.
    """
    if is_native(syntax) or syntax in _CHECKS:
        return
    name = name_of(syntax)
    raise FileFault(
        "unsupported_transfer_syntax",
        f"(0002,0010) is {syntax} ({'not in the standard' if name == syntax else name}); convert "
        "the file, for instance to JPEG 2000 lossless or Explicit VR Little Endian",
    )


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
    flags = _behind(frame, after)
    scan = (position, end)
    return Stream(rows, columns, precision, None, after, scan=scan, bounded=False, flags=flags)


def _scan_end(frame: bytes, start: int, marker: re.Pattern[bytes]) -> tuple[int, int]:
    """Find where the one scan's data end, and where its end-of-image marker does."""
    end = frame.rfind(b"\xff\xd9", start)
    # The usual case, ten times as fast as searching: every 0xFF before the end is a stuffed one.
    if (
        marker is _JPEG_MARKER
        and end >= 0
        and frame.count(b"\xff", start, end) == count_stuffed(frame[start:end])
    ):
        return end, end + 2
    match = marker.search(frame, start)
    if match is None:
        raise FileFault("truncated_codestream", "no end-of-image marker")
    last = frame[match.end() - 1]
    _expect(last == _EOI, "codestream_header", f"marker FF{last:02X} inside or after the one scan")
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
    if frame[:12] == _JP2_SIGNATURE:
        return _jp2(frame)
    _expect(frame[:4] == b"\xff\x4f\xff\x51", "codestream_header", "no SOC and SIZ markers")
    # Lsiz Rsiz Xsiz Ysiz XOsiz YOsiz XTsiz YTsiz XTOsiz YTOsiz Csiz Ssiz
    size = struct.unpack_from(">HHLLLLLLLLHB", frame, 4)
    _expect(size[10] == 1, "not_monochrome", f"codestream of {size[10]} components")
    columns, rows = size[2] - size[4], size[3] - size[5]
    at_origin = size[4] == size[5] == 0
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
    signed, precision = bool(size[11] & 0x80), (size[11] & 0x7F) + 1
    return Stream(
        rows,
        columns,
        precision,
        signed,
        end,
        # Away from the origin, reduced samples lie at other places.
        levels if at_origin else 0,
        bounded,
        flags=_behind(frame, end),
    )


_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"


def _jp2(frame: bytes) -> Stream:
    """Find the codestream among the boxes of a JP2 file (T.800 Annex I), which PS3.5 forbids."""
    position = 0
    while position < len(frame):
        length, kind = struct.unpack_from(">L4s", frame, position)
        start = position + 8
        if length == 1:  # the length stands behind the type
            (length,) = struct.unpack_from(">Q", frame, start)
            start += 8
        end = position + length if length else len(frame)
        _expect(
            start <= end <= len(frame), "truncated_codestream", f"JP2 box {kind!r} beyond the end"
        )
        _expect(
            kind != b"jp2h" or b"pclr" not in frame[start:end],
            "not_monochrome",
            "JP2 boxes with a palette",
        )
        if kind == b"jp2c":
            _expect(frame[start : start + 4] == b"\xff\x4f\xff\x51", "codestream_header", "no SOC")
            stream = _jpeg_2000(frame[start:end])
            return replace(stream, start=start, length=start + stream.length, flags=("jp2_boxes",))
        position = end
    raise FileFault("truncated_codestream", "JP2 boxes without a codestream")


def _tile_parts(frame: bytes, position: int) -> tuple[int, bool]:
    """Follow the tile-parts' lengths (A.4.2); return the stream's end and if all had a length."""
    while frame[position : position + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">L", frame, position + 6)
        if length == 0:  # the last tile-part may run to the end-of-codestream marker
            # No two bytes of packets are above FF8F (T.800 B.10.1, C.2): the first is the one.
            end = frame.find(b"\xff\xd9", max(frame.find(b"\xff\x93", position), position + 12))
            _expect(end >= 0, "truncated_codestream", "no end-of-codestream marker")
            return end + 2, False
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
    uid.RLELossless: _rle,
    uid.JPEGBaseline8Bit: _jpeg_baseline,
    uid.JPEGExtended12Bit: _jpeg_extended,
    **dict.fromkeys(JPEG_LOSSLESS, _jpeg_lossless),
    **dict.fromkeys(JPEG_LS, _jpeg_ls),
    **dict.fromkeys((*JPEG_2000, *HTJ2K), _jpeg_2000),
}


def _expect(condition: bool, reason: str, detail: str) -> None:
    if not condition:
        raise FileFault(reason, detail)


def _behind(frame: bytes, end: int) -> tuple[str, ...]:
    """Judge the bytes behind an end marker: () for a pad to even length, or a flag.

    The stream before them is whole, so that they can't touch its pixels; a second stream would.

    Raises:
        FileFault: Another codestream follows.
    """
    rest = frame[end:]
    _expect(
        b"\xff\xd8\xff" not in rest and b"\xff\x4f\xff\x51" not in rest,
        "codestream_header",
        f"another codestream in the {len(rest)} bytes after the end-of-image marker",
    )
    padding = not rest.strip(b"\0") or (len(rest) <= 2 and not rest.strip(_PADS))
    return () if padding else ("bytes_after_codestream",)
