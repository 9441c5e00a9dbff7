"""What a JPEG scan's header and tables say, and whether its data have the length that they must.

JPEG decoders fill in what a scan lacks and skip what it has too much, without a word. Neither
survives counting: the coded bits must be those of the image, up to the padding of the last byte
(ITU-T T.81 F.1.2.3).
"""

import re
import struct
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mammo.dicom.jpeg_markers import Segment, count_stuffed, jpeg_segments
from mammo.errors import FileFault

_DHT, _DRI, _SOS = 0xC4, 0xDD, 0xDA
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass(frozen=True)
class Table:
    """A Huffman table.

    Attributes:
        lengths: (256,) bits of each symbol's code, 0 where it has none.
        symbols: (65536,) the symbol that any 16 bits begin with, -1 for none.
    """

    lengths: np.ndarray
    symbols: np.ndarray


@dataclass(frozen=True)
class Component:
    """A component of a scan: its identifier, and the numbers of its tables."""

    name: int
    dc: int
    ac: int


@dataclass(frozen=True)
class Scan:
    """What a scan's header says, and what was defined before it (T.81 B.2.3).

    Attributes:
        components: Those that it codes.
        first, last: Of its coefficients (Ss, Se); a lossless scan's `first` is its predictor.
        high, low: Bit positions before and after it (Ah, Al).
        tables: (class, number) -> the Huffman tables in force; class 0 is DC, 1 AC.
        restart: Units between restart markers, 0 for none.
        start: Where its data begin.
    """

    components: tuple[Component, ...]
    first: int
    last: int
    high: int
    low: int
    tables: dict[tuple[int, int], Table]
    restart: int
    start: int

    def table(self, kind: int, number: int) -> Table:
        """Take a table.

        Raises:
            FileFault: It was never defined.
        """
        try:
            return self.tables[kind, number]
        except KeyError:
            raise FileFault("codestream_header", "the scan's Huffman table is absent") from None


class Codes(Protocol):
    """The codes of a picture of the DCT, followed scan by scan."""

    def follow(
        self, scan: Scan, parts: list[bytes], counts: list[int], unit: list[Component]
    ) -> list[int]:
        """Follow a scan; return the bits that each of its parts takes.

        Args:
            scan: Its header.
            parts: Its restart intervals, without stuffed zeros.
            counts: The units of each.
            unit: The component of each block of a unit.

        Raises:
            FileFault: The scan is cut or damaged, or doesn't go on where the last one stopped.
        """

    def require_all(self) -> None:
        """Refuse a picture that lacks something that no scan has sent.

        Raises:
            FileFault: Scans are missing.
        """


def read_scan(frame: bytes, position: int = 2, before: Scan | None = None) -> Scan:
    """Read Huffman tables, restart interval and header of the next scan.

    Args:
        frame: The codestream.
        position: Where its segments are read from.
        before: The scan before it, whose tables and interval stay in force.

    Raises:
        FileFault: A table or the header is damaged.
    """
    tables = dict(before.tables) if before else {}
    restart = before.restart if before else 0
    for segment in jpeg_segments(frame, position):
        if segment.code == _DHT:
            tables.update(_read_tables(frame, segment))
        elif segment.code == _DRI:
            (restart,) = struct.unpack_from(">H", frame, segment.start)
    # Ns, then Cs and Td|Ta of each component, then Ss Se Ah|Al
    count, *rest = frame[segment.start : segment.end]
    if segment.code != _SOS or len(rest) != 2 * count + 3:
        raise FileFault("codestream_header", "a scan header is damaged")
    numbers = zip(rest[: 2 * count : 2], rest[1 : 2 * count : 2], strict=True)
    components = tuple(Component(name, both >> 4, both & 15) for name, both in numbers)
    first, last, shift = rest[-3:]
    return Scan(components, first, last, shift >> 4, shift & 15, tables, restart, segment.end)


def _read_tables(frame: bytes, segment: Segment) -> dict[tuple[int, int], Table]:
    """Read the tables of one DHT segment (B.2.4.2) and derive their codes (C.2)."""
    tables, position = {}, segment.start
    while position < segment.end:
        place, counts = frame[position], frame[position + 1 : position + 17]
        symbols = frame[position + 17 : position + 17 + sum(counts)]
        position += 17 + sum(counts)
        lengths, prefixes = np.zeros(256, np.int64), np.full(2**16, -1, np.int64)
        code, used = 0, 0
        for bits, count in enumerate(counts, start=1):
            for symbol in symbols[used : used + count]:
                lengths[symbol] = bits
                prefixes[code << (16 - bits) : (code + 1) << (16 - bits)] = symbol
                code += 1
            used += count
            code <<= 1
        if position > segment.end or code > 2**17:
            raise FileFault("codestream_header", "a Huffman table is damaged")
        tables[place >> 4, place & 15] = Table(lengths, prefixes)
    return tables


def parts_of(data: bytes, scan: Scan) -> list[bytes]:
    """Cut a scan's data at its restart markers."""
    return _RESTART.split(data) if scan.restart else [data]


def compare(needed: list[int], parts: list[bytes]) -> None:
    """Each part holds its bits and, up to the byte's end, padding of ones (F.1.2.3).

    Zeros in their place, which some encoders write, hide no more of a lost code than ones do.

    Raises:
        FileFault: One is shorter or longer.
    """
    held = [8 * (len(part) - count_stuffed(part)) for part in parts]
    fits = len(needed) == len(held) and all(
        0 <= there - bits < 8 and _ends_padded(part, there - bits)
        for bits, there, part in zip(needed, held, parts, strict=True)
    )
    if not fits:
        raise FileFault(
            "scan_length",
            f"the scan holds {sum(held)} bits with padding, its image needs {sum(needed)}",
        )


def _ends_padded(part: bytes, count: int) -> bool:
    ones = (1 << count) - 1
    return part.endswith(b"\xff\0") or part[-1] & ones in (0, ones)
