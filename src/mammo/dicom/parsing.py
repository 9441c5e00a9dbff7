"""Parse the untrusted bytes of a DICOM file: its data set, and where its pixels lie.

Whatever damage makes a parser trip becomes a `FileFault`; no pixel is looked at.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble

from mammo.errors import FileFault

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"

UNDEFINED_LENGTH = 0xFFFFFFFF

# What pydicom is seen to raise on damaged files; the fuzz corpus holds this list to the truth.
PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,  # also UnicodeDecodeError and OverflowError's cousins in value conversion
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    NotImplementedError,
    EOFError,
    OSError,
    RecursionError,  # sequences nested by accident
    struct.error,
)

_PIXEL_DATA = 0x7FE00010
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)


@dataclass(frozen=True)
class Pixels:
    """The pixel data element: its value, or what follows its header if its length is undefined."""

    value: memoryview
    undefined_length: bool


@dataclass(frozen=True)
class Parsed:
    """What the bytes say; `pixels` is None where the pixel data are absent."""

    dataset: Dataset
    meta: Dataset  # the file meta information
    transfer_syntax_uid: str
    pixels: Pixels | None


def parse(content: bytes, max_inflated_mb: int) -> Parsed:
    """Parse up to the pixel data (PS3.10 7, PS3.5 7 and A).

    Raises:
        FileFault: The file isn't DICOM or can't be parsed, inflates beyond the bound, holds
            floating-point pixels, is cut inside its pixels, or contradicts its own signedness.
    """
    file = io.BytesIO(content)
    meta = convert(lambda: _file_meta(file))
    syntax = str(meta["TransferSyntaxUID"].value).strip()
    if syntax == DEFLATED:
        file = io.BytesIO(_inflate(memoryview(content)[file.tell() :], max_inflated_mb))
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    dataset = convert(lambda: read_dataset(file, implicit, little, stop_when=_is_pixels))
    convert(lambda: _check_signedness(dataset))
    pixels = convert(lambda: _locate_pixels(file.getvalue(), file.tell(), little))
    return Parsed(dataset, meta, syntax, pixels)


def convert(read: Any) -> Any:
    """Call a reader of untrusted bytes; what it trips over becomes a fault of the file."""
    with warnings.catch_warnings():
        # Odd values in tags that nobody here uses are no news; those we use are checked.
        warnings.simplefilter("ignore")
        try:
            return read()
        except PARSE_ERRORS as error:
            raise FileFault("unreadable_dicom", f"{type(error).__name__}: {error}") from error


def _file_meta(file: io.BytesIO) -> Dataset:
    """Read preamble and file meta information, leaving `file` at the data set (PS3.10 7.1)."""
    try:
        read_preamble(file, force=False)
    except InvalidDicomError:
        raise FileFault("not_dicom", "no 'DICM' after a preamble of 128 bytes") from None
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if not str(meta.get("TransferSyntaxUID", "")).strip():
        raise FileFault("unknown_transfer_syntax", "(0002,0010) TransferSyntaxUID is absent")
    return meta


def _inflate(data: memoryview, max_inflated_mb: int) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5), up to a bound."""
    bound = max_inflated_mb * 2**20
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, bound)
    except zlib.error as error:
        raise FileFault("deflate_broken", str(error)) from error
    if inflater.unconsumed_tail:
        raise FileFault("deflate_over_bound", f"the data set inflates beyond {max_inflated_mb} MiB")
    if not inflater.eof:
        raise FileFault("deflate_broken", "the deflated data set is cut short")
    return content


def _is_pixels(tag: Any, vr: str | None, length: int) -> bool:
    return tag == _PIXEL_DATA or tag in _FLOAT_PIXELS


def _locate_pixels(content: bytes, start: int, little: bool) -> Pixels | None:
    """Find the pixel data element that parsing stopped at."""
    size = len(content)
    if start >= size:
        return None
    view, order = memoryview(content), "<" if little else ">"
    group, element = struct.unpack_from(f"{order}HH", view, start)
    if (group << 16 | element) != _PIXEL_DATA:
        raise FileFault("float_pixels", f"({group:04X},{element:04X}) holds floating-point pixels")
    if bytes(view[start + 4 : start + 6]) in (b"OB", b"OW"):
        (length,), body = struct.unpack_from(f"{order}L", view, start + 8), start + 12
    else:
        (length,), body = struct.unpack_from(f"{order}L", view, start + 4), start + 8
    if length == UNDEFINED_LENGTH:
        return Pixels(view[body:], True)
    if body + length > size:
        raise FileFault(
            "truncated_pixels", f"(7FE0,0010) says {length} bytes, the file holds {size - body}"
        )
    return Pixels(view[body : body + length], False)


def _check_signedness(dataset: Dataset) -> None:
    """Compare PixelRepresentation with the value representations that depend on it (PS3.6)."""
    signed = integer_of(dataset, "PixelRepresentation")
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        element = dataset.get_item(keyword) if keyword in dataset else None
        vr = getattr(element, "VR", None)
        if (vr == "SS" and signed == 0) or (vr == "US" and signed == 1):
            raise FileFault(
                "pixel_representation", f"(0028,0103) is {signed}, yet {keyword} is stored as {vr}"
            )


# ---- values


def values_of(dataset: Dataset, keyword: str) -> list[Any]:
    """Read the values of a tag; absent and empty are both []."""
    value = dataset.get(keyword)
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return [value]
    return list(value)


def text_of(dataset: Dataset, keyword: str) -> str:
    """Read a tag as one line of text, several values joined as DICOM does."""
    return " ".join("\\".join(map(str, values_of(dataset, keyword))).replace("\0", "").split())


def integer_of(dataset: Dataset, keyword: str) -> int | None:
    """Read the one value of a tag.

    Raises:
        FileFault: The tag holds several values or no whole number.
    """
    values = values_of(dataset, keyword)
    if not values:
        return None
    if len(values) > 1 or isinstance(values[0], bytes) or int(values[0]) != float(values[0]):
        raise FileFault("unreadable_dicom", f"{keyword} must be one integer, got {values!r:.80}")
    return int(values[0])
