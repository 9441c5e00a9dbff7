"""Read one DICOM file: header facts, grey scale, codestream; the only reader of DICOM.

Nothing is decoded here. What the standard fixes and a damaged file breaks (lengths, delimiters,
bit depths, the codestream's own markers) is checked before anyone looks at a pixel.
"""

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble

from mammo import codestream
from mammo.faults import DicomError
from mammo.params import Params
from mammo.voi import GreyScale, LookupTable, Window

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"

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
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF

# PS3.16 CID 4014 "View for Mammography": SNOMED CT, and the SRT and SNM3 codes it replaced.
_VIEW_CODES = {
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
}
# PS3.16 CID 4015 "View Modifier for Mammography".
_IMPLANT_DISPLACED = {"399209000", "R-102D5"}

# PS3.3 C.8.11.3: Pixel Representation of the DX module, which MG shares, is 0 (unsigned).
_UNSIGNED_ONLY = (
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX for presentation; ".1" appended: for processing
    "1.2.840.10008.5.1.4.1.1.1.2",  # MG, likewise
)


class Limits(Params):
    """Bounds on what one file may ask for."""

    max_pixels: int = Field(gt=0)  # rows times columns
    max_inflated_mb: int = Field(gt=0)  # of a deflated data set


@dataclass(frozen=True)
class Header:
    """Facts of one image, named by their DICOM keywords; '' and None where the file is silent."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    modality: str
    patient_id: str
    accession_number: str
    image_laterality: str  # L, R, B or ''; from Laterality where ImageLaterality is absent
    view_position: str  # from the view code where ViewPosition is absent
    view_modifiers: tuple[tuple[str, str, str], ...]  # (scheme, code value, meaning)
    implant_displaced: bool
    presentation_intent_type: str
    image_type: tuple[str, ...]
    photometric_interpretation: str
    transfer_syntax_uid: str
    rows: int | None
    columns: int | None
    number_of_frames: int
    samples_per_pixel: int | None
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    pixel_representation: int | None
    manufacturer: str
    burned_in_annotation: str
    breast_implant_present: str
    pixel_intensity_relationship: str
    has_pixel_data: bool


@dataclass(frozen=True)
class Layout:
    """The bit layout of a header that passed `layout_of`: every value present and consistent."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool


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
        DicomError: The file isn't DICOM or can't be parsed, or inflates beyond the bound.
    """
    return _parse(_content(content), limits).header


def check_stream(content: bytes | Path, header: Header, limits: Limits) -> None:
    """Check lengths, markers and agreement with the header without decoding.

    Raises:
        DicomError: As `read_source` does.
    """
    if not header.has_pixel_data:
        raise DicomError("no_pixel_data", "(7FE0,0010) PixelData is absent")
    read_source(content, limits)


def pixel_data_sha256(content: bytes | Path, limits: Limits) -> str:
    """Hash the frame as stored: native pixels, or the codestream without items and offsets."""
    return hashlib.sha256(read_source(content, limits).frame).hexdigest()


def read_source(content: bytes | Path, limits: Limits) -> Source:
    """Read everything that decoding needs, and check it.

    Raises:
        DicomError: No pixel data, several frames, colour, contradictory bit depths, a length
            that doesn't fit, a missing end marker, a codestream that contradicts the header,
            an unknown transfer syntax, or more pixels than allowed.
    """
    parsed = _parse(_content(content), limits)
    header = parsed.header
    if parsed.pixels is None:
        raise DicomError("no_pixel_data", "(7FE0,0010) PixelData is absent")
    codestream.check_known(header.transfer_syntax_uid)
    layout = layout_of(header, limits)
    little = header.transfer_syntax_uid != BIG_ENDIAN
    grey = _convert(lambda: _grey_scale(parsed.dataset, layout, little))
    if codestream.is_native(header.transfer_syntax_uid):
        return Source(header, layout, grey, _native_frame(parsed.pixels, layout), None)
    frame = _encapsulated_frame(parsed.pixels)
    stream = codestream.check(frame, header.transfer_syntax_uid)
    _check_agreement(stream, layout)
    return Source(header, layout, grey, _without_padding(frame, stream), stream)


def layout_of(header: Header, limits: Limits) -> Layout:
    """Check the header's description of its pixels.

    Raises:
        DicomError: A value is missing, contradicts another, or is beyond what is allowed.
    """
    if header.number_of_frames != 1:
        raise DicomError("multi_frame", f"(0028,0008) is {header.number_of_frames}, must be 1")
    if header.samples_per_pixel != 1 or header.photometric_interpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise DicomError(
            "not_monochrome",
            f"(0028,0002) is {header.samples_per_pixel}, must be 1; "
            f"(0028,0004) is {header.photometric_interpretation!r}, must be MONOCHROME1 or 2",
        )
    rows, columns, allocated, stored, high, signed = (
        _present(header, keyword)
        for keyword in (
            "rows",
            "columns",
            "bits_allocated",
            "bits_stored",
            "high_bit",
            "pixel_representation",
        )
    )
    if rows < 1 or columns < 1 or rows * columns > limits.max_pixels:
        raise DicomError(
            "dimensions_over_cap",
            f"(0028,0010) x (0028,0011) is {rows} x {columns}, "
            f"must be 1 to {limits.max_pixels} pixels",
        )
    # PS3.5 8.1.1: High Bit is one less than Bits Stored.
    if allocated not in (8, 16) or not 1 < stored <= allocated or high != stored - 1:
        raise DicomError(
            "bits_contradictory",
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}: must be 8 or 16, "
            "at most BitsAllocated, and BitsStored - 1",
        )
    if signed not in (0, 1) or (signed == 1 and header.sop_class_uid.startswith(_UNSIGNED_ONLY)):
        raise DicomError(
            "pixel_representation", f"(0028,0103) is {signed}; must be 0 for MG and DX images"
        )
    return Layout(rows, columns, allocated, stored, bool(signed))


# ---- the data set


@dataclass(frozen=True)
class _Pixels:
    """The pixel data element: its value, or what follows its header if its length is undefined."""

    value: memoryview
    undefined_length: bool


@dataclass(frozen=True)
class _Parsed:
    dataset: Dataset
    header: Header
    pixels: _Pixels | None


def _content(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _parse(content: bytes, limits: Limits) -> _Parsed:
    """Parse up to the pixel data (PS3.10 7, PS3.5 7 and A)."""
    file = io.BytesIO(content)
    meta = _convert(lambda: _file_meta(file))
    syntax = str(meta["TransferSyntaxUID"].value).strip()
    if syntax == DEFLATED:
        file = io.BytesIO(_inflate(memoryview(content)[file.tell() :], limits))
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    dataset = _convert(lambda: read_dataset(file, implicit, little, stop_when=_is_pixels))
    _check_signedness(dataset)
    pixels = _convert(lambda: _locate_pixels(file.getvalue(), file.tell(), little))
    header = _convert(lambda: _header(dataset, meta, syntax, pixels is not None))
    return _Parsed(dataset, header, pixels)


def _convert(read: Any) -> Any:
    """Call a reader of untrusted bytes; what it trips over becomes a fault of the file."""
    with warnings.catch_warnings():
        # Odd values in tags that nobody here uses are no news; those we use are checked.
        warnings.simplefilter("ignore")
        try:
            return read()
        except PARSE_ERRORS as error:
            raise DicomError("unreadable_dicom", f"{type(error).__name__}: {error}") from error


def _file_meta(file: io.BytesIO) -> Dataset:
    """Read preamble and file meta information, leaving `file` at the data set (PS3.10 7.1)."""
    try:
        read_preamble(file, force=False)
    except InvalidDicomError:
        raise DicomError("not_dicom", "no 'DICM' after a preamble of 128 bytes") from None
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if not str(meta.get("TransferSyntaxUID", "")).strip():
        raise DicomError("unknown_transfer_syntax", "(0002,0010) TransferSyntaxUID is absent")
    return meta


def _inflate(data: memoryview, limits: Limits) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5), up to a bound."""
    bound = limits.max_inflated_mb * 2**20
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, bound)
    except zlib.error as error:
        raise DicomError("deflate_broken", str(error)) from error
    if inflater.unconsumed_tail:
        raise DicomError(
            "deflate_over_bound", f"the data set inflates beyond {limits.max_inflated_mb} MiB"
        )
    if not inflater.eof:
        raise DicomError("deflate_broken", "the deflated data set is cut short")
    return content


def _is_pixels(tag: Any, vr: str | None, length: int) -> bool:
    return tag == _PIXEL_DATA or tag in _FLOAT_PIXELS


def _locate_pixels(content: bytes, start: int, little: bool) -> _Pixels | None:
    """Find the pixel data element that parsing stopped at."""
    size = len(content)
    if start >= size:
        return None
    view, order = memoryview(content), "<" if little else ">"
    group, element = struct.unpack_from(f"{order}HH", view, start)
    if (group << 16 | element) != _PIXEL_DATA:
        raise DicomError("float_pixels", f"({group:04X},{element:04X}) holds floating-point pixels")
    if view[start + 4 : start + 6] in (b"OB", b"OW"):
        (length,), body = struct.unpack_from(f"{order}L", view, start + 8), start + 12
    else:
        (length,), body = struct.unpack_from(f"{order}L", view, start + 4), start + 8
    if length == _UNDEFINED:
        return _Pixels(view[body:], True)
    if body + length > size:
        raise DicomError(
            "truncated_pixels", f"(7FE0,0010) says {length} bytes, the file holds {size - body}"
        )
    return _Pixels(view[body : body + length], False)


def _check_signedness(dataset: Dataset) -> None:
    """Compare PixelRepresentation with the value representations that depend on it (PS3.6)."""
    signed = _integer(dataset, "PixelRepresentation")
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        element = dataset.get_item(keyword) if keyword in dataset else None
        vr = getattr(element, "VR", None)
        if (vr == "SS" and signed == 0) or (vr == "US" and signed == 1):
            raise DicomError(
                "pixel_representation", f"(0028,0103) is {signed}, yet {keyword} is stored as {vr}"
            )


# ---- header facts


def _header(dataset: Dataset, meta: Dataset, syntax: str, has_pixel_data: bool) -> Header:
    modifiers = tuple(_view_modifiers(dataset))
    return Header(
        # Some published files lack both in the data set; the file meta information repeats them.
        sop_class_uid=_text(dataset, "SOPClassUID") or _text(meta, "MediaStorageSOPClassUID"),
        sop_instance_uid=(
            _text(dataset, "SOPInstanceUID") or _text(meta, "MediaStorageSOPInstanceUID")
        ),
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        modality=_text(dataset, "Modality").upper(),
        patient_id=_text(dataset, "PatientID"),
        accession_number=_text(dataset, "AccessionNumber"),
        image_laterality=(
            _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
        ).upper(),
        view_position=(_text(dataset, "ViewPosition") or _view_by_code(dataset)).upper(),
        view_modifiers=modifiers,
        implant_displaced=any(code in _IMPLANT_DISPLACED for _, code, _ in modifiers),
        presentation_intent_type=_text(dataset, "PresentationIntentType").upper(),
        image_type=tuple(str(value).strip() for value in _values(dataset, "ImageType")),
        photometric_interpretation=_text(dataset, "PhotometricInterpretation"),
        transfer_syntax_uid=syntax,
        rows=_integer(dataset, "Rows"),
        columns=_integer(dataset, "Columns"),
        number_of_frames=_frames(dataset),
        samples_per_pixel=_integer(dataset, "SamplesPerPixel"),
        bits_allocated=_integer(dataset, "BitsAllocated"),
        bits_stored=_integer(dataset, "BitsStored"),
        high_bit=_integer(dataset, "HighBit"),
        pixel_representation=_integer(dataset, "PixelRepresentation"),
        manufacturer=_text(dataset, "Manufacturer"),
        burned_in_annotation=_text(dataset, "BurnedInAnnotation").upper(),
        breast_implant_present=_text(dataset, "BreastImplantPresent").upper(),
        pixel_intensity_relationship=_text(dataset, "PixelIntensityRelationship").upper(),
        has_pixel_data=has_pixel_data,
    )


def _frames(dataset: Dataset) -> int:
    frames = _integer(dataset, "NumberOfFrames")
    return 1 if frames is None else frames


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    """Read the values of a tag; absent and empty are both []."""
    value = dataset.get(keyword)
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return [value]
    return list(value)


def _text(dataset: Dataset, keyword: str) -> str:
    """Read a tag as one line of text, several values joined as DICOM does."""
    return " ".join("\\".join(map(str, _values(dataset, keyword))).replace("\0", "").split())


def _integer(dataset: Dataset, keyword: str) -> int | None:
    """Read the one value of a tag.

    Raises:
        DicomError: The tag holds several values or no whole number.
    """
    values = _values(dataset, keyword)
    if not values:
        return None
    if len(values) > 1 or isinstance(values[0], bytes) or int(values[0]) != float(values[0]):
        raise DicomError("unreadable_dicom", f"{keyword} must be one integer, got {values!r:.80}")
    return int(values[0])


def _present(header: Header, keyword: str) -> int:
    value = getattr(header, keyword)
    if value is None:
        raise DicomError("missing_tag", f"{keyword} is absent")
    return int(value)


def _codes(items: Any) -> Iterator[tuple[str, str, str]]:
    for item in items or ():
        yield (
            _text(item, "CodingSchemeDesignator"),
            _text(item, "CodeValue"),
            _text(item, "CodeMeaning"),
        )


def _view_by_code(dataset: Dataset) -> str:
    for _, code, _ in _codes(dataset.get("ViewCodeSequence")):
        if code in _VIEW_CODES:
            return _VIEW_CODES[code]
    return ""


def _view_modifiers(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    """View modifiers stand inside the items of the view code (PS3.3 C.8.11.7)."""
    yield from _codes(dataset.get("ViewModifierCodeSequence"))
    for item in dataset.get("ViewCodeSequence") or ():
        yield from _codes(item.get("ViewModifierCodeSequence"))


# ---- grey scale


def _grey_scale(dataset: Dataset, layout: Layout, little: bool) -> GreyScale:
    """Read the modality LUT, VOI and padding attributes (PS3.3 C.11.1, C.11.2, C.7.5.1)."""
    bits = layout.bits_stored
    lowest = -(2 ** (bits - 1)) if layout.signed else 0
    slope, intercept = _rescale(dataset)
    modality_luts = _lookup_tables(dataset, "ModalityLUTSequence", layout.signed, little)
    return GreyScale(
        lowest=lowest,
        highest=lowest + 2**bits - 1,
        inverted=_text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        modality_lut=modality_luts[0] if modality_luts else None,
        # The VOI LUT's input is signed where the modality LUT's output can be (C.11.2.1.1).
        voi_luts=_lookup_tables(
            dataset, "VOILUTSequence", not modality_luts and lowest * slope + intercept < 0, little
        ),
        windows=_windows(dataset),
        function=_text(dataset, "VOILUTFunction") or "LINEAR",
        padding=_padding(dataset),
    )


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = _values(dataset, "RescaleSlope"), _values(dataset, "RescaleIntercept")
    values = (float(slope[0]) if slope else 1.0, float(intercept[0]) if intercept else 0.0)
    if not np.isfinite(values).all() or values[0] == 0:
        raise DicomError("rescale_invalid", f"slope {values[0]}, intercept {values[1]}")
    return values


def _windows(dataset: Dataset) -> tuple[Window, ...]:
    centers, widths = _values(dataset, "WindowCenter"), _values(dataset, "WindowWidth")
    if len(centers) != len(widths):
        raise DicomError(
            "window_invalid", f"{len(centers)} window centers beside {len(widths)} widths"
        )
    return tuple(Window(float(c), float(w)) for c, w in zip(centers, widths, strict=True))


def _lookup_tables(
    dataset: Dataset, keyword: str, signed: bool, little: bool
) -> tuple[LookupTable, ...]:
    items = dataset.get(keyword) or ()
    return tuple(_lookup_table(item, keyword, signed, little) for item in items)


def _lookup_table(item: Dataset, keyword: str, signed: bool, little: bool) -> LookupTable:
    """Read LUTDescriptor (entries, first input, bits) and LUTData (C.11.1.1.1, C.11.2.1.1)."""
    count, first, bits = (int(value) for value in _values(item, "LUTDescriptor"))
    count = count % 2**16 or 2**16  # 65536 doesn't fit the field and is written as 0
    first = first % 2**16
    if signed and first >= 2**15:
        first -= 2**16
    data = item.get("LUTData")
    if isinstance(data, bytes):
        width = 1 if bits <= 8 and len(data) in (count, count + count % 2) else 2
        entries = np.frombuffer(data, f"{'<' if little else '>'}u{width}")[:count]
    else:
        entries = np.array(_values(item, "LUTData"), dtype=np.int64)
    if len(entries) != count or not 1 <= bits <= 16 or entries.max() >= 2**bits:
        raise DicomError(
            "lut_contradictory",
            f"{keyword}: the descriptor says {count} entries of {bits} bits, "
            f"got {len(entries)} up to {entries.max(initial=0)}",
        )
    return LookupTable(first, entries, bits)


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """Read PixelPaddingValue and its range limit (PS3.3 C.7.5.1.1.2)."""
    value = _integer(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _integer(dataset, "PixelPaddingRangeLimit")
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


# ---- pixel data


def _native_frame(pixels: _Pixels, layout: Layout) -> memoryview:
    """Take the native pixels, exact to the byte but for one of padding (PS3.5 8.1.1, 8.2)."""
    expected = layout.rows * layout.columns * layout.bits_allocated // 8
    if pixels.undefined_length:
        raise DicomError("encapsulation", "undefined length in a native transfer syntax")
    if len(pixels.value) != expected + expected % 2:
        raise DicomError(
            "pixel_length",
            f"(7FE0,0010) holds {len(pixels.value)} bytes, {layout.rows} x {layout.columns} "
            f"pixels of {layout.bits_allocated} bits need {expected}",
        )
    return pixels.value[:expected]


def _encapsulated_frame(pixels: _Pixels) -> bytes:
    """Join the fragments of the one frame (PS3.5 A.4)."""
    if not pixels.undefined_length:
        raise DicomError("encapsulation", "a defined length in an encapsulated transfer syntax")
    fragments, position = [], 0
    while True:
        if position + 8 > len(pixels.value):
            raise DicomError("truncated_pixels", "no sequence delimiter after the last fragment")
        group, element, length = struct.unpack_from("<HHL", pixels.value, position)
        position += 8
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or length == _UNDEFINED:
            raise DicomError("encapsulation", f"({group:04X},{element:04X}) among the fragments")
        if position + length > len(pixels.value):
            raise DicomError("truncated_pixels", "cut inside a fragment")
        fragments.append(pixels.value[position : position + length])
        position += length
    _check_offsets(fragments)
    return b"".join(fragments[1:])


def _check_offsets(fragments: list[memoryview]) -> None:
    """The first item is the basic offset table: empty, or one frame at offset 0."""
    if len(fragments) < 2:
        raise DicomError("encapsulation", "no fragment after the basic offset table")
    if bytes(fragments[0]) not in (b"", b"\0\0\0\0"):
        raise DicomError("encapsulation", "the basic offset table lists other than one frame")


def _without_padding(frame: bytes, stream: codestream.Stream) -> bytes:
    return frame if stream.length == len(frame) else frame[: stream.length]


def _check_agreement(stream: codestream.Stream, layout: Layout) -> None:
    """Compare the codestream's own header with the data set's."""
    if stream.rows is not None and (stream.rows, stream.columns) != (layout.rows, layout.columns):
        raise DicomError(
            "codestream_contradicts_header",
            f"codestream of {stream.rows} x {stream.columns}, "
            f"header of {layout.rows} x {layout.columns}",
        )
    # Some writers code all allocated bits; the values are held to BitsStored after decoding.
    if stream.precision not in (layout.bits_stored, layout.bits_allocated):
        raise DicomError(
            "codestream_contradicts_header",
            f"codestream of {stream.precision} bits, BitsStored {layout.bits_stored}",
        )
    if stream.signed is not None and stream.signed != layout.signed:
        raise DicomError(
            "codestream_contradicts_header",
            f"codestream signed: {stream.signed}, PixelRepresentation {int(layout.signed)}",
        )
