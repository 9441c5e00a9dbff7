"""What a DICOM header must say before its image is believed; each rule gives a reason code."""

import re
from collections.abc import Iterator

from pydicom import uid

from mammo.datasets.rows import ImageRow
from mammo.dicom.header import Header
from mammo.errors import FileFault

MAMMOGRAPHY_SOP_CLASSES = (
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
)
TOMOSYNTHESIS_SOP_CLASSES = (
    uid.BreastTomosynthesisImageStorage,
    uid.BreastProjectionXRayImageStorageForPresentation,
    uid.BreastProjectionXRayImageStorageForProcessing,
)
# What ImageType says of slices, projections and synthetic 2D images that makers store under the
# SOP class of mammograms.
_TOMOSYNTHESIS = {"TOMOSYNTHESIS", "GENERATED_2D", "TOMO", "TOMO_2D", "TOMO_PROJ"}
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


# Contact views lie a little above 1; the standard's magnification views begin at 1.5.
_MAGNIFIED = 1.3
# What ViewPosition, a code's meaning or the paddle says of a view, where no modifier's code does.
_WORDS = (
    ("magnification_view", re.compile(r"\bM?MAG|MAGNIF")),
    ("spot_view", re.compile(r"\bSPOT|\bCONE")),
    ("implant_displaced", re.compile(r"\bIMPLANTS? DISPLACED|\bEKLUND")),
)


def header_faults(header: Header, row: ImageRow) -> Iterator[FileFault]:
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


def _object_faults(header: Header) -> Iterator[FileFault]:
    """Check that it is one mammogram."""
    if header.modality != "MG" and header.sop_class_uid not in (
        *MAMMOGRAPHY_SOP_CLASSES,
        *TOMOSYNTHESIS_SOP_CLASSES,
    ):
        yield FileFault(
            "not_mammography",
            f"(0008,0060) Modality {header.modality!r}, "
            f"(0008,0016) SOPClassUID {header.sop_class_uid!r}",
        )
    if header.number_of_frames != 1:
        yield FileFault("multi_frame", f"(0028,0008) NumberOfFrames {header.number_of_frames}")
    if header.sop_class_uid in TOMOSYNTHESIS_SOP_CLASSES:
        yield FileFault("tomosynthesis", f"(0008,0016) SOPClassUID {header.sop_class_uid!r}")
    if _TOMOSYNTHESIS.intersection(header.image_type):
        yield FileFault("tomosynthesis", f"(0008,0008) ImageType {header.image_type!r}")
    if "LOCALIZER" in header.image_type:
        yield FileFault("localizer", f"(0008,0008) ImageType {header.image_type!r}")


def _acquisition_faults(header: Header) -> Iterator[FileFault]:
    """Check that it is a standard view, without text burned in."""
    for scheme, code, _ in header.view_modifiers:
        if scheme in _SNOMED_SCHEMES and code in _MODIFIERS:
            reason, meaning = _MODIFIERS[code]
            yield FileFault(reason, f"(0054,0222) view modifier {code} ({scheme}): {meaning}")
    yield from _magnification_faults(header)
    if header.burned_in_annotation == "YES":
        yield FileFault("burned_in_annotation", "(0028,0301) BurnedInAnnotation is YES")


def _magnification_faults(header: Header) -> Iterator[FileFault]:
    """Check every other attribute that can tell another view than a standard one."""
    factor = header.magnification_factor
    if factor is not None and factor >= _MAGNIFIED:
        yield FileFault(
            "magnification_view",
            f"(0018,1114) EstimatedRadiographicMagnificationFactor {factor:g}; contact views have "
            "about 1",
        )
    said = {
        "(0018,5101) ViewPosition": header.view_position,
        "(0018,11A4) PaddleDescription": header.paddle_description,
        "(0054,0222) view modifier": "; ".join(m.upper() for _, _, m in header.view_modifiers),
    }
    for name, text in said.items():
        for reason, words in _WORDS:
            if words.search(text):
                yield FileFault(reason, f"{name} {text!r}")
    if header.partial_view == "YES":
        yield FileFault("partial_view", "(0028,1350) PartialView is YES: a part of the breast")


def _table_faults(header: Header, row: ImageRow) -> Iterator[FileFault]:
    """Check that the header says what the table says."""
    if row.laterality and header.image_laterality not in ("", row.laterality):
        yield FileFault(
            "laterality_mismatch",
            f"(0020,0062) ImageLaterality {header.image_laterality!r}, table {row.laterality!r}",
        )
    if row.view and header.view_position not in ("", row.view):
        yield FileFault(
            "view_mismatch",
            f"(0018,5101) ViewPosition {header.view_position!r}, table {row.view!r}",
        )
