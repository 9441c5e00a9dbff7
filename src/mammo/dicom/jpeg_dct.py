"""Follow the codes of a JPEG of the DCT, grey or colour, sequential or progressive, to its end."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mammo.dicom.jpeg_markers import jpeg_segments, scan_end
from mammo.dicom.jpeg_progressive import Progressive
from mammo.dicom.jpeg_scan import Component, Scan, compare, parts_of, read_scan
from mammo.dicom.jpeg_sequential import Sequential
from mammo.errors import FileFault

_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2  # coded by Huffman: T.81 Table B.1
_EOI = 0xD9


@dataclass(frozen=True)
class _Frame:
    """What a frame header says (T.81 B.2.2); `sampling` holds H and V of each component."""

    code: int
    rows: int
    columns: int
    sampling: dict[int, tuple[int, int]]

    def blocks(self, scan: Scan) -> tuple[int, list[Component]]:
        """Count a scan's units, and name the component of each block of one (A.2)."""
        sides = [self.sampling[component.name] for component in scan.components]
        across, down = (max(of) for of in zip(*self.sampling.values(), strict=True))
        if len(sides) > 1:
            units = -(-self.columns // (8 * across)) * -(-self.rows // (8 * down))
            pairs = zip(scan.components, sides, strict=True)
            return units, [component for component, (h, v) in pairs for _ in range(h * v)]
        # A scan of one component counts its own blocks, and none that only fill a unit.
        ((h, v),) = sides
        columns, rows = -(-self.columns * h // across), -(-self.rows * v // down)
        return -(-columns // 8) * -(-rows // 8), list(scan.components)


def check_dct(frame: bytes) -> None:
    """Follow every scan code by code: each must end with its data, and nothing may be left out.

    Args:
        frame: The codestream, from its start to behind its end-of-image marker at least.

    Raises:
        FileFault: A scan has too few or too many codes, or one that no table holds; a scan is
            missing; or the coding is another one (lossless, or arithmetic).
    """
    header = _read_frame(frame)
    kind = Progressive if header.code == _PROGRESSIVE else Sequential
    codes = kind(header.sampling)
    for scan, data in _scans(frame):
        if not {component.name for component in scan.components} <= header.sampling.keys():
            raise FileFault("codestream_header", "a scan of a component that the frame lacks")
        units, unit = header.blocks(scan)
        interval = scan.restart or units
        counts = [min(interval, units - start) for start in range(0, units, interval)]
        parts = parts_of(data, scan)
        if len(parts) != len(counts):
            raise FileFault("scan_length", f"{len(parts)} restart intervals, must be {len(counts)}")
        plain = [part.replace(b"\xff\0", b"\xff") for part in parts]
        compare(codes.follow(scan, plain, counts, unit), parts)
    codes.require_all()


def _read_frame(frame: bytes) -> _Frame:
    for segment in jpeg_segments(frame):
        if segment.code not in (*_SEQUENTIAL, _PROGRESSIVE):
            continue
        _, rows, columns, count = struct.unpack_from(">BHHB", frame, segment.start)
        names = frame[segment.start + 6 : segment.end]  # Ci, Hi|Vi, Tqi of each
        sampling = {
            name: (both >> 4, both & 15)
            for name, both in zip(names[::3], names[1::3], strict=False)
        }
        if len(sampling) != count or not all(min(sides) for sides in sampling.values()):
            raise FileFault("codestream_header", "JPEG: the frame header is damaged")
        return _Frame(segment.code, rows, columns, sampling)
    raise FileFault(
        "codestream_header", "JPEG: neither baseline, extended nor progressive; save it anew as one"
    )


def _scans(frame: bytes) -> Iterator[tuple[Scan, bytes]]:
    """Yield each scan with its data, up to the end-of-image marker."""
    scan = read_scan(frame)
    while True:
        end, marker, _ = scan_end(frame, scan.start)
        yield scan, frame[scan.start : end]
        if marker == _EOI:
            return
        scan = read_scan(frame, end, scan)
