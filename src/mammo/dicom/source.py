"""Read one DICOM file: its header, its grey scale, its frame as stored; the only way in.

Nothing is decoded here. What the standard fixes and a damaged file breaks (lengths, delimiters,
bit depths, the codestream's own markers) is checked before anyone looks at a pixel.
"""

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import uid

from mammo.dicom import codestream
from mammo.dicom.greyscale import GreyScale
from mammo.dicom.greyscale_elements import grey_scale_of
from mammo.dicom.header import Header, Layout, header_of, layout_of
from mammo.dicom.params import Limits
from mammo.dicom.parsing import UNDEFINED_LENGTH, Parsed, Pixels, convert, parse
from mammo.dicom.stream import Stream
from mammo.errors import FileFault

_SIGN = "pixel_representation"
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD


@dataclass(frozen=True)
class Source:
    """One checked image, ready to decode.

    Attributes:
        frame: A view of the native pixels without padding, or the one frame's codestream.
        stream: What the codestream says about itself; None for native pixels.
        flags: Contradictions that leave the pixels unambiguous, sorted.
    """

    header: Header
    layout: Layout
    grey: GreyScale
    frame: bytes | memoryview
    stream: Stream | None
    flags: tuple[str, ...] = ()

    @property
    def sign_disputed(self) -> bool:
        """Tell whether the file contradicts itself on the sign: decoding looks if it matters."""
        return _SIGN in self.flags


def read_header(content: bytes | Path, limits: Limits) -> Header:
    """Read the header of a file; pixel data are located, not read.

    Raises:
        FileFault: The file isn't DICOM or can't be parsed, or inflates beyond the bound.
    """
    _, header = _read(content, limits)
    return header


def read_source(content: bytes | Path, limits: Limits) -> Source:
    """Read everything that decoding needs, and check it.

    Raises:
        FileFault: No pixel data, colour, contradictory bit depths, a length that doesn't fit, a
            missing end marker, a codestream of another size than the header says, an unknown
            transfer syntax, or more pixels than allowed.
    """
    parsed, header = _read(content, limits)
    if parsed.pixels is None:
        raise FileFault("no_pixel_data", "(7FE0,0010) PixelData is absent")
    syntax = header.transfer_syntax_uid
    codestream.check_known(syntax)
    layout = layout_of(header, limits.max_pixels, parsed.overlay_bits)
    grey = convert(lambda: grey_scale_of(parsed.dataset, layout, syntax != uid.ExplicitVRBigEndian))
    flags = {*header.flags, *grey.flags}
    if layout.signed != (header.pixel_representation == 1):
        flags.add(_SIGN)
    stream = None
    frame: bytes | memoryview
    if codestream.is_native(syntax):
        pixels = parsed.pixels
        if syntax == uid.ExplicitVRBigEndian and pixels.words and layout.bits_allocated == 8:
            pixels = replace(pixels, value=_swapped(pixels.value))
        frame, more = _native_frame(pixels, layout, exact=parsed.bare)
    else:
        frame, more = _encapsulated_frame(parsed.pixels, layout.frames)
        stream = codestream.check(frame, syntax)
        more |= {*stream.flags} | _disagreement(stream, layout)
        frame = frame[stream.start : stream.length]
    return Source(header, layout, grey, frame, stream, tuple(sorted(flags | more)))


def _read(content: bytes | Path, limits: Limits) -> tuple[Parsed, Header]:
    content = content if isinstance(content, bytes) else content.read_bytes()
    parsed = parse(content, limits.max_inflated_mb)
    return parsed, convert(lambda: header_of(parsed))


# ---- the frame as stored


def _swapped(value: memoryview) -> memoryview:
    """Swap the two bytes of each word (PS3.5 7.3)."""
    even = len(value) // 2 * 2
    words = np.frombuffer(value[:even], "u2").byteswap()
    return memoryview(words.tobytes() + bytes(value[even:]))


def _native_frame(pixels: Pixels, layout: Layout, exact: bool) -> tuple[memoryview, set[str]]:
    """Take the native pixels of the first frame (PS3.5 8.1.1, 8.2).

    Trailing padding is to be accepted, but too many bytes are also what wrong Rows or Columns
    leave over: `_is_padding` tells them apart. `exact` allows the byte to even length alone.
    """
    expected = layout.rows * layout.columns * layout.bits_allocated // 8
    whole = expected * layout.frames
    if pixels.undefined_length:
        raise FileFault("encapsulation", "undefined length in a native transfer syntax")
    rest = pixels.value[whole:]
    fits = len(pixels.value) == whole + whole % 2
    if len(pixels.value) < whole or not (
        fits or (not exact and _is_padding(pixels.value[:whole], rest, layout))
    ):
        raise FileFault(
            "pixel_length",
            f"(7FE0,0010) holds {len(pixels.value)} bytes, {layout.frames} x {layout.rows} x "
            f"{layout.columns} pixels of {layout.bits_allocated} bits need {whole}",
        )
    return pixels.value[:expected], set() if fits else {"excess_padding"}


def _is_padding(used: memoryview, rest: memoryview, layout: Layout) -> bool:
    """Tell padding from pixels that wrong Rows or Columns leave over.

    Of one row too few, or a column, whole multiples of the other side are left: never padding,
    unless the leftover is blank and the rows that the header gives continue each other better.
    """
    pixel = layout.bits_allocated // 8
    excess, partial = divmod(len(rest), pixel)
    if excess == 0:
        return True
    blank = not bytes(rest).strip(bytes(rest[:1]))
    if not blank and (len(rest) >= layout.columns * pixel or excess % layout.rows == 0):
        return False
    if excess % layout.columns == 0 and not partial:
        return False
    if excess % layout.rows == 0 and not partial:
        values = np.frombuffer(used, f"<u{pixel}").astype(np.int32)
        other = layout.columns + excess // layout.rows
        down, skewed = (np.abs(values[n:] - values[:-n]).mean() for n in (layout.columns, other))
        return bool(down < 0.8 * skewed)
    return True


def _encapsulated_frame(pixels: Pixels, frames: int) -> tuple[bytes, set[str]]:
    """Join the fragments of the first frame (PS3.5 A.4)."""
    fragments, flags = _fragments(pixels)
    table, fragments = _offset_table(fragments, flags)
    if frames > 1:
        fragments = _first_of(table, fragments, frames)
    elif len(table) > 1 or (table and table[0] != 0):
        if len(fragments) > 1:
            raise FileFault("encapsulation", "the basic offset table lists other than one frame")
        flags.add("offset_table")  # one fragment is one frame, whatever the table says
    return b"".join(fragments), flags


def _fragments(pixels: Pixels) -> tuple[list[memoryview], set[str]]:
    """Cut the items apart; where a delimiter is missing, the stream itself tells if it is whole."""
    items: list[memoryview] = []
    flags: set[str] = set()
    value, position = pixels.value, 0
    if not pixels.undefined_length:
        if bytes(value[:4]) != b"\xfe\xff\x00\xe0":
            raise FileFault("encapsulation", "a defined length in an encapsulated transfer syntax")
        flags.add("defined_length")
    while (length := _item_length(value, position)) is not None:
        start, position = position + 8, position + 8 + length
        items.append(value[start:position])
    delimited = bytes(value[position : position + 4]) == b"\xfe\xff\xdd\xe0"
    if pixels.undefined_length and not delimited:
        flags.add("no_sequence_delimiter")
    return items, flags


def _item_length(value: memoryview, position: int) -> int | None:
    """Read the length of the item at a position; None at the end of the sequence.

    Raises:
        FileFault: Neither an item nor an end is there, or the item isn't whole.
    """
    if position == len(value):
        return None
    if position + 8 > len(value):
        raise FileFault("truncated_pixels", "no sequence delimiter after the last fragment")
    group, element, length = struct.unpack_from("<HHL", value, position)
    tag = group << 16 | element
    zeros = tag == length == 0 and position and not bytes(value[position:]).strip(b"\0")
    if tag == _SEQUENCE_END or zeros:
        return None
    if tag != _ITEM or length == UNDEFINED_LENGTH:
        raise FileFault("encapsulation", f"({group:04X},{element:04X}) among the fragments")
    if position + 8 + length > len(value):
        raise FileFault("truncated_pixels", "cut inside a fragment")
    return int(length)


def _offset_table(
    items: list[memoryview], flags: set[str]
) -> tuple[tuple[int, ...], list[memoryview]]:
    """Part the basic offset table, the first item, from the fragments."""
    if len(items) == 1 and len(items[0]) > 4:
        flags.add("offset_table")  # the only item is no table
        return (), items
    if len(items) < 2:
        raise FileFault("encapsulation", "no fragment after the basic offset table")
    entries = bytes(items[0])
    if len(entries) % 4:
        raise FileFault("encapsulation", "the basic offset table lists other than one frame")
    return struct.unpack(f"<{len(entries) // 4}L", entries), items[1:]


def _first_of(table: tuple[int, ...], fragments: list[memoryview], frames: int) -> list[memoryview]:
    """Take the fragments of the first of several frames."""
    if len(fragments) == frames:
        return fragments[:1]
    if len(table) == frames:
        position = 0
        for number, fragment in enumerate(fragments):
            if position == table[1]:
                return fragments[:number]
            position += 8 + len(fragment)
    raise FileFault("encapsulation", f"{len(fragments)} fragments don't part into {frames} frames")


def _disagreement(stream: Stream, layout: Layout) -> set[str]:
    """Compare the codestream's own header with the data set's.

    Raises:
        FileFault: They differ in size.
    """
    if stream.rows is not None and (stream.rows, stream.columns) != (layout.rows, layout.columns):
        raise FileFault(
            "codestream_contradicts_header",
            f"codestream of {stream.rows} x {stream.columns}, "
            f"header of {layout.rows} x {layout.columns}",
        )
    flags = {_SIGN} if stream.signed not in (None, layout.signed) else set()
    # Some writers code all allocated bits; the values are held to BitsStored after decoding.
    if stream.precision in (None, layout.bits_stored, layout.bits_allocated):
        return flags
    if layout.signed and stream.signed is None:  # which bit is the sign, nobody can say
        flags.add(_SIGN)
    # Fewer bits fit. More are held to BitsStored after decoding.
    return flags | {"coded_precision"}
