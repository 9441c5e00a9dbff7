"""Answers as DICOM objects: a Structured Report a study, and pictures with their overlay.

Needs the extra `dicom-sr` (highdicom).
"""

import datetime
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from mammo.errors import UserError

logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every attribute it copies

# PS3.16 CID 6000 "Overall Breast Composition" (CID 6001: from BI-RADS), codes of SNOMED CT.
COMPOSITION = {
    "A": Code("129716005", "SCT", "Almost entirely fat"),
    "B": Code("129717001", "SCT", "Scattered fibroglandular densities"),
    "C": Code("129718006", "SCT", "Heterogeneously dense"),
    "D": Code("129719003", "SCT", "Extremely dense"),
}
BREAST_COMPOSITION = Code("129715009", "SCT", "Breast composition")
PROBABILITY = Code("122157", "DCM", "Probability")
_BREAST = Code("76752008", "SCT", "Breast")
_SIDES = {"L": Code("7771000", "SCT", "Left"), "R": Code("24028007", "SCT", "Right")}
_NO_UNITS = Code("1", "UCUM", "no units")
_PROCEDURE = Code("71651007", "SCT", "Mammography")

# Type 2 attributes of the patient and study modules: they must be there, and may be blank.
_MAY_BE_BLANK = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """An answer on one image or breast, with what speaks for it.

    Attributes:
        name: What it is of, such as `left breast` or `L CC`.
        laterality: L, R, or '' for both breasts together.
        answer: A, B, C or D.
        probability: Of the answer.
        sources: SOP class and instance UIDs of the images that it comes from.
    """

    name: str
    laterality: str
    answer: str
    probability: float
    sources: list[tuple[str, str]]


@dataclass(frozen=True)
class Model:
    """The device observer: which bundle answered, under which rule."""

    name: str
    version: str
    manufacturer: str
    bundle_id: str
    rule: str


def check_classes(classes: Sequence[str]) -> None:
    """Refuse classes that the standard has no codes for.

    Raises:
        UserError: They aren't A, B, C and D.
    """
    if list(classes) != list(COMPOSITION):
        raise UserError(
            "--dicom-sr: the standard codes the four BI-RADS classes A, B, C, D alone (PS3.16 CID "
            f"6000), got a bundle for {', '.join(classes)}; leave --dicom-sr out"
        )


def require_highdicom(option: str) -> None:
    """Say what to install.

    Raises:
        UserError: highdicom isn't there.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise UserError(
            f"{option}: needs highdicom, which isn't installed; run `pip install highdicom` "
            "(it is the project's extra `dicom-sr`)"
        ) from None


def read_evidence(path: Path) -> Dataset:
    """Read an image's header, with what an object of its study must repeat."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    for keyword in _MAY_BE_BLANK:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    if not dataset.get("StudyInstanceUID"):
        raise UserError(
            f"{path}: (0020,000D) StudyInstanceUID is absent, DICOM objects belong to a study; "
            "leave out this file, or --dicom-sr and --dicom-sc"
        )
    if "SOPInstanceUID" not in dataset:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    if "SOPClassUID" not in dataset:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    if not dataset.get("SeriesInstanceUID"):
        dataset.SeriesInstanceUID = uid_of("series", dataset.StudyInstanceUID)
    return dataset


def uid_of(*parts: str) -> UID:
    """Derive a UID from what it stands for, so that a second run makes the same object.

    Source: PS3.5 B.2 (a UUID under the root 2.25).
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def structured_report(
    evidence: Sequence[Dataset], findings: Sequence[Finding], model: Model
) -> Dataset:
    """Write the answers on one study as a Comprehensive SR after TID 1500 (Measurement Report).

    Args:
        evidence: The headers of the study's images, as `read_evidence` returns them.
        findings: On each breast and image, and on the patient.
        model: Which bundle answered.

    Returns:
        The data set, complete but not verified: no person has looked at it.
    """
    from highdicom import sr

    study = evidence[0].StudyInstanceUID
    uid = uid_of("report", study, model.bundle_id, *(e.SOPInstanceUID for e in evidence))
    observer = sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=uid_of("bundle", model.bundle_id),
            name=model.name,
            manufacturer_name=model.manufacturer,
            model_name=model.name,
            serial_number=model.version,
        ),
    )
    algorithm = sr.AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=[f"decision: {model.rule}", "not for clinical use"],
        manufacturer=model.manufacturer,
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_PROCEDURE,
        imaging_measurements=[_group(finding, algorithm, uid) for finding in findings],
        # No image library: highdicom's wants acquisition facts that real files often lack. The
        # images are referenced as evidence, and by each finding.
    )
    return sr.ComprehensiveSR(
        evidence=list(evidence),
        content=report[0],
        series_instance_uid=uid_of("report series", study, model.bundle_id),
        series_number=9001,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=model.manufacturer,
        manufacturer_model_name=model.name,
        software_versions=model.version,
        device_serial_number=model.bundle_id[:16],
        series_description="Breast density, by a model, not for clinical use",
        is_complete=True,
    )


def _group(finding: Finding, algorithm: Any, report: UID) -> Any:
    """TID 1501: the composition as a coded evaluation, its probability as a measurement."""
    from highdicom import sr

    side = _SIDES.get(finding.laterality)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=uid_of("finding", report, finding.name), identifier=finding.name
        ),
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(anatomic_location=_BREAST, laterality=side)],
        measurements=[
            sr.Measurement(name=PROBABILITY, value=round(finding.probability, 4), unit=_NO_UNITS)
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=BREAST_COMPOSITION, value=COMPOSITION[finding.answer])
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=sop_class, referenced_sop_instance_uid=instance
            )
            for sop_class, instance in finding.sources
        ],
    )


def secondary_capture(picture: np.ndarray, evidence: Dataset, title: str, model: Model) -> Dataset:
    """Write a picture with its overlay as a Secondary Capture of the image's study.

    Args:
        picture: (rows, columns, 3) uint8; the title is drawn in it already.
        evidence: The image's header, as `read_evidence` returns it.
        title: For the series and the derivation.
        model: Which bundle answered.
    """
    import highdicom
    from highdicom.sc import SCImage

    image = SCImage(
        pixel_array=np.ascontiguousarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system=highdicom.CoordinateSystemNames.PATIENT,
        study_instance_uid=evidence.StudyInstanceUID,
        series_instance_uid=uid_of("pictures", evidence.StudyInstanceUID, model.bundle_id),
        series_number=9002,
        sop_instance_uid=uid_of("picture", evidence.SOPInstanceUID, model.bundle_id),
        instance_number=int(evidence.get("InstanceNumber") or 1),
        manufacturer=model.manufacturer,
        patient_orientation=("A", _downwards(evidence)),  # turned: chest wall at the left
        laterality=_side(evidence),
        **_patient_and_study(evidence),
    )
    image.ManufacturerModelName = model.name
    image.SoftwareVersions = model.version
    image.SeriesDescription = "Breast density, where the model looks"
    image.DerivationDescription = title
    image.BurnedInAnnotation = "YES"  # the answer is drawn in it; no identifier is
    return image


def _side(evidence: Dataset) -> str | None:
    side = evidence.get("ImageLaterality") or evidence.get("Laterality")
    return side if side in _SIDES else None


def _downwards(evidence: Dataset) -> str:
    """Say where a prepared picture's columns point: it was turned sideways at most.

    Source: PS3.3 C.7.6.1.1.1; as a mammogram hangs, axilla or lateral side up.
    """
    stated = [str(value) for value in evidence.get("PatientOrientation") or ()]
    if len(stated) == 2 and stated[1][:1] in set("HFLR"):
        return stated[1][:1]
    if evidence.get("ViewPosition") == "CC":
        return "L" if evidence.get("ImageLaterality") == "R" else "R"
    return "F"


def _patient_and_study(evidence: Dataset) -> Mapping[str, Any]:
    """Repeat the patient and the study, blank where the image is."""
    return {
        "patient_id": evidence.PatientID,
        "patient_name": evidence.PatientName,
        "patient_birth_date": evidence.PatientBirthDate,
        "patient_sex": evidence.PatientSex or None,
        "accession_number": evidence.AccessionNumber,
        "study_id": evidence.StudyID,
        "study_date": evidence.StudyDate or None,
        "study_time": evidence.StudyTime or None,
        "referring_physician_name": evidence.ReferringPhysicianName,
    }


def save(dataset: Dataset, path: Path) -> None:
    """Write an object as an explicit little-endian file."""
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    now = datetime.datetime.now()
    dataset.ContentDate, dataset.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.save_as(path, enforce_file_format=True)
