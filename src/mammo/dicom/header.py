"""Read the facts of a DICOM header, and check what they say about the pixels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from mammo.dicom.parsing import Parsed, integer_of, text_of, unsigned_only, values_of
from mammo.errors import FileFault

# PS3.16 CID 4014 "View for Mammography": SNOMED CT, and the SRT and SNM3 codes it replaced.
_VIEW_CODES = {
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
}

_SIDES_OF_A_PIXEL = ("PixelAspectRatio", "ImagerPixelSpacing", "PixelSpacing")
_SQUARE = 0.02  # what calibration and rounding make


@dataclass(frozen=True)
class Header:
    """Facts of one image, named by their DICOM keywords; '' and None where the file is silent."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    modality: str
    patient_id: str
    patient_age: str
    patient_birth_date: str
    study_date: str
    accession_number: str
    image_laterality: str  # L, R, B or ''; from Laterality where ImageLaterality is absent
    chest_wall: str  # left or right, as (0020,0020) PatientOrientation says; or ''
    view_position: str  # from the view code where ViewPosition is absent
    view_modifiers: tuple[tuple[str, str, str], ...]  # (scheme, code value, meaning)
    magnification_factor: float | None  # EstimatedRadiographicMagnificationFactor
    partial_view: str  # YES, NO or ''
    paddle_description: str
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
    pixel_intensity_relationship: str
    has_pixel_data: bool
    flags: tuple[str, ...]  # contradictions that leave the pixels unambiguous, and oblong pixels


@dataclass(frozen=True)
class Layout:
    """The bit layout of a header that passed `layout_of`: every value present and consistent.

    Attributes:
        signed: As PixelRepresentation says, but for a class that knows unsigned pixels alone.
        frames: 1, or more, of which the first one is read.
        overlay_bits: Bits above the stored ones that the header says hold an overlay.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    frames: int = 1
    overlay_bits: int = 0


def header_of(parsed: Parsed) -> Header:
    """Read the facts, as far as the file states them."""
    dataset, meta = parsed.dataset, parsed.meta
    return Header(
        # Some published files lack both in the data set; the file meta information repeats them.
        sop_class_uid=text_of(dataset, "SOPClassUID") or text_of(meta, "MediaStorageSOPClassUID"),
        sop_instance_uid=(
            text_of(dataset, "SOPInstanceUID") or text_of(meta, "MediaStorageSOPInstanceUID")
        ),
        study_instance_uid=text_of(dataset, "StudyInstanceUID"),
        modality=text_of(dataset, "Modality").upper(),
        patient_id=text_of(dataset, "PatientID"),
        patient_age=text_of(dataset, "PatientAge"),
        patient_birth_date=text_of(dataset, "PatientBirthDate"),
        study_date=text_of(dataset, "StudyDate"),
        accession_number=text_of(dataset, "AccessionNumber"),
        image_laterality=_laterality(dataset),
        chest_wall=_chest_wall(dataset),
        view_position=(text_of(dataset, "ViewPosition") or _view_by_code(dataset)).upper(),
        view_modifiers=tuple(_view_modifiers(dataset)),
        magnification_factor=_magnification_factor(dataset),
        partial_view=text_of(dataset, "PartialView").upper(),
        paddle_description=text_of(dataset, "PaddleDescription").upper(),
        presentation_intent_type=text_of(dataset, "PresentationIntentType").upper(),
        image_type=tuple(str(value).strip() for value in values_of(dataset, "ImageType")),
        photometric_interpretation=text_of(dataset, "PhotometricInterpretation").upper(),
        transfer_syntax_uid=parsed.transfer_syntax_uid,
        rows=integer_of(dataset, "Rows"),
        columns=integer_of(dataset, "Columns"),
        # 0 frames with pixels is one frame: their length says so, or they aren't read.
        number_of_frames=integer_of(dataset, "NumberOfFrames") or 1,
        samples_per_pixel=integer_of(dataset, "SamplesPerPixel"),
        bits_allocated=integer_of(dataset, "BitsAllocated"),
        bits_stored=integer_of(dataset, "BitsStored"),
        high_bit=integer_of(dataset, "HighBit"),
        pixel_representation=integer_of(dataset, "PixelRepresentation"),
        manufacturer=text_of(dataset, "Manufacturer"),
        burned_in_annotation=text_of(dataset, "BurnedInAnnotation").upper(),
        pixel_intensity_relationship=text_of(dataset, "PixelIntensityRelationship").upper(),
        has_pixel_data=parsed.pixels is not None,
        flags=tuple(_flags(parsed)),
    )


def layout_of(header: Header, max_pixels: int, overlay_bits: int = 0) -> Layout:
    """Check the header's description of its pixels.

    Raises:
        FileFault: A value is missing, contradicts another, or is beyond what is allowed.
    """
    if header.number_of_frames < 1:
        raise FileFault("multi_frame", f"(0028,0008) is {header.number_of_frames}, must be 1")
    if header.samples_per_pixel != 1 or header.photometric_interpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise FileFault(
            "not_monochrome",
            f"(0028,0002) is {header.samples_per_pixel}, must be 1; "
            f"(0028,0004) is {header.photometric_interpretation!r}, must be MONOCHROME1 or 2",
        )
    rows, columns, allocated, stored, signed = (
        _present(header, keyword)
        for keyword in (
            "rows",
            "columns",
            "bits_allocated",
            "bits_stored",
            "pixel_representation",
        )
    )
    high = stored - 1 if header.high_bit is None else header.high_bit  # PS3.5 8.1.1 fixes it
    if rows < 1 or columns < 1 or rows * columns > max_pixels:
        raise FileFault(
            "dimensions_over_cap",
            f"(0028,0010) x (0028,0011) is {rows} x {columns}, must be 1 to {max_pixels} pixels "
            "(dicom.max_pixels)",
        )
    # PS3.5 8.1.1: High Bit is one less than Bits Stored.
    if allocated not in (8, 16) or not 1 < stored <= allocated or high != stored - 1:
        raise FileFault(
            "bits_contradictory",
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}: must be 8 or 16, "
            "at most BitsAllocated, and BitsStored - 1",
        )
    if signed not in (0, 1):
        raise FileFault("pixel_representation", f"(0028,0103) is {signed}, must be 0 or 1")
    signed = signed == 1 and not unsigned_only(header.sop_class_uid)
    frames, above = header.number_of_frames, overlay_bits >> stored << stored
    return Layout(rows, columns, allocated, stored, signed, frames, above)


def _present(header: Header, keyword: str) -> int:
    value = getattr(header, keyword)
    if value is None:
        raise FileFault("missing_tag", f"{keyword} is absent")
    return int(value)


def _laterality(dataset: Dataset) -> str:
    text = (text_of(dataset, "ImageLaterality") or text_of(dataset, "Laterality")).upper()
    return {"LEFT": "L", "RIGHT": "R"}.get(text, text)


def _chest_wall(dataset: Dataset) -> str:
    """Rows run to anterior, away from the chest wall, or to posterior (PS3.3 C.7.6.1.1.1)."""
    along_rows = text_of(dataset, "PatientOrientation").upper()[:1]
    return {"A": "left", "P": "right"}.get(along_rows, "")


def _magnification_factor(dataset: Dataset) -> float | None:
    """Read EstimatedRadiographicMagnificationFactor; None where it is no number."""
    try:
        factor = float(values_of(dataset, "EstimatedRadiographicMagnificationFactor")[0])
    except (IndexError, TypeError, ValueError):
        return None
    return factor if math.isfinite(factor) else None


def _flags(parsed: Parsed) -> Iterator[str]:
    yield from parsed.flags
    if integer_of(parsed.dataset, "NumberOfFrames") == 0:
        yield "number_of_frames"
    if any(_is_oblong(parsed.dataset, keyword) for keyword in _SIDES_OF_A_PIXEL):
        yield "oblong_pixels"


def _is_oblong(dataset: Dataset, keyword: str) -> bool:
    """Tell pixels that aren't square: they are taken as if they were."""
    try:
        down, across = map(float, values_of(dataset, keyword))
    except (TypeError, ValueError):  # absent, or no two numbers
        return False
    return not math.isclose(down, across, rel_tol=_SQUARE)


def _codes(items: Any) -> Iterator[tuple[str, str, str]]:
    for item in items or ():
        yield (
            text_of(item, "CodingSchemeDesignator"),
            text_of(item, "CodeValue"),
            text_of(item, "CodeMeaning"),
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
