"""The markers of JPEG 2000 (ITU-T T.800 Annex A) and HTJ2K (T.814), followed to their end."""

import struct
from dataclasses import replace

from mammo.dicom.stream import Stream, check_rest, expect
from mammo.errors import FileFault

_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"


def walk_jpeg_2000(frame: bytes) -> Stream:
    """Walk the main header and the chain of tile-parts to the end-of-codestream marker."""
    if frame[:12] == _JP2_SIGNATURE:
        return _jp2(frame)
    expect(frame[:4] == b"\xff\x4f\xff\x51", "codestream_header", "no SOC and SIZ markers")
    # Lsiz Rsiz Xsiz Ysiz XOsiz YOsiz XTsiz YTsiz XTOsiz YTOsiz Csiz Ssiz
    size = struct.unpack_from(">HHLLLLLLLLHB", frame, 4)
    expect(size[10] == 1, "not_monochrome", f"codestream of {size[10]} components")
    columns, rows = size[2] - size[4], size[3] - size[5]
    at_origin = size[4] == size[5] == 0
    position, levels = 2, None
    while (marker := frame[position : position + 2]) != b"\xff\x90":  # SOT
        expect(
            marker[0] == 0xFF and marker != b"\xff\xd9",
            "codestream_header",
            f"{marker.hex().upper()} in the main header",
        )
        if marker == b"\xff\x52":  # COD: Lcod Scod SGcod(4 bytes) levels
            levels = frame[position + 9]
        (length,) = struct.unpack_from(">H", frame, position + 2)
        position += 2 + length
    expect(levels is not None, "codestream_header", "no coding style (COD) in the main header")
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
        flags=check_rest(frame, end),
    )


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
        expect(
            start <= end <= len(frame), "truncated_codestream", f"JP2 box {kind!r} beyond the end"
        )
        expect(
            kind != b"jp2h" or b"pclr" not in frame[start:end],
            "not_monochrome",
            "JP2 boxes with a palette",
        )
        if kind == b"jp2c":
            expect(frame[start : start + 4] == b"\xff\x4f\xff\x51", "codestream_header", "no SOC")
            stream = walk_jpeg_2000(frame[start:end])
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
            expect(end >= 0, "truncated_codestream", "no end-of-codestream marker")
            return end + 2, False
        expect(length >= 14, "codestream_header", f"a tile-part of {length} bytes")
        position += length
    expect(
        frame[position : position + 2] == b"\xff\xd9",
        "truncated_codestream",
        "no tile-part or end-of-codestream marker where the last tile-part ends",
    )
    return position + 2, True
