"""What every codestream has: the facts that it states, and an end behind which no other begins."""

from dataclasses import dataclass

from mammo.errors import FileFault

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


def expect(condition: bool, reason: str, detail: str) -> None:
    """Raise a FileFault of this reason where a condition doesn't hold."""
    if not condition:
        raise FileFault(reason, detail)


def check_rest(frame: bytes, end: int) -> tuple[str, ...]:
    """Judge the bytes behind an end marker: () for a pad to even length, or a flag.

    The stream before them is whole, so that they can't touch its pixels; a second stream would.

    Raises:
        FileFault: Another codestream follows.
    """
    rest = frame[end:]
    expect(
        b"\xff\xd8\xff" not in rest and b"\xff\x4f\xff\x51" not in rest,
        "codestream_header",
        f"another codestream in the {len(rest)} bytes after the end-of-image marker",
    )
    padding = not rest.strip(b"\0") or (len(rest) <= 2 and not rest.strip(_PADS))
    return () if padding else ("bytes_after_codestream",)
