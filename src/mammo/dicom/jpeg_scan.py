"""Count the bits that a JPEG scan must hold, to tell a whole scan from a damaged one.

JPEG decoders fill in what a scan lacks and skip what it has too much, without a word. Neither
survives counting: the coded bits must be those of the image, up to the padding of the last byte
(ITU-T T.81 F.1.2.3).
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mammo.dicom.jpeg_markers import Segment, count_stuffed, jpeg_segments
from mammo.dicom.stream import Stream
from mammo.errors import FileFault

_DHT, _DRI, _SOS = 0xC4, 0xDD, 0xDA
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_STRIP_PIXELS = 2**18  # keeps the differences of a strip inside the processor's cache


@dataclass(frozen=True)
class Scan:
    """What a single-component scan header says (T.81 B.2.3).

    Attributes:
        tables: (class, number) -> code lengths by symbol, and symbols by 16-bit prefix.
        dc, ac: Numbers of the tables in use.
        predictor: Lossless only (H.1.2.1).
        restart: Units between restart markers, 0 for none.
    """

    tables: dict[tuple[int, int], "Table"]
    dc: int
    ac: int
    predictor: int
    restart: int


@dataclass(frozen=True)
class Table:
    """A Huffman table.

    Attributes:
        lengths: (256,) bits of each symbol's code, 0 where it has none.
        symbols: (65536,) the symbol that any 16 bits begin with, -1 for none.
    """

    lengths: np.ndarray
    symbols: np.ndarray


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
    restart_rows, rest = divmod(scan.restart, pixels.shape[1])
    if rest or not 1 <= scan.predictor <= (1 if first_order else 7):
        raise FileFault(
            "codestream_header",
            f"lossless JPEG of predictor {scan.predictor}, restart interval {scan.restart}",
        )
    cost = _cost_by_difference(_table(scan, 0, scan.dc).lengths)
    first = 1 << ((stream.precision or 16) - 1)
    rows = restart_rows or len(pixels)
    parts = [
        _cost(pixels[top : top + rows], scan.predictor, first, cost)
        for top in range(0, len(pixels), rows)
    ]
    _compare(parts, _parts(frame, stream, scan.restart > 0))


def check_sequential(frame: bytes, stream: Stream) -> None:
    """Follow the codes of a baseline or extended scan to its end, block by block.

    Raises:
        FileFault: The scan has too few or too many codes, or one that no table holds.
    """
    scan = read_scan(frame)
    dc = _steps(_table(scan, 0, scan.dc), is_ac=False)
    ac = _steps(_table(scan, 1, scan.ac), is_ac=True)
    # A scan of one component counts 8 x 8 blocks, whatever its sampling factors (A.2.2).
    blocks = -(-(stream.rows or 0) // 8) * -(-(stream.columns or 0) // 8)
    interval = scan.restart or blocks
    counts = [min(interval, blocks - start) for start in range(0, blocks, interval)]
    data = _parts(frame, stream, scan.restart > 0)
    if len(data) != len(counts):
        raise FileFault("scan_length", f"{len(data)} restart intervals, must be {len(counts)}")
    plain = [part.replace(b"\xff\0", b"\xff") for part in data]
    bits = [_follow(part, count, dc, ac) for part, count in zip(plain, counts, strict=True)]
    _compare(bits, data)


def read_scan(frame: bytes) -> Scan:
    """Read Huffman tables, restart interval and scan header.

    Raises:
        FileFault: A table is damaged.
    """
    tables: dict[tuple[int, int], Table] = {}
    restart = dc = ac = predictor = 0
    for segment in jpeg_segments(frame):
        if segment.code == _DHT:
            tables.update(_read_tables(frame, segment))
        elif segment.code == _DRI:
            (restart,) = struct.unpack_from(">H", frame, segment.start)
        elif segment.code == _SOS:
            count, _, numbers, predictor, _, approximation = frame[segment.start : segment.end]
            if count != 1 or approximation != 0:
                raise FileFault("codestream_header", "scan of several components or shifted")
            dc, ac = numbers >> 4, numbers & 15
    return Scan(tables, dc, ac, predictor, restart)


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


def _table(scan: Scan, kind: int, number: int) -> Table:
    try:
        return scan.tables[kind, number]
    except KeyError:
        raise FileFault("codestream_header", "the scan's Huffman table is absent") from None


def _parts(frame: bytes, stream: Stream, restarts: bool) -> list[bytes]:
    """Cut the scan at its restart markers."""
    data = frame[slice(*stream.scan)]
    return _RESTART.split(data) if restarts else [data]


def _compare(needed: list[int], parts: list[bytes]) -> None:
    """Each part holds its bits and, up to the byte's end, padding of ones (F.1.2.3).

    Zeros in their place, which some encoders write, hide no more of a lost code than ones do.
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


# ---- lossless (T.81 Annex H)


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


# ---- sequential DCT (T.81 Annex F)


def _steps(table: Table, is_ac: bool) -> list[int]:
    """Fold a table into steps by 16-bit prefix: bits to move, plus 64 times coefficients to move.

    0 marks a prefix that begins no code.
    """
    symbol = table.symbols
    size, run = symbol & 15, symbol >> 4
    bits = table.lengths[symbol] + size
    if is_ac:
        run_end = np.where(run == 15, 16, 64)  # ZRL, or end of block
        moved = np.where(size > 0, run + 1, run_end)
        valid = (symbol >= 0) & ((size > 0) | (run == 0) | (run == 15))
    else:
        bits, moved = table.lengths[symbol] + symbol, np.ones_like(symbol)
        valid = (symbol >= 0) & (symbol <= 16)
    steps: list[int] = np.where(valid, bits + 64 * moved, 0).tolist()
    return steps


def _follow(data: bytes, blocks: int, dc: list[int], ac: list[int]) -> int:
    """Follow the codes of so many blocks; return the bits they take."""
    end = 8 * len(data)
    padded = data + b"\xff\xff\xff"
    position = 0
    for _ in range(blocks):
        coefficient, table = 0, dc
        while coefficient < 64:
            byte = position >> 3
            if position > end:
                raise FileFault("scan_length", f"the scan ends after {end} bits, inside a block")
            window = padded[byte] << 16 | padded[byte + 1] << 8 | padded[byte + 2]
            step = table[(window >> (8 - (position & 7))) & 0xFFFF]
            if step == 0:
                raise FileFault("scan_length", f"no Huffman code at bit {position}")
            position += step & 63
            coefficient += step >> 6
            table = ac
        if coefficient > 64 and step >> 6 != 64:
            raise FileFault("scan_length", f"a block beyond its 64 coefficients, bit {position}")
    return position
