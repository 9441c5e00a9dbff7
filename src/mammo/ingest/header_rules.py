"""What a DICOM header must say before its image is believed; each rule gives a reason code."""

from collections.abc import Iterator
from typing import NamedTuple

from mammo.datasets.rows import ImageRow
from mammo.dicom.header import Header

# PS3.4 B.5: Digital Mammography X-Ray Image Storage, For Presentation and For Processing.
MAMMOGRAPHY_SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1")
# Breast Tomosynthesis, Breast Projection X-Ray For Presentation and For Processing.
TOMOSYNTHESIS_SOP_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.13.1.3",
    "1.2.840.10008.5.1.4.1.1.13.1.4",
    "1.2.840.10008.5.1.4.1.1.13.1.5",
)
FOR_PROCESSING = "FOR PROCESSING"

# PS3.16 CID 4015 View Modifier for Mammography: code values under SNOMED RT (designators SRT, and
# SNM3 and 99SDM in older files) and SNOMED CT (SCT).
_SNOMED_SCHEMES = ("SRT", "SNM3", "99SDM", "SCT")
_MODIFIERS = {
    "R-102D6": ("magnification_view", "magnification"),
    "399163009": ("magnification_view", "magnification"),
    "R-102D7": ("spot_view", "spot compression"),
    "399055006": ("spot_view", "spot compression"),
    "R-102D5": ("implant_displaced", "implant displaced"),
    "399209000": ("implant_displaced", "implant displaced"),
}


class Fault(NamedTuple):
    """A reason code and what was found."""

    reason: str
    detail: str


def header_faults(header: Header, row: ImageRow) -> Iterator[Fault]:
    """Check a header by itself and against its row of the label table."""
    yield from _object_faults(header)
    yield from _acquisition_faults(header)
    yield from _table_faults(header, row)


def is_for_processing(header: Header) -> bool:
    """Tell raw detector values from images made for a reader (PS3.3 C.8.11.1)."""
    return (
        header.presentation_intent_type == FOR_PROCESSING
        or header.sop_class_uid == MAMMOGRAPHY_SOP_CLASSES[1]
    )


def _object_faults(header: Header) -> Iterator[Fault]:
    """Check that it is one mammogram."""
    if header.modality != "MG" and header.sop_class_uid not in (
        *MAMMOGRAPHY_SOP_CLASSES,
        *TOMOSYNTHESIS_SOP_CLASSES,
    ):
        yield Fault(
            "not_mammography",
            f"(0008,0060) Modality {header.modality!r}, "
            f"(0008,0016) SOPClassUID {header.sop_class_uid!r}",
        )
    if header.number_of_frames != 1:
        yield Fault("multi_frame", f"(0028,0008) NumberOfFrames {header.number_of_frames}")
    if header.sop_class_uid in TOMOSYNTHESIS_SOP_CLASSES:
        yield Fault("tomosynthesis", f"(0008,0016) SOPClassUID {header.sop_class_uid!r}")
    if "LOCALIZER" in header.image_type:
        yield Fault("localizer", f"(0008,0008) ImageType {header.image_type!r}")


def _acquisition_faults(header: Header) -> Iterator[Fault]:
    """Check that it is a standard view, without text burned in."""
    for scheme, code, _ in header.view_modifiers:
        if scheme in _SNOMED_SCHEMES and code in _MODIFIERS:
            reason, meaning = _MODIFIERS[code]
            yield Fault(reason, f"(0054,0222) view modifier {code} ({scheme}): {meaning}")
    if header.burned_in_annotation == "YES":
        yield Fault("burned_in_annotation", "(0028,0301) BurnedInAnnotation is YES")


def _table_faults(header: Header, row: ImageRow) -> Iterator[Fault]:
    """Check that the header says what the table says."""
    if row.laterality and header.image_laterality not in ("", row.laterality):
        yield Fault(
            "laterality_mismatch",
            f"(0020,0062) ImageLaterality {header.image_laterality!r}, table {row.laterality!r}",
        )
    if row.view and header.view_position not in ("", row.view):
        yield Fault(
            "view_mismatch",
            f"(0018,5101) ViewPosition {header.view_position!r}, table {row.view!r}",
        )
