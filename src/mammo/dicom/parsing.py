"""Parse the untrusted bytes of a DICOM file: its data set, and where its pixels lie.

Whatever damage makes a parser trip becomes a `FileFault`; no pixel is looked at.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset

from mammo.errors import FileFault

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
# First bytes of what is found in place of DICOM files.
_OTHER_FORMS = {
    b"BM": "a BMP picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a RIFF file, as WebP pictures are",
    b"\0\0\0\x0cjP": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"\x1f\x8b": "a file compressed by gzip",
    b"PK\3\4": "a ZIP archive",
    b"%PDF": "a PDF document",
    b"P3": "a PPM picture",
    b"P6": "a PPM picture",
    b"Pf": "a PFM picture",
    b"version https://git-lfs": "a pointer of Git LFS, `git lfs pull` fetches the file",
    bytes(132): "zeros alone, as a copy that never ended leaves",
    b"<": "a page of HTML or XML",
}
_IDENTIFYING = (0x0008).to_bytes(2, "little")  # the group that every data set begins with
_BARE = ("no_preamble", "no_meta_header", "no_transfer_syntax")  # flags of `Parsed`


@dataclass(frozen=True)
class Pixels:
    """The pixel data element: its value, or what follows its header if its length is undefined."""

    value: memoryview
    undefined_length: bool
    end: int = 0  # where the value ends in the data set; 0 with an undefined length
    words: bool = False  # of VR OW: in a big-endian file two pixels of 8 bits are swapped


@dataclass(frozen=True)
class Parsed:
    """What the bytes say; `pixels` is None where the pixel data are absent.

    Attributes:
        flags: Contradictions that leave the pixels unambiguous.
        overlay_bits: The bits of each pixel that the header says hold an overlay (PS3.5 8.1.2).
    """

    dataset: Dataset
    meta: Dataset  # the file meta information
    transfer_syntax_uid: str
    pixels: Pixels | None
    flags: tuple[str, ...] = ()
    overlay_bits: int = 0

    @property
    def bare(self) -> bool:
        """Tell a data set whose transfer syntax or frame of a file had to be guessed."""
        return any(flag in _BARE for flag in self.flags)


def parse(content: bytes, max_inflated_mb: int) -> Parsed:
    """Parse up to the pixel data (PS3.10 7, PS3.5 7 and A).

    Raises:
        FileFault: The file isn't DICOM or can't be parsed, inflates beyond the bound, holds
            floating-point pixels, is cut inside its pixels, or contradicts its own signedness.
    """
    file = io.BytesIO(content)
    meta, flags = convert(lambda: _file_meta(file))
    syntax = str(meta.get("TransferSyntaxUID", "")).strip() or _guessed_syntax(file)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        file = io.BytesIO(_inflate(memoryview(content)[file.tell() :], max_inflated_mb))
    implicit, little = syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    dataset = convert(lambda: read_dataset(file, implicit, little, stop_when=_is_pixels))
    flags += convert(lambda: _check_signedness(dataset))
    pixels = convert(lambda: _locate_pixels(file.getvalue(), file.tell(), little))
    parsed = Parsed(dataset, meta, syntax, pixels, flags, convert(lambda: _overlay_bits(dataset)))
    if parsed.bare:
        _require_whole(parsed, file.getvalue())
    return parsed


T = TypeVar("T")


def convert(read: Callable[[], T]) -> T:
    """Call a reader of untrusted bytes; what it trips over becomes a fault of the file."""
    with warnings.catch_warnings():
        # Odd values in tags that nobody here uses are no news; those we use are checked.
        warnings.simplefilter("ignore")
        try:
            return read()
        except PARSE_ERRORS as error:
            raise FileFault("unreadable_dicom", f"{type(error).__name__}: {error}") from error


def _file_meta(file: io.BytesIO) -> tuple[Dataset, tuple[str, ...]]:
    """Read preamble and file meta information, leaving `file` at the data set (PS3.10 7.1).

    Archives are full of data sets without either, and every toolkit reads them.
    """
    flags: tuple[str, ...] = ()
    content = bytes(file.getbuffer()[:132])
    if content[128:] == b"DICM":
        file.seek(132)
    elif content[:2] in (b"\2\0", _IDENTIFYING):
        flags = ("no_preamble",)
    else:
        if not content:
            raise FileFault("not_dicom", "the file is empty")
        form = next((name for start, name in _OTHER_FORMS.items() if content.startswith(start)), "")
        raise FileFault(
            "not_dicom",
            "no 'DICM' after a preamble of 128 bytes"
            + (f": {form}; DICOM, PNG, JPEG, PGM and TIFF are read" if form else ""),
        )
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if len(meta) == 0:
        return meta, (*flags, "no_meta_header")
    if not str(meta.get("TransferSyntaxUID", "")).strip():
        return meta, (*flags, "no_transfer_syntax")
    return meta, flags


def _guessed_syntax(file: io.BytesIO) -> str:
    """Tell implicit from explicit value representations by the first element; native alone."""
    start = bytes(file.getbuffer()[file.tell() : file.tell() + 6])
    if start[:2] != _IDENTIFYING:
        raise FileFault("unknown_transfer_syntax", "(0002,0010) TransferSyntaxUID is absent")
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return str(uid.ExplicitVRLittleEndian if explicit else uid.ImplicitVRLittleEndian)


def _require_whole(parsed: Parsed, content: bytes) -> None:
    """Believe a guessed encoding only where everything parses to the end."""
    dataset, pixels = parsed.dataset, parsed.pixels
    if pixels is None or "SOPClassUID" not in dataset:
        raise FileFault("not_dicom", "a data set without preamble or meta header must name itself")
    if pixels.undefined_length:
        if {"no_meta_header", "no_transfer_syntax"} & set(parsed.flags):
            raise FileFault("unknown_transfer_syntax", "(0002,0010) TransferSyntaxUID is absent")
        return
    rest = content[pixels.end :].rstrip(b"\0")
    if rest and not rest.startswith(b"\xfc\xff\xfc\xff"):  # Data Set Trailing Padding
        raise FileFault(
            "unreadable_dicom", f"{len(rest)} bytes after the pixels of a bare data set"
        )


def _inflate(data: memoryview, max_inflated_mb: int) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5), up to a bound."""
    bound = max_inflated_mb * 2**20
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, bound)
    except zlib.error as error:
        raise FileFault("deflate_broken", str(error)) from error
    if inflater.unconsumed_tail:
        raise FileFault(
            "deflate_over_bound",
            f"the data set inflates beyond {max_inflated_mb} MiB (dicom.max_inflated_mb)",
        )
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
    vr = bytes(view[start + 4 : start + 6])
    if vr in (b"OB", b"OW", b"UN"):
        (length,), body = struct.unpack_from(f"{order}L", view, start + 8), start + 12
    else:
        (length,), body = struct.unpack_from(f"{order}L", view, start + 4), start + 8
    if length == UNDEFINED_LENGTH:
        return Pixels(view[body:], True)
    if body + length > size:
        raise FileFault(
            "truncated_pixels", f"(7FE0,0010) says {length} bytes, the file holds {size - body}"
        )
    return Pixels(view[body : body + length], False, body + length, words=vr == b"OW")


_UNSIGNED_CLASSES = (
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForPresentation,
)  # and, with ".1" appended, for processing


def unsigned_only(sop_class_uid: str) -> bool:
    """PS3.3 C.8.11.3: Pixel Representation of the DX module, which MG shares, is 0."""
    return sop_class_uid.startswith(_UNSIGNED_CLASSES)


def _check_signedness(dataset: Dataset) -> tuple[str, ...]:
    """Compare PixelRepresentation with the value representations that depend on it (PS3.6).

    Returns:
        A flag where they differ and mean the same value.

    Raises:
        FileFault: They differ, and so does what the value means.
    """
    signed = integer_of(dataset, "PixelRepresentation")
    flags: tuple[str, ...] = ()
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        element = dataset.get_item(keyword) if keyword in dataset else None
        vr = getattr(element, "VR", None)
        if not ((vr == "SS" and signed == 0) or (vr == "US" and signed == 1)):
            continue
        values = values_of(dataset, keyword)
        same = all(isinstance(value, int) and 0 <= value < 2**15 for value in values)
        if not same and not unsigned_only(text_of(dataset, "SOPClassUID")):
            raise FileFault(
                "pixel_representation", f"(0028,0103) is {signed}, yet {keyword} is stored as {vr}"
            )
        flags = ("value_representation",)
    return flags


def _overlay_bits(dataset: Dataset) -> int:
    """Collect the bits that overlays in the pixels take: (60xx,0102), retired."""
    bits = 0
    for group in range(0x6000, 0x6020, 2):
        allocated, position = (dataset.get((group, element)) for element in (0x0100, 0x0102))
        place = None if position is None else position.value
        if allocated is not None and allocated.value != 1 and isinstance(place, int):
            bits |= 1 << min(place, 31)
    return bits


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
