"""Follow the codes of a progressive JPEG's scans, which refine each other (ITU-T T.81 Annex G)."""

from collections.abc import Iterable

from mammo.dicom.jpeg_scan import Codes, Component, Scan, Table
from mammo.errors import FileFault

_UNSENT = 14  # above every bit position that a scan can begin at (G.1.1.1.2)


class Progressive(Codes):
    """How far the scans have come: what later ones hold depends on it.

    Attributes:
        position: Component -> the lowest bit that each of its 64 coefficients was sent to.
        nonzero: Component -> by block, bit k set where coefficient k isn't zero so far.
    """

    def __init__(self, components: Iterable[int]):
        self.position = {name: [_UNSENT] * 64 for name in components}
        self.nonzero: dict[int, list[int]] = {}

    def follow(
        self, scan: Scan, parts: list[bytes], counts: list[int], unit: list[Component]
    ) -> list[int]:
        """Follow a scan from where the last one of its coefficients stopped."""
        self._go_on(scan)
        if scan.first == 0:
            if scan.high:  # a bit a block
                return [count * len(unit) for count in counts]
            tables = [_codes(scan.table(0, component.dc)) for component in unit]
            return [_dc(part, count, tables) for part, count in zip(parts, counts, strict=True)]
        (component,) = scan.components
        table = _codes(scan.table(1, component.ac))
        blocks = self.nonzero.setdefault(component.name, [0] * sum(counts))
        follow, bits, start = _ac_refined if scan.high else _ac_first, [], 0
        for part, count in zip(parts, counts, strict=True):
            own = blocks[start : start + count]
            bits.append(follow(_Bits(part), own, scan.first, scan.last, table))
            blocks[start : start + count] = own
            start += count
        return bits

    def _go_on(self, scan: Scan) -> None:
        """Check a scan's band, and that it sends the next bit of it (G.1.1.1)."""
        first, last = scan.first, scan.last
        dc = first == last == 0
        if not dc and (not 1 <= first <= last <= 63 or len(scan.components) > 1):
            raise FileFault("codestream_header", f"a progressive scan of {first} to {last}")
        for component in scan.components:
            sent = self.position[component.name]
            before = scan.high or _UNSENT
            goes_on = set(sent[first : last + 1]) == {before}
            if not goes_on or scan.high not in (0, scan.low + 1):
                raise FileFault(
                    "codestream_header", f"the scan of {first} to {last} follows none before it"
                )
            sent[first : last + 1] = [scan.low] * (last + 1 - first)

    def require_all(self) -> None:
        """Refuse a picture some of whose bits no scan has sent."""
        if any(any(sent) for sent in self.position.values()):
            raise FileFault("truncated_codestream", "JPEG: the last progressive scans are missing")


class _Bits:
    """A part's bits, read from the front."""

    def __init__(self, data: bytes):
        self.end = 8 * len(data)
        self.padded = data + bytes(3)
        self.position = 0

    def code(self, table: list[int]) -> int:
        """Read a Huffman code and return its symbol."""
        position = self.position
        if position > self.end:
            raise FileFault("scan_length", f"the scan ends after {self.end} bits, inside a block")
        byte, padded = position >> 3, self.padded
        window = padded[byte] << 16 | padded[byte + 1] << 8 | padded[byte + 2]
        code = table[(window >> (8 - (position & 7))) & 0xFFFF]
        if code == 0:
            raise FileFault("scan_length", f"no Huffman code at bit {position}")
        self.position = position + (code >> 8)
        return code & 0xFF

    def take(self, count: int) -> int:
        """Read so many bits, at most 14, as a number."""
        position = self.position
        if position > self.end:
            raise FileFault("scan_length", f"the scan ends after {self.end} bits, inside a block")
        byte, padded = position >> 3, self.padded
        window = padded[byte] << 16 | padded[byte + 1] << 8 | padded[byte + 2]
        self.position = position + count
        return (window >> (24 - (position & 7) - count)) & ((1 << count) - 1)


def _codes(table: Table) -> list[int]:
    """Fold a table: by 16-bit prefix the symbol, plus 256 times its bits; 0 begins no code."""
    codes: list[int] = (
        (table.lengths[table.symbols] << 8 | table.symbols) * (table.symbols >= 0)
    ).tolist()
    return codes


def _dc(part: bytes, units: int, tables: list[list[int]]) -> int:
    """Follow a first scan of DC coefficients (G.1.2.1)."""
    bits = _Bits(part)
    for _ in range(units):
        for table in tables:
            size = bits.code(table)
            bits.position += size
    return bits.position


def _ac_first(bits: _Bits, blocks: list[int], first: int, last: int, table: list[int]) -> int:
    """Follow a first scan of AC coefficients (G.1.2.2); sets `blocks`' bits."""
    ended = 0  # blocks, this one too, that a code says are at their end
    for number, nonzero in enumerate(blocks):
        place = first
        while not ended and place <= last:
            symbol = bits.code(table)
            run, size = symbol >> 4, symbol & 15
            if size == 0 and run < 15:
                ended = (1 << run) + bits.take(run)
                break
            place += run
            if place > last:
                raise FileFault("scan_length", f"a block beyond its band, bit {bits.position}")
            if size:
                nonzero |= 1 << place
                bits.position += size
            place += 1
        blocks[number] = nonzero
        ended = max(0, ended - 1)
    return bits.position


def _ac_refined(bits: _Bits, blocks: list[int], first: int, last: int, table: list[int]) -> int:
    """Follow a refining scan of AC coefficients (G.1.2.3); sets `blocks`' bits.

    Coefficients that aren't zero get a bit each as they are passed; the codes count the others.
    """
    ended = 0
    band = (1 << (last + 1)) - (1 << first)
    for number, nonzero in enumerate(blocks):
        ahead = band
        while not ended and ahead:
            symbol = bits.code(table)
            run, size = symbol >> 4, symbol & 15
            if size == 0 and run < 15:
                ended = (1 << run) + bits.take(run)
                break
            zeros = ahead & ~blocks[number]
            for _ in range(run):
                zeros &= zeros - 1
            if size > 1 or not zeros:
                raise FileFault("scan_length", f"a block beyond its band, bit {bits.position}")
            place = zeros & -zeros
            bits.position += size + (ahead & (place - 1) & blocks[number]).bit_count()
            nonzero |= place * size
            ahead &= -(place << 1)
        bits.position += (ahead & blocks[number]).bit_count()
        blocks[number] = nonzero
        ended = max(0, ended - 1)
    return bits.position
