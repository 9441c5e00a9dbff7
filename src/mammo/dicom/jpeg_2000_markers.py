"""The markers of JPEG 2000 (ITU-T T.800 Annex A) and HTJ2K (T.814), followed to their end.

Decoders read any bytes as packets, without a word. What no packet can hold is looked for here.
"""

import re
import struct
from dataclasses import dataclass, replace

from mammo.dicom.stream import Stream, check_rest, expect
from mammo.errors import FileFault

_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
# No two bytes of packets are above FF8F (T.800 B.10.1, C.2.2), but for the markers SOP and EPH.
_NO_PACKET = re.compile(rb"\xff[\x90\x93-\xff]")
# Arithmetic coding makes no long run of zeros: 34 bytes were the longest of 1,800 streams of noise,
# edges and chessboards, 98 that of a chessboard without wavelets. A sparse copy leaves 512.
_HOLE_BYTES = 256


@dataclass(frozen=True)
class _Coding:
    """What the main header says of the packets (A.6.1).

    Attributes:
        levels: Wavelet decompositions.
        packets: At most so many in a tile; an empty one is a byte of zeros.
        arithmetic: Whether all bits are coded so, none raw and none by T.814.
    """

    levels: int
    packets: int
    arithmetic: bool


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
    position, coding = 2, None
    while (marker := frame[position : position + 2]) != b"\xff\x90":  # SOT
        expect(
            marker[0] == 0xFF and marker != b"\xff\xd9",
            "codestream_header",
            f"{marker.hex().upper()} in the main header",
        )
        if marker == b"\xff\x52":  # COD
            coding = _coding(frame, position, size[2:6])
        (length,) = struct.unpack_from(">H", frame, position + 2)
        position += 2 + length
    if coding is None:
        raise FileFault("codestream_header", "no coding style (COD) in the main header")
    end, bounded, packets = _tile_parts(frame, position)
    for extent in packets:
        _check_packets(frame, extent, coding)
    signed, precision = bool(size[11] & 0x80), (size[11] & 0x7F) + 1
    return Stream(
        rows,
        columns,
        precision,
        signed,
        end,
        # Away from the origin, reduced samples lie at other places.
        coding.levels if at_origin else 0,
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


def _coding(frame: bytes, position: int, sides: tuple[int, ...]) -> _Coding:
    """Read a COD segment; `sides` are Xsiz, Ysiz, XOsiz and YOsiz."""
    # Scod, progression, layers, component transform, levels, code-block sides and style, wavelet
    scod, _, layers, _, levels, _, _, style, _ = struct.unpack_from(
        ">BBHBBBBBB", frame, position + 4
    )
    right, bottom, left, top = sides
    packets = 0
    for resolution in range(levels + 1):
        log = frame[position + 14 + resolution] if scod & 1 else 0xFF  # of a precinct's sides
        across, down = (levels - resolution + part for part in (log & 15, log >> 4))
        rows, columns = (bottom >> down) - (top >> down), (right >> across) - (left >> across)
        packets += (rows + 1) * (columns + 1)
    return _Coding(levels, layers * packets, arithmetic=not style & 0x41)


def _tile_parts(frame: bytes, position: int) -> tuple[int, bool, list[tuple[int, int]]]:
    """Follow the tile-parts' lengths (A.4.2).

    Returns:
        The stream's end, whether all had a length, and where the packets of each lie.
    """
    packets: list[tuple[int, int]] = []
    while frame[position : position + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">L", frame, position + 6)
        start = _packets_start(frame, position + 12)
        if length == 0:  # the last tile-part may run to the end-of-codestream marker
            end = frame.find(b"\xff\xd9", start)
            expect(end >= 0, "truncated_codestream", "no end-of-codestream marker")
            return end + 2, False, [*packets, (start, end)]
        expect(length >= 14, "codestream_header", f"a tile-part of {length} bytes")
        position += length
        packets.append((start, position))
    expect(
        frame[position : position + 2] == b"\xff\xd9",
        "truncated_codestream",
        "no tile-part or end-of-codestream marker where the last tile-part ends",
    )
    return position + 2, True, packets


def _packets_start(frame: bytes, position: int) -> int:
    """Follow the segments of a tile-part's header to where its packets begin."""
    while (marker := frame[position : position + 2]) != b"\xff\x93":  # SOD
        expect(
            marker[0] == 0xFF,
            "codestream_header",
            f"{marker.hex().upper()} in a tile-part's header",
        )
        (length,) = struct.unpack_from(">H", frame, position + 2)
        position += 2 + length
    return position + 2


def _check_packets(frame: bytes, extent: tuple[int, int], coding: _Coding) -> None:
    """Refuse a tile-part with bytes that packets can't hold: a hole, or those of something else."""
    if foreign := _NO_PACKET.search(frame, *extent):
        marker, place = foreign.group().hex().upper(), foreign.start()
        raise FileFault("codestream_damaged", f"{marker} among the packets, at byte {place}")
    length = _HOLE_BYTES + coding.packets
    if not coding.arithmetic or length > len(frame):
        return
    if (place := frame.find(bytes(length), *extent)) >= 0:
        raise FileFault("codestream_damaged", f"{length} zeros and more from byte {place} on")
