"""Read one DICOM file: its header, its grey scale, its frame as stored; the only way in.

Nothing is decoded here. What the standard fixes and a damaged file breaks (lengths, delimiters,
bit depths, the codestream's own markers) is checked before anyone looks at a pixel.
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from mammo.dicom import codestream
from mammo.dicom.greyscale import grey_scale_of
from mammo.dicom.header import Header, Layout, header_of, layout_of
from mammo.dicom.params import Limits
from mammo.dicom.parsing import BIG_ENDIAN, UNDEFINED_LENGTH, Parsed, Pixels, convert, parse
from mammo.dicom.voi import GreyScale
from mammo.errors import FileFault

_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD


@dataclass(frozen=True)
class Source:
    """One checked image, ready to decode.

    Attributes:
        frame: A view of the native pixels without padding, or the one frame's codestream.
        stream: What the codestream says about itself; None for native pixels.
    """

    header: Header
    layout: Layout
    grey: GreyScale
    frame: bytes | memoryview
    stream: codestream.Stream | None


def read_header(content: bytes | Path, limits: Limits) -> Header:
    """Read the header of a file; pixel data are located, not read.

    Raises:
        FileFault: The file isn't DICOM or can't be parsed, or inflates beyond the bound.
    """
    _, header = _read(content, limits)
    return header


def check_stream(content: bytes | Path, header: Header, limits: Limits) -> None:
    """Check lengths, markers and agreement with the header without decoding.

    Raises:
        FileFault: As `read_source` does.
    """
    if not header.has_pixel_data:
        raise FileFault("no_pixel_data", "(7FE0,0010) PixelData is absent")
    read_source(content, limits)


def pixel_data_sha256(content: bytes | Path, limits: Limits) -> str:
    """Hash the frame as stored: native pixels, or the codestream without items and offsets."""
    return hashlib.sha256(read_source(content, limits).frame).hexdigest()


def read_source(content: bytes | Path, limits: Limits) -> Source:
    """Read everything that decoding needs, and check it.

    Raises:
        FileFault: No pixel data, several frames, colour, contradictory bit depths, a length
            that doesn't fit, a missing end marker, a codestream that contradicts the header,
            an unknown transfer syntax, or more pixels than allowed.
    """
    parsed, header = _read(content, limits)
    if parsed.pixels is None:
        raise FileFault("no_pixel_data", "(7FE0,0010) PixelData is absent")
    codestream.check_known(header.transfer_syntax_uid)
    layout = layout_of(header, limits.max_pixels)
    little = header.transfer_syntax_uid != BIG_ENDIAN
    grey = convert(lambda: grey_scale_of(parsed.dataset, layout, little))
    if codestream.is_native(header.transfer_syntax_uid):
        return Source(header, layout, grey, _native_frame(parsed.pixels, layout), None)
    frame = _encapsulated_frame(parsed.pixels)
    stream = codestream.check(frame, header.transfer_syntax_uid)
    _check_agreement(stream, layout)
    return Source(header, layout, grey, _without_padding(frame, stream), stream)


def _read(content: bytes | Path, limits: Limits) -> tuple[Parsed, Header]:
    content = content if isinstance(content, bytes) else content.read_bytes()
    parsed = parse(content, limits.max_inflated_mb)
    return parsed, convert(lambda: header_of(parsed))


# ---- the frame as stored


def _native_frame(pixels: Pixels, layout: Layout) -> memoryview:
    """Take the native pixels, exact to the byte but for one of padding (PS3.5 8.1.1, 8.2)."""
    expected = layout.rows * layout.columns * layout.bits_allocated // 8
    if pixels.undefined_length:
        raise FileFault("encapsulation", "undefined length in a native transfer syntax")
    if len(pixels.value) != expected + expected % 2:
        raise FileFault(
            "pixel_length",
            f"(7FE0,0010) holds {len(pixels.value)} bytes, {layout.rows} x {layout.columns} "
            f"pixels of {layout.bits_allocated} bits need {expected}",
        )
    return pixels.value[:expected]


def _encapsulated_frame(pixels: Pixels) -> bytes:
    """Join the fragments of the one frame (PS3.5 A.4)."""
    if not pixels.undefined_length:
        raise FileFault("encapsulation", "a defined length in an encapsulated transfer syntax")
    fragments, position = [], 0
    while True:
        if position + 8 > len(pixels.value):
            raise FileFault("truncated_pixels", "no sequence delimiter after the last fragment")
        group, element, length = struct.unpack_from("<HHL", pixels.value, position)
        position += 8
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or length == UNDEFINED_LENGTH:
            raise FileFault("encapsulation", f"({group:04X},{element:04X}) among the fragments")
        if position + length > len(pixels.value):
            raise FileFault("truncated_pixels", "cut inside a fragment")
        fragments.append(pixels.value[position : position + length])
        position += length
    _check_offsets(fragments)
    return b"".join(fragments[1:])


def _check_offsets(fragments: list[memoryview]) -> None:
    """The first item is the basic offset table: empty, or one frame at offset 0."""
    if len(fragments) < 2:
        raise FileFault("encapsulation", "no fragment after the basic offset table")
    if bytes(fragments[0]) not in (b"", b"\0\0\0\0"):
        raise FileFault("encapsulation", "the basic offset table lists other than one frame")


def _without_padding(frame: bytes, stream: codestream.Stream) -> bytes:
    return frame if stream.length == len(frame) else frame[: stream.length]


def _check_agreement(stream: codestream.Stream, layout: Layout) -> None:
    """Compare the codestream's own header with the data set's."""
    if stream.rows is not None and (stream.rows, stream.columns) != (layout.rows, layout.columns):
        raise FileFault(
            "codestream_contradicts_header",
            f"codestream of {stream.rows} x {stream.columns}, "
            f"header of {layout.rows} x {layout.columns}",
        )
    # Some writers code all allocated bits; the values are held to BitsStored after decoding.
    if stream.precision not in (layout.bits_stored, layout.bits_allocated):
        raise FileFault(
            "codestream_contradicts_header",
            f"codestream of {stream.precision} bits, BitsStored {layout.bits_stored}",
        )
    if stream.signed is not None and stream.signed != layout.signed:
        raise FileFault(
            "codestream_contradicts_header",
            f"codestream signed: {stream.signed}, PixelRepresentation {int(layout.signed)}",
        )
