"""Follow the codes of a sequential JPEG's scans, block by block (ITU-T T.81 Annex F)."""

from collections.abc import Iterable

import numpy as np

from mammo.dicom.jpeg_scan import Codes, Component, Scan, Table
from mammo.errors import FileFault


class Sequential(Codes):
    """Which components' scans are still to come."""

    def __init__(self, components: Iterable[int]):
        self.missing = set(components)

    def follow(
        self, scan: Scan, parts: list[bytes], counts: list[int], unit: list[Component]
    ) -> list[int]:
        """Follow a scan, all of whose coefficients are whole."""
        if scan.high or scan.low:  # first and last mean nothing here, and real files hold 0 and 0
            raise FileFault("codestream_header", "a sequential scan is shifted")
        self.missing -= {component.name for component in scan.components}
        steps = {
            one: (
                _steps(scan.table(0, one.dc), is_ac=False),
                _steps(scan.table(1, one.ac), is_ac=True),
            )
            for one in scan.components
        }
        tables = [steps[component] for component in unit]
        return [_follow(part, count, tables) for part, count in zip(parts, counts, strict=True)]

    def require_all(self) -> None:
        """Refuse a picture that lacks a component."""
        if self.missing:
            raise FileFault("truncated_codestream", "JPEG: the scan of a component is missing")


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


def _follow(data: bytes, units: int, tables: list[tuple[list[int], list[int]]]) -> int:
    """Follow the codes of so many units of blocks; return the bits they take."""
    end = 8 * len(data)
    padded = data + b"\xff\xff\xff"
    position = 0
    for _ in range(units):
        for dc, ac in tables:
            coefficient, table = 0, dc
            while coefficient < 64:
                byte = position >> 3
                if position > end:
                    raise FileFault(
                        "scan_length", f"the scan ends after {end} bits, inside a block"
                    )
                window = padded[byte] << 16 | padded[byte + 1] << 8 | padded[byte + 2]
                step = table[(window >> (8 - (position & 7))) & 0xFFFF]
                if step == 0:
                    raise FileFault("scan_length", f"no Huffman code at bit {position}")
                position += step & 63
                coefficient += step >> 6
                table = ac
            if coefficient > 64 and step >> 6 != 64:
                raise FileFault(
                    "scan_length", f"a block beyond its 64 coefficients, bit {position}"
                )
    return position
